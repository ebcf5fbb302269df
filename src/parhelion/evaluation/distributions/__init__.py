"""One-dimensional distributions, averages and resolutions, whole and in bins of a condition; their tails."""
