"""Benchmarks are chosen by name, for whoever starts a pytest."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_r1eval.errors import PlanError
from pytest_r1eval.plugin.selection import mark_expression


def test_names_become_marks() -> None:
    """One mark each, and each once; open-r1's spelling is understood."""
    assert mark_expression(["aime24", " math_500", "aime24"], tasks=None) == "aime24 or math500"


def test_own_benchmarks_are_found_from_the_folder(tmp_path: Path) -> None:
    """As pytest would find them there."""
    (tmp_path / "pyproject.toml").write_text(
        '[[tool.r1eval.benchmark]]\nname = "sums"\ntask_module = "lighteval.tasks.tasks.gsm8k"\n'
    )
    assert mark_expression(["sums"], tasks=None, folder=tmp_path) == "sums"


@pytest.mark.parametrize(("names", "said"), [(["aime2024"], "aime2024"), ([], "")])
def test_unknown_names_are_refused(names: list[str], said: str) -> None:
    """With those that exist."""
    with pytest.raises(PlanError, match=rf"--benchmarks {said}: no such benchmark; expected some of aime24, "):
        mark_expression(names, tasks=None)
