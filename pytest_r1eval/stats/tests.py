"""
How far a score can be from what it estimates, and how far two scores can be apart by chance.

Decisions. The problems of an exam are fixed, so only the sampling of responses is
error: that is what decides, and the exam-to-exam error is shown beside it under
its own name. No variance is ever estimated as zero, because a zero would turn one
flipped response into infinitely many sigmas: one pseudo-discordant response is
added. Where normal theory is thin (few responses, or a skewed null distribution)
the exact conditional distribution decides. Everything is a fraction; points are
for people.

``scipy.stats`` and ``scipy.optimize`` are left alone: they would cost every gate
half a second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from scipy.special import ndtr, ndtri

from pytest_r1eval.core.benchmarks import PlanningConstants
from pytest_r1eval.core.fields import AtLeastOne, NotNegative, require
from pytest_r1eval.core.records import Counts
from pytest_r1eval.stats.pairs import (
    Floats,
    PairedCounts,
    arrays,
    checked_tau,
    exact_p,
    harmonic_mean,
    is_skewed,
)

MIN_RESPONSES_FOR_NORMAL = 200
"""Below this many candidate responses the exact distribution decides: one response moves p by a factor of 2 there."""


class StandardErrorName(StrEnum):
    """Which standard error an estimate has."""

    WITHIN_PROBLEMS = "within problems"
    """From the spread of the samples of each problem: another run on the same problems."""
    BERNOULLI = "Bernoulli"
    """From the mean alone, an upper bound: one sample per problem shows no spread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """
    pass@1 of one checkpoint on one exam; fractions throughout.

    Attributes:
        mean: Mean over problems of the share of correct samples.
        standard_error: Error of the mean on these problems; never zero.
        standard_error_name: How it was computed.
        exam_standard_error: Error of the mean over exams like this one, what LightEval prints; None for one problem.
        n_problems: Problems.
        samples_per_problem: Harmonic mean of the numbers of samples; the number itself where all are equal.
    """

    mean: float
    standard_error: float
    standard_error_name: StandardErrorName
    exam_standard_error: float | None
    n_problems: int
    samples_per_problem: float


def pass_at_1(counts: Counts) -> Estimate:
    """
    Estimate pass@1 of one checkpoint on a fixed exam.

    The problems do not change between checkpoints, so only the sampling of
    responses contributes error. The exam-to-exam error of [1]_ answers another
    question and is returned under its own name.

    Args:
        counts: Correct samples of each problem.

    References:
        .. [1] E. Miller, "Adding Error Bars to Evals", arXiv:2411.00640.
    """
    correct, samples = arrays(counts)
    n_problems = counts.n_problems
    rates = correct / samples
    mean = float(rates.mean())
    typical = harmonic_mean(samples)
    if samples.max() == 1:
        # One pseudo-response keeps the error of an all-right or all-wrong exam above zero.
        inside = min(max(mean, 0.5 / n_problems), 1 - 0.5 / n_problems)
        error, name = math.sqrt(inside * (1 - inside) / n_problems), StandardErrorName.BERNOULLI
    else:
        variance = float((_response_variances(correct, samples) / samples).sum()) / n_problems**2
        error, name = math.sqrt(variance + (n_problems * typical) ** -2), StandardErrorName.WITHIN_PROBLEMS
    return Estimate(
        mean=mean,
        standard_error=error,
        standard_error_name=name,
        exam_standard_error=float(rates.std(ddof=1)) / math.sqrt(n_problems) if n_problems > 1 else None,
        n_problems=n_problems,
        samples_per_problem=typical,
    )


def within_variance(counts: Counts) -> float:
    """
    Estimate W, the mean over problems of p(1-p), without bias.

    Raises:
        ValueError: If no problem has two samples, which leave no variance to estimate.
    """
    return float(_response_variances(*arrays(counts)).mean())


def _response_variances(correct: Floats, samples: Floats) -> Floats:
    """Unbiased p(1-p) per problem; a problem with one sample takes the mean of the others."""
    several = samples > 1
    if not several.any():
        raise ValueError("one sample per problem leaves no variance to estimate; draw two or more")
    rates = correct / samples
    variances = rates * (1 - rates) * samples / np.maximum(samples - 1, 1)
    return np.where(several, variances, variances[several].mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """
    Whether a candidate differs from a baseline by more than chance.

    Attributes:
        baseline_mean: The baseline's pass@1, a fraction.
        difference: Candidate minus baseline, a fraction.
        standard_error: SD of the difference if nothing changed, harness noise included; never zero.
        candidate_variance: The part of its square that more samples of the candidate remove.
        pooled_mean: pass@1 of both runs together, a pseudo-response away from 0 and 1; the error was taken there.
        z: Difference in standard errors.
        p_regressed: One-sided p-value against a fall, from whichever distribution decides.
        p_improved: One-sided p-value against a rise.
        exact: Whether the exact conditional distribution decides, not z.
    """

    baseline_mean: float
    difference: float
    standard_error: float
    candidate_variance: float
    pooled_mean: float
    z: float
    p_regressed: float
    p_improved: float
    exact: bool

    @property
    def fixed_variance(self) -> float:
        """The part of the error's square that is the baseline's and the harness's."""
        return self.standard_error**2 - self.candidate_variance

    def error_after(self, fall: float) -> float:
        """
        SD of the difference after a fall, a fraction.

        The candidate's variance moves with mu(1-mu) of the fallen mean; where it would shrink, it stays.
        """
        at = min(max(self.baseline_mean - fall, 0.0), 1.0)
        growth = max(1.0, at * (1 - at) / (self.pooled_mean * (1 - self.pooled_mean)))
        return math.sqrt(self.candidate_variance * growth + self.fixed_variance)


def paired_test(candidate: Counts, baseline: Counts, *, tau: float = 0.0, exact: bool = False) -> Comparison:
    """
    Test whether two runs on the same problems have the same pass@1.

    Under "nothing changed" both runs of a problem have one solve rate, so its
    variance is pooled; one pseudo-discordant response keeps it above zero.

    Args:
        candidate: The run to be judged.
        baseline: The run it is compared with, in any order of problems.
        tau: SD of the difference between two harnesses, a fraction.
        exact: Ask for the exact conditional test where z would decide.

    Raises:
        ValueError: If the two runs sat different problems, or tau is negative.
    """
    pair = PairedCounts.of(candidate, baseline)
    use_exact = exact or candidate.n_samples < MIN_RESPONSES_FOR_NORMAL or is_skewed(pair)
    return paired_comparison(pair, _paired_variance(pair), tau=checked_tau(tau), exact=use_exact)


def paired_comparison(pair: PairedCounts, sampling: float, *, tau: float, exact: bool) -> Comparison:
    """
    Compare two sides, problem by problem.

    Args:
        pair: The two sides.
        sampling: The variance that sampling gives their difference.
        tau: SD of the noise between harnesses.
        exact: Whether p-values are those of the exact test, not of the normal approximation.
    """
    error = math.sqrt(sampling + tau**2)
    z = pair.difference / error
    p_regressed, p_improved = exact_p(pair, tau) if exact else (float(ndtr(z)), float(ndtr(-z)))
    return Comparison(
        baseline_mean=float((pair.y / pair.k_b).mean()),
        difference=pair.difference,
        standard_error=error,
        candidate_variance=sampling * candidates_part(harmonic_mean(pair.k), harmonic_mean(pair.k_b)),
        pooled_mean=inside(float(_pooled_rates(pair).mean()), 1 / (len(pair.x) * harmonic_mean(pair.k + pair.k_b))),
        z=z,
        p_regressed=p_regressed,
        p_improved=p_improved,
        exact=exact,
    )


def candidates_part(k: float, k_b: float) -> float:
    """Return the share of the sampling variance of a difference that is the candidate's."""
    return (1 / k) / (1 / k + 1 / k_b)


def inside(mean: float, floor: float) -> float:
    """Keep a mean one pseudo-response away from 0 and 1."""
    return min(max(mean, floor), 1 - floor)


def _paired_variance(pair: PairedCounts) -> float:
    """Sampling variance of the difference under "nothing changed", the pseudo-response included."""
    m, rates = pair.k + pair.k_b, _pooled_rates(pair)
    per_problem = rates * (1 - rates) * m / (m - 1) * (1 / pair.k + 1 / pair.k_b)
    return float(per_problem.sum()) / len(pair.x) ** 2 + pseudo_response(pair.k, pair.k_b)


def pseudo_response(k: Floats, k_b: Floats) -> float:
    """Return what one discordant response adds to the variance of a difference, so that it is never zero."""
    n_problems = len(k)
    spread = 1 / harmonic_mean(k) + 1 / harmonic_mean(k_b)
    return spread / (n_problems * harmonic_mean(k + k_b)) / n_problems


@dataclass(frozen=True, slots=True, kw_only=True)
class ZRange:
    """The bounds of z, whatever the pending samples will show."""

    low: float
    high: float

    @classmethod
    def of(cls, difference: tuple[float, float], variance: tuple[float, float]) -> ZRange:
        """Bound difference / sqrt(variance) from the least and the largest of each; variances above zero."""
        (low, high), (least, most) = difference, variance
        return cls(
            low=low / math.sqrt(least if low < 0 else most),
            high=high / math.sqrt(least if high > 0 else most),
        )


def paired_z_range(lowest: Counts, highest: Counts, baseline: Counts, *, tau: float = 0.0) -> ZRange:
    """
    Bound the z of `paired_test` over all completions of a run.

    The variance moves with the pending samples too, so z at the two extreme
    completions alone would bound nothing; p(1-p) is bounded problem by problem.

    Args:
        lowest: The counts if every pending sample is wrong.
        highest: The counts if every pending sample is right.
        baseline: The run it is compared with.
        tau: SD of the difference between two harnesses, a fraction.
    """
    worst, best = PairedCounts.of(lowest, baseline), PairedCounts.of(highest, baseline)
    fixed = replace(worst, x=np.zeros_like(worst.x), y=np.zeros_like(worst.y))
    scale = (worst.k + worst.k_b) / (worst.k + worst.k_b - 1) * (1 / worst.k + 1 / worst.k_b) / len(worst.x) ** 2
    least, most = bernoulli_range(_pooled_rates(worst), _pooled_rates(best))
    constant = _paired_variance(fixed) + checked_tau(tau) ** 2
    return ZRange.of(
        (worst.difference, best.difference), (float(scale @ least) + constant, float(scale @ most) + constant)
    )


def _pooled_rates(pair: PairedCounts) -> Floats:
    return (pair.x + pair.y) / (pair.k + pair.k_b)


def bernoulli_range(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Least and largest p(1-p) for p between two bounds, elementwise."""
    nearest = np.clip(0.5, low, high)
    return np.minimum(low * (1 - low), high * (1 - high)), nearest * (1 - nearest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """
    A published number.

    Attributes:
        value: pass@1 as printed, a fraction.
        rounding: The unit it was rounded to, a fraction; 0.001 for "50.8".
        n_samples: Samples per problem behind it; None if the source does not say.

    Raises:
        ValueError: If a value is out of its range.
    """

    value: float
    rounding: float = 0.001
    n_samples: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.value <= 1:
            raise ValueError(f"the published pass@1 is {self.value}; expected a fraction between 0 and 1")
        if not 0 <= self.rounding <= 1:
            raise ValueError(f"the rounding unit is {self.rounding}; expected a fraction between 0 and 1")
        if self.n_samples is not None and self.n_samples < 1:
            raise ValueError(f"{self.n_samples} samples per problem behind the published number; expected 1 or more")


def scalar_test(candidate: Counts, published: Published, *, n_baseline_samples: int, tau: float = 0.0) -> Comparison:
    """
    Test whether a run has the published pass@1.

    Nothing is known of the baseline's problems, so the candidate's ratio of
    within-problem to Bernoulli variance is applied at the pooled mean.

    Args:
        candidate: The run to be judged.
        published: The printed number.
        n_baseline_samples: Samples per problem behind it, known or assumed.
        tau: SD of the difference between two harnesses, a fraction.

    Raises:
        ValueError: If `n_baseline_samples` is below one or tau negative.
    """
    if n_baseline_samples < 1:
        raise ValueError(f"{n_baseline_samples} samples per problem behind the baseline; expected 1 or more")
    correct, samples = arrays(candidate)
    k = harmonic_mean(samples)
    mean = float((correct / samples).mean())
    pooled_mean = _pooled_mean(mean, k, published.value, n_baseline_samples, n_problems=candidate.n_problems)
    variance = _scalar_response_variance(candidate, pooled_mean)
    sampling = variance * (1 / k + 1 / n_baseline_samples) / candidate.n_problems
    error = math.sqrt(sampling + checked_tau(tau) ** 2 + published.rounding**2 / 12)
    z = (mean - published.value) / error
    return Comparison(
        baseline_mean=published.value,
        difference=mean - published.value,
        standard_error=error,
        candidate_variance=sampling * candidates_part(k, n_baseline_samples),
        pooled_mean=pooled_mean,
        z=z,
        p_regressed=float(ndtr(z)),
        p_improved=float(ndtr(-z)),
        exact=False,
    )


def _scalar_response_variance(candidate: Counts, pooled_mean: float) -> float:
    """Within-problem variance of one response if candidate and baseline have one pass@1; never zero."""
    correct, samples = arrays(candidate)
    k, mean = harmonic_mean(samples), float((correct / samples).mean())
    if samples.max() == 1:
        return pooled_mean * (1 - pooled_mean)
    within = float(_response_variances(correct, samples).mean())
    return _scaled_variance(
        within, mean * (1 - mean), pooled_mean * (1 - pooled_mean), n_problems=candidate.n_problems, k=k
    )


def _pooled_mean(mean: float, k: float, baseline_mean: float, k_b: int, *, n_problems: int) -> float:
    """Common pass@1 of candidate and baseline, kept one pseudo-response away from 0 and 1."""
    return inside((k * mean + k_b * baseline_mean) / (k + k_b), 1 / (n_problems * (k + k_b)))


def _scaled_variance(within: float, bernoulli: float, pooled_bernoulli: float, *, n_problems: int, k: float) -> float:
    """Apply the candidate's ratio of within-problem to Bernoulli variance at the pooled mean."""
    ratio = min(1.0, (n_problems * within + 1 / k) / (n_problems * bernoulli + 1 / k))
    return max(ratio * pooled_bernoulli, within + 1 / (n_problems * k))


def scalar_z_range(
    lowest: Counts, highest: Counts, published: Published, *, n_baseline_samples: int, tau: float = 0.0
) -> ZRange:
    """
    Bound the z of `scalar_test` over all completions of a run with at least two samples of each problem.

    Args:
        lowest: The counts if every pending sample is wrong.
        highest: The counts if every pending sample is right.
        published: The printed number.
        n_baseline_samples: Samples per problem behind it, known or assumed.
        tau: SD of the difference between two harnesses, a fraction.

    Raises:
        ValueError: If a problem has a single sample.
    """
    (worst, samples), (best, _) = arrays(lowest), arrays(highest)
    if samples.min() < 2:
        raise ValueError("a problem has a single sample, which leaves no variance to bound; draw two or more")
    n, k = lowest.n_problems, harmonic_mean(samples)
    low, high = worst / samples, best / samples
    means = np.array([low.mean(), high.mean()])
    within = [float((rates * samples / (samples - 1)).mean()) for rates in bernoulli_range(low, high)]
    centres = [_pooled_mean(mean, k, published.value, n_baseline_samples, n_problems=n) for mean in means.tolist()]
    bernoulli = [float(bound[0]) for bound in bernoulli_range(means[:1], means[1:])]
    at_centre = [float(bound[0]) for bound in bernoulli_range(np.array(centres[:1]), np.array(centres[1:]))]
    least = _scaled_variance(within[0], bernoulli[1], at_centre[0], n_problems=n, k=k)
    most = _scaled_variance(within[1], bernoulli[0], at_centre[1], n_problems=n, k=k)
    scale, constant = (1 / k + 1 / n_baseline_samples) / n, checked_tau(tau) ** 2 + published.rounding**2 / 12
    differences = (means - published.value).tolist()
    return ZRange.of((differences[0], differences[1]), (least * scale + constant, most * scale + constant))


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """
    A comparison before its first sample; fractions throughout.

    Attributes:
        n_problems: Problems in the exam.
        n_samples: Candidate samples per problem.
        n_baseline_samples: Baseline samples per problem.
        mean: The baseline's pass@1, above 0 and below 1: no candidate falls by more.
        within_variance: W, the expected mean of p(1-p) over problems, if nothing changed.
        within_variance_source: Where W comes from, for people.
        tau: SD of the difference between two harnesses.

    Raises:
        ValueError: If a value is out of its range.
    """

    n_problems: AtLeastOne
    n_samples: AtLeastOne
    n_baseline_samples: AtLeastOne
    mean: float
    within_variance: float
    within_variance_source: str
    tau: NotNegative = 0.0

    def __post_init__(self) -> None:
        require(self)
        if not 0 < self.mean < 1:
            raise ValueError(f"the baseline's pass@1 is {self.mean}; expected a fraction above 0 and below 1")
        if not 0 < self.within_variance <= 0.25:
            raise ValueError(f"the within-problem variance is {self.within_variance}; expected above 0, at most 0.25")

    @classmethod
    def from_planning(
        cls,
        constants: PlanningConstants,
        *,
        n_samples: int,
        n_baseline_samples: int,
        tau: float = 0.0,
        mean: float | None = None,
    ) -> Design:
        """
        Plan with a benchmark's constants, until a stored baseline gives better ones.

        Args:
            constants: The benchmark's.
            n_samples: Candidate samples per problem.
            n_baseline_samples: Baseline samples per problem.
            tau: SD of the difference between two harnesses.
            mean: The baseline's pass@1 where it is known; W moves with it, at the constants' ratio to Bernoulli's.
        """
        floor = 1 / (constants.n_problems * max(1, n_samples + n_baseline_samples))
        at = constants.mean if mean is None else inside(mean, floor)
        scale = 1.0 if mean is None else at * (1 - at) / (constants.mean * (1 - constants.mean))
        return cls(
            n_problems=constants.n_problems,
            n_samples=n_samples,
            n_baseline_samples=n_baseline_samples,
            mean=at,
            within_variance=constants.within_variance * scale,
            within_variance_source=constants.source,
            tau=tau,
        )

    @classmethod
    def from_baseline(cls, baseline: Counts, *, n_samples: int, tau: float = 0.0) -> Design:
        """
        Plan with the variance of a stored baseline, one pseudo-discordant response added.

        Raises:
            ValueError: If the baseline has one sample per problem, which leave no variance to estimate.
        """
        correct, samples = arrays(baseline)
        k_b = harmonic_mean(samples)
        variance = within_variance(baseline) + 1 / (baseline.n_problems * k_b)
        return cls(
            n_problems=baseline.n_problems,
            n_samples=n_samples,
            n_baseline_samples=max(1, math.floor(k_b + 1e-9)),
            mean=inside(float((correct / samples).mean()), 1 / (baseline.n_problems * k_b + 1)),
            within_variance=min(variance, 0.25),
            within_variance_source="the stored baseline",
            tau=tau,
        )

    def standard_error(self, n_samples: int | None = None, *, drop: float = 0.0) -> float:
        """
        SD of the difference after all or `n_samples` samples per problem, if pass@1 fell by `drop`.

        A fall from near 1 spreads responses: the candidate's W moves with mu(1-mu). Where it would shrink,
        the W of the unchanged exam stays.
        """
        k = self.n_samples if n_samples is None else n_samples
        own, baselines = self._growth(drop) * self._variance / k, self._variance / self.n_baseline_samples
        return math.sqrt(own + baselines + self.tau**2)

    @property
    def mirrored(self) -> Design:
        """The same comparison with right and wrong exchanged: a rise of this one is a fall of that."""
        return replace(self, mean=1 - self.mean)

    def smallest_fall(self, deviations: float) -> float:
        """Return the fall, a fraction, that is `deviations` of its own standard errors large."""
        fixed = self._variance / self.n_baseline_samples + self.tau**2
        own = self._variance / self.n_samples
        return smallest_fall(deviations, own=own, at=self.mean, mean=self.mean, fixed=fixed)

    def unspread(self, drop: float) -> float:
        """Return the difference that is as many errors large on the unchanged exam as a fall is on the fallen one."""
        return drop * self.standard_error() / self.standard_error(drop=drop)

    def samples_for(self, drop: float, deviations: float) -> float:
        """Return the candidate samples per problem with which a fall is that many errors large; none at infinity."""
        allowed = (drop / deviations) ** 2 - self.tau**2 - self._variance / self.n_baseline_samples
        return self._growth(drop) * self._variance / allowed if allowed > 0 else math.inf

    @property
    def worst_z(self) -> float:
        """
        What z is expected of a candidate with every response wrong.

        A problem's pooled rate is then s = k_b/(k+k_b) of the baseline's. The mean of s p (1 - s p) is s mu - s^2 (mu -
        W).
        """
        k, k_b = self.n_samples, self.n_baseline_samples
        s = k_b / (k + k_b)
        variance = s * self.mean - s**2 * (self.mean - self.within_variance) + 1 / (self.n_problems * (k + k_b))
        return -self.mean / math.sqrt(variance / self.n_problems * (1 / k + 1 / k_b) + self.tau**2)

    @property
    def _variance(self) -> float:
        """Variance of pass@1 from one sample per problem."""
        return self.within_variance / self.n_problems

    def _growth(self, drop: float) -> float:
        at = min(max(self.mean - drop, 0.0), 1.0)
        return max(1.0, at * (1 - at) / (self.mean * (1 - self.mean)))


def smallest_fall(deviations: float, *, own: float, at: float, mean: float, fixed: float) -> float:
    """
    Return the fall, a fraction, that is a number of its own standard errors large.

    The candidate's variance moves with the fallen mean as mu(1-mu) does: on a saturated exam a fall
    spreads responses and hides itself. Where the variance would shrink, that of the unchanged exam stays.
    The result may be larger than `mean`: no fall is then so large.

    Args:
        deviations: Standard errors that decide, plus the normal quantile of the power.
        own: The candidate's variance in the difference, taken at a pass@1 of `at`.
        at: Above 0 and below 1.
        mean: The baseline's pass@1.
        fixed: The rest of the difference's variance: the baseline's and the harness's.
    """
    unmoved = deviations * math.sqrt(own + fixed)
    if deviations <= 0:
        return unmoved
    # d^2 = deviations^2 * (ratio * (mean - d) * (1 - mean + d) + fixed), solved for d.
    ratio, square = own / (at * (1 - at)), deviations**2
    a, b = 1 + square * ratio, square * ratio * (2 * mean - 1)
    c = square * (ratio * mean * (1 - mean) + fixed)
    return max(unmoved, (b + math.sqrt(b * b + 4 * a * c)) / (2 * a))


def minimum_detectable_effect(design: Design, *, sigmas: float = 3.0, power: float = 0.8) -> float:
    """
    Smallest fall of pass@1, a fraction, that the gate turns red for with the given power; above the mean none does.

    Raises:
        ValueError: If power is not inside (0, 1).
    """
    return design.smallest_fall(sigmas + _normal_quantile(power))


def samples_needed(design: Design, drop: float, *, sigmas: float = 3.0, power: float = 0.8) -> int | None:
    """
    Candidate samples per problem with which a fall by `drop` turns the gate red with the given power.

    The baseline and tau stay as they are, and set a floor: None says that no
    number of candidate samples suffices, or that pass@1 cannot fall so far.

    Raises:
        ValueError: If `drop` is not inside (0, 1], or power not inside (0, 1).
    """
    if not 0 < drop <= 1:
        raise ValueError(f"the drop is {drop}; expected a fraction above 0 and at most 1")
    needed = design.samples_for(drop, sigmas + _normal_quantile(power))
    return math.ceil(needed - 1e-9) if needed < math.inf and drop <= design.mean else None


def _normal_quantile(probability: float) -> float:
    if not 0 < probability < 1:
        raise ValueError(f"power is {probability}; expected a probability between 0 and 1")
    return float(ndtri(probability))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """
    How many responses of a run showed something, e.g. were cut off.

    Raises:
        ValueError: If the counts are impossible.
    """

    n_events: int
    n_responses: int

    def __post_init__(self) -> None:
        if not 0 <= self.n_events <= self.n_responses or self.n_responses < 1:
            raise ValueError(f"{self.n_events} of {self.n_responses} responses; expected a share of at least one")

    @property
    def value(self) -> float:
        """The rate, a fraction."""
        return self.n_events / self.n_responses


def rate_test(candidate: Rate, baseline: Rate, *, tau: float = 0.0) -> float:
    """
    One-sided p-value against a rise of a rate: Fisher's exact test on the totals.

    Totals ignore that problems differ, which can only overstate the variance.
    Harness noise is mixed in as in the exact test of pass@1.

    Args:
        candidate: The run to be judged.
        baseline: The run it is compared with.
        tau: SD of the difference between two harnesses, a fraction.
    """
    pair = PairedCounts(
        x=np.array([candidate.n_events], dtype=np.float64),
        k=np.array([candidate.n_responses], dtype=np.float64),
        y=np.array([baseline.n_events], dtype=np.float64),
        k_b=np.array([baseline.n_responses], dtype=np.float64),
    )
    return exact_p(pair, checked_tau(tau))[1]


def alpha_of(sigmas: float) -> float:
    """One-sided level of a gate at `sigmas`: P(Z > sigmas)."""
    return float(ndtr(-sigmas))


def sigmas_of(alpha: float) -> float:
    """
    Sigmas of a one-sided gate at level alpha.

    Raises:
        ValueError: If alpha is not inside (0, 1).
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; expected a probability between 0 and 1")
    return float(-ndtri(alpha))
