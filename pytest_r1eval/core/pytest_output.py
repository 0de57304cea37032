"""What a pytest run that ended without a verdict wrote: its error, or that it was a rehearsal."""

from __future__ import annotations

import re

REHEARSED = "r1eval: rehearsed"
"""The line of a rehearsal that found nothing; without it, pytest ended before it."""
_N_LINES = 12
"""Of its last lines, where it names no cause."""
_CAUSE = re.compile(r"(?:ERROR|[^:]+: error): (?!usage: )(.+)")


def error_in(text: str) -> str:
    """Return the last error that pytest names, else its last lines."""
    lines = text.splitlines()
    found = [match[1] for line in lines if (match := _CAUSE.match(line))]
    return found[-1] if found else "\n".join(["pytest's last words were:", *lines[-_N_LINES:]])
