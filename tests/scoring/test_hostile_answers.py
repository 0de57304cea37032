"""Answers that loop, through the real scoring processes to the verdict: a run is judged, whatever was written in it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pytest_r1eval.core.benchmarks import Problem
from pytest_r1eval.core.records import Outcome
from pytest_r1eval.runs.reading import RunReader
from tests.requirements import LIGHTEVAL

LOOPED = "\\[\n\\boxed{wrong}\n\n" * 400 + "1+" * 50_000 + "1x"


def written(problem: Problem, is_right: bool) -> str:  # noqa: FBT001 - as the recorder calls it
    """Write an answer; of one problem in six, one that cost LightEval hours and made the run INVALID."""
    if problem.id.endswith(("3", "9")):
        return LOOPED
    return f"So it is $\\boxed{{{problem.choices[0]}}}$." if is_right else "So it is $\\boxed{12345}$."


@LIGHTEVAL.mark
@pytest.mark.usefixtures("warm_graders")
@pytest.mark.parametrize(("rule", "grader"), [("lighteval", None), ("strict", "strict-mathematics 2")])
def test_looped_answers_are_wrong_and_the_run_is_judged(
    recorded: Callable[..., Path], pytester: pytest.Pytester, rule: str, grader: str | None
) -> None:
    """Answers of looping models are graded WRONG by both rules, and the run is judged."""
    run = recorded("looped", n_problems=12, n_samples=6, solve_rate=1.0, solution=written)
    options = ("--r1-engine", "replay", "--r1-engine-arg", "regrade=true", "--r1-model", str(run), "--r1-grader", rule)
    result = pytester.runpytest_subprocess("-p", "no:randomly", "-m", "smoke", *options)
    judged = max((pytester.path / "data" / "evals").glob("*/*/*"))
    with closing(RunReader.open(judged)) as store:
        grades = Counter(sample.grade.outcome for sample in store.samples("smoke"))
        assert len(store.walls) == 1, result.stdout.str()
    assert grades == {Outcome.CORRECT: 60, Outcome.WRONG: 12}
    assert "INVALID" not in result.stdout.str()
    [verdict] = json.loads((judged / "verdicts.json").read_text(encoding="utf-8"))["gates"]
    assert (verdict["sandbox"].split()[0], verdict["grader"]) == ("Landlock", grader)
