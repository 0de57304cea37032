"""Estimates, tests and power against scipy, published numbers and enumeration."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from pytest_r1eval.core.records import Counts
from pytest_r1eval.stats.tests import (
    Comparison,
    Design,
    Published,
    Rate,
    StandardErrorName,
    ZRange,
    alpha_of,
    minimum_detectable_effect,
    paired_test,
    paired_z_range,
    pass_at_1,
    rate_test,
    samples_needed,
    scalar_test,
    scalar_z_range,
    sigmas_of,
    within_variance,
)
from tests.stats.examples import benchmark, counts, pairs, planning, runs, standard_design


class TestPassAt1:
    """The estimate and its two errors."""

    def test_mean_is_over_problems_not_samples(self) -> None:
        """The mean is taken over problems, so one with more samples has no more weight."""
        unequal = Counts.from_mapping({"a": (8, 8), "b": (0, 2)})

        assert pass_at_1(unequal).mean == 0.5

    def test_standard_error_follows_the_unbiased_formula(self) -> None:
        """The standard error follows the unbiased formula, with one squared pseudo-response added."""
        estimate = pass_at_1(counts(1, 2, of=4))

        expected = (0.25 * 0.75 / 3 + 0.5 * 0.5 / 3) / 4 + (1 / (2 * 4)) ** 2
        assert estimate.standard_error == pytest.approx(math.sqrt(expected))
        assert estimate.standard_error_name is StandardErrorName.WITHIN_PROBLEMS

    def test_one_sample_per_problem_has_a_bernoulli_error_by_name(self) -> None:
        """One sample per problem gives a standard error that is named Bernoulli's."""
        estimate = pass_at_1(counts(1, 0, 1, 1, of=1))

        assert estimate.standard_error == pytest.approx(math.sqrt(0.75 * 0.25 / 4))
        assert estimate.standard_error_name is StandardErrorName.BERNOULLI

    def test_exam_error_is_what_lighteval_prints(self) -> None:
        """The error over exams is LightEval's: the SD of the problems' rates over the root of their number."""
        estimate = pass_at_1(counts(1, 2, 4, of=4))

        assert estimate.exam_standard_error == pytest.approx(reference.sem([0.25, 0.5, 1.0]))

    def test_one_problem_has_no_exam_error(self) -> None:
        """An exam of one problem has no error over exams."""
        assert pass_at_1(counts(3, of=4)).exam_standard_error is None

    @given(runs())
    def test_standard_error_is_never_zero_or_nan(self, run: Counts) -> None:
        """The standard error is above zero and finite, even if every answer is right or wrong."""
        estimate = pass_at_1(run)

        assert 0 < estimate.standard_error < math.inf
        assert 0 <= estimate.mean <= 1

    def test_within_variance_is_unbiased(self) -> None:
        """The variance within problems, averaged over all outcomes of a binomial, is exactly p(1-p)."""
        p, k = Fraction(3, 10), 4
        chances = [math.comb(k, x) * p**x * (1 - p) ** (k - x) for x in range(k + 1)]

        mean = sum(float(chance) * within_variance(counts(x, of=k)) for x, chance in enumerate(chances))

        assert mean == pytest.approx(float(p * (1 - p)))

    def test_within_variance_needs_two_samples(self) -> None:
        """The variance within problems is refused for one sample per problem."""
        with pytest.raises(ValueError, match="one sample per problem"):
            within_variance(counts(1, 0, of=1))


class TestPaired:
    """Two runs on the same problems."""

    def test_equal_counts_follow_the_formula(self) -> None:
        """The paired test's z is the specification's, for equal numbers of samples."""
        n, k, k_b = 60, 4, 8
        x, y = np.arange(n) % 5, np.arange(n) % 9
        pooled_rate = (x + y) / 12
        w = np.mean(pooled_rate * (1 - pooled_rate) * 12 / 11)
        error = math.sqrt((w + 1 / (n * 12)) / n * (1 / 4 + 1 / 8) + 0.01**2)

        result = paired_test(counts(*x, of=k), counts(*y, of=k_b), tau=0.01)

        assert result.standard_error == pytest.approx(error)
        assert result.z == pytest.approx((x.mean() / 4 - y.mean() / 8) / error)
        assert not result.exact
        assert result.p_regressed == pytest.approx(reference.norm.cdf(result.z))

    def test_unequal_counts_use_harmonic_means_in_the_addend(self) -> None:
        """The paired test's standard error is the specification's, for unequal numbers of samples."""
        candidate = Counts.from_rows([("a", 1, 2), ("b", 3, 4)])
        baseline = Counts.from_rows([("a", 2, 4), ("b", 1, 8)])
        pooled_rates, m = np.array([3 / 6, 4 / 12]), np.array([6, 12])
        steps = np.array([1 / 2 + 1 / 4, 1 / 4 + 1 / 8])
        k, k_b, m_h = 2 / (1 / 2 + 1 / 4), 2 / (1 / 4 + 1 / 8), 2 / (1 / 6 + 1 / 12)
        expected = np.sum(pooled_rates * (1 - pooled_rates) * m / (m - 1) * steps) / 4
        expected += 1 / (2 * m_h) / 2 * (1 / k + 1 / k_b)

        assert paired_test(candidate, baseline).standard_error == pytest.approx(math.sqrt(expected))

    def test_order_of_the_baseline_does_not_matter(self) -> None:
        """The paired test matches problems by id, so the baseline's order does not matter."""
        baseline = counts(2, 7, 5, of=8)
        shuffled = Counts(problems=tuple(reversed(baseline.problems)))

        assert paired_test(counts(1, 2, 3, of=4), baseline) == paired_test(counts(1, 2, 3, of=4), shuffled)

    def test_other_problems_are_refused(self) -> None:
        """The paired test refuses a candidate whose problems the baseline lacks."""
        with pytest.raises(ValueError, match="1 problems are missing from the baseline"):
            paired_test(counts(1, 1, of=2), counts(1, of=2))

    @pytest.mark.parametrize("tau", [-0.1, math.nan, math.inf])
    def test_impossible_tau_is_refused(self, tau: float) -> None:
        """A tau that is negative or not finite is refused."""
        with pytest.raises(ValueError, match="tau is"):
            paired_test(counts(1, of=2), counts(1, of=2), tau=tau)

    @given(pairs(), st.sampled_from([0.0, 0.006]), st.booleans())
    def test_result_is_always_a_number(self, pair: tuple[Counts, Counts], tau: float, exact: bool) -> None:  # noqa: FBT001  hypothesis draws it
        """The paired test gives a finite z, a standard error above zero, and p-values from 0 to 1."""
        result = paired_test(*pair, tau=tau, exact=exact)

        assert 0 < result.standard_error < math.inf
        assert math.isfinite(result.z)
        assert 0 <= result.p_regressed <= 1
        assert 0 <= result.p_improved <= 1

    @given(pairs(), st.sampled_from([0.0, 0.006]), st.booleans())
    def test_exchanging_the_runs_mirrors_the_result(self, pair: tuple[Counts, Counts], tau: float, exact: bool) -> None:  # noqa: FBT001  hypothesis draws it
        """Exchanging the two runs turns the sign of z and difference, and exchanges the p-values."""
        forth, back = (paired_test(*order, tau=tau, exact=exact) for order in (pair, pair[::-1]))

        assert forth.difference == pytest.approx(-back.difference)
        assert forth.z == pytest.approx(-back.z)
        if forth.exact == back.exact:
            assert forth.p_regressed == pytest.approx(back.p_improved, abs=1e-12)

    @given(pairs(), st.data())
    def test_one_more_correct_sample_never_looks_worse(self, pair: tuple[Counts, Counts], data: st.DataObject) -> None:
        """One more correct sample never makes the exact test's result worse."""
        candidate, baseline = pair
        improvable = [i for i, p in enumerate(candidate.problems) if p.n_correct < p.n_samples]
        if not improvable:
            return
        chosen = data.draw(st.sampled_from(improvable))
        better = Counts.from_rows(
            (p.problem_id, p.n_correct + (i == chosen), p.n_samples) for i, p in enumerate(candidate.problems)
        )

        before, after = (paired_test(run, baseline, exact=True) for run in (candidate, better))

        assert after.difference > before.difference
        assert after.p_regressed >= before.p_regressed - 1e-12
        assert after.p_improved <= before.p_improved + 1e-12


def enumerated_p(candidate: Counts, baseline: Counts) -> tuple[float, float]:
    """One-sided p-values by dealing the pooled responses out in every possible way, in exact arithmetic."""
    problems = list(zip(candidate.problems, baseline.problems, strict=True))
    observed = sum(problem.n_correct for problem in candidate.problems)
    below = above = total = 0
    deals = [
        list(
            itertools.combinations(
                [1] * (ours.n_correct + theirs.n_correct)
                + [0] * (ours.n_samples + theirs.n_samples - ours.n_correct - theirs.n_correct),
                ours.n_samples,
            )
        )
        for ours, theirs in problems
    ]
    for deal in itertools.product(*deals):
        correct = sum(map(sum, deal))
        total += 1
        below += correct <= observed
        above += correct >= observed
    return float(Fraction(below, total)), float(Fraction(above, total))


class TestExact:
    """The stratified hypergeometric test."""

    @pytest.mark.parametrize(
        ("x", "k", "y", "k_b"),
        [((0, 1, 2), 2, (3, 3, 2), 3), ((2, 0), 4, (4, 3), 4), ((1,), 5, (5,), 5), ((0, 1, 1), 1, (2, 1, 3), 3)],
    )
    def test_equals_brute_force(self, x: tuple[int, ...], k: int, y: tuple[int, ...], k_b: int) -> None:
        """The exact p-value equals that of counting every way to deal the pooled responses to both runs."""
        candidate, baseline = counts(*x, of=k), counts(*y, of=k_b)

        result = paired_test(candidate, baseline, exact=True)

        assert (result.p_regressed, result.p_improved) == pytest.approx(enumerated_p(candidate, baseline), rel=1e-12)

    def test_unequal_numbers_of_samples_equal_brute_force(self) -> None:
        """The exact p-value equals brute force for unequal numbers of samples too."""
        candidate = Counts.from_rows([("a", 1, 2), ("b", 1, 4)])
        baseline = Counts.from_rows([("a", 3, 3), ("b", 4, 4)])

        result = paired_test(candidate, baseline, exact=True)

        assert (result.p_regressed, result.p_improved) == pytest.approx(enumerated_p(candidate, baseline), rel=1e-12)

    def test_one_problem_is_fishers_test(self) -> None:
        """The exact test of one problem gives the p-value of scipy's Fisher test."""
        result = paired_test(counts(9, of=16), counts(40, of=48), exact=True)

        fisher = reference.fisher_exact(np.array([[9, 7], [40, 8]]), alternative="less")
        assert result.p_regressed == pytest.approx(fisher.pvalue, rel=1e-9)

    def test_tails_keep_their_relative_precision(self) -> None:
        """The exact test keeps the relative precision of very small p-values."""
        result = paired_test(counts(*[0] * 10, of=8), counts(*[8] * 10, of=8), exact=True)

        assert result.p_regressed == pytest.approx(math.comb(16, 8) ** -10, rel=1e-9)

    def test_decides_on_its_own_for_few_responses(self) -> None:
        """The exact test decides by itself below 200 responses of the candidate."""
        few, enough = counts(*[2] * 49, of=4), counts(*[2] * 50, of=4)

        assert paired_test(few, few).exact
        assert not paired_test(enough, enough).exact

    def test_decides_on_its_own_where_the_distribution_is_skewed(self) -> None:
        """The exact test decides by itself where a saturated exam makes the distribution skewed."""
        saturated = counts(*[4] * 498, 3, 3, of=4)
        baseline = counts(*[64] * 490, *[63] * 10, of=64)

        assert paired_test(saturated, baseline).exact

    def test_agrees_with_z_on_a_large_exam(self) -> None:
        """The exact test and z agree on a large exam."""
        rng = np.random.default_rng(1)
        p = rng.beta(0.5, 0.5, 198)
        candidate, baseline = counts(*rng.binomial(8, p), of=8), counts(*rng.binomial(8, p), of=8)

        z, exact = (paired_test(candidate, baseline, exact=exact) for exact in (False, True))

        assert not z.exact
        assert exact.p_regressed == pytest.approx(z.p_regressed, abs=0.02)

    def test_harness_noise_is_mixed_in(self) -> None:
        """The exact test includes harness noise: a tiny tau changes nothing, and a large one makes p one half."""
        candidate, baseline = counts(1, 2, 0, of=4), counts(4, 4, 3, of=4)
        without = paired_test(candidate, baseline, exact=True)

        tiny, large = (paired_test(candidate, baseline, exact=True, tau=tau) for tau in (1e-9, 10.0))

        assert tiny.p_regressed == pytest.approx(without.p_regressed)
        assert tiny.p_improved == pytest.approx(without.p_improved)
        assert large.p_regressed == pytest.approx(0.5, abs=0.05)

    def test_nothing_discordant_is_no_evidence(self) -> None:
        """Two runs with every answer right have z of zero and p of one."""
        result = paired_test(counts(4, 4, of=4), counts(4, 4, of=4))

        assert (result.z, result.p_regressed, result.p_improved) == (0.0, 1.0, 1.0)


class TestScalar:
    """A run against a printed number."""

    def test_follows_the_formula(self) -> None:
        """The scalar test's z is the specification's formula."""
        n, k, k_b = 30, 8, 64
        x = np.arange(n) % 9
        mu, b, h, tau = x.mean() / 8, 0.528, 0.001, 0.006
        what = np.mean(x / 8 * (1 - x / 8) * 8 / 7)
        r = min(1, (n * what + 1 / k) / (n * mu * (1 - mu) + 1 / k))
        mubar = (k * mu + k_b * b) / (k + k_b)
        wt = max(r * mubar * (1 - mubar), what + 1 / (n * k))
        error = math.sqrt(wt * (1 / k + 1 / k_b) / n + tau**2 + h**2 / 12)

        result = scalar_test(counts(*x, of=8), Published(value=b), n_baseline_samples=64, tau=tau)

        assert result.standard_error == pytest.approx(error)
        assert result.z == pytest.approx((mu - b) / error)

    def test_one_sample_per_problem_takes_the_bernoulli_bound(self) -> None:
        """One sample per problem takes the variance of the pooled mean."""
        result = scalar_test(counts(1, 0, 1, of=1), Published(value=0.5, rounding=0), n_baseline_samples=1)

        mubar = (2 / 3 + 0.5) / 2
        assert result.standard_error == pytest.approx(math.sqrt(mubar * (1 - mubar) * 2 / 3))

    @given(runs(), st.floats(0, 1), st.integers(1, 64))
    def test_result_is_always_a_number(self, run: Counts, value: float, k_b: int) -> None:
        """The scalar test gives a finite z and a standard error above zero, even at 0 and 1."""
        result = scalar_test(run, Published(value=value, rounding=0), n_baseline_samples=k_b)

        assert 0 < result.standard_error < math.inf
        assert math.isfinite(result.z)

    @given(runs(), st.floats(0, 1), st.integers(1, 64))
    def test_right_and_wrong_are_symmetric(self, run: Counts, value: float, k_b: int) -> None:
        """Counting wrong answers in place of right ones turns the sign of the scalar test's z."""
        wrong = Counts.from_rows((p.problem_id, p.n_samples - p.n_correct, p.n_samples) for p in run.problems)

        right = scalar_test(run, Published(value=value), n_baseline_samples=k_b)
        mirrored = scalar_test(wrong, Published(value=1 - value), n_baseline_samples=k_b)

        assert right.z == pytest.approx(-mirrored.z, rel=1e-6, abs=1e-9)

    @pytest.mark.parametrize("value", [-0.1, 1.5, math.nan, 50.8])
    def test_a_percentage_is_refused(self, value: float) -> None:
        """A mean of 50.8 is points, not a fraction, and is refused."""
        with pytest.raises(ValueError, match="expected a fraction"):
            Published(value=value)

    def test_impossible_numbers_are_refused(self) -> None:
        """Impossible rounding units and numbers of samples are refused."""
        with pytest.raises(ValueError, match="rounding unit"):
            Published(value=0.5, rounding=math.nan)
        with pytest.raises(ValueError, match="0 samples"):
            Published(value=0.5, n_samples=0)
        with pytest.raises(ValueError, match="0 samples"):
            scalar_test(counts(1, of=2), Published(value=0.5), n_baseline_samples=0)


class TestZRange:
    """What pending samples can still do to z."""

    @given(st.data(), st.booleans())
    def test_every_completion_lies_inside(self, data: st.DataObject, paired: bool) -> None:  # noqa: FBT001  hypothesis draws it
        """The z of every completion is within the bounds, whatever the pending samples show."""
        n, k, k_b = data.draw(st.integers(1, 6)), data.draw(st.integers(2, 8)), data.draw(st.integers(1, 8))
        lowest = data.draw(st.lists(st.integers(0, k), min_size=n, max_size=n))
        highest = [data.draw(st.integers(x, k)) for x in lowest]
        final = counts(*[data.draw(st.integers(x, y)) for x, y in zip(lowest, highest, strict=True)], of=k)
        ends = counts(*lowest, of=k), counts(*highest, of=k)

        if paired:
            baseline = counts(*data.draw(st.lists(st.integers(0, k_b), min_size=n, max_size=n)), of=k_b)
            bounds, z = paired_z_range(*ends, baseline), paired_test(final, baseline).z
        else:
            printed = Published(value=data.draw(st.floats(0, 1)))
            bounds = scalar_z_range(*ends, printed, n_baseline_samples=k_b)
            z = scalar_test(final, printed, n_baseline_samples=k_b).z

        assert bounds.low - 1e-9 <= z <= bounds.high + 1e-9

    def test_a_complete_round_leaves_no_room(self) -> None:
        """Both bounds of a complete round are its z."""
        run, baseline, printed = counts(1, 2, of=4), counts(3, 3, of=8), Published(value=0.4)

        z, scalar = paired_test(run, baseline).z, scalar_test(run, printed, n_baseline_samples=8).z

        paired_range, scalar_range = (
            paired_z_range(run, run, baseline),
            scalar_z_range(run, run, printed, n_baseline_samples=8),
        )
        assert [paired_range.low, paired_range.high] == pytest.approx([z, z])
        assert [scalar_range.low, scalar_range.high] == pytest.approx([scalar, scalar])

    def test_bounds_are_ordered_whatever_the_sign(self) -> None:
        """A bound away from zero takes the smaller variance, and one towards zero the larger."""
        assert ZRange.of((-2.0, -1.0), (1.0, 4.0)) == ZRange(low=-2.0, high=-0.5)
        assert ZRange.of((-2.0, 1.0), (1.0, 4.0)) == ZRange(low=-2.0, high=1.0)
        assert ZRange.of((1.0, 2.0), (1.0, 4.0)) == ZRange(low=0.5, high=2.0)

    def test_single_samples_have_no_scalar_bounds(self) -> None:
        """Bounds of z are refused for a single sample per problem."""
        run = counts(1, of=1)
        with pytest.raises(ValueError, match="single sample"):
            scalar_z_range(run, run, Published(value=0.5), n_baseline_samples=1)


class TestPower:
    """What a design can see, before a token is spent."""

    @pytest.mark.parametrize(
        ("name", "gate", "exam"),
        [("aime24", 3.4, 28.6), ("math500", 1.5, 3.4), ("gpqa", 3.9, 11.0), ("lcb", 1.9, 10.3)],
    )
    def test_two_standard_errors_make_two_gates(self, name: str, gate: float, exam: float) -> None:
        """Three sigma of the difference are a few points on fixed problems, and more across exams like this one."""
        constants, k = planning(name), benchmark(name).samples_per_problem
        between = constants.mean * (1 - constants.mean) - constants.within_variance * (1 - 1 / k)

        assert round(300 * standard_design(name).standard_error(), 1) == gate
        assert round(300 * math.sqrt(2 * between / (constants.n_problems - 1)), 1) == exam

    @pytest.mark.parametrize(("name", "mde"), [("aime24", 4.3), ("math500", 2.1), ("gpqa", 5.0), ("lcb", 2.4)])
    def test_minimum_detectable_effects_at_standard_samples(self, name: str, mde: float) -> None:
        """The effects detected with 80 % power are the known ones; MATH-500's takes the fallen mean's variance."""
        assert round(100 * minimum_detectable_effect(standard_design(name)), 1) == mde

    def test_gate_on_deepseeks_aime_number_is_a_smoke_test(self) -> None:
        """Three sigma on DeepSeek's AIME number are about 14 points with the noise between two labs' harnesses."""
        assert round(300 * standard_design("aime24", tau=0.047).standard_error()) == 14

    def test_tensorrt_llms_rule_is_the_between_question_bound(self) -> None:
        """
        TensorRT-LLM's rule is our formula with one sample per problem and the largest possible variance.

        Theta is (z_alpha + z_beta) * sqrt(2 * 50^2 / n), alpha 0.05, beta 0.2, as its accuracy tests compute it. On
        GPQA that is 8.3 points under the reference, on AIME 2024 an MDE of 32 points.
        """
        rule = sigmas_of(0.05)

        def theta(n_problems: int) -> float:
            design = Design(
                n_problems=n_problems,
                n_samples=1,
                n_baseline_samples=1,
                mean=0.5,
                within_variance=0.25,
                within_variance_source="sigma = 50 points",
            )
            return 100 * minimum_detectable_effect(design, sigmas=rule, power=0.8)

        gpqa_threshold = theta(198) * rule / (rule + float(reference.norm.ppf(0.8)))
        assert round(gpqa_threshold, 1) == 8.3
        assert round(theta(30)) == 32
        assert round(theta(4096), 2) == 2.75

    def test_a_margin_of_a_saturated_exam_takes_the_variance_of_the_fallen_mean(self) -> None:
        """MATH-500's fall at 90 % power is 2.39 points, where the unchanged exam's W would give 2.18."""
        design = standard_design("math500")

        assert round(100 * (3 + 1.2816) * design.standard_error(), 2) == 2.18
        assert round(100 * minimum_detectable_effect(design, power=0.9), 2) == 2.39

    @given(st.floats(0.001, 0.2), st.floats(0.02, 0.98), st.floats(0.0, 0.05))
    def test_a_detectable_fall_is_its_own_standard_errors(self, w: float, mean: float, tau: float) -> None:
        """The detectable fall d solves d = 3.84 SE(d), with the error taken after that fall."""
        design = Design(
            n_problems=100,
            n_samples=8,
            n_baseline_samples=8,
            mean=mean,
            within_variance=min(w, mean * (1 - mean)),
            within_variance_source="drawn",
            tau=tau,
        )

        fall = design.smallest_fall(3.84)

        if fall < mean:
            assert fall == pytest.approx(3.84 * design.standard_error(drop=fall))

    def test_a_rise_is_a_fall_of_the_mirrored_exam(self) -> None:
        """A rise on a saturated exam is detected sooner than a fall."""
        design = standard_design("math500")

        assert minimum_detectable_effect(design.mirrored) < minimum_detectable_effect(design)
        assert design.mirrored.mean == pytest.approx(0.055)

    def test_the_worst_candidates_z_is_known_before_the_run(self) -> None:
        """Mean and W alone predict the paired test's z of a candidate with every response wrong."""
        rates = np.random.default_rng(4).beta(0.5, 0.5, 200)
        baseline = counts(*np.round(64 * rates).astype(int), of=64)
        p = np.round(64 * rates) / 64
        design = Design(
            n_problems=200,
            n_samples=8,
            n_baseline_samples=64,
            mean=float(p.mean()),
            within_variance=float((p * (1 - p)).mean()),
            within_variance_source="known",
        )

        worst = paired_test(counts(*[0] * 200, of=8), baseline)

        assert design.worst_z == pytest.approx(worst.z, rel=0.01)

    def test_samples_needed_reach_the_power_and_no_fewer_do(self) -> None:
        """The samples needed detect the drop, and one sample less does not."""
        design = Design.from_planning(planning("aime24"), n_samples=64, n_baseline_samples=256)

        needed = samples_needed(design, 0.04)

        assert needed is not None
        effects = [
            minimum_detectable_effect(Design.from_planning(planning("aime24"), n_samples=k, n_baseline_samples=256))
            for k in (needed, needed - 1)
        ]
        assert effects[0] <= 0.04 < effects[1]

    def test_no_number_of_samples_beats_the_baseline(self) -> None:
        """No number of samples finds a fall below the baseline's own error or harness noise."""
        assert samples_needed(standard_design("aime24"), 0.02) is None
        assert samples_needed(standard_design("aime24", tau=0.047), 0.10) is None
        assert samples_needed(standard_design("aime24"), 0.6) is None  # from 50.8 points pass@1 cannot fall so far

    def test_design_from_a_stored_baseline_uses_its_variance(self) -> None:
        """A baseline without a wrong answer still gives a design a variance."""
        design = Design.from_baseline(counts(4, 4, of=4), n_samples=4)

        assert design.within_variance == pytest.approx(1 / 8)
        assert design.n_baseline_samples == 4
        assert design.within_variance_source == "the stored baseline"

    @given(st.floats(1e-4, 0.25), st.floats(0.01, 0.99), st.integers(1, 500), st.integers(1, 64), st.integers(1, 64))
    def test_more_samples_never_see_less(self, w: float, mean: float, n: int, k: int, k_b: int) -> None:
        """More samples on either side shrink the detectable effect, and more power raises it."""

        def mde(k: int, k_b: int, power: float) -> float:
            design = Design(
                n_problems=n,
                n_samples=k,
                n_baseline_samples=k_b,
                mean=mean,
                within_variance=w,
                within_variance_source="drawn",
            )
            return minimum_detectable_effect(design, power=power)

        assert mde(k + 1, k_b, 0.8) < mde(k, k_b, 0.8)
        assert mde(k, k_b + 1, 0.8) < mde(k, k_b, 0.8)
        assert mde(k, k_b, 0.8) < mde(k, k_b, 0.9)

    def test_impossible_designs_are_refused(self) -> None:
        """Impossible numbers of samples, variances, drops and powers are refused."""
        good = standard_design("gpqa")
        with pytest.raises(ValueError, match="n_samples is 0"):
            Design.from_planning(planning("gpqa"), n_samples=0, n_baseline_samples=1)
        with pytest.raises(ValueError, match="within-problem variance"):
            Design(
                n_problems=1,
                n_samples=1,
                n_baseline_samples=1,
                mean=0.5,
                within_variance=0.0,
                within_variance_source="nowhere",
            )
        with pytest.raises(ValueError, match="the drop is"):
            samples_needed(good, 3.0)
        with pytest.raises(ValueError, match="power is"):
            minimum_detectable_effect(good, power=1.0)

    def test_alpha_of_three_sigmas(self) -> None:
        """Three sigmas convert to their alpha and back."""
        assert alpha_of(3.0) == pytest.approx(0.0013498980316300933, rel=1e-14)
        assert sigmas_of(alpha_of(3.0)) == pytest.approx(3.0)
        with pytest.raises(ValueError, match="alpha is"):
            sigmas_of(0.0)


class TestRates:
    """Health gates."""

    def test_equals_fishers_test(self) -> None:
        """The exact test is Fisher's, one-sided against a rise."""
        fisher = reference.fisher_exact(np.array([[12, 108], [30, 1890]]), alternative="greater")

        p = rate_test(Rate(n_events=12, n_responses=120), Rate(n_events=30, n_responses=1920))

        assert p == pytest.approx(fisher.pvalue, rel=1e-8)

    def test_no_events_are_no_evidence(self) -> None:
        """A rate without events in either run gives p of one."""
        assert rate_test(Rate(n_events=0, n_responses=10), Rate(n_events=0, n_responses=20)) == 1.0

    @pytest.mark.parametrize(("events", "responses"), [(-1, 5), (6, 5), (0, 0)])
    def test_impossible_rates_are_refused(self, events: int, responses: int) -> None:
        """A rate with no responses, or more events than responses, is refused."""
        with pytest.raises(ValueError, match="expected a share"):
            Rate(n_events=events, n_responses=responses)


def test_comparison_is_a_value() -> None:
    """A comparison cannot be changed once it is made."""
    result = paired_test(counts(1, of=2), counts(1, of=2))

    assert isinstance(result, Comparison)
    with pytest.raises(AttributeError):
        result.z = 0.0  # type: ignore[misc]
