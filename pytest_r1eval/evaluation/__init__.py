"""A run from Python, in a process of its own."""
