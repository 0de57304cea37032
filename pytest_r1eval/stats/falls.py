"""
Which fall a comparison with a baseline's counts catches, where normal theory promises too much.

Decisions. A fall is printed beside each PASS as one that would have been caught, so it may not be smaller than the
truth. The normal approximation is wrong in two places. Of few responses the exact test decides, which moves in steps:
ten problems drawn once are red if all ten fall, not if seven do. And runs without spread, as greedy ones that answer
alike, have almost no variance; a fall brings its own, because each response that flips is one of chance.
"""

from bisect import bisect_left

import numpy as np
from scipy.special import ndtr, ndtri

from pytest_r1eval.core.records import Counts
from pytest_r1eval.stats.pairs import Floats, PairedCounts, all_wrong, log_choose
from pytest_r1eval.stats.roots import root
from pytest_r1eval.stats.tests import (
    MIN_RESPONSES_FOR_NORMAL,
    paired_test,
    pass_at_1,
    sigmas_of,
)


def caught_fall(  # noqa: PLR0913  two sides, what decides between them, and what normal theory says
    run: Counts, baseline: Counts, *, normal: float | None, alpha: float, tau: float, power: float = 0.8
) -> float | None:
    """
    Return the fall of pass@1, a fraction, that the paired test catches; None where not even a fall to 0 is.

    Args:
        run: Any run of the design; only its problems and numbers of samples matter.
        baseline: What it is compared with, on the same problems.
        normal: The fall by normal theory; None for none.
        alpha: Level of the gate.
        tau: Harness noise, a fraction.
        power: With which it is caught.
    """
    if run.n_samples < MIN_RESPONSES_FOR_NORMAL:
        exact = _exact_fall(run, baseline, alpha=alpha, tau=tau, power=power)
        return exact if exact is None or normal is None else max(exact, normal)
    # m flips among n k responses, spread out, are m / (n k) points and m / (n^2 k k_b) of variance.
    least = (sigmas_of(alpha) + float(ndtri(power))) ** 2 / baseline.n_samples
    fall = None if normal is None else max(normal, least)
    return fall if fall is not None and fall <= pass_at_1(baseline).mean else None


def _exact_fall(run: Counts, baseline: Counts, *, alpha: float, tau: float, power: float) -> float | None:
    """Return the fall that the exact test catches; every solve rate falls by the same part of itself."""
    pair = PairedCounts.of(all_wrong(run), baseline)
    rates = pair.y / pair.k_b
    mean, expected = float(rates.mean()), pair.k * rates

    def is_red(total: int) -> bool:
        rows = zip(run.ids, _shared_out(total, expected).tolist(), pair.k.astype(int).tolist(), strict=True)
        return paired_test(Counts.from_rows(rows), baseline, tau=tau).p_regressed <= alpha

    # A response more never makes a run redder, so the red totals are those below the first that is not red.
    n_red = bisect_left(range(int(expected.sum()) + 1), 1, key=lambda total: 0 if is_red(total) else 1)

    def excess(fall: float) -> float:
        totals = _total_pmf(pair.k, rates * (1 - fall / mean))
        places = n_red - 0.5 - np.arange(len(totals))
        return float(totals @ (ndtr(places / (tau * pair.k.sum())) if tau else (places > 0))) - power

    if not n_red or excess(mean) < 0:
        return None
    return root(excess, 0.0, mean)


def _shared_out(total: int, expected: Floats) -> Floats:
    """Share a number of correct responses out over the problems, as they are expected; shape (n_problems,)."""
    parts = expected * (total / expected.sum()) if total else np.zeros_like(expected)
    shared = np.floor(parts + 1e-9)
    rest = np.argsort(shared - parts, kind="stable")[: round(total - shared.sum())]
    shared[rest] += 1
    return np.asarray(shared.astype(int))


def _total_pmf(k: Floats, rates: Floats) -> Floats:
    """P(so many responses are correct, over all problems); shape (sum of k + 1,)."""
    total = np.ones(1)
    for n, rate in zip(k.tolist(), np.clip(rates, 0.0, 1.0).tolist(), strict=True):
        correct = np.arange(n + 1)
        total = np.convolve(total, np.exp(log_choose(n, correct)) * rate**correct * (1 - rate) ** (n - correct))
    return total
