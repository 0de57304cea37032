"""A gate for every checkpoint of a training."""
