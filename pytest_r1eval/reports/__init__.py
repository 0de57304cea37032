"""What people read: terminal tables and texts."""
