"""
Seeded simulations: do the gates have the error rates they state?

Vectorised z values, whose formula is checked against the package's own tests on
some of the draws. Intervals are exact binomial ones at 99.9 %, so that a seed
that fails is a fault and not bad luck.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from perf.solve_rates import solve_rates
from pytest_r1eval.core.choices import LastLook
from pytest_r1eval.core.records import Counts
from pytest_r1eval.stats.looks import look
from pytest_r1eval.stats.pairs import PairedCounts, null_pmf
from pytest_r1eval.stats.planning import SequentialPlan, crossings, expected_cost, plan
from pytest_r1eval.stats.tests import (
    Published,
    minimum_detectable_effect,
    paired_test,
    scalar_test,
    within_variance,
)
from pytest_r1eval.stats.verdicts import GateRule, Tau, Verdict, alpha_with_fewer
from tests.stats.examples import EIGHT_LOOKS, benchmark, planning, standard_design

Floats = NDArray[np.float64]

NAMES = ["aime24", "math500", "gpqa", "lcb"]
ALPHA = 0.0013498980316300933
NO_NOISE = Tau(value=0.0, source="the fingerprints are equal")


def paired_z(x: Floats, k: int, y: Floats, k_b: int) -> Floats:
    """z of the paired test for many pairs of runs; shapes (n_runs, n_problems) to (n_runs,)."""  # noqa: D403
    n, m = x.shape[1], k + k_b
    pooled = (x + y) / m
    w = (pooled * (1 - pooled)).mean(axis=1) * m / (m - 1)
    error = np.sqrt((w + 1 / (n * m)) / n * (1 / k + 1 / k_b))
    return np.asarray((x.mean(axis=1) / k - y.mean(axis=1) / k_b) / error, dtype=np.float64)


def fixed_gate_z(name: str, *, n_runs: int, drop: float = 0.0, spreads: bool = False) -> Floats:
    """z of many fixed gates at the standard number of samples, after a true drop."""  # noqa: D403
    k, rng = benchmark(name).samples_per_problem, np.random.default_rng(20)
    before, after = solve_rates(planning(name)), solve_rates(planning(name), drop=drop, spreads=spreads)
    chunks = [
        paired_z(
            rng.binomial(k, after, (5000, len(after))).astype(np.float64),
            k,
            rng.binomial(k, before, (5000, len(before))).astype(np.float64),
            k,
        )
        for _ in range(n_runs // 5000)
    ]
    return np.concatenate(chunks)


def interval(n_events: int, n_runs: int) -> tuple[float, float]:
    """Exact 99.9 % interval of a probability."""
    low, high = binomtest(n_events, n_runs).proportion_ci(0.999)
    return low, high


def as_counts(correct: NDArray[np.int64], k: int) -> Counts:
    """Counts of one simulated run."""
    return Counts.from_rows((f"p{i}", int(x), k) for i, x in enumerate(correct))


class TestFixedGate:
    """All samples, three sigma."""

    @pytest.mark.parametrize(
        ("name", "n_runs"), [("aime24", 100_000), ("math500", 40_000), ("gpqa", 50_000), ("lcb", 40_000)]
    )
    def test_unchanged_model_fails_as_often_as_alpha_says(self, name: str, n_runs: int) -> None:
        """The fixed gate fails an unchanged model with probability alpha, and finds it risen with the same."""
        z = fixed_gate_z(name, n_runs=n_runs)

        for n_events in ((z <= -3).sum(), (z >= 3).sum()):
            low, high = interval(int(n_events), n_runs)
            assert low <= ALPHA <= high

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("power", [0.8, 0.9])
    def test_minimum_detectable_effect_has_its_power(self, name: str, power: float) -> None:
        """
        A fall of the minimum detectable effect turns the gate red with the power that was asked for.

        Two points of power are allowed for the pseudo-response, which a small W (MATH-500) notices.
        """
        drop = minimum_detectable_effect(standard_design(name), power=power)

        z = fixed_gate_z(name, n_runs=20_000, drop=drop, spreads=True)

        assert float((z <= -3).mean()) == pytest.approx(power, abs=0.02)

    def test_math500s_ninety_percent_takes_the_fallen_means_variance(self) -> None:
        """On MATH-500 the fixed gate has 90 % power at 2.39 points; at 2.18, the unchanged exam's 90 %, it has .82."""
        found = [float((fixed_gate_z("math500", n_runs=20_000, drop=d, spreads=True) <= -3).mean()) for d in _FALLS]

        assert found == pytest.approx([0.825, 0.90], abs=0.01)

    @pytest.mark.parametrize(("n", "k"), [(30, 64), (500, 4)])
    def test_a_skewed_exam_against_a_large_baseline_keeps_alpha(self, n: int, k: int) -> None:
        """
        On a skewed exam with a large baseline the gate keeps alpha.

        At a solve rate of .99 and k_b = 4k the normal test alone fails an unchanged model with .0021. Given every
        problem's total over the two runs the error rate is exact; it is averaged over drawn totals.
        """
        rng = np.random.default_rng(29)
        draws = [(rng.binomial(k, 0.99, n), rng.binomial(4 * k, 0.99, n)) for _ in range(100)]

        rates = [conditional_alphas(as_counts(x, k), as_counts(y, 4 * k)) for x, y in draws]

        normal, gate = np.mean(rates, axis=0)
        assert normal == pytest.approx(0.0021, abs=2e-4)
        assert gate <= 1.13 * ALPHA

    def test_assumed_samples_that_were_not_drawn_multiply_alpha(self) -> None:
        """A source of 16 samples taken for one of 64 makes an unchanged model fail with .028, as the report says."""
        rng, p, n_runs = np.random.default_rng(30), solve_rates(planning("aime24")), 4000
        runs = [as_counts(x, 64) for x in rng.binomial(64, p, (n_runs, 30))]
        printed = [Published(value=float(y.mean()) / 16, rounding=0) for y in rng.binomial(16, p, (n_runs, 30))]
        tests = [scalar_test(x, y, n_baseline_samples=64) for x, y in zip(runs, printed, strict=True)]

        said = alpha_with_fewer(tests[0], k=64, assumed=64, drawn=16, rule=GateRule())

        assert said == pytest.approx(0.0289, abs=1e-4)
        low, high = interval(sum(test.z <= -3 for test in tests), n_runs)
        assert low <= said <= high

    def test_simulated_z_is_the_packages(self) -> None:
        """The vectorised formula and the paired test agree."""
        rng = np.random.default_rng(21)
        for name in NAMES:
            k, p = benchmark(name).samples_per_problem, solve_rates(planning(name))
            x, y = rng.binomial(k, p, (2, 1, len(p)))

            z = paired_z(x.astype(np.float64), k, y.astype(np.float64), k)

            result = paired_test(as_counts(x[0], k), as_counts(y[0], k))
            assert not result.exact
            assert result.z == pytest.approx(z[0])

    @pytest.mark.parametrize("name", NAMES)
    def test_published_numbers_are_gated_at_alpha(self, name: str) -> None:
        """
        The scalar test fails an unchanged model with alpha against its own rounded score.

        Two sigma are used, to see events in few runs.
        """
        rng, k, p = np.random.default_rng(22), benchmark(name).samples_per_problem, solve_rates(planning(name))
        alpha, n_runs = 0.02275, 1500
        fallen = 0
        for x, y in zip(rng.binomial(k, p, (n_runs, len(p))), rng.binomial(k, p, (n_runs, len(p))), strict=True):
            printed = Published(value=round(float(y.mean()) / k, 3))
            fallen += scalar_test(as_counts(x, k), printed, n_baseline_samples=k).z <= -2

        low, high = interval(fallen, n_runs)
        assert low <= alpha <= high

    def test_saturated_exam_does_not_cry_wolf(self) -> None:
        """At a solve rate of .999 the paired test raises false alarms on neither side more often than alpha."""
        rng = np.random.default_rng(23)
        draws = rng.binomial(4, 0.999, (2, 20_000, 500)).astype(np.float64)

        z = paired_z(draws[0], 4, draws[1], 4)

        assert (z <= -3).mean() <= ALPHA
        assert (z >= 3).mean() <= ALPHA

    def test_saturated_score_against_a_printed_one_does_not_cry_wolf(self) -> None:
        """At a solve rate of .999 the scalar test never alarms, where a plain z divides by zero in one run of eight."""
        rng, n_runs = np.random.default_rng(26), 1500
        runs = [as_counts(x, 64) for x in rng.binomial(64, 0.999, (n_runs, 30))]

        z = [scalar_test(run, Published(value=0.999), n_baseline_samples=64).z for run in runs]

        assert sum(within_variance(run) == 0 for run in runs) > 0.12 * n_runs
        assert max(map(abs, z)) < 3

    @pytest.mark.parametrize(("n", "k", "k_b", "rate"), [(40, 4, 16, None), (5, 8, 8, None), (300, 4, 64, 0.999)])
    def test_exact_test_never_exceeds_alpha(self, n: int, k: int, k_b: int, rate: float | None) -> None:
        """The exact test decides for few or skewed responses and keeps its level at two sigma."""
        rng, alpha, n_runs = np.random.default_rng(24), 0.02275, 300
        p = rng.beta(0.5, 0.5, n) if rate is None else np.full(n, rate)
        fallen = exact = 0
        for _ in range(n_runs):
            result = paired_test(as_counts(rng.binomial(k, p), k), as_counts(rng.binomial(k_b, p), k_b))
            fallen += result.exact and result.p_regressed <= alpha
            exact += result.exact

        assert exact >= 0.9 * n_runs
        assert interval(fallen, n_runs)[0] <= alpha

    def test_shared_seeds_cry_wolf(self) -> None:
        """Eight shards that draw the same samples leave an eighth of them: what the plan's seeds must prevent."""
        rng, p = np.random.default_rng(25), solve_rates(planning("aime24"))
        repeated = 8 * rng.binomial(8, p, (20_000, 30)).astype(np.float64)
        baseline = 8 * rng.binomial(8, p, (20_000, 30)).astype(np.float64)

        assert float((paired_z(repeated, 64, baseline, 64) <= -3).mean()) == pytest.approx(0.144, abs=0.01)


_FALLS = (0.0218, 0.0239)


def conditional_alphas(candidate: Counts, baseline: Counts) -> tuple[float, float]:
    """Type I error of the normal test and of the gate at three sigma, given each problem's total."""
    result, pair = paired_test(candidate, baseline), PairedCounts.of(candidate, baseline)
    total = np.ones(1)
    for row in null_pmf(pair):
        total = np.convolve(total, row)
    n, k, k_b = len(pair.x), float(pair.k[0]), float(pair.k_b[0])
    correct = np.arange(len(total))
    z = (correct / (n * k) - (pair.x.sum() + pair.y.sum() - correct) / (n * k_b)) / result.standard_error
    normal = float(total[z <= -3].sum())
    return normal, float(total[np.cumsum(total) <= ALPHA].sum()) if result.exact else normal


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How many simulated sequential runs ended; shapes (n_runs,)."""

    fails: NDArray[np.bool_]
    n_samples: NDArray[np.int64]
    at_stop: Floats


def sequential_runs(planned: SequentialPlan, p: Floats, q: Floats, *, n_runs: int, seed: int) -> Ended:
    """Run a paired plan many times, the baseline drawn from p, the candidate from q."""
    rng, k_b = np.random.default_rng(seed), planned.design.n_baseline_samples
    y = rng.binomial(k_b, p, (n_runs, len(p))).astype(np.float64)
    x = np.zeros_like(y)
    ended = Ended(fails=np.zeros(n_runs, bool), n_samples=np.zeros(n_runs, np.int64), at_stop=np.zeros(n_runs))
    running = np.arange(n_runs)
    bounds = zip((0, *planned.ks[:-1]), planned.ks, planned.fail_bounds, planned.pass_bounds, strict=True)
    for before, k, a, b in bounds:
        assert a is not None
        x[running] += rng.binomial(k - before, q, (len(running), len(q)))
        z = paired_z(x[running], k, y[running], k_b)
        stops = (z <= a) | (z >= b)
        chosen = running[stops]
        ended.fails[chosen] = z[stops] <= a
        ended.n_samples[chosen] = k
        ended.at_stop[chosen] = x[chosen].mean(axis=1) / k
        running = running[~stops]
    assert not len(running)
    return ended


class TestSequentialGate:
    """A quarter of the samples, the same error rates."""

    aime = plan(
        standard_design("aime24"),
        paired=True,
        rule=GateRule(),
        last_look=LastLook.AUTO,
        fractions=EIGHT_LOOKS,
        beta_power=1,
    )

    def test_aime_type_one_error_cost_and_bias(self) -> None:
        """
        On AIME the sequential gate fails an unchanged model .00104 of the time and costs .231 of the samples.

        Its pass@1 at stop reads 1.07 points too high.
        """
        p, n_runs = solve_rates(planning("aime24")), 150_000

        ended = sequential_runs(self.aime, p, p, n_runs=n_runs, seed=31)

        low, high = interval(int(ended.fails.sum()), n_runs)
        assert low <= 0.00104 <= high
        assert high < ALPHA * 1.1
        assert float(ended.n_samples.mean()) / 64 == pytest.approx(0.231, abs=0.005)
        assert 100 * (float(ended.at_stop.mean()) - float(p.mean())) == pytest.approx(1.07, abs=0.1)

    def test_aime_power_at_the_margin(self) -> None:
        """On AIME the power at the margin is .9007, by the recursion and in simulated runs."""
        p, q = solve_rates(planning("aime24")), solve_rates(planning("aime24"), drop=self.aime.margin)
        computed = sum(crossings(self.aime, drop=self.aime.margin).fail)

        ended = sequential_runs(self.aime, p, q, n_runs=30_000, seed=32)

        assert computed == pytest.approx(0.9007, abs=1e-4)
        assert computed == pytest.approx(0.905, abs=0.005)
        low, high = interval(int(ended.fails.sum()), 30_000)
        assert low <= computed <= high

    def test_aime_drop_of_ten_points(self) -> None:
        """A drop of ten points on AIME costs a sixth of the samples and is always caught."""
        p, q = solve_rates(planning("aime24")), solve_rates(planning("aime24"), drop=0.10)

        ended = sequential_runs(self.aime, p, q, n_runs=10_000, seed=33)

        assert float(ended.n_samples.mean()) / 64 == pytest.approx(0.154, abs=0.005)
        assert ended.fails.mean() > 0.999

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("last_look", LastLook)
    def test_every_shape_keeps_alpha_power_and_cost(self, name: str, last_look: LastLook) -> None:
        """Simulated runs keep alpha, and have nearly the power and the cost that the recursion gives."""
        planned = plan(standard_design(name), paired=True, rule=GateRule(), last_look=last_look)
        p, n_runs = solve_rates(planning(name)), 6_000
        q = solve_rates(planning(name), drop=planned.margin, spreads=True)

        unchanged = sequential_runs(planned, p, p, n_runs=n_runs, seed=34)
        fallen = sequential_runs(planned, p, q, n_runs=n_runs, seed=35)

        assert interval(int(unchanged.fails.sum()), n_runs)[0] <= ALPHA
        assert float(unchanged.n_samples.mean()) / planned.design.n_samples == pytest.approx(
            expected_cost(planned), abs=0.02
        )
        assert float(fallen.fails.mean()) == pytest.approx(sum(crossings(planned, drop=planned.margin).fail), abs=0.03)

    def test_math500s_sequential_ninety_percent_is_at_2_6_points(self) -> None:
        """
        The sequential gate of MATH-500 has 90 % power at 2.6 points.

        At 2.39, where the unchanged exam's W puts the margin, it has .82.
        """
        planned = plan(standard_design("math500"), paired=True, rule=GateRule(), fractions=EIGHT_LOOKS, beta_power=1)
        p = solve_rates(planning("math500"))
        fails = [
            sequential_runs(planned, p, solve_rates(planning("math500"), drop=d, spreads=True), n_runs=6_000, seed=38)
            for d in (0.0239, planned.margin)
        ]

        assert planned.margin == pytest.approx(0.0263, abs=1e-4)
        assert [float(ended.fails.mean()) for ended in fails] == pytest.approx([0.82, 0.90], abs=0.015)

    def test_simulated_looks_are_the_packages(self) -> None:
        """The vectorised walk and `look` stop at the same look with the same verdict."""
        rng, p = np.random.default_rng(36), solve_rates(planning("aime24"))
        planned = plan(standard_design("aime24"), paired=True, rule=GateRule())
        for drop in (0.0, 0.02, 0.05):
            q = solve_rates(planning("aime24"), drop=drop)
            y = rng.binomial(64, p)
            draws = rng.random((30, 64)) < q[:, None]
            for number, k in enumerate(planned.ks[1:], start=2):  # the first look has so few responses that it is exact
                x = draws[:, :k].sum(axis=1)
                z = paired_z(x[None, :].astype(np.float64), k, y[None, :].astype(np.float64), 64)[0]
                a, b = planned.fail_bounds[number - 1], planned.pass_bounds[number - 1]
                assert a is not None
                expected = Verdict.FAIL_REGRESSED if z <= a else Verdict.PASS if z >= b else None

                judged = look(planned, number, as_counts(x, k), as_counts(y, 64), tau=NO_NOISE).judgement

                assert (None if judged is None else judged.verdict) is expected
                if judged is not None:
                    break

    def test_exact_looks_never_exceed_alpha(self) -> None:
        """
        A sequential gate of exact looks keeps alpha on a small exam.

        Two sigma are used, to see events in few runs.
        """
        rule = GateRule(exact=True, sigmas=2.0)
        rng, p = np.random.default_rng(37), np.random.default_rng(3).beta(0.6, 0.6, 20)
        design = standard_design("gpqa")
        planned = plan(design, paired=True, rule=rule)
        fallen, n_runs = 0, 150
        for _ in range(n_runs):
            y, draws = rng.binomial(8, p), rng.random((20, 8)) < p[:, None]
            for number, k in enumerate(planned.ks, start=1):
                seen = look(planned, number, as_counts(draws[:, :k].sum(axis=1), k), as_counts(y, 8), tau=NO_NOISE)
                if seen.judgement is not None:
                    fallen += seen.judgement.verdict is Verdict.FAIL_REGRESSED
                    break

        assert interval(fallen, n_runs)[0] <= rule.alpha
