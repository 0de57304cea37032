"""Which weights were asked which question, and what the verdict was."""
