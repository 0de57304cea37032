"""
Stopping early without cheating: group-sequential plans and their price, before the first token.

Decisions. Looks happen at complete rounds of sample indices of *all* problems,
never at whatever has finished, because short answers finish first and are right
more often. Everything that decides (looks, bounds, margin, tau) is fixed and
hashed before the first token. The bounds spend alpha as t^2 and beta as t^0.7 [1]_
over twelve looks, which stops an unchanged model earlier than beta as t over eight;
the FAIL bounds hold whether or not a PASS bound is obeyed (non-binding), so a run
that is continued out of curiosity stays honest.

The statistic at every look is the one of the fixed gate. Its joint distribution
over looks is the canonical one [2]_: the baseline's error and the harness noise are
common to all looks, and the covariance of two looks is the variance of the later.
Bounds are planned with the variance of the unchanged exam; a fall is as many standard
errors large as its own, larger variance makes it, and so is the margin in points.

A two-sided gate PASSes at a look only between the bound and its mirror image, where
a rise is excluded as well. The bounds are those of the one-sided gate: a run that
passes within them would have passed there or earlier without the upper one, so beta is kept.
What a look decides by these bounds is in `looks`.

Known trade-offs (accepted): bounds are rounded to nine decimals, so that machines
whose last bits differ agree on the hash.

References:
    .. [1] K. K. G. Lan and D. L. DeMets, Biometrika 70 (1983) 659.
    .. [2] C. Jennison and B. W. Turnbull, "Group Sequential Methods with Applications to Clinical Trials" (2000).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated

import numpy as np
from scipy.special import ndtr, ndtri

from pytest_r1eval.core.choices import LastLook
from pytest_r1eval.core.codec import digest
from pytest_r1eval.core.fields import LeftOutIfEmpty
from pytest_r1eval.core.plans import Depth, each_of
from pytest_r1eval.core.texts import counted
from pytest_r1eval.errors import PlanError
from pytest_r1eval.stats.allocation import BETA_POWER, LOOK_FRACTIONS, Allocation
from pytest_r1eval.stats.pairs import Floats
from pytest_r1eval.stats.roots import root
from pytest_r1eval.stats.tests import Design
from pytest_r1eval.stats.verdicts import MIN_SAMPLES_FOR_SCALAR_TEST, GateRule

BETA = 0.1
"""Probability of a PASS at the margin: a margin is excluded with 90 % power, in a fixed gate too."""

SMALLEST_INCREMENT = 1e-13
"""Alpha below this is not spent: the recursion's own error is of this size."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(160)
_REACH = 10.0  # standard deviations of the score that the recursion keeps; 1e-23 is beyond
_Z_LIMIT = 40.0  # no bound is beyond: the normal tail there is below the smallest double
_N_STEPS = 20  # of Newton's method, which mostly takes four
_NEAR = 1e-8  # SD: Newton's method squares its error at each step
_DECIMALS = 9  # of bounds and margins, so that the hash does not hang on a machine's last bits


@dataclass(frozen=True, slots=True, kw_only=True)
class SequentialPlan:
    """
    When a run is looked at and what stops it, fixed before the first token.

    Attributes:
        design: The fixed comparison that is planned around; `n_samples` is its k.
        paired: Whether the baseline has per-problem counts.
        rule: How the gate decides; its alpha is spent over the looks.
        beta: Probability of a PASS at the margin.
        last_look: Where the plan ends.
        ks: Samples per problem at each look, ascending; empty where `allocation` gives each problem its own.
        times: Information at each look over that at the last; the last is 1.
        fail_bounds: z at or below which a look FAILs; None where no alpha is spent.
        pass_bounds: z at or above which a look PASSes.
        margin: The fall, a fraction, that is caught with power 1 - beta.
        allocation: Samples of each problem at each look; None where all problems have `ks`.
    """

    design: Design
    paired: bool
    rule: GateRule
    beta: float
    last_look: LastLook
    ks: tuple[int, ...]
    times: tuple[float, ...]
    fail_bounds: tuple[float | None, ...]
    pass_bounds: tuple[float, ...]
    margin: float
    allocation: Annotated[Allocation | None, LeftOutIfEmpty()] = None

    def __post_init__(self) -> None:
        n_looks = len(self.ks if self.allocation is None else self.allocation.rounds)
        if {len(self.times), len(self.fail_bounds), len(self.pass_bounds)} != {n_looks}:
            raise ValueError(f"{n_looks} looks do not have as many times and bounds")
        if bool(self.ks) is (self.allocation is not None) or any(a >= b for a, b in pairwise((0, *self.ks))):
            raise ValueError(f"looks after {self.ks} samples per problem; expected them to ascend from 1")

    @property
    def n_looks(self) -> int:
        """How many looks are planned."""
        return len(self.times)

    def depth_at(self, number: int) -> Depth:
        """Return how many samples a look, from 1, sees of each problem."""
        return self.ks[number - 1] if self.allocation is None else self.allocation.rounds[number - 1]

    def n_samples_at(self, number: int) -> int:
        """Return how many samples a look sees over all problems."""
        return sum(each_of(self.depth_at(number), self.design.n_problems))

    def fewest_at(self, number: int) -> int:
        """Return how many samples a look sees of every problem, whichever has most."""
        return min(each_of(self.depth_at(number), self.design.n_problems))

    def described_depth(self, number: int) -> str:
        """Say how many samples of a problem a look sees: "1 sample", or "2 to 6 samples"."""
        samples = each_of(self.depth_at(number), self.design.n_problems)
        few, many = min(samples), max(samples)
        return counted(few, "sample") if few == many else f"{few} to {many} samples"

    @property
    def information(self) -> tuple[float, ...]:
        """Inverse variance of the difference at each look, if nothing changed."""
        return information_of(self.design, self.ks) if self.allocation is None else self.allocation.information

    @property
    def alpha_spent(self) -> tuple[float, ...]:
        """Alpha spent at each look."""
        return spent(self.rule.alpha, self.times, power=2)

    def fail_bound(self, number: int) -> float:
        """Return the z at or below which a look FAILs; -inf where no alpha is spent."""
        bound = self.fail_bounds[number - 1]
        return -math.inf if bound is None else bound

    def pass_ceiling(self, number: int) -> float:
        """Return the z up to which a look may PASS: with a two-sided rule a rise has to be excluded too."""
        return -self.pass_bounds[number - 1] if self.rule.two_sided else math.inf

    @property
    def resolves_margin(self) -> bool:
        """Whether a PASS excludes the margin that was asked for; known before any token is spent."""
        return self.rule.margin is None or self.margin <= self.rule.margin

    @property
    def digest(self) -> str:
        """SHA-256 of the plan as canonical JSON."""
        return digest(self)


def plan(  # noqa: PLR0913  what a plan may be varied in
    design: Design,
    *,
    paired: bool,
    rule: GateRule,
    beta: float = BETA,
    last_look: LastLook = LastLook.CAPPED,
    fractions: Sequence[float] = LOOK_FRACTIONS,
    beta_power: float = BETA_POWER,
) -> SequentialPlan:
    """
    Plan the looks and bounds of one benchmark.

    Args:
        design: The fixed comparison whose alpha and power are to be kept.
        paired: Whether the baseline has per-problem counts.
        rule: How the gate decides; its alpha is spent over the looks.
        beta: Probability of a PASS at the margin, in (0, 1/2].
        last_look: Where the plan ends.
        fractions: Shares of the fixed design's samples at which to look.
        beta_power: Power of the information as which beta is spent.

    Raises:
        ValueError: If beta is out of its range.
        PlanError: If no such plan exists.
    """
    if not 0 < beta <= 0.5:
        raise ValueError(f"beta is {beta}; expected a probability above 0 and at most 1/2")
    if rule.alpha < SMALLEST_INCREMENT:
        raise _no_alpha(rule)
    ks = look_samples(design, paired=paired, fractions=fractions)
    spending = Spending(information=information_of(design, ks), alpha=rule.alpha, beta=beta, beta_power=beta_power)
    margin = (rule.critical_sigmas - float(ndtri(beta))) * design.standard_error()
    match last_look:
        case LastLook.CAPPED:
            margin = spending.enlarged(margin)
        case LastLook.AUTO:
            ks = _lengthened(spending, design, ks, margin)
            spending = replace(spending, information=information_of(design, ks))
    return planned(spending, margin, design=design, rule=rule, paired=paired, last_look=last_look, ks=ks)


def planned(  # noqa: PLR0913  all that a plan is made of
    spending: Spending,
    margin: float,
    *,
    design: Design,
    rule: GateRule,
    paired: bool,
    last_look: LastLook,
    ks: tuple[int, ...] = (),
    allocation: Allocation | None = None,
) -> SequentialPlan:
    """
    Put a plan together.

    Args:
        spending: Where it looks and what it spends there.
        margin: The fall that it catches, in units of the unchanged exam's error.
        design: The fixed comparison that is planned around.
        rule: How the gate decides.
        paired: Whether the baseline has per-problem counts.
        last_look: Where the plan ends.
        ks: Samples per problem at each look; none with an allocation.
        allocation: Samples of each problem at each look; None where all have `ks`.

    Raises:
        PlanError: If there is no alpha for the last look.
    """
    fail_bounds = spending.fail_bounds()
    if math.isinf(fail_bounds[-1]):
        raise _no_alpha(rule)
    pass_bounds, _ = spending.pass_bounds(fail_bounds, margin)
    return SequentialPlan(
        design=design,
        paired=paired,
        rule=rule,
        beta=spending.beta,
        last_look=last_look,
        ks=ks,
        times=tuple(round(time, _DECIMALS) for time in spending.times),
        fail_bounds=tuple(None if math.isinf(bound) else round(bound, _DECIMALS) for bound in fail_bounds),
        pass_bounds=tuple(round(bound, _DECIMALS) for bound in pass_bounds),
        margin=round(design.smallest_fall(margin / design.standard_error()), _DECIMALS),
        allocation=allocation,
    )


def _no_alpha(rule: GateRule) -> PlanError:
    return PlanError(
        f"at {rule.critical_sigmas:.3g} standard errors there is too little alpha to spend over looks; expected 7 or "
        "fewer: lower the number of sigmas, or use the fixed gate"
    )


def look_samples(design: Design, *, paired: bool, fractions: Sequence[float]) -> tuple[int, ...]:
    """
    Return the samples per problem at each look up to the fixed design's.

    Args:
        design: The fixed comparison.
        paired: Whether the baseline has per-problem counts.
        fractions: Shares of its samples at which to look.

    Raises:
        PlanError: If a scalar test has too few.
    """
    k = design.n_samples
    if not paired and k < MIN_SAMPLES_FOR_SCALAR_TEST:
        raise PlanError(
            f"{k} samples per problem were asked for against a published number; expected at least "
            f"{MIN_SAMPLES_FOR_SCALAR_TEST}; draw more, or record a baseline of your own with --r1-save-baseline"
        )
    # A first look after one sample is cheap where k is small; a scalar test cannot FAIL before the fourth.
    fewest = 1 if paired and k <= 16 else 4
    return tuple(sorted({max(fewest, round(fraction * k)) for fraction in fractions}))


def _lengthened(spending: Spending, design: Design, ks: tuple[int, ...], margin: float) -> tuple[int, ...]:
    """
    Append the first number of samples with which the margin keeps its power.

    More samples never lower the power, so the number is bracketed by doubling and then halved in on.
    """

    def suffices(extra: int) -> bool:
        longer = replace(spending, information=information_of(design, (*ks, ks[-1] + extra)))
        return longer.pass_bounds(longer.fail_bounds(), margin)[1] <= spending.beta

    enough = 1
    while not suffices(enough):
        enough *= 2
        if enough > 64 * ks[-1]:
            raise PlanError(
                "no number of candidate samples keeps the fixed design's power at several looks, because the "
                "baseline's samples or the harness noise limit it; use --r1-max-samples k, or more baseline samples"
            )
    missing = enough // 2
    while enough - missing > 1:
        middle = (enough + missing) // 2
        enough, missing = (middle, missing) if suffices(middle) else (enough, middle)
    return (*ks, ks[-1] + enough)


# The recursion over looks works on the score S = Z * sqrt(I), whose increments are independent.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Front:
    """
    Sub-density of the score of the runs that have not stopped, on quadrature nodes.

    Attributes:
        drift: The true difference, a fraction; the score's mean per information.
        information: Information so far.
        scores: Nodes; shape (n_nodes,).
        masses: Probability at each node; shape (n_nodes,).
    """

    drift: float
    information: float
    scores: Floats
    masses: Floats

    @classmethod
    def start(cls, drift: float) -> _Front:
        """Before the first sample: all mass at a score of zero."""
        return cls(drift=drift, information=0.0, scores=np.zeros(1), masses=np.ones(1))

    @property
    def mass(self) -> float:
        """Probability of still running."""
        return float(self.masses.sum())

    def below(self, information: float, z: float) -> float:
        """Probability of still running, and then being at or below z."""
        step = information - self.information
        distances = z * math.sqrt(information) - self.scores - self.drift * step
        return float(self.masses @ ndtr(distances / math.sqrt(step)))

    def lowest(self, information: float, probability: float) -> float:
        """
        Return the z that a run is at or below with a probability: Newton's method on the probability's logarithm.

        Where one interval went on, that logarithm is concave, and each step but the first stays below the zero. Looks
        that are too close for the nodes leave gaps without density, which halving passes over.
        """
        step, mass = information - self.information, self.mass
        centres = (self.scores + self.drift * step) / math.sqrt(step)
        centre = float(self.masses @ centres) / mass
        spread = math.sqrt(1 + float(self.masses @ (centres - centre) ** 2) / mass)
        found = centre + spread * float(ndtri(probability / mass))
        for _ in range(_N_STEPS):
            deviations = found - centres
            below = float(self.masses @ ndtr(deviations))
            density = float(self.masses @ np.exp(-0.5 * deviations**2)) / math.sqrt(2 * math.pi)
            if not below or not density:
                break
            change = below / density * math.log(below / probability)
            found -= change
            if abs(change) < _NEAR:
                return found * math.sqrt(step / information)
        return root(lambda z: self.below(information, z) - probability, -_Z_LIMIT, _Z_LIMIT)

    def highest(self, information: float, probability: float) -> float:
        """Return the z that a run is above with a probability."""
        mirrored = _Front(drift=-self.drift, information=self.information, scores=-self.scores, masses=self.masses)
        return -mirrored.lowest(information, probability)

    def between(self, information: float, *intervals: tuple[float, float]) -> _Front:
        """Move on to the runs that a look leaves in intervals of z."""
        parts = [self._part(information, low, high) for low, high in intervals]
        scores, masses = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return _Front(drift=self.drift, information=information, scores=scores, masses=masses)

    def _part(self, information: float, low: float, high: float) -> tuple[Floats, Floats]:
        """Scores and masses on the nodes of one interval of z."""
        step, sd = information - self.information, math.sqrt(information)
        centre = self.drift * information
        bottom, top = max(low * sd, centre - _REACH * sd), min(high * sd, centre + _REACH * sd)
        half = max(top - bottom, 0.0) / 2
        scores = half * _NODES + (top + bottom) / 2
        deviations = (scores[:, None] - self.scores - self.drift * step) / math.sqrt(step)
        densities = np.exp(-0.5 * deviations**2) @ self.masses / math.sqrt(2 * math.pi * step)
        return scores, densities * _WEIGHTS * half


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """
    Where a plan looks and what it may spend there.

    Attributes:
        information: Inverse variance of the difference at each look, if nothing changed; ascending.
        alpha: Level of the gate.
        beta: Probability of a PASS at the margin.
        beta_power: Power of the information as which beta is spent.
    """

    information: tuple[float, ...]
    alpha: float
    beta: float
    beta_power: float

    @property
    def times(self) -> tuple[float, ...]:
        """Information over that of the last look."""
        return tuple(information / self.information[-1] for information in self.information)

    def enlarged(self, margin: float) -> float:
        """Return the smallest margin, not below the given one, that keeps the power at these looks."""
        fail_bounds = self.fail_bounds()

        def excess(scale: float) -> float:
            return self.pass_bounds(fail_bounds, scale * margin)[1] - self.beta

        if excess(1.0) <= 0:
            return margin
        largest = 1.1
        while excess(largest) > 0:
            largest *= 1.1
        return margin * root(excess, 1.0, largest, xtol=1e-10)

    def fail_bounds(self) -> tuple[float, ...]:
        """Bounds whose first crossing has the spent alpha on an unchanged model, PASS stops ignored."""
        return first_crossing_bounds(self.information, spent(self.alpha, self.times, power=2))

    def pass_bounds(self, fail_bounds: Sequence[float], margin: float) -> tuple[tuple[float, ...], float]:
        """Bounds whose first crossing has the spent beta at the margin, and the probability of a PASS in all."""
        front, bounds, passed = _Front.start(-margin), list[float](), 0.0
        spent_at_looks = spent(self.beta, self.times, power=self.beta_power)
        steps = zip(self.information, fail_bounds, spent_at_looks, strict=True)
        for number, (information, fail_bound, allowed) in enumerate(steps, start=1):
            left = front.mass - front.below(information, fail_bound)
            # The last look decides, and so does one that has no more left to pass than it may.
            decides = number == len(self.information) or left <= allowed
            bound = max(fail_bound, -_Z_LIMIT) if decides else front.highest(information, allowed)
            bounds.append(bound)
            passed += front.mass - front.below(information, bound)
            front = front.between(information, (fail_bound, bound))
        return tuple(bounds), passed


def information_of(design: Design, ks: Sequence[int]) -> tuple[float, ...]:
    """Return the inverse variance of the difference after each number of samples per problem, if nothing changed."""
    return tuple(design.standard_error(k) ** -2 for k in ks)


def first_crossing_bounds(information: Sequence[float], probabilities: Sequence[float]) -> tuple[float, ...]:
    """
    Compute the lower bounds of z that an unchanged model first crosses with given probabilities.

    Args:
        information: Information at each look, ascending, in any unit; shape (n_looks,).
        probabilities: Of the first crossing at each look; under `SMALLEST_INCREMENT` gives -inf.
    """
    front, bounds = _Front.start(0.0), list[float]()
    for at_look, probability in zip(information, probabilities, strict=True):
        bound = front.lowest(at_look, probability) if probability >= SMALLEST_INCREMENT else -math.inf
        bounds.append(bound)
        front = front.between(at_look, (bound, math.inf))
    return tuple(bounds)


def spent(total: float, times: Sequence[float], *, power: float) -> tuple[float, ...]:
    """Return the increments of the spending function total * t^power."""
    return tuple(total * (t**power - s**power) for s, t in zip((0.0, *times[:-1]), times, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossings:
    """
    Probability of each verdict at each look, for one true difference; shapes (n_looks,).

    Attributes:
        fail: FAIL_REGRESSED.
        improve: SUSPICIOUS_IMPROVED.
        passing: PASS.
    """

    fail: tuple[float, ...]
    improve: tuple[float, ...]
    passing: tuple[float, ...]

    @property
    def stop(self) -> tuple[float, ...]:
        """Probability that the run stops at each look; they add up to 1."""
        return tuple(map(sum, zip(self.fail, self.improve, self.passing, strict=True)))


def crossings(plan: SequentialPlan, *, drop: float = 0.0) -> Crossings:
    """
    Compute how a run ends if pass@1 truly fell by `drop`, all bounds obeyed.

    Args:
        plan: The plan.
        drop: The true fall, a fraction; negative for a rise.
    """
    front = _Front.start(-plan.design.unspread(drop))
    fail, improve, passing = list[float](), list[float](), list[float]()
    for number, information in enumerate(plan.information, start=1):
        a, b = plan.fail_bound(number), plan.pass_bounds[number - 1]
        top = plan.pass_ceiling(number)
        at_or_below_b, at_or_below_rise = front.below(information, b), front.below(information, max(b, -a))
        at_or_below_top = front.below(information, top) if b < top < -a else at_or_below_rise
        fail.append(front.below(information, a))
        improve.append(front.mass - at_or_below_rise)
        passing.append(at_or_below_top - at_or_below_b if b < top else 0.0)
        front = front.between(information, *_going_on(a, b, top))
    return Crossings(fail=tuple(fail), improve=tuple(improve), passing=tuple(passing))


def _going_on(a: float, b: float, top: float) -> tuple[tuple[float, float], ...]:
    """Between which values of z a look decides nothing: FAIL at a, PASS from b to top, a rise at -a."""
    if b >= top:
        return ((a, -a),)
    return ((a, b), (top, -a)) if top < -a else ((a, b),)


def expected_cost(plan: SequentialPlan, *, drop: float = 0.0) -> float:
    """Compute the expected samples over the fixed design's if pass@1 truly fell by `drop`, a fraction."""
    stops = crossings(plan, drop=drop).stop
    expected = sum(plan.n_samples_at(number) * stop for number, stop in enumerate(stops, start=1))
    return expected / (plan.design.n_samples * plan.design.n_problems)


def detectable_drop(plan: SequentialPlan, *, power: float = 0.8) -> float | None:
    """
    Compute the fall, a fraction, that the plan turns red for with the given power; None if not even a fall to 0 is.

    Raises:
        ValueError: If power is not inside (0, 1).
    """
    return _change_seen(
        lambda drop: sum(crossings(plan, drop=drop).fail), power=power, start=plan.margin, largest=plan.design.mean
    )


def detectable_rise(plan: SequentialPlan, *, power: float = 0.8) -> float | None:
    """
    Compute the rise, a fraction, that is SUSPICIOUS with the given power; None if not even one to 1 is.

    A one-sided gate has mostly passed before it could see a rise.

    Raises:
        ValueError: If power is not inside (0, 1).
    """
    return _change_seen(
        lambda rise: sum(crossings(plan, drop=-rise).improve),
        power=power,
        start=plan.margin,
        largest=1 - plan.design.mean,
    )


def _change_seen(seen: Callable[[float], float], *, power: float, start: float, largest: float) -> float | None:
    """Where a probability that grows with the change reaches a power; None if not up to the largest change."""
    if not 0 < power < 1:
        raise ValueError(f"power is {power}; expected a probability between 0 and 1")
    if seen(0.0) >= power:
        return 0.0
    bound = min(start, largest)
    while seen(bound) < power:
        if bound >= largest:
            return None
        bound = min(2 * bound, largest)
    return root(lambda change: seen(change) - power, 0.0, bound, xtol=1e-9)
