"""What a judged run leaves beside its store, and what goes to the Hub."""
