"""What a user finds sounds with: indexes of tracks and of sounds behind search.py."""
