"""
Many tests at once: problem by problem, and benchmark by benchmark.

Decisions. Single problems explain a verdict and never make one. So their list controls the fraction of chance in it,
not the chance of any. It reports its power: with four samples per problem an empty list means nothing. Gates decide, so
they control the chance of any false alarm.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import gammaincc

from pytest_r1eval.core.records import Counts, ProblemCounts
from pytest_r1eval.stats.pairs import PairedCounts, log_choose, null_pmf


def benjamini_hochberg(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjust p-values so that those at most q form a list with false discovery rate q; same order."""
    n = len(p_values)
    order = np.argsort(p_values, kind="stable")
    scaled = np.asarray(p_values, dtype=np.float64)[order] * n / np.arange(1, n + 1)
    adjusted = np.empty(n)
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    return tuple(adjusted.tolist())


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """
    Adjust p-values so that those at most alpha have family-wise error alpha [1]_; same order.

    References:
        .. [1] S. Holm, Scand. J. Statist. 6 (1979) 65.
    """
    n = len(p_values)
    order = np.argsort(p_values, kind="stable")
    scaled = np.asarray(p_values, dtype=np.float64)[order] * np.arange(n, 0, -1)
    adjusted = np.empty(n)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return tuple(adjusted.tolist())


def family_wise_error(alpha: float, n_tests: int) -> float:
    """Probability of at least one false alarm among independent tests at level alpha each."""
    return 1 - (1 - alpha) ** n_tests


@dataclass(frozen=True, slots=True, kw_only=True)
class FallenProblem:
    """One problem that the candidate solves less often than the baseline, beyond chance."""

    candidate: ProblemCounts
    baseline: ProblemCounts
    p_value: float
    adjusted_p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FallenProblems:
    """
    The problems that fell, and how likely such a list is to name one that did.

    Attributes:
        problems: Most significant first.
        false_discovery_rate: The share of the list allowed to be chance, a fraction.
        power: Probability that a problem falling from always to `power_for_rate` is listed, alone among the others.
        power_for_rate: The solve rate that the power is for, a fraction.
    """

    problems: tuple[FallenProblem, ...]
    false_discovery_rate: float
    power: float
    power_for_rate: float


def fallen_problems(candidate: Counts, baseline: Counts, *, false_discovery_rate: float = 0.05) -> FallenProblems:
    """
    List the problems whose solve rate fell: one-sided Fisher tests under Benjamini-Hochberg [1]_.

    An empty list says little where its power is small, so the power is returned with it.

    Raises:
        ValueError: If the two runs sat different problems.

    References:
        .. [1] Y. Benjamini and Y. Hochberg, J. R. Statist. Soc. B 57 (1995) 289.
    """
    pair = PairedCounts.of(candidate, baseline)
    pmf = null_pmf(pair)
    p_values = np.minimum(1.0, (pmf * (np.arange(pmf.shape[1]) <= pair.x[:, None])).sum(axis=1))
    adjusted = benjamini_hochberg(p_values.tolist())
    by_id = {problem.problem_id: problem for problem in baseline.problems}
    rows = sorted(zip(p_values.tolist(), adjusted, candidate.problems, strict=True), key=lambda row: row[:2])
    return FallenProblems(
        problems=tuple(
            FallenProblem(candidate=ours, baseline=by_id[ours.problem_id], p_value=p, adjusted_p_value=q)
            for p, q, ours in rows
            if q <= false_discovery_rate
        ),
        false_discovery_rate=false_discovery_rate,
        power=fall_power(
            n_problems=candidate.n_problems,
            n_samples=int(pair.k.min()),
            n_baseline_samples=int(pair.k_b.min()),
            rate=0.4,
            false_discovery_rate=false_discovery_rate,
        ),
        power_for_rate=0.4,
    )


def fall_power(
    *, n_problems: int, n_samples: int, n_baseline_samples: int, rate: float, false_discovery_rate: float = 0.05
) -> float:
    """
    Probability of listing the one problem that fell from always solved to solved at `rate`.

    One fall among many problems must pass Benjamini-Hochberg's first threshold,
    the rate divided by the number of problems.

    Args:
        n_problems: Problems in the exam.
        n_samples: Candidate samples of the problem.
        n_baseline_samples: Baseline samples of the problem, all correct.
        rate: The candidate's solve rate, a fraction.
        false_discovery_rate: The level of the list.
    """
    correct = np.arange(n_samples + 1, dtype=np.float64)
    chance = np.exp(log_choose(n_samples, correct)) * rate**correct
    chance = chance * (1 - rate) ** (n_samples - correct)
    pair = PairedCounts(
        x=correct,
        k=np.full_like(correct, n_samples),
        y=np.full_like(correct, n_baseline_samples),
        k_b=np.full_like(correct, n_baseline_samples),
    )
    pmf = null_pmf(pair)
    p_values = (pmf * (np.arange(pmf.shape[1]) <= correct[:, None])).sum(axis=1)
    return min(1.0, float(chance[p_values <= false_discovery_rate / n_problems].sum()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rearrangement:
    """
    Whether two runs solve different problems, whatever their means.

    Attributes:
        statistic: Sum over informative problems of the squared standardised difference.
        expected: Its mean if nothing changed: the number of informative problems.
        standard_deviation: Its SD if nothing changed.
        p_value: Probability of a statistic at least so large if nothing changed.
        n_informative: Problems that at least one run solved and at least one failed.
    """

    statistic: float
    expected: float
    standard_deviation: float
    p_value: float
    n_informative: int


def rearrangement(candidate: Counts, baseline: Counts) -> Rearrangement:
    """
    Diagnose "same mean, different model" from the per-problem discordance.

    Each informative problem contributes its squared difference over the exact
    conditional variance. Mean and variance of the sum are exact too; its tail is
    that of the gamma distribution with these two moments.

    Raises:
        ValueError: If the two runs sat different problems.
    """
    pair = PairedCounts.of(candidate, baseline)
    pmf = null_pmf(pair)
    grid = np.arange(pmf.shape[1])
    centred = grid - (pmf @ grid)[:, None]
    variance = (pmf * centred**2).sum(axis=1)
    total = pair.x + pair.y
    informative = (total > 0) & (total < pair.k + pair.k_b)
    fourth = (pmf * centred**4).sum(axis=1)[informative] / variance[informative] ** 2
    observed = pair.x - pmf @ grid
    statistic = float((observed[informative] ** 2 / variance[informative]).sum())
    expected, spread = float(informative.sum()), float((fourth - 1).sum())
    # Where k = 1 on both sides every outcome gives the same statistic: nothing can be diagnosed.
    testable = spread > 1e-9
    return Rearrangement(
        statistic=statistic,
        expected=expected,
        standard_deviation=math.sqrt(spread) if testable else 0.0,
        p_value=float(gammaincc(expected**2 / spread, statistic * expected / spread)) if testable else 1.0,
        n_informative=int(informative.sum()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OverDispersion:
    """
    How much further apart runs of one checkpoint are, problem by problem, than their samples explain.

    Attributes:
        factor: What the variance within problems is multiplied by, 1 + (k - 1) rho; 1 where sampling explains all.
        correlation: rho, the intra-class correlation of a run's samples of one problem, at most 1.
        p_value: Probability that sampling alone moves the problems of some pair of runs so far apart.
        samples_per_problem: k, the harmonic mean over runs and problems.
        n_informative: Problems, over all pairs of runs, that can tell.
    """

    factor: float
    correlation: float
    p_value: float
    samples_per_problem: float
    n_informative: int


def over_dispersion(runs: Sequence[Counts]) -> OverDispersion | None:
    """
    Estimate over-dispersion from runs of one checkpoint under one fingerprint with distinct seeds.

    Solve rates that move from run to run leave the mean nearly where it was and the problems further apart. So the
    squared differences of each pair of runs, over their exact conditional variances, exceed their number by that
    factor. One run cannot see it, and one sample per problem shows nothing of it.

    Args:
        runs: Two or more, on the same problems.

    Returns:
        The estimate; None where no problem can tell.

    Raises:
        ValueError: If two runs sat different problems.
    """
    pairs = [rearrangement(one, other) for one, other in combinations(runs, 2)]
    n_informative = sum(pair.n_informative for pair in pairs)
    sizes = [problem.n_samples for run in runs for problem in run.problems]
    k = len(sizes) / sum(1 / size for size in sizes) if sizes else 0.0
    if not n_informative or k <= 1:
        return None
    factor = max(1.0, sum(pair.statistic for pair in pairs) / sum(pair.expected for pair in pairs))
    return OverDispersion(
        factor=factor,
        correlation=min(1.0, (factor - 1) / (k - 1)),
        p_value=min(1.0, len(pairs) * min(pair.p_value for pair in pairs)),
        samples_per_problem=k,
        n_informative=n_informative,
    )
