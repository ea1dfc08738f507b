"""How a run is stopped and goes on."""
