"""Two one-sided tests: a model that differs by the margin passes with at most alpha, on either side."""

from __future__ import annotations

import math
from functools import reduce

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq
from scipy.special import expit, logit

from pytest_r1eval.core.records import Counts
from pytest_r1eval.stats.equivalence import (
    Equivalence,
    equivalence_test,
    margin_of_equivalence,
    power_of_equivalence,
)
from pytest_r1eval.stats.tests import Design, alpha_of, paired_test
from tests.stats.examples import counts

SIGMAS = 1.645
"""A level of 5 % shows a wrong one with few repetitions."""


def equivalence_of(
    candidate: Counts, baseline: Counts, *, margin: float, exact: bool = False, tau: float = 0.0
) -> Equivalence:
    """Test at three sigma."""
    comparison = paired_test(candidate, baseline, exact=exact, tau=tau)
    return equivalence_test(candidate, baseline, comparison, margin=margin, sigmas=3.0, tau=tau)


class TestGoldenNumbers:
    """Computed once more, by other means."""

    def test_by_normal_theory(self) -> None:
        """The p-values are those of the difference from either margin in its own standard errors."""
        found = equivalence_of(counts(*[40] * 30, of=64), counts(*[41] * 30, of=64), margin=0.05)

        pooled = 81 / 128
        variance = (pooled * (1 - pooled) * 128 / 127 + 1 / (30 * 128)) / 30 / 64
        mean, centre = 41 / 64, pooled * (1 - pooled)
        fallen, risen = (
            math.sqrt(variance * (1 + max(1.0, at * (1 - at) / centre))) for at in (mean - 0.05, mean + 0.05)
        )
        assert found.p_fall == pytest.approx(stats.norm.sf((-1 / 64 + 0.05) / fallen), rel=1e-9)
        assert found.p_rise == pytest.approx(stats.norm.sf((0.05 + 1 / 64) / risen), rel=1e-9)

    @pytest.mark.parametrize("side", [-1, 1])
    def test_by_fishers_noncentral_distribution(self, side: int) -> None:
        """The exact p-values are tails of scipy's noncentral hypergeometric, at the odds whose mean is the margin."""
        x, y, k, k_b, margin = (3, 6, 7, 2), (4, 5, 8, 3), 8, 8, 0.2
        found = equivalence_of(counts(*x, of=k), counts(*y, of=k_b), margin=margin)

        def rows(odds: float) -> list[np.ndarray]:
            totals = [a + b for a, b in zip(x, y, strict=True)]
            return [stats.nchypergeom_fisher.pmf(np.arange(k + 1), k + k_b, t, k, odds) for t in totals]

        def expected(log_odds: float) -> float:
            means = [row @ np.arange(k + 1) for row in rows(math.exp(log_odds))]
            return float(
                np.mean([m / k - (a + b - m) / k_b for m, a, b in zip(means, x, y, strict=True)]) - side * margin
            )

        total = reduce(np.convolve, rows(math.exp(float(brentq(expected, -6, 6)))))
        tail = total[sum(x) :].sum() if side < 0 else total[: sum(x) + 1].sum()
        assert (found.p_fall if side < 0 else found.p_rise) == pytest.approx(tail, rel=1e-6)

    def test_power_is_that_of_simulation(self) -> None:
        """The power for an unchanged AIME model is what 400,000 normal differences give."""
        design = Design(
            n_problems=30, n_samples=64, n_baseline_samples=64, mean=0.5, within_variance=0.12,
            within_variance_source="made up",
        )  # fmt: skip
        error = math.sqrt(0.12 / 30 * 2 / 64)
        drawn = np.random.default_rng(5).normal(0, error, 400_000)
        inside = (np.abs(drawn) < 0.05 - 3 * error) & (np.abs(drawn) < 3 * error)

        assert power_of_equivalence(design, 0.05, sigmas=3) == pytest.approx(inside.mean(), abs=0.003)
        assert power_of_equivalence(design, 0.03, sigmas=3) == 0
        assert power_of_equivalence(design, 0.5, sigmas=3) == pytest.approx(1 - 2 * alpha_of(3))
        margin = margin_of_equivalence(design, sigmas=3, power=0.8)
        assert margin is not None
        assert power_of_equivalence(design, margin, sigmas=3) == pytest.approx(0.8)
        assert margin == pytest.approx((3 + stats.norm.ppf(0.9)) * error)

    def test_no_margin_is_large_enough(self) -> None:
        """Two problems with one sample each show no margin up to 100 points."""
        design = Design(
            n_problems=2, n_samples=1, n_baseline_samples=1, mean=0.5, within_variance=0.25, within_variance_source="x"
        )
        assert margin_of_equivalence(design, sigmas=3, power=0.8) is None


class TestEdges:
    """Where there is little to see."""

    @pytest.mark.parametrize("n_correct", [0, 8])
    def test_too_few_that_could_have_differed(self, n_correct: int) -> None:
        """Two short runs that are all right, or all wrong, exclude nothing."""
        found = equivalence_of(counts(*[n_correct] * 4, of=8), counts(*[n_correct] * 4, of=8), margin=0.1)
        assert (found.p_fall, found.p_rise) == (1.0, 1.0)
        assert found.open_sides(alpha_of(3)) == ("fall", "rise")

    def test_exact_and_normal_agree_on_many_responses(self) -> None:
        """With thousands of responses both distributions give nearly the same p-values."""
        run, base = counts(*[31, 40, 33] * 10, of=64), counts(*[32, 38, 35] * 10, of=64)
        normal, exact = (equivalence_of(run, base, margin=0.04, exact=exact) for exact in (False, True))
        assert exact.p_fall == pytest.approx(normal.p_fall, rel=0.2)
        assert exact.p_rise == pytest.approx(normal.p_rise, rel=0.2)

    def test_mirror(self) -> None:
        """Right and wrong exchanged, a fall is a rise, to the last digit of the exact test."""
        run, base = counts(3, 6, 7, 2, of=8), counts(4, 5, 8, 3, of=8)
        turned = [counts(*(8 - one.n_correct for one in each.problems), of=8) for each in (run, base)]
        assert equivalence_of(run, base, margin=0.3).p_fall == pytest.approx(
            equivalence_of(*turned, margin=0.3).p_rise, rel=1e-9
        )

    def test_noise_makes_it_harder(self) -> None:
        """Runs that move beyond sampling exclude less, by normal theory and exactly."""
        run, base = counts(*[32] * 30, of=64), counts(*[32] * 30, of=64)
        for exact in (False, True):
            quiet, noisy = (equivalence_of(run, base, margin=0.06, exact=exact, tau=tau) for tau in (0.0, 0.02))
            assert quiet.p_fall < noisy.p_fall
            assert quiet.p_rise < noisy.p_rise


DESIGNS = {
    "normal": {"n": 30, "k": 16, "k_b": 16, "mean": 0.5, "margin": 0.06, "n_runs": 1500},
    "exact": {"n": 12, "k": 8, "k_b": 8, "mean": 0.5, "margin": 0.15, "n_runs": 600},
    "exact, large baseline": {"n": 12, "k": 8, "k_b": 32, "mean": 0.8, "margin": 0.1, "n_runs": 600},
    "saturated": {"n": 100, "k": 4, "k_b": 4, "mean": 0.93, "margin": 0.04, "n_runs": 600},
}


class TestSimulation:
    """Drawn runs of two models whose solve rates differ by the margin, or not at all."""

    @staticmethod
    def excluded(name: str, *, shift: float) -> tuple[float, float]:
        """Return how often a fall and a rise beyond the margin are excluded, if pass@1 moved by `shift`."""
        plan = DESIGNS[name]
        n, k, k_b, n_runs = (int(plan[key]) for key in ("n", "k", "k_b", "n_runs"))
        rng = np.random.default_rng(2026)
        rates = np.clip(rng.beta(2 * plan["mean"], 2 * (1 - plan["mean"]), n), 0.02, 0.98)
        moved = rates
        if shift:
            odds = brentq(lambda d: float((expit(logit(rates) + d) - rates).mean()) - shift, -20, 20)
            moved = expit(logit(rates) + odds)
        found = np.zeros(2)
        for _ in range(n_runs):
            run, base = (counts(*rng.binomial(m, p).tolist(), of=m) for m, p in ((k, moved), (k_b, rates)))
            result = equivalence_test(
                run, base, paired_test(run, base), margin=plan["margin"], sigmas=SIGMAS
            )  # fmt: skip
            found += (result.p_fall <= alpha_of(SIGMAS), result.p_rise <= alpha_of(SIGMAS))
        return found[0] / n_runs, found[1] / n_runs

    @pytest.mark.parametrize("name", DESIGNS)
    def test_a_fall_by_the_margin_is_excluded_with_alpha(self, name: str) -> None:
        """A model that fell by the margin passes for the same with no more than alpha, and never for want of power."""
        fall, rise = self.excluded(name, shift=-DESIGNS[name]["margin"])
        assert fall <= alpha_of(SIGMAS) + 2.5 * math.sqrt(0.05 * 0.95 / DESIGNS[name]["n_runs"])
        assert rise > 0.9

    @pytest.mark.parametrize("name", ["normal", "exact"])
    def test_a_rise_by_the_margin_is_excluded_with_alpha(self, name: str) -> None:
        """The same holds for a rise."""
        fall, rise = self.excluded(name, shift=DESIGNS[name]["margin"])
        assert rise <= alpha_of(SIGMAS) + 2.5 * math.sqrt(0.05 * 0.95 / DESIGNS[name]["n_runs"])
        assert fall > 0.9

    def test_an_unchanged_model_is_excluded_on_both_sides(self) -> None:
        """An unchanged model has both sides excluded most of the time, at a margin that the design resolves."""
        assert min(self.excluded("normal", shift=0.0)) > 0.65
