"""The gate's mathematics, pure."""
