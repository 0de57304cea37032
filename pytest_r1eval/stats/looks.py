"""
A sequential gate while it runs: what is stored before the first token, and what each look decides by it.

The reference is frozen with the plan. A baseline file that is edited while a run
goes on changes neither bounds nor verdict, and the digest covers all of it.

Known trade-offs (accepted): the shortcut inside a round bounds the moving variance too, and
so stops a little later than the two extreme completions alone would.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pytest_r1eval.core.baselines import HealthCounts
from pytest_r1eval.core.codec import Kind, Layout, digest
from pytest_r1eval.core.evidence import Evidence
from pytest_r1eval.core.plans import Depth, each_of
from pytest_r1eval.core.points import described_difference, points
from pytest_r1eval.core.records import Counts, ProblemTally
from pytest_r1eval.core.texts import counted
from pytest_r1eval.stats.allocation import allocated_test, allocated_z_range
from pytest_r1eval.stats.falls import caught_fall
from pytest_r1eval.stats.health import LIMITS_ALONE, HealthReference, is_sick
from pytest_r1eval.stats.planning import SequentialPlan, detectable_drop
from pytest_r1eval.stats.tests import (
    MIN_RESPONSES_FOR_NORMAL,
    Comparison,
    Published,
    paired_test,
    paired_z_range,
    scalar_test,
    scalar_z_range,
)
from pytest_r1eval.stats.verdicts import (
    Judgement,
    Tau,
    Verdict,
    impossible_fall,
    invalid,
    judgement_of,
    next_step,
    other_problems,
    published_warnings,
    tau_warnings,
    verdict_passes,
    wrong_denominator,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SequentialGate:
    """
    Everything that looks decide by.

    A round is judged by a look at pass@1 and one at health. Where the first look at pass@1 takes several samples of a
    problem, a round of one sample of each comes before it, for health alone: look 0.

    Attributes:
        plan: Looks and bounds.
        reference: The baseline's counts, or the published number.
        tau: Harness noise; its value is the plan's.
        baseline: Where the reference came from, for people.
        evidence: Which samples the reference rests on; None for a published number.
        health: What health is judged against, at a look and at the verdict.
    """

    plan: SequentialPlan
    reference: Counts | Published
    tau: Tau
    baseline: str
    evidence: Evidence | None = None
    health: HealthReference = LIMITS_ALONE

    @property
    def first_look(self) -> int:
        """The round, from 0, at whose end pass@1 is looked at first."""
        return 0 if self.plan.n_samples_at(1) == self.plan.design.n_problems else 1

    @property
    def rounds(self) -> tuple[int, ...]:
        """Samples per problem at the end of each round; none where they are allocated."""
        return (1, *self.plan.ks) if self.first_look and self.plan.ks else self.plan.ks

    @property
    def allocated(self) -> tuple[tuple[int, ...], ...] | None:
        """Samples of each problem at the end of each round; None for equal rounds."""
        if self.plan.allocation is None:
            return None
        rounds = self.plan.allocation.rounds
        return ((1,) * len(rounds[0]), *rounds) if self.first_look else rounds

    @property
    def n_rounds(self) -> int:
        """How many rounds there are."""
        return self.plan.n_looks + self.first_look

    def depth_at(self, number: int) -> Depth:
        """Return how many samples of each problem there are at a look; 0 is the one before the first."""
        return self.plan.depth_at(number) if number else 1

    def n_judged_for_health(self, number: int) -> int:
        """
        Return how many samples of every problem health is judged by at a look; 0 is the one before the first.

        An allocation draws some problems more than others, so its own rates are not those of the exam.
        """
        return self.plan.fewest_at(number) if number else 1

    def health_alpha(self, number: int, *, is_last: bool) -> float:
        """
        Return what a look may spend on each rate of health.

        Args:
            number: The look; 0 is the one before the first.
            is_last: Whether pass@1 ends the run here, so that all that is left is spent.
        """
        now, whole = self.n_judged_for_health(number), self.n_judged_for_health(self.plan.n_looks)
        earlier = (self.n_judged_for_health(each) for each in range(1 - self.first_look, number))
        before = max((each for each in earlier if each < now), default=0)
        left = 1.0 if is_last else (now / whole) ** 2
        return self.plan.rule.alpha * (left - (before / whole) ** 2)

    @property
    def digest(self) -> str:
        """SHA-256 of all of it."""
        return digest(self)

    def look(
        self, number: int, tallies: tuple[ProblemTally, ...], *, equal: tuple[ProblemTally, ...] | None = None
    ) -> Look | None:
        """
        Look at a round: at its counts if it is complete, else at what no completion can change.

        Args:
            number: The look; 0 is the one before the first, at health alone.
            tallies: The samples of every problem up to this round; ungraded ones are pending for good.
            equal: Equally many of every problem, for health; None where `tallies` are.

        Returns:
            The look; None if samples are pending and they matter.
        """
        found = self.look_at_score(number, tallies) if number else self._look_before_the_first(tallies)
        if found is not None and found.verdict is not None:
            return found
        if not self._is_sick(number, tallies if equal is None else equal):
            return found
        return replace(found or self._unscored(number), is_sick=True)

    def _look_before_the_first(self, tallies: tuple[ProblemTally, ...]) -> Look | None:
        return self._unscored(0) if all(tally.n_samples for tally in tallies) else None

    def _unscored(self, number: int) -> Look:
        """Return a look at health alone."""
        return Look(
            number=number,
            samples_per_problem=self.n_judged_for_health(number),
            early=True,
            fail_bound=None,
            pass_bound=None,
            comparison=None,
            judgement=None,
        )

    def _is_sick(self, number: int, tallies: tuple[ProblemTally, ...]) -> bool:
        """Whether a round's responses are too unhealthy to go on, whatever the pending ones will be."""
        observed = HealthCounts(
            n_samples=self.n_judged_for_health(number) * len(tallies),
            n_truncated=sum(tally.n_truncated for tally in tallies),
            n_no_answer=sum(tally.n_no_answer for tally in tallies),
            n_tokens=0,
        )
        alpha = self.health_alpha(number, is_last=False)
        return is_sick(
            observed,
            baseline=self.health.counts,
            alpha=alpha,
            tau=self.health.tau,
            limits=self.health.known_limits,
        )

    def look_at_score(self, number: int, tallies: tuple[ProblemTally, ...]) -> Look | None:
        """
        Look at pass@1 alone; see `look`.

        Args:
            number: The look, from 1.
            tallies: The samples of every problem up to this round.
        """
        depth = self.plan.depth_at(number)
        planned = each_of(depth, len(tallies))
        if all(tally.n_graded == k for tally, k in zip(tallies, planned, strict=True)):
            counts = Counts.graded(tallies)
            return look(self.plan, number, counts, self.reference, tau=self.tau)
        finished = ((tally.problem_id, tally.n_correct, tally.n_graded) for tally in tallies)
        completions = Completions.of(finished, n_samples=depth)
        return sandwich(self.plan, number, completions, self.reference, tau=self.tau)


SEQUENTIAL_GATE = Kind(of=SequentialGate, layout=Layout.CANONICAL)
"""What is stored before the first token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """
    What a complete round says.

    Attributes:
        number: The look, from 1; 0 is a look at health alone before the first.
        samples_per_problem: How many there were so far of every problem; an allocation draws more of some.
        early: Whether its pass@1 cannot be a score: later looks were planned, or samples were allocated.
        fail_bound: z at or below which it FAILs; None where no alpha is spent.
        pass_bound: z at or above which it PASSes; None at a look at health alone.
        comparison: The numbers; None where there was nothing to compare.
        judgement: The verdict with its reason; None to go on.
        is_sick: Whether the responses are so unhealthy that the run ends here, without a verdict on pass@1.
    """

    number: int
    samples_per_problem: int
    early: bool
    fail_bound: float | None
    pass_bound: float | None
    comparison: Comparison | None
    judgement: Judgement | None
    is_sick: bool = False

    @property
    def ends(self) -> bool:
        """Whether no later round is drawn."""
        return self.is_sick or self.verdict is not None

    @property
    def z(self) -> float | None:
        """The difference in standard errors; None where there was nothing to compare."""
        return None if self.comparison is None else self.comparison.z

    @property
    def verdict(self) -> Verdict | None:
        """The verdict; None to go on."""
        return None if self.judgement is None else self.judgement.verdict


def look(plan: SequentialPlan, number: int, candidate: Counts, reference: Counts | Published, *, tau: Tau) -> Look:
    """
    Look at a complete round.

    A run that cannot be compared (other problems, a round that is not complete) gives an INVALID judgement.

    Args:
        plan: The plan, as it was stored before the first token.
        number: The look, from 1.
        candidate: The counts of the samples up to this round, of every problem in the exam's order.
        reference: The baseline's counts, or the published number the plan was made for.
        tau: Harness noise; the value the plan was made with.

    Raises:
        ValueError: If plan, number, reference and tau do not belong together.
    """
    _demand_fit(plan, number, reference, tau)
    judgement = _wrong_round(plan, number, candidate)
    if judgement is None and isinstance(reference, Counts):
        judgement = other_problems(candidate, reference)
    comparison = None if judgement else _comparison(plan, candidate, reference)
    verdict = None if comparison is None else _verdict(plan, number, _Statistic.of(comparison))
    if comparison is not None and verdict is not None:
        judgement = _judgement(plan, number, candidate, comparison, verdict=verdict, reference=reference, tau=tau)
    return Look(
        number=number,
        samples_per_problem=plan.fewest_at(number),
        early=is_early(plan, number),
        fail_bound=plan.fail_bounds[number - 1],
        pass_bound=plan.pass_bounds[number - 1],
        comparison=comparison,
        judgement=judgement,
    )


def is_early(plan: SequentialPlan, number: int) -> bool:
    """Whether a run that ends at a look has no score."""
    return number < plan.n_looks or plan.allocation is not None


def _wrong_round(plan: SequentialPlan, number: int, candidate: Counts) -> Judgement | None:
    """Refuse counts that are not those of the planned round; None where they are."""
    if plan.allocation is None:
        return wrong_denominator(candidate, plan.ks[number - 1])
    planned = dict(zip(plan.allocation.problem_ids, plan.allocation.rounds[number - 1], strict=True))
    if {problem.problem_id: problem.n_samples for problem in candidate.problems} == planned:
        return None
    return invalid(
        f"The samples are not those that were allocated up to look {number}.", "Resume the run: --r1-resume RUN."
    )


def _demand_fit(plan: SequentialPlan, number: int, reference: Counts | Published, tau: Tau) -> None:
    if not 1 <= number <= plan.n_looks:
        raise ValueError(f"look {number} was asked for; expected 1 to {plan.n_looks}")
    if isinstance(reference, Counts) is not plan.paired:
        kind = "per-problem counts" if plan.paired else "a published number"
        raise ValueError(f"the baseline is {type(reference).__name__}; expected {kind}, as planned")
    if isinstance(reference, Published) and reference.n_samples not in {None, plan.design.n_baseline_samples}:
        raise ValueError(
            f"the published number has {reference.n_samples} samples per problem; expected the planned "
            f"{plan.design.n_baseline_samples}"
        )
    if tau.value != plan.design.tau:
        raise ValueError(f"tau is {tau.value}; expected the planned {plan.design.tau}")


def _comparison(plan: SequentialPlan, candidate: Counts, reference: Counts | Published) -> Comparison:
    if isinstance(reference, Counts) and plan.allocation is not None:
        return allocated_test(candidate, reference, prior=plan.allocation.prior, tau=plan.design.tau)
    if isinstance(reference, Counts):
        return paired_test(candidate, reference, tau=plan.design.tau, exact=plan.rule.exact)
    return scalar_test(candidate, reference, n_baseline_samples=plan.design.n_baseline_samples, tau=plan.design.tau)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Statistic:
    """What a look decides on: z, and the exact p-values where they decide in place of its outer bounds."""

    z: float
    exact_p: tuple[float, float] | None

    @classmethod
    def of(cls, comparison: Comparison) -> _Statistic:
        exact_p = (comparison.p_regressed, comparison.p_improved) if comparison.exact else None
        return cls(z=comparison.z, exact_p=exact_p)


def _verdict(plan: SequentialPlan, number: int, evidence: _Statistic) -> Verdict | None:
    """Apply one look's bounds; None to go on. Better evidence never gives a worse verdict."""
    a = plan.fail_bound(number)
    if evidence.exact_p is None:
        regressed, improved = evidence.z <= a, evidence.z >= -a
    else:
        # By the union bound over looks type I error stays at or below alpha, whatever the distribution.
        regressed, improved = (p <= plan.alpha_spent[number - 1] for p in evidence.exact_p)
    if regressed:
        return Verdict.FAIL_REGRESSED
    if improved:
        return Verdict.SUSPICIOUS_IMPROVED
    is_excluded = plan.pass_bounds[number - 1] <= evidence.z <= plan.pass_ceiling(number)
    return Verdict.PASS if is_excluded or number == plan.n_looks else None


def _judgement(  # noqa: PLR0913  a judgement knows everything
    plan: SequentialPlan,
    number: int,
    candidate: Counts,
    comparison: Comparison,
    *,
    verdict: Verdict,
    reference: Counts | Published,
    tau: Tau,
) -> Judgement:
    mde_80, turns_red = caught_drop(plan, reference), can_fail(plan, reference)
    doubt = _doubt(plan, comparison.baseline_mean, turns_red=turns_red)
    if doubt is not None and verdict is Verdict.PASS:
        verdict = Verdict.INCONCLUSIVE
    k_b = plan.design.n_baseline_samples
    warnings = tau_warnings(comparison, tau=tau, rule=plan.rule)
    if isinstance(reference, Published):
        warnings += published_warnings(candidate, reference, comparison, n_baseline_samples=k_b, rule=plan.rule)
    if is_early(plan, number):
        warnings += (f"{_early(plan, number)}: this pass@1 is at stop, biased by the stopping, and no score.",)
    return replace(
        judgement_of(
            candidate, comparison, tau=tau, rule=plan.rule, can_fail=turns_red, mde_80=mde_80, warnings=warnings
        ),
        verdict=verdict,
        passes=verdict_passes(verdict, rule=plan.rule),
        doubt=doubt,
        reason=_reason(plan, number, comparison, doubt if verdict is Verdict.INCONCLUSIVE else None),
        next_step=next_step(verdict, mde_80=mde_80, can_fail=turns_red),
    )


def _early(plan: SequentialPlan, number: int) -> str:
    if plan.allocation is None:
        return f"Stopped after {plan.ks[number - 1]} of at most {counted(plan.ks[-1], 'sample')} per problem"
    n_samples, most = plan.n_samples_at(number), plan.n_samples_at(plan.n_looks)
    return f"Stopped after {n_samples} of at most {most} samples, with {plan.described_depth(number)} per problem"


def caught_drop(plan: SequentialPlan, reference: Counts | Published) -> float | None:
    """
    Return the fall, a fraction, that a plan turns red for with 80 % power; None where not even a fall to 0 does.

    Args:
        plan: The plan.
        reference: The baseline's counts, or the published number that the plan was made for.
    """
    normal = detectable_drop(plan)
    if normal is None or isinstance(reference, Published) or plan.allocation is not None:
        return normal
    last = Counts.from_rows((id_, 0, plan.ks[-1]) for id_ in reference.ids)
    caught = caught_fall(last, reference, normal=normal, alpha=plan.alpha_spent[-1], tau=plan.design.tau)
    return None if caught is None else max(normal, caught)


def can_fail(plan: SequentialPlan, reference: Counts | Published) -> bool:
    """
    Tell whether a run can turn red at all: whether a candidate with every response wrong ends in FAIL.

    Args:
        plan: The plan.
        reference: The baseline's counts that the plan was made for, in its order, or the published number.
    """
    ids = reference.ids if isinstance(reference, Counts) else tuple(map(str, range(plan.design.n_problems)))
    for number in range(1, plan.n_looks + 1):
        planned = each_of(plan.depth_at(number), len(ids))
        worst = Counts.from_rows((id_, 0, k) for id_, k in zip(ids, planned, strict=True))
        verdict = _verdict(plan, number, _Statistic.of(_comparison(plan, worst, reference)))
        if verdict is not None:
            return verdict is Verdict.FAIL_REGRESSED
    return False


def _doubt(plan: SequentialPlan, baseline_mean: float, *, turns_red: bool) -> str | None:
    """Say why a PASS would not be evidence, or does not exclude the margin asked for; None where it does."""
    hopeless = impossible_fall(baseline_mean, rule=plan.rule, can_fail=turns_red)
    if hopeless is not None or plan.rule.margin is None or plan.resolves_margin:
        return hopeless
    return f"the plan excludes a fall of {points(plan.margin)} points, not of the {points(plan.rule.margin)} asked for"


def _reason(plan: SequentialPlan, number: int, comparison: Comparison, doubt: str | None) -> str:
    a, b = plan.fail_bounds[number - 1], plan.pass_bounds[number - 1]
    found = (
        f"After {plan.described_depth(number)} per problem pass@1 is {described_difference(comparison.difference)}, "
        f"z = {comparison.z:.2f}"
    )
    if comparison.exact:
        p = comparison.p_improved if comparison.difference > 0 else comparison.p_regressed
        fails = f"exact p = {p:.2g}, {plan.alpha_spent[number - 1]:.2g} or less decides"
    else:
        fails = "no FAIL at this look" if a is None else f"FAIL at {a:.2f} and below"
    ceiling = f" to {plan.pass_ceiling(number):.2f}" if plan.rule.two_sided else ""
    passes = f"PASS from {b:.2f}{ceiling}" if b <= plan.pass_ceiling(number) else "no PASS at this look"
    bounds = f"look {number} of {plan.n_looks}: {fails}, {passes}"
    return f"{found} ({bounds})." if doubt is None else f"{found} ({bounds}), but {doubt}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Completions:
    """
    The two extreme ways in which an incomplete round can end.

    Attributes:
        lowest: The counts if every pending sample is wrong.
        highest: The counts if every pending sample is right.
        n_pending: Samples of the round that have not finished.
    """

    lowest: Counts
    highest: Counts
    n_pending: int

    @classmethod
    def of(cls, finished: Iterable[tuple[str, int, int]], *, n_samples: Depth) -> Completions:
        """
        Complete a round.

        Args:
            finished: For each problem of the exam its id, correct and finished samples; zero finished is allowed.
            n_samples: Samples of each problem at the end of the round.

        Raises:
            ValueError: If a problem has more samples than the round, or impossible counts.
        """
        found = list(finished)
        rows = [(*row, k) for row, k in zip(found, each_of(n_samples, len(found)), strict=True)]
        for id_, correct, done, k in rows:
            if not 0 <= correct <= done <= k:
                raise ValueError(f"problem {id_!r}: {correct} correct of {done} samples in a round of {k}")
        return cls(
            lowest=Counts.from_rows((id_, correct, k) for id_, correct, _, k in rows),
            highest=Counts.from_rows((id_, correct + k - done, k) for id_, correct, done, k in rows),
            n_pending=sum(k - done for _, _, done, k in rows),
        )


def sandwich(
    plan: SequentialPlan, number: int, completions: Completions, reference: Counts | Published, *, tau: Tau
) -> Look | None:
    """
    Stop inside a round where no completion of it can change the verdict: the one legal shortcut.

    The look that is returned counts every pending sample against its verdict,
    and says so; None means that pending samples still matter.

    Args:
        plan: The plan, as it was stored before the first token.
        number: The look that the round leads to, from 1.
        completions: The extreme ways in which the round can end.
        reference: The baseline's counts, or the published number the plan was made for.
        tau: Harness noise; the value the plan was made with.

    Raises:
        ValueError: If plan, number, reference and tau do not belong together, or the runs sat different problems.
    """
    _demand_fit(plan, number, reference, tau)
    verdicts = {_verdict(plan, number, evidence) for evidence in _extremes(plan, completions, reference)}
    if len(verdicts) != 1 or None in verdicts:
        return None
    against = completions.highest if Verdict.FAIL_REGRESSED in verdicts else completions.lowest
    decided = look(plan, number, against, reference, tau=tau)
    if decided.judgement is None or not completions.n_pending:
        return decided
    note = (
        f"Decided before the round was complete: its {completions.n_pending} pending samples were counted against it."
    )
    return replace(decided, judgement=decided.judgement.warned(note), early=True)


def _extremes(plan: SequentialPlan, completions: Completions, reference: Counts | Published) -> tuple[_Statistic, ...]:
    """
    Bound the evidence of every completion, in each way that may come to decide.

    A p-value of the exact test only grows with a correct sample, so its extremes are those of the
    two completions; z needs its own bounds. Which of the two decides may hang on
    the pending samples, so both must agree.
    """
    lowest, highest, tau = completions.lowest, completions.highest, plan.design.tau
    if isinstance(reference, Published):
        k_b = plan.design.n_baseline_samples
        z = scalar_z_range(lowest, highest, reference, n_baseline_samples=k_b, tau=tau)
        return _Statistic(z=z.low, exact_p=None), _Statistic(z=z.high, exact_p=None)
    if plan.allocation is not None:
        z = allocated_z_range(lowest, highest, reference, prior=plan.allocation.prior, tau=tau)
        return _Statistic(z=z.low, exact_p=None), _Statistic(z=z.high, exact_p=None)
    z = paired_z_range(lowest, highest, reference, tau=tau)
    ends = zip((z.low, z.high), (lowest, highest), strict=True)
    exact = tuple(
        replace(_Statistic.of(paired_test(run, reference, tau=tau, exact=True)), z=z_end) for z_end, run in ends
    )
    if plan.rule.exact or lowest.n_samples < MIN_RESPONSES_FOR_NORMAL:
        return exact
    return *exact, *(replace(evidence, exact_p=None) for evidence in exact)
