"""Limits that leave no room are refused when they are made."""

from __future__ import annotations

import pytest

from pytest_r1eval.sandbox import Limits


def test_defaults_are_livecodebenchs() -> None:
    """A program has six seconds of processor time and four gibibytes by default."""
    limits = Limits()
    assert (limits.cpu_s, limits.memory_bytes) == (6.0, 4 << 30)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cpu_s", 0),
        ("wall_s", -1),
        ("wall_s", float("nan")),
        ("memory_bytes", 1 << 20),
        ("n_threads", 0),
        ("output_bytes", 0),
        ("n_open_files", 3),
        ("stack_bytes", 1 << 30),
        ("stack_bytes", 4096),
    ],
)
def test_impossible_limits(name: str, value: float) -> None:
    """An impossible limit is refused with its name and value."""
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        Limits(**{name: value})  # type: ignore[arg-type]
