"""Which baseline is meant: every form is told apart at one place, and prints as it was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_r1eval.config.baseline_choice import (
    BaselineChoice,
    File,
    Named,
    OnHub,
    Previous,
    Published,
    RunFolder,
    baseline_choice,
)
from tests.recordings import record_run

HUB = "hf://datasets/acme/baselines@v1/a/b.json"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("published", Published()),
        ("previous", Previous()),
        ("org/name", Named(name="org/name")),
        ("a/b.json", File(text="a/b.json", path=Path("/p/a/b.json"))),
        ("/x/b.json", File(text="/x/b.json", path=Path("/x/b.json"))),
        ("~/b.json", File(text="~/b.json", path=Path("~/b.json").expanduser())),
        (HUB, OnHub(place=HUB)),
    ],
)
def test_forms(text: str, expected: BaselineChoice) -> None:
    """Each form of a baseline is recognised, and a relative path starts at the given folder."""
    found = baseline_choice(text, Path("/p"))
    assert found == expected
    assert str(found) == text


def test_a_run_is_known_by_its_file(tmp_path: Path) -> None:
    """A folder is taken for a run only if it holds a run's file."""
    run = record_run(tmp_path / "runs" / "first", n_problems=2, n_samples=2)
    assert baseline_choice("runs/first", tmp_path) == RunFolder(text="runs/first", path=run)
    (tmp_path / "org" / "model").mkdir(parents=True)
    assert baseline_choice("org/model", tmp_path) == Named(name="org/model")


@pytest.mark.parametrize("text", ["", " "])
def test_nothing_is_refused(text: str) -> None:
    """An empty --r1-baseline is refused with the forms that it takes."""
    with pytest.raises(ValueError, match=r"published, previous, org/name, a file, a run's folder, or hf://"):
        baseline_choice(text, Path())


def test_no_home_is_refused() -> None:
    """A path below the home of an unknown user is refused as no path."""
    with pytest.raises(ValueError, match="a path"):
        baseline_choice("~nobody-of-this-name/b.json", Path())
