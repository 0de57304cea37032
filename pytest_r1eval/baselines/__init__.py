"""References: where they are found, read, recorded and compared."""
