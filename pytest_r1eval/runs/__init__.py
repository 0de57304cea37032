"""One run on disk: its store, its lock, its progress, and runs read back."""
