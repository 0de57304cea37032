"""Files that are loaded inside the sandbox by their paths; nothing imports them from here."""
