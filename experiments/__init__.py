"""What runs many: the command, grids of runs, comparison."""
