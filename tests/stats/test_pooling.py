"""Several runs as one number, and the noise between harnesses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_r1eval.core import baselines
from pytest_r1eval.core.baselines import PublishedHarness
from pytest_r1eval.core.codec import from_json
from pytest_r1eval.core.records import Counts
from pytest_r1eval.stats.pooling import added_counts, paule_mandel_tau, pooled
from pytest_r1eval.stats.tests import pass_at_1
from tests.stats.examples import benchmark, counts, planning

BASELINES = Path(__file__).parents[2] / "baselines"
REPRODUCTION = "section 'Reproducing Deepseek's evaluation results'"
"""The table of open-r1 that was made to be compared with DeepSeek's own."""


def harness_pairs(name: str) -> list[tuple[float, float]]:
    """One benchmark's numbers in points, LightEval's and DeepSeek's own, of every model that has both."""
    both = []
    for path in sorted(BASELINES.glob("deepseek-ai/*.json")):
        published = from_json(baselines.BASELINE_FILE, path.read_text(encoding="utf-8"), name=path.name).published
        entries = [entry for entry in published if entry.benchmark == name]
        ours = [entry.pass_at_1 for entry in entries if REPRODUCTION in entry.source]
        theirs = [entry.pass_at_1 for entry in entries if entry.harness is PublishedHarness.OTHER]
        both += [(100 * x, 100 * y) for x, y in zip(ours, theirs, strict=False)]
    return both


def test_tau_of_the_24_pairs() -> None:
    """Noise between LightEval and DeepSeek's harness is the Paule-Mandel tau of 24 pairs of published numbers."""
    n_pairs = surprising = 0
    for name in ("aime24", "math500", "gpqa", "lcb"):
        constants, k, tau = planning(name), benchmark(name).samples_per_problem, benchmark(name).published_tau
        ours, theirs = np.array(harness_pairs(name)).T
        mean = (ours + theirs) / 200
        ratio = constants.within_variance / (constants.mean * (1 - constants.mean))
        variances = 1e4 * 2 * ratio * mean * (1 - mean) / (constants.n_problems * k) + 2 * 0.1**2 / 12
        n_pairs += len(ours)
        surprising += int((np.abs(ours - theirs) > 3 * np.sqrt(variances)).sum())

        assert tau is not None
        assert round(paule_mandel_tau(ours - theirs, variances, mean=0.0), 1) == pytest.approx(100 * tau)
    assert (n_pairs, surprising) == (24, 6)


def test_tau_is_zero_where_sampling_explains_everything() -> None:
    """Tau is zero where sampling explains all differences between runs."""
    assert paule_mandel_tau(np.array([0.5, 0.5, 0.5]), np.full(3, 1e-4)) == 0.0


def test_tau_needs_a_spread() -> None:
    """Tau of a single effect around an unknown mean is refused, because it leaves no spread."""
    with pytest.raises(ValueError, match="leave no spread"):
        paule_mandel_tau(np.array([0.5]), np.array([1e-4]))


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=8), st.floats(1e-6, 1e-2))
def test_tau_makes_q_its_expectation(effects: list[float], variance: float) -> None:
    """Tau makes Q its expectation, or is zero where Q is below it."""
    values = np.array(effects)
    tau = paule_mandel_tau(values, np.full(len(values), variance))

    q = ((values - values.mean()) ** 2).sum() / (variance + tau**2)
    assert q == pytest.approx(len(values) - 1, rel=1e-3) if tau > 0 else q <= len(values) - 1 + 1e-9


def test_alike_runs_are_too_alike() -> None:
    """Eight equal scores from different seeds are too alike, with p below .001."""
    result = pooled([pass_at_1(counts(*[2] * 100, of=4))] * 8)

    assert result.cochran_q == pytest.approx(0)
    assert result.p_alike < 1e-3
    assert result.tau == 0.0
    assert result.mean == pytest.approx(0.5)


def test_unlike_runs_get_a_wider_error() -> None:
    """Noise between runs enters the pooled error."""
    low, high = pass_at_1(counts(*[1] * 100, of=4)), pass_at_1(counts(*[3] * 100, of=4))
    result = pooled([low, high])

    assert result.p_different < 1e-6
    assert result.tau > 0.3
    assert result.standard_error > 5 * low.standard_error


def test_one_run_is_no_pool() -> None:
    """One run cannot be pooled; pooling begins at two."""
    with pytest.raises(ValueError, match="expected at least two"):
        pooled([pass_at_1(counts(1, of=2))])


def test_runs_add_problem_by_problem() -> None:
    """Counts of runs add problem by problem, whatever their order."""
    first, second = counts(1, 2, of=4), Counts.from_rows([("p1", 3, 3), ("p0", 0, 4)])

    assert added_counts([first, second]) == Counts.from_rows([("p0", 1, 8), ("p1", 5, 7)])


def test_runs_on_other_problems_do_not_add() -> None:
    """Counts of runs on other problems, and of no runs, are refused."""
    with pytest.raises(ValueError, match="expected the same 1 problems"):
        added_counts([counts(1, of=2), counts(1, 1, of=2)])
    with pytest.raises(ValueError, match="no runs"):
        added_counts([])
