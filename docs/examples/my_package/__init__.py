"""What the manual's page on extending shows: parts of one's own, in a folder outside the repository."""
