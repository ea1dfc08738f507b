"""Scripts that measure; what they measure with is in experiments/."""
