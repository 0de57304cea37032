"""Samples on which the grader failed: never wrong answers, and never able to tip a verdict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

REPLAY = ("-p", "no:randomly", "-m", "smoke", "--r1-engine", "replay")
FAILED = frozenset({("p003", 5), ("p004", 5)})


def judge(pytester: pytest.Pytester, run: Path, *options: str) -> pytest.RunResult:
    """Judge a recorded run."""
    return pytester.runpytest_subprocess(*REPLAY, "--r1-model", str(run), *options)


@pytest.fixture
def baseline(recorded: Callable[..., Path], pytester: pytest.Pytester) -> str:
    """Record a baseline."""
    good = recorded("good", n_samples=40, weights="base")
    judge(pytester, good, "--r1-save-baseline", "local/base").assert_outcomes(passed=3)
    return "local/base"


@pytest.mark.parametrize(
    ("gate", "words"), [("fixed", "smoke: PASS*"), ("sequential", "smoke: PASS*")], ids=["fixed", "sequential"]
)
def test_few_are_left_out_where_they_could_change_nothing(
    recorded: Callable[..., Path], pytester: pytest.Pytester, baseline: str, gate: str, words: str
) -> None:
    """Two of 480 in a run that passes either way."""
    run = recorded("few", n_samples=40, weights="new", ungraded=FAILED)
    result = judge(pytester, run, "--r1-baseline", baseline, "--r1-gate", gate)
    assert result.ret == 0, result.stdout.str()
    result.stdout.fnmatch_lines([words])
    if gate == "fixed":
        result.stdout.fnmatch_lines(["*2 samples that the grader failed on are left out*"])


def test_few_that_could_tip_the_gate_are_invalid(
    recorded: Callable[..., Path], pytester: pytest.Pytester, baseline: str
) -> None:
    """At the very sigma of the run the verdict hangs on them."""
    run = recorded("few", n_samples=40, weights="new", solve_rate=0.5, ungraded=FAILED)
    found = judge(pytester, run, "--r1-baseline", baseline, "--r1-sigmas", "3").stdout.str()
    z = abs(float(next(line for line in found.splitlines() if line.startswith("smoke  ")).split()[6]))
    result = judge(pytester, run, "--r1-baseline", baseline, "--r1-sigmas", str(z))
    assert result.ret == 1
    result.stdout.fnmatch_lines(["smoke: INVALID*failed on 2 of 480*would change the verdict*"])


def test_too_many_are_invalid_and_none_makes_a_baseline(
    recorded: Callable[..., Path], pytester: pytest.Pytester, baseline: str
) -> None:
    """Three of 480 are more than one in two hundred; and two are too many for a baseline."""
    many = recorded("many", n_samples=40, weights="new", ungraded=FAILED | {("p005", 1)})
    judge(pytester, many, "--r1-baseline", baseline).stdout.fnmatch_lines(["smoke: INVALID*failed on 3 of 480*"])
    few = recorded("few", n_samples=40, weights="new", ungraded=FAILED)
    result = judge(pytester, few, "--r1-save-baseline", "local/other")
    result.stdout.fnmatch_lines(["smoke: INVALID*a baseline holds none such*"])
    assert not (pytester.path / "baselines" / "local" / "other.json").exists()
