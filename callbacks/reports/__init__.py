"""What a test shows: tables, figures, sound."""
