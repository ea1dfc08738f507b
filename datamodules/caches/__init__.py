"""What is computed of a corpus once and kept on the disk."""
