"""Released networks as front ends: one file each, weights and all."""
