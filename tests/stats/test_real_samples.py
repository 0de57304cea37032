"""
The sequential gate on real samples: 256 of the small checkpoint for every smoke problem, drawn again and again.

Each seed takes other samples, without replacement, as baseline and as candidate,
so nothing changed between the two and every FAIL is a false alarm.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_r1eval.core.plans import each_of
from pytest_r1eval.core.records import Counts, ProblemTally
from pytest_r1eval.stats.allocated_plan import sequential_plan
from pytest_r1eval.stats.looks import SequentialGate
from pytest_r1eval.stats.planning import plan
from pytest_r1eval.stats.tests import Design
from pytest_r1eval.stats.verdicts import GateRule, Tau, Verdict

RECORDED = Path(__file__).parents[1] / "data" / "tiny_arithmetic_outcomes.json"
N_SEEDS = 200
N_ALLOCATED_SEEDS = 60
"""Fewer: each plans by its own baseline."""
N_BASELINE = 64
N_CANDIDATE = 64
MAX_FALSE_ALARMS = 2
"""Of 200 unchanged runs at alpha = 0.00135, three or more fail with probability 0.003."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How one calibration run ended."""

    verdict: Verdict
    cost: float


@pytest.fixture(scope="module")
def recorded() -> dict[str, list[bool]]:
    """Whether each recorded sample was correct, by problem."""
    content = json.loads(RECORDED.read_text(encoding="utf-8"))
    return {id_: [mark == "1" for mark in marks] for id_, marks in content["outcomes"].items()}


def judged(recorded: dict[str, list[bool]], *, seed: int, allocates: bool = False) -> Ending:
    """Judge a random candidate against a random baseline, both of the same model."""
    rng = random.Random(seed)  # noqa: S311 - a calibration
    drawn = {id_: rng.sample(outcomes, N_BASELINE + 2 * N_CANDIDATE) for id_, outcomes in recorded.items()}
    baseline = Counts.from_mapping({id_: (sum(marks[:N_BASELINE]), N_BASELINE) for id_, marks in drawn.items()})
    design = Design.from_baseline(baseline, n_samples=N_CANDIDATE)
    gate = SequentialGate(
        plan=(
            sequential_plan(design, baseline, rule=GateRule())
            if allocates
            else plan(design, paired=True, rule=GateRule())
        ),
        reference=baseline,
        tau=Tau(value=0.0, source="the fingerprints are equal"),
        baseline="calibration",
    )
    for number in range(1, gate.plan.n_looks + 1):
        depth = each_of(gate.plan.depth_at(number), len(drawn))
        marks = zip(drawn.items(), depth, strict=True)
        look = gate.look(number, tuple(tally(id_, each[N_BASELINE:][:k]) for (id_, each), k in marks))
        if look is not None and look.judgement is not None:
            return Ending(verdict=look.judgement.verdict, cost=sum(depth) / (N_CANDIDATE * len(drawn)))
    raise AssertionError("the last look decides")


def tally(problem_id: str, marks: list[bool]) -> ProblemTally:
    """Tally graded samples."""
    n = len(marks)
    return ProblemTally(
        problem_id=problem_id,
        n_samples=n,
        n_correct=sum(marks),
        n_no_answer=0,
        n_error=0,
        n_truncated=0,
        n_truncated_correct=0,
        n_tokens=n,
    )


def test_unchanged_checkpoint_is_not_failed_and_costs_a_third(recorded: dict[str, list[bool]]) -> None:
    """Over 200 seeds false alarms stay within alpha's interval and the mean cost below 0.35 of the fixed design."""
    endings = [judged(recorded, seed=seed) for seed in range(N_SEEDS)]
    assert sum(ending.verdict is Verdict.FAIL_REGRESSED for ending in endings) <= MAX_FALSE_ALARMS
    assert sum(ending.cost for ending in endings) / N_SEEDS < 0.35


def test_allocated_gate_costs_less_than_a_quarter(recorded: dict[str, list[bool]]) -> None:
    """With allocated rounds no unchanged run of 60 fails, and their mean cost is below 0.25 of the fixed design."""
    endings = [judged(recorded, seed=seed, allocates=True) for seed in range(N_ALLOCATED_SEEDS)]
    assert not any(ending.verdict is Verdict.FAIL_REGRESSED for ending in endings)
    assert sum(ending.cost for ending in endings) / N_ALLOCATED_SEEDS < 0.25
