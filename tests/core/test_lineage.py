"""Where a checkpoint stands in its training is said, or read off its name."""

from __future__ import annotations

import pytest

from pytest_r1eval.core.lineage import Lineage, is_one_training, lineage_from, step_of


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
    """The step is read from a checkpoint's name where trainers write it, and a model's size is not one."""
    assert step_of(name) == step


def test_lineage_is_what_is_known() -> None:
    """A lineage comes from options or the folder's name, and is None where neither tells anything."""
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
    """A lineage with a negative step or an empty text is refused."""
    with pytest.raises(ValueError, match=words):
        Lineage(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "parent", "earlier", "earlier_parent", "expected"),
    [
        ("run/checkpoint-200", "run/checkpoint-100", "run/checkpoint-100", "org/base", True),
        ("acme/llama-math", "meta/Llama", "acme/llama-math", "meta/Llama", True),
        ("acme/math-v2", "acme/math-v1", "acme/math-v1", "meta/Llama", True),
        ("acme/math-v2", "meta/Llama", "acme/math-v1", "meta/Llama", True),
        ("acme/math-v2", None, "acme/math-v1", "meta/Llama", True),
        ("acme/llama-math", "meta/Llama", "acme/qwen-math", "Qwen/Qwen2.5", False),
    ],
)
def test_trainings_of_one_organisation(
    name: str, parent: str | None, earlier: str, earlier_parent: str | None, *, expected: bool
) -> None:
    """Checkpoints of one organisation belong to one training unless their parents tell them apart."""
    one, other = (name, Lineage(parent=parent, step=2)), (earlier, Lineage(parent=earlier_parent, step=1))
    assert is_one_training(one, other) == expected
