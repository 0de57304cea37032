"""What is judged: identity, completeness and size of a checkpoint."""
