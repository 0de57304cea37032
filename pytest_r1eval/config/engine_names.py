"""
The engines that are registered, by name; listing them imports none.

An engine is an entry point of the group `pytest_r1eval.engines`, so that another package can add one.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

GROUP = "pytest_r1eval.engines"


def engine_names() -> tuple[str, ...]:
    """List what ``--r1-engine`` takes."""
    return tuple(sorted(entry_points(group=GROUP).names))


def engine_name(text: str) -> str:
    """
    Return the name of a registered engine.

    Raises:
        ValueError: If there is none of that name; the message lists what there is.
    """
    if text not in (known := engine_names()):
        raise ValueError(f"one of {', '.join(known)}")
    return text


def entry_points_of(name: str) -> tuple[EntryPoint, ...]:
    """Return what is registered under a name, which is one entry point unless two packages claim it."""
    return tuple(entry_points(group=GROUP, name=name))
