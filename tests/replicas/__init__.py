"""Makers of tiny copies of every real corpus layout."""
