"""Options and what their texts mean."""
