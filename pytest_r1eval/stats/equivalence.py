"""
Whether two runs are the same within a margin: two one-sided tests, each at the gate's alpha [1]_.

A PASS of the usual gate says that no fall was shown. To claim that two models are the same, both "pass@1 fell by the
margin or more" and "it rose by the margin or more" have to be rejected. Both are, or neither claim is made, so no
alpha is divided: the chance to pass a model that differs by the margin is alpha at most.

Under each hypothesis the candidate's variance is that of its moved mean, as for the margin of the usual gate. Where the
exact test decides, the candidate's correct responses given both runs' totals are noncentral hypergeometric. One odds
ratio holds for all problems, chosen so that the expected difference is the margin. Two runs may have too few responses
that could have gone the other way; then no odds ratio gives the margin, and it cannot be excluded.

References:
    .. [1] D. J. Schuirmann, "A comparison of the two one-sided tests procedure and the power approach", J.
       Pharmacokin. Biopharm. 15 (1987).
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp, ndtr, ndtri

from pytest_r1eval.core.records import Counts
from pytest_r1eval.stats.pairs import Floats, PairedCounts, null_pmf, tails
from pytest_r1eval.stats.roots import root
from pytest_r1eval.stats.tests import Comparison, Design

_LARGEST_LOG_ODDS = 40.0
"""Beyond it the candidate's responses are as far as the totals let them be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivalence:
    """
    What speaks against a difference beyond a margin.

    Attributes:
        margin: The margin, a fraction.
        p_fall: One-sided p-value against a fall by the margin or more.
        p_rise: The same against a rise.
        power: Probability that an unchanged model passes, by normal theory.
    """

    margin: float
    p_fall: float
    p_rise: float
    power: float

    def open_sides(self, alpha: float) -> tuple[str, ...]:
        """Return what is not excluded at a level: a fall, a rise, both or nothing."""
        return tuple(side for side, p in (("fall", self.p_fall), ("rise", self.p_rise)) if p > alpha)


def equivalence_test(  # noqa: PLR0913  two sides, what was found of them, and the question
    candidate: Counts, baseline: Counts, comparison: Comparison, *, margin: float, sigmas: float, tau: float = 0.0
) -> Equivalence:
    """
    Test two runs on the same problems for a fall and a rise beyond a margin.

    Args:
        candidate: The run to be judged.
        baseline: The run it is compared with.
        comparison: The paired test of the two, whose distribution decides here too.
        margin: A fraction.
        sigmas: Standard errors that decide.
        tau: SD of the difference that no samples remove, a fraction.
    """
    fallen, risen = comparison.error_after(margin), comparison.error_after(-margin)
    if comparison.exact:
        pair = PairedCounts.of(candidate, baseline)
        p_fall, p_rise = _exact(pair, -margin, tau=tau), _exact(pair, margin, tau=tau)
    else:
        p_fall = float(ndtr(-(comparison.difference + margin) / fallen))
        p_rise = float(ndtr(-(margin - comparison.difference) / risen))
    power = _power(comparison.standard_error, fallen=fallen, risen=risen, margin=margin, sigmas=sigmas)
    return Equivalence(margin=margin, p_fall=p_fall, p_rise=p_rise, power=power)


def _exact(pair: PairedCounts, shift: float, *, tau: float) -> float:
    """Return the p-value against a difference of `shift` or beyond; 1 where the totals allow none such."""
    pmf = null_pmf(pair)
    counts = np.arange(pmf.shape[1], dtype=np.float64)
    with np.errstate(divide="ignore"):
        logs = np.log(pmf)
    values = (counts / pair.k[:, None] - ((pair.x + pair.y)[:, None] - counts) / pair.k_b[:, None]) / len(pair.x)

    def tilted(log_odds: float) -> Floats:
        moved = logs + log_odds * counts
        return np.asarray(np.exp(moved - logsumexp(moved, axis=1, keepdims=True)))

    def excess(log_odds: float) -> float:
        rows = tilted(log_odds)
        return float((rows * np.where(rows > 0, values, 0.0)).sum()) - shift

    end = math.copysign(_LARGEST_LOG_ODDS, shift)
    if excess(0.0) * excess(end) > 0 and abs(excess(end)) > 0:
        # The totals reach no such difference, or, with unequal numbers of samples, lie beyond it already.
        return 1.0
    moved = tilted(root(excess, min(0.0, end), max(0.0, end)))
    lower, higher = tails(pair, moved, tau)
    return higher if shift < 0 else lower


def _power(unchanged: float, *, fallen: float, risen: float, margin: float, sigmas: float) -> float:
    """Return the probability that neither a difference is shown nor a side left open, if nothing changed."""
    low = max(-margin + sigmas * fallen, -sigmas * unchanged)
    high = min(margin - sigmas * risen, sigmas * unchanged)
    return max(0.0, float(ndtr(high / unchanged) - ndtr(low / unchanged)))


def power_of_equivalence(design: Design, margin: float, *, sigmas: float) -> float:
    """
    Return the probability that an unchanged model passes as the same, by normal theory.

    Args:
        design: The comparison before its first sample.
        margin: A fraction.
        sigmas: Standard errors that decide.
    """
    return _power(
        design.standard_error(),
        fallen=design.standard_error(drop=margin),
        risen=design.standard_error(drop=-margin),
        margin=margin,
        sigmas=sigmas,
    )


def margin_of_equivalence(design: Design, *, sigmas: float, power: float) -> float | None:
    """
    Return the smallest margin, a fraction, that an unchanged model passes with a given power; None for none up to 1.

    Args:
        design: The comparison before its first sample.
        sigmas: Standard errors that decide.
        power: Inside (0, 1).
    """

    def missing(margin: float) -> float:
        return power_of_equivalence(design, margin, sigmas=sigmas) - power

    if missing(1.0) < 0:
        return None
    closest = float(ndtri((1 + power) / 2)) * design.standard_error()
    return root(missing, closest, 1.0)
