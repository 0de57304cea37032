"""The Hub's client: one session, and its errors in one line."""
