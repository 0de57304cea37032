"""
The sequential gate on real samples: 256 of the small checkpoint for every smoke problem, drawn again and again.

Each seed takes other samples, without replacement, as baseline and as candidate,
so nothing changed between the two and every FAIL is a false alarm.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from perf.tokens_per_verdict import Ending, ending_of
from pytest_r1eval.core.records import Counts
from pytest_r1eval.stats.allocated_plan import sequential_plan
from pytest_r1eval.stats.planning import plan
from pytest_r1eval.stats.tests import Design
from pytest_r1eval.stats.verdicts import GateRule, Verdict

RECORDED = Path(__file__).parents[1] / "data" / "tiny_arithmetic_outcomes.json"
N_SEEDS = 200
N_ALLOCATED_SEEDS = 60
"""Fewer: each plans by its own baseline."""
N_BASELINE = 64
N_CANDIDATE = 64
MAX_FALSE_ALARMS = 2
"""Of 200 unchanged runs at alpha = 0.00135, three or more fail with probability 0.003."""


@pytest.fixture(scope="module")
def recorded() -> dict[str, list[bool]]:
    """Whether each recorded sample was correct, by problem."""
    content = json.loads(RECORDED.read_text(encoding="utf-8"))
    return {id_: [mark == "1" for mark in marks] for id_, marks in content["outcomes"].items()}


def judged(recorded: dict[str, list[bool]], *, seed: int, allocates: bool = False) -> Ending:
    """Judge a random candidate against a random baseline, both of the same model."""
    shuffled = np.random.default_rng(seed).permuted([*recorded.values()], axis=1)
    drawn = dict(zip(recorded, shuffled[:, : N_BASELINE + 2 * N_CANDIDATE].tolist(), strict=True))
    baseline = Counts.from_mapping({id_: (sum(marks[:N_BASELINE]), N_BASELINE) for id_, marks in drawn.items()})
    design = Design.from_baseline(baseline, n_samples=N_CANDIDATE)
    planned = (
        sequential_plan(design, baseline, rule=GateRule()) if allocates else plan(design, paired=True, rule=GateRule())
    )
    candidate = {id_: marks[N_BASELINE:] for id_, marks in drawn.items()}
    return ending_of(candidate, baseline, planned, n_fixed=N_CANDIDATE)


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
