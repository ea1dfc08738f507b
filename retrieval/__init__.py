"""What searches and scores: codes, indexes and retrieval metrics, usable without Lightning."""
