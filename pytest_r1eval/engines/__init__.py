"""Engines: whatever answers a prompt, behind one protocol."""
