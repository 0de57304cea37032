"""Pure values and functions: stdlib, numpy and scipy; no I/O, no clock, no environment."""
