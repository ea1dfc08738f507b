"""What a run leaves for others to read: codes, fingerprints, predictions, artifacts."""
