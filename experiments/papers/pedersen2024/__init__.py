"""Pedersen, Learning latent audio representations, thesis, 2024."""
