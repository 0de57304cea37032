"""
The sequential plan whose samples follow the baseline's counts, or why every problem gets equally many.

The whole is the smallest with which the plan catches the fall that the capped plan of eight equal looks catches, which
spends beta as information. A plan that needs more than .9 of that plan's expected samples is not worth its unequal
rounds. Where rounds are equal, there are twelve looks, which cost less and catch a slightly larger fall.
"""

from __future__ import annotations

from dataclasses import dataclass

from scipy.special import ndtri

from pytest_r1eval.core.choices import LastLook
from pytest_r1eval.core.records import Counts
from pytest_r1eval.stats.allocation import Allocation, AllocationRule, Shares
from pytest_r1eval.stats.planning import SequentialPlan, Spending, expected_cost, look_samples, plan, planned
from pytest_r1eval.stats.tests import Design
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


def sequential_plan(
    design: Design, baseline: Counts, *, rule: GateRule, last_look: LastLook = LastLook.CAPPED, beta: float = 0.1
) -> SequentialPlan:
    """
    Plan the looks of one benchmark against a measured baseline, allocated where that applies and pays.

    Args:
        design: The fixed comparison whose alpha and power are to be kept.
        baseline: The baseline's counts, in the exam's order.
        rule: How the gate decides; its alpha is spent over the looks.
        last_look: Where an equal plan ends; a plan past k is always equal.
        beta: Probability of a PASS at the margin.

    Raises:
        PlanError: If no plan exists.
    """
    if last_look is not LastLook.CAPPED or not applies(baseline, rule=rule):
        return plan(design, paired=True, rule=rule, beta=beta, last_look=last_look)
    found = sized(design, baseline, rule=rule, beta=beta)
    allocated = planned(
        found.spending,
        found.margin,
        design=design,
        rule=rule,
        paired=True,
        last_look=last_look,
        allocation=found.allocation,
    )
    eight = plan(design, paired=True, rule=rule, beta=beta, fractions=TARGET_FRACTIONS, beta_power=1.0)
    if expected_cost(allocated) <= LARGEST_COST * expected_cost(eight):
        return allocated
    return plan(design, paired=True, rule=rule, beta=beta, last_look=last_look)


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


def sized(
    design: Design, baseline: Counts, *, rule: GateRule, beta: float = 0.1, constants: AllocationRule | None = None
) -> Sized:
    """
    Find the smallest allocation whose margin is at most that of the capped plan of eight equal looks.

    Args:
        design: The fixed comparison.
        baseline: The baseline's counts, in the exam's order.
        rule: How the gate decides.
        beta: Probability of a PASS at the margin.
        constants: The allocation's; None for those in force.
    """
    constants = AllocationRule() if constants is None else constants
    shares = Shares(baseline, rule=constants, tau=design.tau)
    deviations = rule.critical_sigmas - float(ndtri(beta))

    def spending_at(information: tuple[float, ...], power: float) -> Spending:
        return Spending(information=information, alpha=rule.alpha, beta=beta, beta_power=power)

    def margin_of(spending: Spending) -> float:
        return spending.enlarged(deviations * spending.information[-1] ** -0.5)

    ks = look_samples(design, paired=True, fractions=TARGET_FRACTIONS)
    target = margin_of(spending_at(tuple(map(shares.information, ks)), 1.0))

    def at(size: int) -> Sized:
        allocation = shares.allocation(design.n_samples, size)
        spending = spending_at(allocation.information, constants.beta_power)
        return Sized(allocation=allocation, target=target, margin=margin_of(spending), spending=spending)

    low, high = _SIZES
    best = None
    while high - low > 1:
        found = at((low + high) // 2)
        if found.margin <= target:
            high, best = found.allocation.size, found
        else:
            low = found.allocation.size
    return at(high) if best is None else best
