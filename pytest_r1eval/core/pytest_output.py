"""What a pytest run that ended without a verdict wrote: its error, or that it was a rehearsal."""

import re

REHEARSED = "r1eval: rehearsed"
"""The line of a rehearsal that found nothing; without it, pytest ended before it."""
_SAMPLES = re.compile(r"r1eval: (\d+) samples are planned")
_N_LINES = 12
"""Of its last lines, where it names no cause."""
_CAUSE = re.compile(r"(?:ERROR|[^:]+: error): (?!usage: )(.+)")


def rehearsed_lines(n_samples: int) -> str:
    """Write what a rehearsal that found nothing prints."""
    return f"r1eval: {n_samples} samples are planned\n{REHEARSED}\n"


def n_rehearsed(text: str) -> int | None:
    """Return the samples that a rehearsal planned; None where it does not say."""
    found = [match for line in text.splitlines() if (match := _SAMPLES.fullmatch(line))]
    return int(found[-1][1]) if found else None


def error_in(text: str) -> str:
    """Return the last error that pytest names, else its last lines."""
    lines = text.splitlines()
    found = [match[1] for line in lines if (match := _CAUSE.match(line))]
    return found[-1] if found else "\n".join(["pytest's last words were:", *lines[-_N_LINES:]])
