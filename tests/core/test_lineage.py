"""Where a checkpoint stands in its training is said, or read off its name."""

from __future__ import annotations

import pytest

from pytest_r1eval.core.lineage import Lineage, lineage_from, step_of


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("run/checkpoint-200", 200),
        ("run/step_2000", 2000),
        ("run/global_step7", 7),
        ("run/iter-0003", 3),
        ("org/Model-7B", None),
        ("org/step-by-step", None),
    ],
)
def test_the_step_is_read_off_the_name(name: str, step: int | None) -> None:
    """Where trainers write it; a model's size is none."""
    assert step_of(name) == step


def test_lineage_is_what_is_known() -> None:
    """Given, or from the name; nothing known is no lineage."""
    known = lineage_from("run/checkpoint-2", parent="org/base", step=None, commit="abc")
    assert known == Lineage(parent="org/base", step=2, commit="abc")
    assert lineage_from("run/checkpoint-2", parent=None, step=3, commit=None) == Lineage(step=3)
    assert lineage_from("org/model", parent=None, step=None, commit=None) is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"step": -1}, "step is -1; expected a whole number, 0 or more"),
        ({"parent": " "}, "parent is ' '; expected some text"),
        ({"commit": ""}, "commit is ''; expected some text"),
    ],
)
def test_what_is_said_is_something(fields: dict[str, object], words: str) -> None:
    """A place in a training is no empty word."""
    with pytest.raises(ValueError, match=words):
        Lineage(**fields)  # type: ignore[arg-type]
