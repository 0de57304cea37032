"""The fall that is printed beside a PASS has the power that is printed with it."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_r1eval.core.records import Counts
from pytest_r1eval.stats.falls import caught_fall
from pytest_r1eval.stats.tests import alpha_of, paired_test
from pytest_r1eval.stats.verdicts import GateRule, Tau, Verdict, judge_measured, verdict_of
from tests.stats.examples import counts

ALPHA = alpha_of(3.0)
NO_NOISE = Tau(value=0.0, source="the fingerprints are equal")


def power_at(baseline: Counts, *, k: int, fall: float, n_runs: int = 1500) -> float:
    """Return how often a candidate is red whose solve rates all fell by the same part of the baseline's."""
    rng = np.random.default_rng(41)
    rates = np.array([problem.n_correct / problem.n_samples for problem in baseline.problems])
    fallen = rates * (1 - fall / rates.mean())
    runs = (paired_test(counts(*drawn, of=k), baseline) for drawn in rng.binomial(k, fallen, (n_runs, len(rates))))
    return sum(verdict_of(run, rule=GateRule()) is Verdict.FAIL_REGRESSED for run in runs) / n_runs


@pytest.mark.parametrize(
    ("n", "k", "points"), [(10, 1, 97.8), (12, 1, 86.9), (4, 2, 97.2), (2, 4, 89.6), (3, 4, 73.1), (1, 8, 89.6)]
)
def test_few_responses_are_counted_in_steps(n: int, k: int, points: float) -> None:
    """
    The detectable fall of a few responses has its power, counted in whole responses.

    Ten problems drawn once are red if all ten fall: at 97.8 points, where normal theory says 65.3. That fall is caught
    with .02 to .5 only in these exams.
    """
    baseline = counts(*[k] * n, of=k)

    judged = judge_measured(baseline, baseline, tau=NO_NOISE, rule=GateRule())

    assert judged.verdict is Verdict.PASS
    assert judged.mde_80 is not None
    assert judged.mde_80 == pytest.approx(points / 100, abs=5e-4)
    assert 0.77 <= power_at(baseline, k=k, fall=judged.mde_80) <= 0.9


@pytest.mark.parametrize(("n_right", "n"), [(950, 1000), (190, 200), (500, 500)])
def test_runs_that_answer_alike_promise_no_more(n_right: int, n: int) -> None:
    """
    Two equal greedy runs promise a detectable fall of at least 14.7 responses.

    Eleven flips are red, while .4 points of a thousand responses are only four.
    """
    baseline = counts(*[1] * n_right, *[0] * (n - n_right), of=1)

    judged = judge_measured(baseline, baseline, tau=NO_NOISE, rule=GateRule())

    assert judged.mde_80 is not None
    assert judged.mde_80 >= 14.7 / n
    assert power_at(baseline, k=1, fall=judged.mde_80, n_runs=200) >= 0.72


@pytest.mark.parametrize("tau", [0.0, 0.05])
def test_noise_between_harnesses_asks_for_more(tau: float) -> None:
    """The fall that is caught grows with harness noise, and a baseline that cannot fail has none."""
    perfect = counts(*[4] * 6, of=4)

    found = caught_fall(perfect, perfect, normal=None, alpha=ALPHA, tau=tau)

    assert found == pytest.approx(0.5 if tau == 0 else 0.6, abs=0.1)
    assert caught_fall(counts(*[1] * 5, of=1), counts(*[1] * 5, of=1), normal=0.9, alpha=ALPHA, tau=tau) is None
    assert caught_fall(perfect, counts(*[0] * 6, of=4), normal=None, alpha=ALPHA, tau=tau) is None


def test_normal_theory_is_left_alone_where_it_holds() -> None:
    """An exam with 1,920 responses keeps the fall that normal theory gives."""
    baseline = counts(*[62, 58, 40, 22, 6, 3] * 5, of=64)

    assert caught_fall(baseline, baseline, normal=0.04, alpha=ALPHA, tau=0.0) == 0.04
    assert caught_fall(baseline, baseline, normal=None, alpha=ALPHA, tau=0.0) is None
