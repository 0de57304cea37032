"""
Samples where they tell most: how many of each problem a sequential gate draws, and what a look tests then.

Decisions. A problem's samples are fixed by the baseline's counts before the first token; nothing that the candidate
shows changes them, and every problem has a sample in every round. Problems that are always or never solved vary least
and get the fewest, as Neyman's allocation has it [1]_; never-solved ones cost most tokens. The share of a problem
follows its variance after a fall to .9 of its solve rate where that is larger. So a fall on problems that the baseline
always solved meets more than two samples each.

The allocation looks at the baseline's counts, and so does the test. Where a problem is unanimous by luck it gets few
samples *and* its plug-in variance is too small: the pooled variance alone has a type I error of .0018 on MATH-500. The
posterior variance is unbiased given the baseline's counts, which no selection by them can fool. A third variance is for
a candidate that fell on a problem of few samples while others rose. The largest of the three decides.

References:
    .. [1] J. Neyman, Journal of the Royal Statistical Society 97 (1934) 558.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pytest_r1eval.core.plans import in_hash_order
from pytest_r1eval.core.records import Counts
from pytest_r1eval.stats.pairs import Floats, PairedCounts, arrays, harmonic_mean
from pytest_r1eval.stats.tests import (
    Comparison,
    ZRange,
    bernoulli_range,
    inside,
    paired_comparison,
    pseudo_response,
)

LOOK_FRACTIONS = (1 / 16, 3 / 32, 1 / 8, 5 / 32, 3 / 16, 1 / 4, 5 / 16, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 1.0)
"""Parts of the whole at which a plan looks: dense early, where unchanged and broken models are told apart."""

BETA_POWER = 0.7
"""Beta is spent as information to this power: with these looks an unchanged AIME model costs .163 instead of .182."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationRule:
    """
    The constants of the allocation, hashed with every plan.

    Attributes:
        version: Of the formulas.
        fractions: Parts of the whole at which a plan may look.
        fall: Part of a solve rate whose loss a problem's samples are ready for.
        floor: The smallest share of a problem's samples, over the largest.
        beta_power: Power of the information as which beta is spent.
        n_steps: Steps of the search for the whole per doubling.
        smallest_gain: Information over that of the look before, from which a look is kept.
        dispersion: Bounds of W over mu(1-mu), from which the prior is made.
    """

    version: int = 1
    fractions: tuple[float, ...] = LOOK_FRACTIONS
    fall: float = 0.1
    floor: float = 0.15
    beta_power: float = BETA_POWER
    n_steps: int = 64
    smallest_gain: float = 1.01
    dispersion: tuple[float, float] = (0.02, 0.95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """The Beta distribution of an exam's solve rates: `a` pseudo-responses are right, `b` wrong."""

    a: float
    b: float

    @classmethod
    def of(cls, baseline: Counts, *, rule: AllocationRule) -> Prior:
        """
        Fit the mean and the spread of a baseline with two samples or more of every problem.

        Args:
            baseline: Its counts.
            rule: The allocation's constants.
        """
        y, k_b = arrays(baseline)
        pseudo, rates = 1 / (len(y) * harmonic_mean(k_b)), y / k_b
        mean = inside(float(rates.mean()), pseudo)
        within = float((rates * (1 - rates) * k_b / (k_b - 1)).mean()) + pseudo
        least, most = rule.dispersion
        dispersion = min(max(within / (mean * (1 - mean)), least), most)
        size = dispersion / (1 - dispersion)
        return cls(a=mean * size, b=(1 - mean) * size)

    def rates(self, correct: Floats, samples: Floats) -> Floats:
        """Posterior means of solve rates."""
        return np.asarray((self.a + correct) / (self.a + self.b + samples), dtype=np.float64)

    def variances(self, correct: Floats, samples: Floats) -> Floats:
        """Posterior means of p(1-p)."""
        rates = self.rates(correct, samples)
        return rates * (1 - rates) * self.kept(samples)

    def kept(self, samples: Floats) -> Floats:
        """Return what is left of p(1-p) at the posterior mean when its own spread is taken off."""
        size = self.a + self.b + samples
        return np.asarray(size / (size + 1), dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """
    How many samples of each problem are drawn up to each look.

    Attributes:
        rule: The constants that it follows.
        prior: The Beta prior of this exam, which the looks' test needs too.
        size: Steps of `rule.n_steps` per doubling that the whole is larger than the fixed design.
        problem_ids: The problems, in the exam's order.
        rounds: Samples of each problem at each look, in that order; shape (n_looks, n_problems).
        information: Inverse variance of the difference at each look, if nothing changed; shape (n_looks,).

    Raises:
        ValueError: If there are not as many rounds as values of information, or samples of other problems.
    """

    rule: AllocationRule
    prior: Prior
    size: int
    problem_ids: tuple[str, ...]
    rounds: tuple[tuple[int, ...], ...]
    information: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.rounds or len(self.rounds) != len(self.information):
            raise ValueError(
                f"{len(self.rounds)} rounds, and the information of {len(self.information)}; expected as many"
            )
        if any(len(samples) != len(self.problem_ids) for samples in self.rounds):
            raise ValueError(f"expected samples of {len(self.problem_ids)} problems in every round")


class Shares:
    """
    What a baseline makes of an exam's problems; shapes (n_problems,).

    Args:
        baseline: Its counts, in the exam's order.
        rule: The allocation's constants.
        tau: SD of the difference between two harnesses, a fraction.
    """

    def __init__(self, baseline: Counts, *, rule: AllocationRule, tau: float) -> None:
        self.rule = rule
        self.prior = Prior.of(baseline, rule=rule)
        self._tau = tau
        self._problem_ids = baseline.ids
        y, self._k_b = arrays(baseline)
        self.variances = self.prior.variances(y, self._k_b)
        rates, left = self.prior.rates(y, self._k_b), 1 - rule.fall
        after_fall = left * rates - left**2 * (rates - self.variances)
        self.after_fall = np.maximum(self.variances, after_fall)
        spreads = np.sqrt(self.after_fall)
        self.shares = np.maximum(spreads / spreads.max(), rule.floor)
        self._offsets = offsets(baseline.ids)

    def information(self, samples: Floats | int) -> float:
        """Return the inverse variance of the difference after so many samples of each problem, if nothing changed."""
        variance = float((self.variances * (1 / samples + 1 / self._k_b)).sum()) / len(self.variances) ** 2
        return 1 / (variance + self._tau**2)

    def allocation(self, n_samples: int, size: int) -> Allocation:
        """
        Allocate a whole of `size` steps more than `n_samples` samples of the problem with the largest share.

        A look that adds less than a hundredth of information is left out; the last one takes the place of the look
        before it then.
        """
        whole = n_samples * 2 ** (size / self.rule.n_steps)
        rounds: list[Floats] = []
        information: list[float] = []
        for fraction in self.rule.fractions:
            samples = np.maximum(1.0, np.floor(fraction * whole * self.shares + self._offsets))
            found = self.information(samples)
            if information and found <= self.rule.smallest_gain * information[-1]:
                if fraction == self.rule.fractions[-1]:
                    rounds[-1], information[-1] = samples, found
                continue
            rounds.append(samples)
            information.append(found)
        return Allocation(
            rule=self.rule,
            prior=self.prior,
            size=size,
            problem_ids=self._problem_ids,
            rounds=tuple(tuple(int(k) for k in samples) for samples in rounds),
            information=tuple(information),
        )


def offsets(problem_ids: Sequence[str]) -> Floats:
    """Return what decides whether a problem's part of a sample becomes one: evenly spread, in the order of hashes."""
    places = {id_: place for place, id_ in enumerate(in_hash_order(problem_ids))}
    return (np.array([places[id_] for id_ in problem_ids]) + 0.5) / len(problem_ids)


def allocated_test(candidate: Counts, baseline: Counts, *, prior: Prior, tau: float = 0.0) -> Comparison:
    """
    Test whether two runs have the same pass@1, where the baseline decided how many samples the candidate has.

    Normal theory decides, never the exact test: it is exact only if the numbers of samples did not depend on the
    baseline's counts.

    Args:
        candidate: The run to be judged.
        baseline: The run that its samples were allocated by, in any order of problems.
        prior: The exam's, as it was planned with.
        tau: SD of the difference between two harnesses, a fraction.

    Raises:
        ValueError: If the two runs sat different problems.
    """
    pair = PairedCounts.of(candidate, baseline)
    return paired_comparison(pair, float(allocated_variances(pair, pair, prior=prior)[0]), tau=tau, exact=False)


def allocated_z(pair: PairedCounts, *, prior: Prior, tau: float = 0.0) -> Floats:
    """Return z of one pair of runs, or of many at once: counts of shape (n_problems,) or (n_runs, n_problems)."""
    difference = (pair.x / pair.k).mean(axis=-1) - (pair.y / pair.k_b).mean(axis=-1)
    variance, _ = allocated_variances(pair, pair, prior=prior)
    return np.asarray(difference / np.sqrt(variance + tau**2), dtype=np.float64)


def allocated_variances(worst: PairedCounts, best: PairedCounts, *, prior: Prior) -> tuple[Floats, Floats]:
    """
    Bound the sampling variance of the difference over all completions of a run; equal bounds for a complete one.

    Each of the three variances is bounded problem by problem, and the largest decides.

    Args:
        worst: The counts if every pending sample is wrong.
        best: The counts if every pending sample is right.
        prior: The exam's.
    """
    k, k_b, n_problems = worst.k, worst.k_b, worst.x.shape[-1]
    m, per_sample = k + k_b, 1 / k + 1 / k_b
    totals = worst.x + worst.y, best.x + best.y
    pooled = [total / m for total in totals]
    own = [(pair.x + rate) / (k + 1) for pair, rate in zip((worst, best), pooled, strict=True)]
    theirs = [(pair.y + rate) / (k_b + 1) for pair, rate in zip((worst, best), pooled, strict=True)]
    shrunk = [prior.rates(total, m) for total in totals]
    bounds = [
        (each_pooled * m / (m - 1) * per_sample, each_shrunk * prior.kept(m) * per_sample, apart)
        for each_pooled, each_shrunk, apart in zip(
            bernoulli_range(pooled[0], pooled[1]),
            bernoulli_range(shrunk[0], shrunk[1]),
            (
                each_own * (k + 1) / k**2 + each_theirs / k_b
                for each_own, each_theirs in zip(
                    bernoulli_range(own[0], own[1]), bernoulli_range(theirs[0], theirs[1]), strict=True
                )
            ),
            strict=True,
        )
    ]
    least, most = (
        np.max([terms.sum(axis=-1) for terms in three], axis=0) / n_problems**2 + pseudo_response(k, k_b)
        for three in bounds
    )
    return np.asarray(least, dtype=np.float64), np.asarray(most, dtype=np.float64)


def allocated_z_range(lowest: Counts, highest: Counts, baseline: Counts, *, prior: Prior, tau: float = 0.0) -> ZRange:
    """
    Bound the z of `allocated_test` over all completions of a run.

    Args:
        lowest: The counts if every pending sample is wrong.
        highest: The counts if every pending sample is right.
        baseline: The run that it is compared with.
        prior: The exam's, as it was planned with.
        tau: SD of the difference between two harnesses, a fraction.
    """
    worst, best = PairedCounts.of(lowest, baseline), PairedCounts.of(highest, baseline)
    least, most = allocated_variances(worst, best, prior=prior)
    return ZRange.of((worst.difference, best.difference), (float(least) + tau**2, float(most) + tau**2))
