"""From a stored run to a verdict."""
