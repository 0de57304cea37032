"""Many tests at once against scipy, and what single problems can say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from pytest_r1eval.core.records import Counts
from pytest_r1eval.stats.multiplicity import (
    benjamini_hochberg,
    fall_power,
    fallen_problems,
    family_wise_error,
    holm,
    over_dispersion,
    rearrangement,
)
from pytest_r1eval.stats.tests import alpha_of, paired_test
from tests.stats.examples import counts, pairs


def test_power_of_the_list_is_said_out_loud() -> None:
    """The list of fallen problems finds a fall to 40 % with certainty on AIME and never on MATH-500."""
    aime = fall_power(n_problems=30, n_samples=64, n_baseline_samples=64, rate=0.4)
    math500 = fall_power(n_problems=500, n_samples=4, n_baseline_samples=4, rate=0.4)

    assert aime == pytest.approx(1.0, abs=1e-6)
    assert math500 == 0.0


def test_names_the_problem_that_fell() -> None:
    """The list names the one problem of thirty that fell, with Fisher's p-value."""
    baseline = counts(*[32] * 29, 64, of=64)
    candidate = counts(*[32] * 29, 20, of=64)

    fallen = fallen_problems(candidate, baseline)

    assert [problem.candidate.problem_id for problem in fallen.problems] == ["p29"]
    fisher = reference.fisher_exact(np.array([[20, 44], [64, 0]]), alternative="less")
    assert fallen.problems[0].p_value == pytest.approx(fisher.pvalue, rel=1e-6)
    assert fallen.power == pytest.approx(1.0, abs=1e-6)


def test_a_problem_that_rose_is_not_listed() -> None:
    """A problem that rose is not listed, as the list is one-sided."""
    assert fallen_problems(counts(64, 32, of=64), counts(10, 32, of=64)).problems == ()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_adjusted_p_values_are_scipys(p_values: list[float]) -> None:
    """Adjusted p-values are those of SciPy's Benjamini-Hochberg, and Holm's are never smaller."""
    adjusted = benjamini_hochberg(p_values)

    assert adjusted == pytest.approx(reference.false_discovery_control(p_values).tolist(), abs=1e-12)
    assert all(h >= b - 1e-12 for h, b in zip(holm(p_values), adjusted, strict=True))


def test_holm_steps_down() -> None:
    """Holm multiplies each p-value by the number of hypotheses that are not yet rejected."""
    assert holm([0.04, 0.01, 0.03]) == pytest.approx((0.06, 0.03, 0.06))


def test_rearrangement_sees_another_model_behind_the_same_mean() -> None:
    """Rearrangement finds a model whose problems rise and fall by halves while z is 0."""
    baseline, candidate = counts(*[48, 16] * 15, of=64), counts(*[16, 48] * 15, of=64)

    result = rearrangement(candidate, baseline)

    assert abs(paired_test(candidate, baseline).z) < 1e-9
    assert result.p_value < 1e-10
    assert result.n_informative == 30


def test_rearrangement_is_calibrated() -> None:
    """Rearrangement's p-value is calibrated: two runs of one model have a p below .1 one time in ten."""
    rng = np.random.default_rng(7)
    p = rng.beta(0.6, 0.6, 60)
    p_values = np.array(
        [
            rearrangement(counts(*rng.binomial(8, p), of=8), counts(*rng.binomial(16, p), of=16)).p_value
            for _ in range(600)
        ]
    )

    low, high = reference.binomtest(int((p_values < 0.1).sum()), 600).proportion_ci(0.99)
    assert low < 0.1 < high


@given(pairs())
def test_rearrangement_is_always_a_number(pair: tuple[Counts, Counts]) -> None:
    """Rearrangement gives finite numbers for every pair of runs, even if no problem is informative."""
    result = rearrangement(*pair)

    assert 0 <= result.p_value <= 1
    assert math.isfinite(result.statistic)
    assert result.standard_deviation >= 0


def test_four_gates_at_three_sigmas() -> None:
    """Four gates at three sigmas have a family-wise error of 0.0054."""
    assert round(family_wise_error(alpha_of(3.0), 4), 4) == 0.0054


class TestOverDispersion:
    """Solve rates that move from run to run, seen by no single run."""

    @staticmethod
    def runs(rng: np.random.Generator, *, correlation: float, n_runs: int = 2, k: int = 64) -> list[Counts]:
        """Draw runs of 30 problems whose solve rates have that intra-class correlation from run to run."""
        means = rng.uniform(0.1, 0.9, size=30)
        found = []
        for _ in range(n_runs):
            rates = means
            if correlation:
                size = 1 / correlation - 1
                rates = rng.beta(means * size, (1 - means) * size)
            found.append(counts(*rng.binomial(k, rates).tolist(), of=k))
        return found

    @pytest.mark.parametrize("correlation", [0.0, 0.02, 0.05])
    def test_the_factor_is_found(self, correlation: float) -> None:
        """The median over 200 pairs of runs is near 1 + (k - 1) rho; the factor is never below 1."""
        rng = np.random.default_rng(5)
        found = [over_dispersion(self.runs(rng, correlation=correlation)) for _ in range(200)]
        factors = [each.factor for each in found if each is not None]
        assert len(factors) == 200
        assert min(factors) >= 1
        assert np.median(factors) == pytest.approx(1 + 63 * correlation, rel=0.08)

    def test_runs_that_do_not_move_rarely_seem_to(self) -> None:
        """Of 300 sets of three runs, no more than chance allows have a p below .05; moving runs all do."""
        rng = np.random.default_rng(6)
        still, moving = (
            [over_dispersion(self.runs(rng, correlation=correlation, n_runs=3)) for _ in range(n)]
            for correlation, n in ((0.0, 300), (0.3, 20))
        )
        assert sum(each is not None and each.p_value < 0.05 for each in still) <= 27
        assert all(each is not None and each.p_value < 1e-6 for each in moving)

    def test_without_a_problem_that_can_tell_there_is_none(self) -> None:
        """Over-dispersion is None where no problem has both right and wrong answers in several samples."""
        assert over_dispersion([counts(64, 64, of=64), counts(64, 64, of=64)]) is None
        assert over_dispersion([counts(1, 0, of=1), counts(0, 1, of=1)]) is None
