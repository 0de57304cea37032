"""
Two runs on the same problems, and the exact distribution of what one of them gets right.

Given how many responses to a problem are right in both runs together, those of the candidate are hypergeometric if
nothing changed. The candidate's mean is compared with its exact distribution, whatever its shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, ndtr

from pytest_r1eval.core.records import Counts

Floats = NDArray[np.float64]

MAX_SKEWNESS_FOR_NORMAL = 0.03
"""Above this the exact distribution decides: at 3 sigma the first Edgeworth term adds 4.4 * skewness to alpha, 13 %."""

LATTICE = 64
"""Steps of the smallest weight where problems weigh differently: weights are rounded by less than .8 %."""


def arrays(counts: Counts) -> tuple[Floats, Floats]:
    """Correct and drawn samples of each problem; shapes (n_problems,)."""
    return (
        np.array([problem.n_correct for problem in counts.problems], dtype=np.float64),
        np.array([problem.n_samples for problem in counts.problems], dtype=np.float64),
    )


def harmonic_mean(samples: Floats) -> float:
    """Return the harmonic mean over problems."""
    return float(1 / (1 / samples).mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedCounts:
    """
    Two runs, problem by problem in the candidate's order; all shapes (n_problems,).

    Attributes:
        x: The candidate's correct samples.
        k: The candidate's samples.
        y: The baseline's correct samples.
        k_b: The baseline's samples.
    """

    x: Floats
    k: Floats
    y: Floats
    k_b: Floats

    @classmethod
    def of(cls, candidate: Counts, baseline: Counts) -> PairedCounts:
        """
        Match two runs by problem id.

        Raises:
            ValueError: If the two runs sat different problems.
        """
        demand_same_problems(candidate, baseline)
        by_id = {problem.problem_id: problem for problem in baseline.problems}
        aligned = Counts(problems=tuple(by_id[id_] for id_ in candidate.ids))
        (x, k), (y, k_b) = arrays(candidate), arrays(aligned)
        return cls(x=x, k=k, y=y, k_b=k_b)

    @property
    def difference(self) -> float:
        """Candidate's pass@1 minus the baseline's."""
        return float((self.x / self.k).mean() - (self.y / self.k_b).mean())


def all_wrong(counts: Counts) -> Counts:
    """Return the same samples with every response wrong: the worst that a candidate can be."""
    return Counts.from_rows((problem.problem_id, 0, problem.n_samples) for problem in counts.problems)


def demand_same_problems(candidate: Counts, baseline: Counts) -> None:
    """
    Refuse two runs that sat different problems.

    Raises:
        ValueError: If they did.
    """
    ours, theirs = set(candidate.ids), set(baseline.ids)
    if ours != theirs:
        raise ValueError(
            f"{len(ours - theirs)} problems are missing from the baseline and {len(theirs - ours)} from the candidate; "
            f"expected the same {len(theirs)} problems"
        )


def checked_tau(tau: float) -> float:
    """
    Return harness noise that can be added to an error.

    Raises:
        ValueError: If it is negative or not finite.
    """
    if not 0 <= tau < math.inf:
        raise ValueError(f"tau is {tau}; expected a finite fraction of 0 or more")
    return tau


def null_pmf(pair: PairedCounts) -> Floats:
    """P(candidate has x correct | the two runs' total), one hypergeometric row per problem; shape (n, max k + 1)."""
    grid = np.arange(pair.k.max() + 1)
    k, t, m = pair.k[:, None], (pair.x + pair.y)[:, None], (pair.k + pair.k_b)[:, None]
    possible = (grid >= np.maximum(0, k - (m - t))) & (grid <= np.minimum(k, t))
    x = np.clip(grid, np.maximum(0, k - (m - t)), np.minimum(k, t))
    logs = log_choose(t, x) + log_choose(m - t, k - x) - log_choose(m, k)
    pmf = np.where(possible, np.exp(logs), 0.0)
    return np.asarray(pmf / pmf.sum(axis=1, keepdims=True), dtype=np.float64)


def log_choose(n: Floats | int, k: Floats) -> Floats:
    """Logarithm of the binomial coefficient, elementwise."""
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1), dtype=np.float64)


def is_skewed(pair: PairedCounts) -> bool:
    """Whether normal tails would misstate alpha for the candidate's mean, given the two runs' totals."""
    pmf, weights = null_pmf(pair), _weights(pair)
    grid = np.arange(pmf.shape[1])
    centred = grid - (pmf @ grid)[:, None]
    variance = float(weights**2 @ (pmf * centred**2).sum(axis=1))
    third = float(weights**3 @ (pmf * centred**3).sum(axis=1))
    return variance > 0 and abs(third) > MAX_SKEWNESS_FOR_NORMAL * variance**1.5


def exact_p(pair: PairedCounts, tau: float) -> tuple[float, float]:
    """
    One-sided p-values against a fall and a rise, given every problem's total over the two runs.

    The candidate's weighted total is compared with its exact distribution, the convolution
    of one hypergeometric per problem (an exact Cochran-Mantel-Haenszel test [1]_).
    Harness noise, where there is any, is mixed in as a normal deviate; half a
    step is added, so that the limit tau -> 0 counts the observed total in full.

    References:
        .. [1] A. Agresti, "Categorical Data Analysis", 2nd ed. (2002), section 6.3.
    """
    return tails(pair, null_pmf(pair), tau)


def tails(pair: PairedCounts, pmf: Floats, tau: float) -> tuple[float, float]:
    """
    Probability of the candidate's weighted total or a lower one, and of it or a higher one.

    Args:
        pair: The two runs.
        pmf: P(candidate has x correct) of each problem; shape (n, max k + 1).
        tau: Harness noise, a fraction.
    """
    weights, total = lattice(pair), np.ones(1)
    for row, weight in zip(pmf, weights.tolist(), strict=True):
        total = _added(total, np.trim_zeros(row, "b"), weight)
    totals = np.arange(len(total))
    observed = float(weights @ pair.x)
    if tau == 0:
        regressed, improved = total[totals <= observed].sum(), total[totals >= observed].sum()
    else:
        step = float(_weights(pair).sum() / weights.sum()) / len(pair.x)
        regressed = total @ ndtr((observed + 0.5 - totals) * step / tau)
        improved = total @ ndtr((totals + 0.5 - observed) * step / tau)
    return min(1.0, float(regressed)), min(1.0, float(improved))


def lattice(pair: PairedCounts) -> NDArray[np.int64]:
    """
    Return whole weights of the problems' correct samples: 1 each where all have equally many samples.

    A correct sample adds 1/k + 1/k_b to n times the difference, given a problem's total. Any whole weights give a valid
    test, so rounding costs a little power and no alpha.
    """
    weights = _weights(pair)
    rounded = np.floor(math.ceil(LATTICE / weights.min()) * weights + 0.5).astype(np.int64)
    return np.asarray(rounded // np.gcd.reduce(rounded))


def _weights(pair: PairedCounts) -> Floats:
    return np.asarray(1 / pair.k + 1 / pair.k_b, dtype=np.float64)


def _added(total: Floats, row: Floats, weight: int) -> Floats:
    """Convolve a distribution with that of one problem, whose correct samples count so much each."""
    if weight == 1:
        return np.asarray(np.convolve(total, row), dtype=np.float64)
    added = np.zeros(len(total) + weight * (len(row) - 1))
    for correct in np.flatnonzero(row).tolist():
        added[weight * correct : weight * correct + len(total)] += row[correct] * total
    return added
