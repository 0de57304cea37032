"""What each subcommand of `r1eval` does, without its arguments' parsing."""
