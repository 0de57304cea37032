"""
Several runs of one checkpoint as one number.

Decisions. Runs under one fingerprint with distinct seeds are one longer run: their counts are added. Runs under
different fingerprints differ by harness noise too, so they are pooled with that noise estimated. A Q far too large is
reported: the harness matters. So is a Q far too small: the runs were not independent.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtr, chdtrc

from pytest_r1eval.core.records import Counts
from pytest_r1eval.stats.pairs import Floats, demand_same_problems
from pytest_r1eval.stats.roots import root
from pytest_r1eval.stats.tests import Estimate

DISAGREE = 0.001
"""Below this p of Cochran's Q, runs that ought to be alike are not: sampling does not explain their distance."""


def added_counts(runs: Sequence[Counts]) -> Counts:
    """
    Add the counts of runs of one checkpoint under one fingerprint with distinct seeds.

    Raises:
        ValueError: If there is no run, or the runs sat different problems.
    """
    if not runs:
        raise ValueError("no runs to add; expected at least one")
    for run in runs[1:]:
        demand_same_problems(run, runs[0])
    totals = dict.fromkeys(runs[0].ids, (0, 0))
    for problem in (problem for run in runs for problem in run.problems):
        correct, samples = totals[problem.problem_id]
        totals[problem.problem_id] = (correct + problem.n_correct, samples + problem.n_samples)
    return Counts.from_mapping(totals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooled:
    """
    Several runs under different fingerprints, as one number; fractions.

    Attributes:
        mean: Weighted mean of the runs' pass@1.
        standard_error: Its error, between-run noise included.
        tau: Between-run SD by Paule and Mandel.
        cochran_q: Weighted sum of squared deviations from the mean without tau.
        p_different: Probability of so large a Q from sampling alone.
        p_alike: Probability of so small a Q; a tiny one means reused seeds.
    """

    mean: float
    standard_error: float
    tau: float
    cochran_q: float
    p_different: float
    p_alike: float


def pooled(estimates: Collection[Estimate]) -> Pooled:
    """
    Pool runs by inverse variance, with the noise between them estimated [1]_.

    Raises:
        ValueError: If there are fewer than two runs.

    References:
        .. [1] R. C. Paule and J. Mandel, J. Res. NBS 87 (1982) 377.
    """
    if len(estimates) < 2:
        raise ValueError(f"{len(estimates)} runs to pool; expected at least two")
    means = np.array([estimate.mean for estimate in estimates])
    variances = np.array([estimate.standard_error**2 for estimate in estimates])
    q = cochran_q(means, variances)
    tau = paule_mandel_tau(means, variances)
    weights = 1 / (variances + tau**2)
    return Pooled(
        mean=float(weights @ means / weights.sum()),
        standard_error=float(weights.sum()) ** -0.5,
        tau=tau,
        cochran_q=q,
        p_different=float(chdtrc(len(means) - 1, q)),
        p_alike=float(chdtr(len(means) - 1, q)),
    )


def cochran_q(effects: Floats, variances: Floats, *, mean: float | None = None, tau: float = 0.0) -> float:
    """
    Weighted sum of squared deviations, chi-square if sampling (and tau) were all.

    Args:
        effects: One effect per run; shape (n_runs,), any unit.
        variances: Their sampling variances, above zero; the unit squared.
        mean: The common effect if it is known; otherwise the weighted mean.
        tau: Between-run SD to be added, in the effects' unit.
    """
    weights = 1 / (variances + tau**2)
    centre = float(weights @ effects / weights.sum()) if mean is None else mean
    return float(weights @ (effects - centre) ** 2)


def paule_mandel_tau(effects: Floats, variances: Floats, *, mean: float | None = None) -> float:
    """
    Between-run SD with which Cochran's Q equals its expectation; zero where sampling explains everything.

    Args:
        effects: One effect per run; shape (n_runs,), any unit.
        variances: Their sampling variances, above zero; the unit squared.
        mean: The common effect if it is known, which saves its degree of freedom.

    Raises:
        ValueError: If there are too few effects.
    """
    expected = len(effects) - (mean is None)
    if expected < 1:
        raise ValueError(f"{len(effects)} effects leave no spread to estimate tau from; expected one more")

    def excess(tau: float) -> float:
        return cochran_q(effects, variances, mean=mean, tau=tau) - expected

    if excess(0.0) <= 0:
        return 0.0
    largest = float(np.abs(effects - (effects.mean() if mean is None else mean)).max()) * math.sqrt(len(effects))
    return root(excess, 0.0, 2 * largest, xtol=1e-12 * largest)
