"""How sound is read: decoded, mixed down, resampled. The one door for audio files."""
