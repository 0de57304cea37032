"""The gate that decides whether a reasoning model's checkpoint may ship."""
