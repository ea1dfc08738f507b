"""Many runs: cells, grids, sweeps, cross-validation, arrays of jobs."""
