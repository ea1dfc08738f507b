"""A paper of one's own: its studies, and what else belongs to it."""
