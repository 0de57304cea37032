"""
What a gate can see before a token is spent: falls it catches, samples it needs, what it costs.

`r1eval power` asks for all of it (`PowerReport`); a run asks for what its own gates catch (`outlook`).

The numbers come from a measured baseline where one is named, and from the
benchmark's planning constants otherwise; those are called assumed wherever they
are shown, because a gate is only as good as its inputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from pytest_r1eval.baselines.reference import design_against, published_side, tau_of, widened
from pytest_r1eval.baselines.shelf import FoundBaseline
from pytest_r1eval.core.baselines import MeasuredBaseline, PublishedBaseline
from pytest_r1eval.core.benchmarks import Benchmark
from pytest_r1eval.core.choices import AllocationKind, LastLook
from pytest_r1eval.core.codec import Kind, Layout
from pytest_r1eval.core.fields import LeftOutIfEmpty
from pytest_r1eval.core.points import points
from pytest_r1eval.core.records import Counts
from pytest_r1eval.errors import PlanError
from pytest_r1eval.stats import verdicts
from pytest_r1eval.stats.allocated_plan import plan_against
from pytest_r1eval.stats.equivalence import margin_of_equivalence, power_of_equivalence
from pytest_r1eval.stats.falls import caught_fall
from pytest_r1eval.stats.looks import can_fail, caught_drop
from pytest_r1eval.stats.planning import (
    SequentialPlan,
    crossings,
    detectable_drop,
    detectable_rise,
    expected_cost,
    plan,
)
from pytest_r1eval.stats.tests import Design, Published, minimum_detectable_effect, samples_needed
from pytest_r1eval.stats.verdicts import GateRule, Tau, impossible_fall

NEEDED_DROPS = (0.02, 0.03, 0.05)
"""Falls whose samples are worked out: from the finest that a release note argues about to one that is never shipped."""

COST_DROPS = (0.02, 0.05, 0.10)
"""Falls whose cost is worked out: below the margin, at it, and a broken model."""


_UNLIMITED = 10**9  # samples per problem; what they still add to the error is far below any digit shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """
    What a comparison is planned with.

    Attributes:
        design: The comparison before its first sample.
        tau: Harness noise, and where it comes from.
        paired: Whether the baseline has per-problem counts.
        baseline: Where the baseline was found, for people; None where one is only assumed.
        within_variance_is_assumed: Whether W is a planning constant, not measured.
        n_baseline_samples_is_assumed: Whether the baseline's samples are neither drawn nor stated.
        reference: The baseline's counts, or the published number; None where a baseline is only assumed.
    """

    design: Design
    tau: Tau
    paired: bool
    baseline: str | None
    within_variance_is_assumed: bool
    n_baseline_samples_is_assumed: bool
    reference: Annotated[Counts | Published | None, LeftOutIfEmpty()] = None

    def can_fail(self, rule: GateRule) -> bool:
        """Whether the fixed gate can turn red: whether a candidate with every response wrong would FAIL."""
        if self.reference is None:
            return self.design.worst_z <= -rule.critical_sigmas
        return verdicts.can_fail(self._run(self.reference), self.reference, tau=self.tau, rule=rule)

    def caught_fall(self, rule: GateRule, *, power: float) -> float | None:
        """Return the fall, a fraction, that the fixed gate catches; None where not even a fall to 0 is."""
        normal = minimum_detectable_effect(self.design, sigmas=rule.critical_sigmas, power=power)
        found = possible(normal, self.design.mean)
        if not isinstance(self.reference, Counts):
            return found
        run = self._run(self.reference)
        return caught_fall(run, self.reference, normal=found, alpha=rule.alpha, tau=self.tau.value, power=power)

    def _run(self, reference: Counts | Published) -> Counts:
        """Return a run of the design, with every response wrong."""
        ids = reference.ids if isinstance(reference, Counts) else map(str, range(self.design.n_problems))
        return Counts.from_rows((id_, 0, self.design.n_samples) for id_ in ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class SameOutlook:
    """
    What the claim that two models are the same can be shown for; by normal theory.

    Attributes:
        margin: The margin that was asked for, a fraction.
        power: Probability that an unchanged model passes.
        margin_80: The smallest margin that it passes with 80 % power; None for none.
        margin_90: The same with 90 %.
    """

    margin: float
    power: float
    margin_80: float | None
    margin_90: float | None


def same_outlook(assumptions: Assumptions, rule: GateRule) -> SameOutlook | None:
    """
    Work out what a claim of sameness can be shown for; None where it is not made.

    Raises:
        PlanError: If the baseline is a printed number.
    """
    if (margin := rule.same_margin) is None:
        return None
    if not assumptions.paired:
        raise PlanError(
            f"--r1-claim same against {assumptions.baseline}, a printed number, which cannot show that two models are "
            "the same; expected a measured baseline: record one with --r1-save-baseline"
        )
    design, sigmas = assumptions.design, rule.critical_sigmas
    return SameOutlook(
        margin=margin,
        power=power_of_equivalence(design, margin, sigmas=sigmas),
        margin_80=margin_of_equivalence(design, sigmas=sigmas, power=0.8),
        margin_90=margin_of_equivalence(design, sigmas=sigmas, power=0.9),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NeededSamples:
    """
    Candidate samples per problem that catch a fall; None where no number suffices.

    Attributes:
        drop: The fall, a fraction.
        power_80: Samples with which the fixed gate turns red with 80 % power.
        power_90: The same with 90 %.
    """

    drop: float
    power_80: int | None
    power_90: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedCost:
    """
    What a sequential gate costs if pass@1 truly fell.

    Attributes:
        drop: The fall, a fraction; 0 for an unchanged model.
        share: Expected samples over the fixed design's.
        samples_per_problem: Expected samples per problem.
        p_fail: Probability of FAIL_REGRESSED.
    """

    drop: float
    share: float
    samples_per_problem: float
    p_fail: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SequentialOutlook:
    """
    A sequential plan and its price.

    Attributes:
        plan: Looks, bounds, margin.
        digest: The plan's hash.
        mde_80: The fall, a fraction, that it catches with 80 % power; None where not even a fall to 0 is.
        rise_80: The rise that is SUSPICIOUS with 80 % power; None where none is.
        doubt: Why its PASS is not evidence; None where it is.
        costs: For an unchanged model first, then for each fall.
    """

    plan: SequentialPlan
    digest: str
    mde_80: float | None
    rise_80: float | None
    doubt: str | None
    costs: tuple[ExpectedCost, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerReport:
    """
    What one benchmark's gate can see; fractions throughout.

    Attributes:
        benchmark: The benchmark's name.
        assumptions: What everything below rests on.
        sigmas: Standard errors that decide.
        two_sided: Whether a rise fails as well.
        doubt: Why a PASS of the fixed gate is not evidence; None where it is.
        mde_80: The fall that the fixed gate catches with 80 % power; None where not even a fall to 0 is.
        mde_90: The same with 90 %.
        rise_80: The rise that the fixed gate sees with 80 % power; None where not even one to 1 is.
        mde_80_limit: What `mde_80` tends to with ever more candidate samples: the baseline and tau set it.
        needed: Candidate samples per problem for each fall.
        sequential: The sequential plan; None where there is none.
        no_sequential: Why there is none; None where there is one.
        same: What the claim of sameness can be shown for; None where it is not made.
    """

    benchmark: str
    assumptions: Assumptions
    sigmas: float
    two_sided: bool
    doubt: str | None
    mde_80: float | None
    mde_90: float | None
    rise_80: float | None
    mde_80_limit: float
    needed: tuple[NeededSamples, ...]
    sequential: SequentialOutlook | None
    no_sequential: str | None
    same: Annotated[SameOutlook | None, LeftOutIfEmpty()] = None


def assumptions_for(
    benchmark: Benchmark,
    *,
    found: FoundBaseline | None = None,
    n_samples: int | None = None,
    n_baseline_samples: int | None = None,
    tau: float | None = None,
) -> Assumptions:
    """
    Return what a benchmark's comparison is planned with.

    Args:
        benchmark: The benchmark.
        found: The baseline; None plans for a measured one that does not exist yet.
        n_samples: Candidate samples per problem; None for the benchmark's standard.
        n_baseline_samples: Baseline samples per problem where the baseline does not say; None for the standard.
        tau: Harness noise, a fraction; None for what the baseline implies.

    Raises:
        PlanError: If something needed is not known, or is known already and was given too.
        BaselineError: If nothing is known of a published number's noise, or of the spread within the problems.
    """
    k = benchmark.samples_per_problem if n_samples is None else n_samples
    if found is None:
        return _from_constants(benchmark, k=k, k_b=n_baseline_samples or benchmark.samples_per_problem, tau=tau)
    match found.baseline:
        case MeasuredBaseline() as baseline:
            return _from_measured(benchmark, baseline, found.source, k=k, k_b=n_baseline_samples, tau=tau)
        case PublishedBaseline() as baseline:
            return _from_published(benchmark, baseline, found.source, k=k, k_b=n_baseline_samples, tau=tau)


def _asked_tau(tau: float | None) -> Tau:
    if tau is None:
        return Tau(value=0.0, source="candidate and baseline are assumed to share one harness")
    return Tau(value=tau, source="it was asked for")


def _from_constants(benchmark: Benchmark, *, k: int, k_b: int, tau: float | None) -> Assumptions:
    if benchmark.planning is None:
        raise PlanError(
            f"{benchmark.name}: no planning constants are known, so its variance would be a guess; "
            "name a measured baseline with --baseline (--r1-save-baseline records one)"
        )
    noise = _asked_tau(tau)
    return Assumptions(
        design=Design.from_planning(benchmark.planning, n_samples=k, n_baseline_samples=k_b, tau=noise.value),
        tau=noise,
        paired=True,
        baseline=None,
        within_variance_is_assumed=True,
        n_baseline_samples_is_assumed=True,
    )


def _from_measured(  # noqa: PLR0913  what is known, and what was asked for
    benchmark: Benchmark, baseline: MeasuredBaseline, source: str, *, k: int, k_b: int | None, tau: float | None
) -> Assumptions:
    if k_b is not None:
        raise PlanError(
            f"--baseline-samples {k_b} and --baseline were both given, and {source} has samples of its own; "
            "leave one of the two out"
        )
    noise = widened(_asked_tau(None), baseline) if tau is None else _asked_tau(tau)
    try:
        design = design_against(baseline.counts, benchmark, n_samples=k, tau=noise.value)
    except ValueError as error:
        raise PlanError(f"{benchmark.name}, {source}: {error}; record a baseline with more samples") from error
    return Assumptions(
        design=design,
        tau=noise,
        paired=True,
        baseline=source,
        within_variance_is_assumed=False,
        n_baseline_samples_is_assumed=False,
        reference=baseline.counts,
    )


def _from_published(  # noqa: PLR0913  the same
    benchmark: Benchmark, baseline: PublishedBaseline, source: str, *, k: int, k_b: int | None, tau: float | None
) -> Assumptions:
    if k_b is not None and baseline.samples_per_problem is not None:
        raise PlanError(
            f"--baseline-samples {k_b} and --baseline were both given, and {source} states "
            f"{baseline.samples_per_problem}; leave one of the two out"
        )
    noise = tau_of(baseline, benchmark) if tau is None else _asked_tau(tau)
    number = replace(baseline, samples_per_problem=baseline.samples_per_problem or k_b)
    return Assumptions(
        design=design_against(published_side(number), benchmark, n_samples=k, tau=noise.value),
        tau=noise,
        paired=False,
        baseline=source,
        within_variance_is_assumed=True,
        n_baseline_samples_is_assumed=baseline.samples_per_problem is None,
        reference=replace(
            published_side(number), n_samples=number.samples_per_problem or benchmark.samples_per_problem
        ),
    )


def power_report(  # noqa: PLR0913  what a gate may be varied in
    benchmark: str,
    assumptions: Assumptions,
    *,
    rule: GateRule,
    last_look: LastLook = LastLook.CAPPED,
    allocation: AllocationKind = AllocationKind.AUTO,
    drops: Sequence[float] | None = None,
) -> PowerReport:
    """
    Return what a gate can see.

    Args:
        benchmark: The benchmark's name.
        assumptions: What the comparison is planned with.
        rule: How the gate decides.
        last_look: Where the sequential plan ends.
        allocation: Whether the sequential plan may follow a baseline's counts.
        drops: Falls, fractions, to work out samples and costs for; None for `NEEDED_DROPS` and `COST_DROPS`.
    """
    design, sigmas = assumptions.design, rule.critical_sigmas
    sequential, no_sequential = None, None
    same = same_outlook(assumptions, rule)
    try:
        sequential = _sequential_outlook(
            assumptions,
            rule=rule,
            last_look=last_look,
            allocation=allocation,
            drops=COST_DROPS if drops is None else drops,
        )
    except PlanError as error:
        no_sequential = str(error)
    return PowerReport(
        benchmark=benchmark,
        assumptions=assumptions,
        sigmas=sigmas,
        two_sided=rule.fails_on_rise,
        doubt=impossible_fall(design.mean, rule=rule, can_fail=assumptions.can_fail(rule)),
        mde_80=assumptions.caught_fall(rule, power=0.8),
        mde_90=assumptions.caught_fall(rule, power=0.9),
        rise_80=possible(minimum_detectable_effect(design.mirrored, sigmas=sigmas, power=0.8), 1 - design.mean),
        mde_80_limit=minimum_detectable_effect(replace(design, n_samples=_UNLIMITED), sigmas=sigmas, power=0.8),
        needed=tuple(
            NeededSamples(
                drop=drop,
                power_80=samples_needed(design, drop, sigmas=sigmas, power=0.8),
                power_90=samples_needed(design, drop, sigmas=sigmas, power=0.9),
            )
            for drop in (NEEDED_DROPS if drops is None else drops)
        ),
        sequential=sequential,
        no_sequential=no_sequential,
        same=same,
    )


def possible(change: float, largest: float) -> float | None:
    """Return a change of pass@1 if it is possible."""
    return change if change <= largest else None


def _sequential_outlook(
    assumptions: Assumptions, *, rule: GateRule, last_look: LastLook, allocation: AllocationKind, drops: Sequence[float]
) -> SequentialOutlook:
    if rule.claims_same:
        raise PlanError("looks are planned to see a fall, not to exclude a rise")
    reference = assumptions.reference
    planned = (
        plan(assumptions.design, paired=assumptions.paired, rule=rule, last_look=last_look)
        if reference is None
        else plan_against(reference, assumptions.design, rule=rule, last_look=last_look, allocation=allocation)
    )
    turns_red = assumptions.can_fail(rule) if reference is None else can_fail(planned, reference)
    return SequentialOutlook(
        plan=planned,
        digest=planned.digest,
        mde_80=detectable_drop(planned) if reference is None else caught_drop(planned, reference),
        rise_80=detectable_rise(planned),
        doubt=impossible_fall(planned.design.mean, rule=rule, can_fail=turns_red),
        costs=tuple(_cost(planned, drop=drop) for drop in (0.0, *drops)),
    )


def _cost(planned: SequentialPlan, *, drop: float) -> ExpectedCost:
    share = expected_cost(planned, drop=drop)
    return ExpectedCost(
        drop=drop,
        share=share,
        samples_per_problem=share * planned.design.n_samples,
        p_fail=sum(crossings(planned, drop=drop).fail),
    )


POWER_REPORT = Kind(of=PowerReport, version=1, layout=Layout.INDENTED)
"""
In fractions. ``needed[].power_80`` is null where no number of samples suffices, and an item of
``sequential.plan.fail_bounds`` is null where a look cannot FAIL.
"""


def same_line(same: SameOutlook) -> str:
    """Print what a claim of sameness can be shown for."""
    margins = ", ".join(
        f"{points(margin)} points with {power} %"
        for margin, power in ((same.margin_80, 80), (same.margin_90, 90))
        if margin is not None
    )
    return (
        f"the claim is that both are the same within {points(same.margin)} points: an unchanged model passes with "
        f"{100 * same.power:.0f} % power{f' ({margins})' if margins else ''}"
        f"{'' if same.power > 0 else '; PASS is out of reach: draw more samples, or ask for a larger margin'}"
    )
