"""
The sequential plan whose samples follow the baseline's counts, or why every problem gets equally many.

The whole is the smallest with which the plan catches the fall that the capped plan of eight equal looks catches, which
spends beta as information. A plan that needs more than .9 of that plan's expected samples is not worth its unequal
rounds. Where rounds are equal, there are twelve looks, which cost less and catch a slightly larger fall.
"""

from dataclasses import dataclass

from scipy.special import ndtri

from pytest_r1eval.core.choices import AllocationKind, LastLook
from pytest_r1eval.core.plans import each_of
from pytest_r1eval.core.records import Counts
from pytest_r1eval.stats.allocation import Allocation, AllocationRule, Shares
from pytest_r1eval.stats.planning import BETA, SequentialPlan, Spending, expected_cost, look_samples, plan, planned
from pytest_r1eval.stats.tests import Design, Published
from pytest_r1eval.stats.verdicts import GateRule

MIN_PROBLEMS = 20
"""With fewer, normal theory is thin, and the exact test knows no allocation."""

MIN_BASELINE_SAMPLES = 4
"""With fewer samples of a problem, the baseline says too little about its variance."""

MEANS = (0.03, 0.97)
"""Outside, the distribution of an unchanged model is too skewed for z."""

LARGEST_COST = 0.9
"""Expected samples on an unchanged model over those of eight equal looks; a plan that needs more is not used."""

TARGET_FRACTIONS = (1 / 16, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1.0)
"""Looks of the plan whose margin is the target; it spends beta as information."""

_SIZES = (-256, 512)
"""Steps of the whole between which it is searched: a sixteenth to 256 times the fixed design."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sized:
    """
    An allocation of the smallest sufficient size.

    Attributes:
        allocation: Samples of each problem at each look.
        target: The fall that had to be caught.
        margin: The fall that is caught.
        spending: What is spent at its looks.
    """

    allocation: Allocation
    target: float
    margin: float
    spending: Spending


def plan_against(  # noqa: PLR0913  what a plan may be varied in
    reference: Counts | Published,
    design: Design,
    *,
    rule: GateRule,
    last_look: LastLook = LastLook.CAPPED,
    allocation: AllocationKind = AllocationKind.AUTO,
    most_samples: int | None = None,
) -> SequentialPlan:
    """
    Plan the looks of one benchmark against a baseline: allocated where that applies, pays and can be drawn.

    Args:
        reference: The baseline's counts, in the exam's order, or a published number.
        design: The fixed comparison whose alpha and power are to be kept.
        rule: How the gate decides; its alpha is spent over the looks.
        last_look: Where an equal plan ends; a plan past k is always equal.
        allocation: Whether an allocation is wanted at all.
        most_samples: How many samples of a problem can be had, as from a recording; None for any number.

    Raises:
        PlanError: If no plan exists.
    """
    if isinstance(reference, Counts) and allocation is AllocationKind.AUTO and last_look is LastLook.CAPPED:
        found = sequential_plan(design, reference, rule=rule)
        most = max(each_of(found.depth_at(found.n_looks), design.n_problems))
        if found.allocation is None or most_samples is None or most <= most_samples:
            return found
    return plan(design, paired=isinstance(reference, Counts), rule=rule, last_look=last_look)


def sequential_plan(design: Design, baseline: Counts, *, rule: GateRule) -> SequentialPlan:
    """
    Plan the looks of one benchmark against a measured baseline, allocated where that applies and pays.

    Args:
        design: The fixed comparison whose alpha and power are to be kept.
        baseline: The baseline's counts, in the exam's order.
        rule: How the gate decides; its alpha is spent over the looks.

    Raises:
        PlanError: If no plan exists.
    """
    return _allocated(design, baseline, rule=rule) or plan(design, paired=True, rule=rule)


def _allocated(design: Design, baseline: Counts, *, rule: GateRule) -> SequentialPlan | None:
    """Plan an allocation; None where none applies, catches the target or costs less."""
    if not applies(baseline, rule=rule):
        return None
    found = sized(design, baseline, rule=rule)
    if found.margin > found.target:
        return None
    allocated = planned(
        found.spending,
        found.margin,
        design=design,
        rule=rule,
        paired=True,
        last_look=LastLook.CAPPED,
        allocation=found.allocation,
    )
    eight = plan(design, paired=True, rule=rule, fractions=TARGET_FRACTIONS, beta_power=1.0)
    return allocated if expected_cost(allocated) <= LARGEST_COST * expected_cost(eight) else None


def applies(baseline: Counts, *, rule: GateRule) -> bool:
    """
    Whether a gate against this baseline may allocate: normal theory has to decide, and the baseline to know enough.

    Args:
        baseline: Its counts.
        rule: How the gate decides.
    """
    rates = [problem.n_correct / problem.n_samples for problem in baseline.problems]
    low, high = MEANS
    return (
        not rule.exact
        and baseline.n_problems >= MIN_PROBLEMS
        and min(problem.n_samples for problem in baseline.problems) >= MIN_BASELINE_SAMPLES
        and low <= sum(rates) / len(rates) <= high
    )


def described(planned: SequentialPlan) -> str:
    """Say what a plan costs at most and on an unchanged model, and which problems get most samples and fewest."""
    design = planned.design
    most = planned.n_samples_at(planned.n_looks)
    fixed = most / (design.n_samples * design.n_problems)
    text = (
        f"at most {most} samples ({fixed:.2f} of the fixed design), {expected_cost(planned):.3f} of it expected on an "
        f"unchanged model, margin {100 * planned.margin:.1f} points"
    )
    if planned.allocation is None:
        return text
    last = dict(zip(planned.allocation.problem_ids, planned.allocation.rounds[-1], strict=True))
    first, fewest = max(last, key=last.__getitem__), min(last, key=last.__getitem__)
    return f"{text}; most samples: problem {first} ({last[first]}), fewest: problem {fewest} ({last[fewest]})"


def sized(design: Design, baseline: Counts, *, rule: GateRule) -> Sized:
    """
    Find the smallest allocation whose margin is at most that of the capped plan of eight equal looks.

    Args:
        design: The fixed comparison.
        baseline: The baseline's counts, in the exam's order.
        rule: How the gate decides.
    """
    constants = AllocationRule()
    shares = Shares(baseline, rule=constants, tau=design.tau)
    deviations = rule.critical_sigmas - float(ndtri(BETA))

    def spending_at(information: tuple[float, ...], power: float) -> Spending:
        return Spending(information=information, alpha=rule.alpha, beta=BETA, beta_power=power)

    def least(spending: Spending) -> float:
        return float(deviations * spending.information[-1] ** -0.5)

    def at(size: int) -> tuple[Allocation, Spending]:
        allocation = shares.allocation(design.n_samples, size)
        return allocation, spending_at(allocation.information, constants.beta_power)

    def suffices(spending: Spending) -> bool:
        """Whether the target is caught; a margin that was searched for would say the same."""
        return least(spending) <= target and spending.pass_bounds(spending.fail_bounds(), target)[1] <= BETA

    ks = look_samples(design, paired=True, fractions=TARGET_FRACTIONS)
    equal = spending_at(tuple(map(shares.information, ks)), 1.0)
    target = equal.enlarged(least(equal))
    low, high = _SIZES
    while high - low > 1:
        size = (low + high) // 2
        if suffices(at(size)[1]):
            high = size
        else:
            low = size
    allocation, spending = at(high)
    return Sized(allocation=allocation, target=target, margin=spending.enlarged(least(spending)), spending=spending)
