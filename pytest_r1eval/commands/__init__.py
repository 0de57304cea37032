"""
The subcommands of `r1eval`, a module each.

A command is a function with typer's annotations that calls, prints and returns an exit code; nothing is decided here.
What is heavy is imported when a command runs, so that `--help` and completion answer at once. `cli` puts them together
and turns an `R1EvalError` into one line and exit code 2.
"""
