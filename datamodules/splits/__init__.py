"""Which items have which role, and how roles and segments are drawn."""
