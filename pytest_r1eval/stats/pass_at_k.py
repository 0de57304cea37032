"""
pass@k and maj@k from the samples of one run: reported beside pass@1, never a gate.

Both are means over the problems of a fixed exam, so their errors are those of another run on the same problems, as in
`stats.tests`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pytest_r1eval.core.records import Counts, ProblemCounts, Votes

N_RESAMPLES = 500
"""Bootstrap resamples behind maj@k's error: the error itself is then off by 3 % (1 / sqrt(2 * 500))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AtK:
    """
    A score over k samples of each problem; fractions.

    Attributes:
        k: Samples of each problem.
        mean: Mean over problems.
        standard_error: Its error on these problems.
    """

    k: int
    mean: float
    standard_error: float


def pass_at_k(counts: Counts, *, k: int) -> AtK:
    """
    Estimate pass@k: how often at least one of k responses is correct.

    The estimator is unbiased [1]_; its variance is the jackknife's [2]_, which for k = 1 is p(1-p)/(n-1).

    Args:
        counts: Correct samples of each problem.
        k: Responses, at least 1.

    Raises:
        ValueError: If a problem has fewer than k samples.

    References:
        .. [1] M. Chen et al., "Evaluating Large Language Models Trained on Code", arXiv:2107.03374, section 2.1.
        .. [2] B. Efron, C. Stein, "The Jackknife Estimate of Variance", Ann. Statist. 9 (1981), 586-596.
    """
    fewest = min(problem.n_samples for problem in counts.problems)
    if not 1 <= k <= fewest:
        raise ValueError(f"pass@{k} needs {k} samples of each problem, and k at least 1; one has {fewest}")
    mean = math.fsum(_at_least_one(p.n_samples, p.n_correct, k) for p in counts.problems) / counts.n_problems
    variance = math.fsum(_jackknife(problem, k) for problem in counts.problems) / counts.n_problems**2
    return AtK(k=k, mean=mean, standard_error=math.sqrt(variance))


def _at_least_one(n: int, c: int, k: int) -> float:
    return 1 - math.comb(n - c, k) / math.comb(n, k)


def _jackknife(problem: ProblemCounts, k: int) -> float:
    """Estimate the variance of one problem's pass@k; where all samples are needed it is the plug-in p(1-p)."""
    n, c = problem.n_samples, problem.n_correct
    if k == n:  # one sample fewer leaves no estimate: the event is "any correct", as likely as 1 - (1-p)^k
        any_correct = 1 - (1 - c / n) ** k
        return any_correct * (1 - any_correct)
    without_correct = _at_least_one(n - 1, c - 1, k) if c else 0.0
    without_wrong = _at_least_one(n - 1, c, k) if c < n else 1.0
    mean = (c * without_correct + (n - c) * without_wrong) / n
    spread = c * (without_correct - mean) ** 2 + (n - c) * (without_wrong - mean) ** 2
    return spread * (n - 1) / n


def shown_ks(n_samples: int) -> tuple[int, ...]:
    """Return the k worth showing beside pass@1: powers of two below the number of samples, and at most half of it."""
    return tuple(2**power for power in range(1, n_samples.bit_length()) if 2 ** (power + 1) <= n_samples)


def maj_at_k(votes: Sequence[Votes], *, seed: int = 0) -> AtK:
    """
    Estimate maj@k: how often the most frequent answer of a problem's k responses is the right one [1]_.

    All responses vote; a tie counts as the chance of drawing the right answer among those tied. The error is the
    bootstrap's over the responses of each problem.

    Args:
        votes: Of each problem; k is the fewest responses that one has.
        seed: Of the bootstrap.

    Raises:
        ValueError: If there is no problem.

    References:
        .. [1] X. Wang et al., "Self-Consistency Improves Chain of Thought Reasoning", arXiv:2203.11171.
    """
    if not votes:
        raise ValueError("no problems: maj@k of an empty exam does not exist")
    mean = math.fsum(_majority(np.array([[vote.n_correct, *vote.wrong]]))[0] for vote in votes) / len(votes)
    rng = np.random.default_rng(seed)
    totals = np.zeros(N_RESAMPLES)
    for vote in votes:
        ballots = np.array([vote.n_correct, *vote.wrong, vote.n_abstained])
        drawn = rng.multinomial(vote.n_responses, ballots / vote.n_responses, size=N_RESAMPLES)
        totals += _majority(drawn[:, :-1])
    error = float((totals / len(votes)).std(ddof=1))
    return AtK(k=min(vote.n_responses for vote in votes), mean=mean, standard_error=error)


def _majority(ballots: np.ndarray) -> np.ndarray:
    """Return for each row whether its first column has the most votes; shape (n_rows,), ties shared, none is wrong."""
    most = ballots.max(axis=1)
    n_tied = (ballots == most[:, None]).sum(axis=1)
    return np.where((ballots[:, 0] == most) & (most > 0), 1 / n_tied, 0.0)
