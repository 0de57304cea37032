"""LightEval's patterns, bounded: the same matches as its own, in time that grows with the text."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_r1eval.scoring.pool import GradingPool
from tests.requirements import LIGHTEVAL
from tests.scoring.grades import grade_of
from tests.scoring.hostile_answers import HOSTILE, Hostile
from tests.toys import said

pytest_plugins = ["tests.scoring_fixtures"]
REPOSITORY = Path(__file__).parents[2]


@LIGHTEVAL.mark
@pytest.mark.usefixtures("warm_graders")
def test_bounded_patterns_find_what_lightevals_own_find() -> None:
    """
    Bounded patterns find the same places and groups as LightEval's own in 4,000 texts.

    A match that repeats in a loop comes once: LightEval parsed 25,000 equal ones of 100 KB, for 7 s. A formula that it
    parses for 5 s before giving up is not parsed.

    Expressions mean what they mean to sympy, leave no name behind, and import none again.
    """
    command = [sys.executable, "-m", "tests.scoring.same_matches", "20261129", "4000"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    said_by_program = json.loads(done.stdout.splitlines()[-1])
    assert said_by_program["different"] == []
    assert said_by_program["n_matches"] > said_by_program["n_texts"] > 4000
    assert said_by_program["n_of_loops"] <= 3
    assert said_by_program["normalized"] is True
    assert said_by_program["expressions"] is True
    assert said_by_program["later"] == "Symbol('later')"
    assert said_by_program["sympified"] == "42*pi"
    assert said_by_program["of 1000 characters"] == "Add"
    assert said_by_program["of 20001 characters"] == "a formula of 20,001 characters; at most 20,000 are parsed"


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.shows)
def test_an_answer_that_costs_lighteval_minutes_is_graded_at_once(pool: GradingPool, hostile: Hostile) -> None:
    """A hostile answer that costs LightEval minutes is graded by its text alone, without a clock."""
    found = grade_of(pool, "toy:pass", said(hostile.text))
    assert found.outcome is hostile.outcome, found
    assert (found.detail or "").startswith(hostile.reason or "")
    assert (found.detail is None) is (hostile.reason is None), found
