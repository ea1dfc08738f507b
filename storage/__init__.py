"""How files are kept: written whole, checked, locked, fetched. Knows nothing of what is in them."""
