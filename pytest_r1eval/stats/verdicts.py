"""
From numbers to an answer: may this checkpoint ship?

Decisions. The rule is fixed before the first token and is a value
(:class:`GateRule`). A judgement reports what was found and what to do next,
because a red gate is read by people who did not write it. What cannot be
compared is INVALID, an error and never a score; what the design cannot resolve is
INCONCLUSIVE: a margin that was asked for, a scalar test with too few samples to
estimate its own error, and a gate that could not turn red. A PASS is evidence only
where a candidate with every response wrong would FAIL.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated

from pytest_r1eval.core.benchmarks import Benchmark
from pytest_r1eval.core.fields import AtLeastOne, LeftOutIfEmpty, Positive, PositiveFraction, require
from pytest_r1eval.core.fingerprints import Difference
from pytest_r1eval.core.points import described_difference, described_fall, points
from pytest_r1eval.core.records import Counts
from pytest_r1eval.core.texts import counted
from pytest_r1eval.stats.equivalence import Equivalence, equivalence_test
from pytest_r1eval.stats.falls import caught_fall
from pytest_r1eval.stats.multiplicity import holm
from pytest_r1eval.stats.pairs import all_wrong
from pytest_r1eval.stats.tests import (
    Comparison,
    Design,
    Estimate,
    Published,
    alpha_of,
    minimum_detectable_effect,
    paired_test,
    pass_at_1,
    scalar_test,
    sigmas_of,
    smallest_fall,
)

Z_80 = 0.8416212335729143
"""Standard normal quantile of the power that the printed minimum detectable effect has."""

Z_90 = 1.2815515655446004
"""Standard normal quantile of the power with which a margin must be excluded."""

MIN_SAMPLES_FOR_SCALAR_TEST = 4
"""With fewer the candidate's own variance, all that a scalar test has, is too uncertain to fail a checkpoint on."""

CHANGED_HARNESS_TAU = 0.006
"""Engine versions and GPU models move a score by up to a point (SGLang#31702): an SD of 0.6 points."""


class Verdict(StrEnum):
    """The answer of a gate, by severity."""

    PASS = "pass"  # noqa: S105  a verdict, no password
    SUSPICIOUS_IMPROVED = "suspicious_improved"
    INCONCLUSIVE = "inconclusive"
    FAIL_REGRESSED = "fail_regressed"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tau:
    """
    Harness noise: SD of the difference of two scores that more samples do not remove.

    Attributes:
        value: A fraction, 0 or more.
        source: Why it is so large, a text that follows "because".
        advice: What makes it smaller.
    """

    value: float
    source: str
    advice: str = "record your own baseline once with --r1-save-baseline"

    def __post_init__(self) -> None:
        if not 0 <= self.value < math.inf:
            raise ValueError(f"tau is {self.value}; expected a finite fraction of 0 or more")


def measured_tau(differences: Sequence[Difference]) -> Tau:
    """Tau between two runs of this plugin, from the fields in which their fingerprints differ."""
    if not differences:
        return Tau(value=0.0, source="the fingerprints are equal")
    changed = ", ".join(difference.field for difference in differences)
    return Tau(value=CHANGED_HARNESS_TAU, source=f"the fingerprints differ in {changed}")


def published_tau(benchmark: Benchmark, *, made_with_lighteval: bool) -> Tau:
    """
    Tau between a run of this plugin and a published number.

    Raises:
        ValueError: If the number is another harness's and tau is not known on this benchmark.
    """
    if made_with_lighteval:
        return Tau(
            value=CHANGED_HARNESS_TAU, source="the number was made with LightEval, but not by this run's harness"
        )
    if benchmark.published_tau is None:
        raise ValueError(
            f"{benchmark.name}: no published_tau is known for numbers from another harness; expected one in the "
            "benchmark's definition; declare it, or record a baseline of your own"
        )
    return Tau(value=benchmark.published_tau, source="the number was made with another harness")


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRule:
    """
    How a gate decides, fixed before the first token.

    Attributes:
        sigmas: Standard errors that make a difference a verdict.
        two_sided: Whether an improvement beyond `sigmas` fails too.
        margin: A fall, a fraction, that a PASS must exclude with 90 % power; None asks for none.
        exact: Whether the exact test decides even where z would.
        family_size: Gates that share alpha, alpha / family_size each.
        inconclusive_passes: Whether INCONCLUSIVE lets the checkpoint through.
        n_holm: Tests that Holm's procedure orders together afterwards; 1 for none.
        claims_same: Whether a PASS must exclude a fall and a rise beyond `margin`, each at the gate's level, and any
            difference that is shown fails.

    Raises:
        ValueError: If a value is out of its range.
    """

    sigmas: Positive = 3.0
    two_sided: bool = False
    margin: PositiveFraction | None = None
    exact: bool = False
    family_size: AtLeastOne = 1
    inconclusive_passes: bool = False
    n_holm: int = 1
    claims_same: Annotated[bool, LeftOutIfEmpty()] = False

    def __post_init__(self) -> None:
        require(self)
        if self.claims_same and self.margin is None:
            raise ValueError("the claim is that two models are the same, and no margin is given; expected one")

    @property
    def alpha(self) -> float:
        """One-sided level of this gate, its share of the family's."""
        return alpha_of(self.sigmas) / self.family_size

    def shared_by(self, n_tests: int) -> GateRule:
        """Return the rule of each of several tests that share this one's alpha."""
        return replace(self, family_size=n_tests * self.family_size)

    @property
    def fails_on_rise(self) -> bool:
        """Whether an improvement that is shown fails."""
        return self.two_sided or self.claims_same

    @property
    def same_margin(self) -> float | None:
        """The margin beyond which a claim of sameness excludes a fall and a rise; None where it is not made."""
        return self.margin if self.claims_same else None

    @property
    def first_of_holm(self) -> GateRule:
        """The rule of Holm's first step: what a gate that falls alone among the family has to meet."""
        return self.shared_by(self.n_holm)

    @property
    def critical_sigmas(self) -> float:
        """Standard errors that decide, after the family's correction."""
        return self.sigmas if self.family_size == 1 else sigmas_of(self.alpha)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """
    A verdict with everything a person needs to believe it; fractions, None where INVALID.

    Attributes:
        verdict: The answer.
        passes: Whether the gate lets the checkpoint through under its rule.
        estimate: The candidate's pass@1.
        baseline_mean: What it was compared with.
        difference: Candidate minus baseline.
        standard_error: SD of the difference if nothing changed.
        z: Difference in standard errors.
        p_value: One-sided p-value against a fall, from whichever distribution decided.
        p_improved: The same against a rise.
        exact: Whether the exact conditional test decided.
        tau: Harness noise, and where it came from.
        mde_80: The fall that this gate catches with 80 % power; None too where not even a fall to 0 is caught so.
        can_fail: Whether a candidate with every response wrong would FAIL; None where nothing was compared.
        doubt: What a PASS would leave open, a text that follows "but"; None for nothing.
        equivalence: Whether a fall and a rise beyond the margin are excluded; None where that is not claimed.
        sigmas: Standard errors that decide.
        reason: Why, in one sentence.
        next_step: What to do, in one sentence.
        warnings: What else the reader should know, a sentence each.
    """

    verdict: Verdict
    passes: bool
    estimate: Estimate | None = None
    baseline_mean: float | None = None
    difference: float | None = None
    standard_error: float | None = None
    z: float | None = None
    p_value: float | None = None
    p_improved: float | None = None
    exact: bool = False
    tau: Tau | None = None
    mde_80: float | None = None
    can_fail: bool | None = None
    doubt: str | None = None
    equivalence: Annotated[Equivalence | None, LeftOutIfEmpty()] = None
    sigmas: float | None = None
    reason: str
    next_step: str
    warnings: tuple[str, ...] = ()

    def warned(self, *warnings: str) -> Judgement:
        """Return it with more warnings."""
        return replace(self, warnings=(*self.warnings, *warnings))

    @property
    def severity(self) -> tuple[bool, int]:
        """How bad it is: of several verdicts on one run, the largest counts."""
        return not self.passes, list(Verdict).index(self.verdict)


def invalid(reason: str, next_step: str) -> Judgement:
    """Refuse to judge: something is missing, duplicated or not comparable."""
    return Judgement(verdict=Verdict.INVALID, passes=False, reason=reason, next_step=next_step)


def judge_measured(
    candidate: Counts, baseline: Counts, *, tau: Tau, rule: GateRule, n_samples: int | None = None
) -> Judgement:
    """
    Judge a run against a stored run on the same problems: the paired test.

    Args:
        candidate: The run's counts.
        baseline: The stored run's counts, in any order of problems.
        tau: Harness noise, from `measured_tau`.
        rule: How to decide.
        n_samples: Samples per problem that were planned; any other number is INVALID. None accepts what is there.
    """
    if (problem := wrong_denominator(candidate, n_samples)) is not None:
        return problem
    if (problem := other_problems(candidate, baseline)) is not None:
        return problem
    comparison = paired_test(candidate, baseline, tau=tau.value, exact=rule.exact)
    return judgement_of(
        candidate,
        comparison,
        tau=tau,
        rule=rule,
        equivalence=None
        if (margin := rule.same_margin) is None
        else equivalence_test(
            candidate, baseline, comparison, margin=margin, sigmas=rule.critical_sigmas, tau=tau.value
        ),
        can_fail=can_fail(candidate, baseline, tau=tau, rule=rule),
        mde_80=caught_fall(
            candidate, baseline, normal=detectable_fall(comparison, rule=rule), alpha=rule.alpha, tau=tau.value
        ),
        warnings=tau_warnings(comparison, tau=tau, rule=rule),
    )


def judge_published(  # noqa: PLR0913  a published number needs one more fact than a measured one
    candidate: Counts,
    published: Published,
    *,
    tau: Tau,
    rule: GateRule,
    standard_samples: int,
    n_samples: int | None = None,
) -> Judgement:
    """
    Judge a run against a printed number: the scalar test.

    Args:
        candidate: The run's counts.
        published: The printed number.
        tau: Harness noise, from `published_tau`.
        rule: How to decide; `exact` does not apply, because one number has no problems to pair.
        standard_samples: The benchmark's standard samples per problem, assumed where the source names none.
        n_samples: Samples per problem that were planned; any other number is INVALID. None accepts what is there.
    """
    if (problem := wrong_denominator(candidate, n_samples)) is not None:
        return problem
    if rule.claims_same:
        return invalid(
            "A printed number cannot show that two models are the same: it has no responses to pair.",
            "Record a baseline of the first model with --r1-save-baseline, and judge the second against that.",
        )
    k_b = standard_samples if published.n_samples is None else published.n_samples
    comparison = scalar_test(candidate, published, n_baseline_samples=k_b, tau=tau.value)
    warnings = tau_warnings(comparison, tau=tau, rule=rule)
    warnings += published_warnings(candidate, published, comparison, n_baseline_samples=k_b, rule=rule)
    fewest = min(problem.n_samples for problem in candidate.problems)
    too_few = f"{counted(fewest, 'sample')} per problem cannot fail against a published number"
    judged = judgement_of(
        candidate,
        comparison,
        tau=tau,
        rule=rule,
        can_fail=can_fail(candidate, replace(published, n_samples=k_b), tau=tau, rule=rule),
        mde_80=detectable_fall(comparison, rule=rule),
        warnings=warnings,
        too_few=too_few if fewest < MIN_SAMPLES_FOR_SCALAR_TEST else None,
    )
    if judged.doubt != too_few or judged.verdict is not Verdict.INCONCLUSIVE:
        return judged
    return replace(
        judged,
        next_step=f"Draw at least {MIN_SAMPLES_FOR_SCALAR_TEST} samples per problem, or record a baseline of your own "
        "with --r1-save-baseline.",
    )


def can_fail(candidate: Counts, reference: Counts | Published, *, tau: Tau, rule: GateRule) -> bool:
    """
    Tell whether a gate can turn red at all: whether a candidate with every response wrong would FAIL.

    Under Holm's procedure it must do so while the other gates of the family hold.

    Args:
        candidate: Any run of the design; only its problems and numbers of samples matter.
        reference: The baseline's counts, or a published number with its samples per problem.
        tau: Harness noise.
        rule: How the gate decides.

    Raises:
        ValueError: If a published number has no samples per problem.
    """
    worst, rule = all_wrong(candidate), rule.first_of_holm
    if isinstance(reference, Counts):
        comparison = paired_test(worst, reference, tau=tau.value, exact=rule.exact)
        return verdict_of(comparison, rule=rule) is Verdict.FAIL_REGRESSED
    if reference.n_samples is None:
        raise ValueError("the published number has no samples per problem; expected the known or assumed ones")
    if min(problem.n_samples for problem in candidate.problems) < MIN_SAMPLES_FOR_SCALAR_TEST:
        return False
    comparison = scalar_test(worst, reference, n_baseline_samples=reference.n_samples, tau=tau.value)
    return verdict_of(comparison, rule=rule) is Verdict.FAIL_REGRESSED


def margin_is_resolved(design: Design, rule: GateRule) -> bool:
    """Tell before any token is spent whether a PASS of this design excludes the margin asked for."""
    if rule.margin is None:
        return True
    return minimum_detectable_effect(design, sigmas=rule.critical_sigmas, power=0.9) <= rule.margin


def under_holm(judgements: Sequence[Judgement], *, rule: GateRule) -> tuple[Judgement, ...]:
    """
    Judge several benchmarks as one family: Holm's step-down at the rule's alpha.

    The judgements must have been made at that alpha each (`family_size` 1). A
    FAIL or SUSPICIOUS that the family does not bear out becomes what the margin
    says, with a warning; everything else stays. INVALID gates count as members.

    Args:
        judgements: One per benchmark.
        rule: The rule they were made by.

    Raises:
        ValueError: If the rule already divides alpha.
    """
    if rule.family_size != 1:
        raise ValueError(f"alpha is already divided by {rule.family_size}; expected judgements made at the full alpha")
    fallen = holm([1.0 if judged.p_value is None else judged.p_value for judged in judgements])
    risen = holm([1.0 if judged.p_improved is None else judged.p_improved for judged in judgements])
    return tuple(
        _after_holm(judged, adjusted, rule=rule, n_gates=len(judgements))
        for judged, adjusted in zip(judgements, zip(fallen, risen, strict=True), strict=True)
    )


def _after_holm(judged: Judgement, adjusted: tuple[float, float], *, rule: GateRule, n_gates: int) -> Judgement:
    match judged.verdict:
        case Verdict.FAIL_REGRESSED:
            p_adjusted = adjusted[0]
        case Verdict.SUSPICIOUS_IMPROVED:
            p_adjusted = adjusted[1]
        case _:
            return judged
    if p_adjusted <= rule.alpha:
        return judged
    verdict = Verdict.PASS if judged.doubt is None else Verdict.INCONCLUSIVE
    return replace(
        judged,
        verdict=verdict,
        passes=verdict_passes(verdict, rule=rule),
        reason=f"{judged.reason.removesuffix('.')}, but not among {n_gates} gates together (Holm p = "
        f"{p_adjusted:.2g}, {rule.alpha:.2g} decides){'' if judged.doubt is None else f'; {judged.doubt}'}.",
        next_step="Add samples to this benchmark if the difference matters to you.",
        warnings=(*judged.warnings, f"Alone this gate would have been {judged.verdict.value}."),
    )


def other_problems(candidate: Counts, baseline: Counts) -> Judgement | None:
    """Refuse to pair runs on different problems; None where they are the same."""
    ours, theirs = set(candidate.ids), set(baseline.ids)
    if ours == theirs:
        return None
    return invalid(
        f"The baseline has {len(theirs)} problems and the candidate {len(ours)}, of which {len(ours & theirs)} "
        "are the same.",
        "Judge against a baseline recorded on this exam, or record one with --r1-save-baseline.",
    )


def wrong_denominator(candidate: Counts, n_samples: int | None) -> Judgement | None:
    """Refuse to judge another number of samples than was planned; None where it is right, or nothing was planned."""
    wrong = [problem for problem in candidate.problems if n_samples is not None and problem.n_samples != n_samples]
    if not wrong:
        return None
    return invalid(
        f"{len(wrong)} of {candidate.n_problems} problems do not have the {n_samples} samples that were planned "
        f"(problem {wrong[0].problem_id} has {wrong[0].n_samples}).",
        "Resume the run to draw what is missing: --r1-resume.",
    )


def tau_warnings(comparison: Comparison, *, tau: Tau, rule: GateRule) -> tuple[str, ...]:
    """Say so where harness noise, not sampling, limits the gate."""
    if 2 * tau.value**2 <= comparison.standard_error**2:
        return ()
    reach = points(rule.critical_sigmas * comparison.standard_error)
    warning = (
        f"This gate is a smoke test of about ±{reach} points, because {tau.source} (tau {points(tau.value)} points): "
        f"{tau.advice}."
    )
    return (warning,)


def published_warnings(
    candidate: Counts, published: Published, comparison: Comparison, *, n_baseline_samples: int, rule: GateRule
) -> tuple[str, ...]:
    """Say what a comparison with one number assumed, what that may cost, or what it could not do."""
    no_pairs = ("The exact test needs a measured baseline; the z test decided.",) if rule.exact else ()
    if published.n_samples is not None:
        return no_pairs
    fewer = max(1, n_baseline_samples // 4)
    k = pass_at_1(candidate).samples_per_problem
    alpha = alpha_with_fewer(comparison, k=k, assumed=n_baseline_samples, drawn=fewer, rule=rule)
    assumed = f"The source names no number of samples per problem: {n_baseline_samples} assumed."
    if fewer < n_baseline_samples:
        assumed += (
            f" If it drew {fewer}, an unchanged model fails with probability {alpha:.2g} instead of {rule.alpha:.2g}."
        )
    return (assumed, *no_pairs)


def alpha_with_fewer(comparison: Comparison, *, k: float, assumed: int, drawn: int, rule: GateRule) -> float:
    """
    Compute the level of a scalar test whose source drew another number of samples than was assumed.

    Args:
        comparison: As it was made.
        k: Candidate samples per problem.
        assumed: Baseline samples per problem that the comparison was made with.
        drawn: Those that the source truly drew.
        rule: How the gate decides.
    """
    baselines = comparison.candidate_variance * k  # of one sample per problem
    true = comparison.standard_error**2 + baselines * (1 / drawn - 1 / assumed)
    return alpha_of(rule.critical_sigmas * comparison.standard_error / math.sqrt(true))


def judgement_of(  # noqa: PLR0913  a judgement knows everything
    candidate: Counts,
    comparison: Comparison,
    *,
    tau: Tau,
    rule: GateRule,
    can_fail: bool,
    mde_80: float | None,
    warnings: tuple[str, ...],
    too_few: str | None = None,
    equivalence: Equivalence | None = None,
) -> Judgement:
    """
    Judge a comparison under the fixed rule, with reasons.

    Args:
        candidate: The run's counts.
        comparison: What was found.
        tau: Harness noise.
        rule: How to decide.
        can_fail: Whether a candidate with every response wrong would FAIL.
        mde_80: The fall, a fraction, that is caught with 80 % power; None for none, not even to 0.
        warnings: What else the reader should know.
        too_few: That a scalar test has too few samples per problem to fail; None where it has enough.
        equivalence: What a claim of sameness rests on; None where it is not made.
    """
    verdict = verdict_of(comparison, rule=rule)
    doubt = too_few or doubt_of_pass(comparison, rule=rule, can_fail=can_fail, equivalence=equivalence)
    if doubt is not None and (verdict is Verdict.PASS or (too_few and not verdict_passes(verdict, rule=rule))):
        verdict = Verdict.INCONCLUSIVE
    return Judgement(
        verdict=verdict,
        passes=verdict_passes(verdict, rule=rule),
        estimate=pass_at_1(candidate),
        baseline_mean=comparison.baseline_mean,
        difference=comparison.difference,
        standard_error=comparison.standard_error,
        z=comparison.z,
        p_value=comparison.p_regressed,
        p_improved=comparison.p_improved,
        exact=comparison.exact,
        tau=tau,
        mde_80=mde_80,
        can_fail=can_fail,
        doubt=doubt,
        equivalence=equivalence,
        sigmas=rule.critical_sigmas,
        reason=_reason(comparison, rule=rule, doubt=doubt if verdict is Verdict.INCONCLUSIVE else None),
        next_step=_next_step_of_same(verdict, equivalence)
        if equivalence is not None and can_fail
        else next_step(verdict, mde_80=mde_80, can_fail=can_fail),
        warnings=warnings,
    )


def detectable_fall(comparison: Comparison, *, rule: GateRule) -> float | None:
    """
    Return the fall, a fraction, that a comparison catches with 80 % power by normal theory; None for none.

    Args:
        comparison: As it was made.
        rule: How the gate decides.
    """
    fall = smallest_fall(
        rule.critical_sigmas + Z_80,
        own=comparison.candidate_variance,
        at=comparison.pooled_mean,
        mean=comparison.baseline_mean,
        fixed=comparison.fixed_variance,
    )
    return fall if fall <= comparison.baseline_mean else None


def verdict_of(comparison: Comparison, *, rule: GateRule) -> Verdict:
    """Apply a rule's critical values to a comparison at the fixed number of samples; a PASS may still be doubted."""
    if comparison.exact:
        regressed, improved = comparison.p_regressed <= rule.alpha, comparison.p_improved <= rule.alpha
    else:
        regressed, improved = comparison.z <= -rule.critical_sigmas, comparison.z >= rule.critical_sigmas
    if regressed:
        return Verdict.FAIL_REGRESSED
    return Verdict.SUSPICIOUS_IMPROVED if improved else Verdict.PASS


def doubt_of_pass(
    comparison: Comparison, *, rule: GateRule, can_fail: bool, equivalence: Equivalence | None = None
) -> str | None:
    """Say why a difference within bounds is not evidence for a PASS; None where it is."""
    hopeless = impossible_fall(comparison.baseline_mean, rule=rule, can_fail=can_fail)
    if hopeless is not None or rule.margin is None:
        return hopeless
    if equivalence is not None:
        sides = equivalence.open_sides(rule.alpha)
        verb = "is" if len(sides) == 1 else "are"
        return f"a {' and a '.join(sides)} of {points(rule.margin)} points {verb} not excluded" if sides else None
    is_excluded = comparison.difference - Z_90 * comparison.error_after(rule.margin) > -rule.margin
    return None if is_excluded else f"a fall of {points(rule.margin)} points is not excluded"


def impossible_fall(baseline_mean: float, *, rule: GateRule, can_fail: bool) -> str | None:
    """
    Say why no PASS of an exam is evidence, before the first token and in the verdict; None where one may be.

    Args:
        baseline_mean: The baseline's pass@1, a fraction.
        rule: How the gate decides.
        can_fail: Whether a candidate with every response wrong would FAIL.
    """
    no_fall = "this exam cannot show a fall of this model"
    if not can_fail:
        return f"{no_fall}: with every response wrong it would not FAIL"
    if rule.margin is not None and rule.margin > baseline_mean:
        return (
            f"{no_fall} by the margin of {points(rule.margin)} points that was asked for: the baseline has "
            f"{points(baseline_mean)}"
        )
    return None


def verdict_passes(verdict: Verdict, *, rule: GateRule) -> bool:
    """Whether a verdict lets the checkpoint through under a rule."""
    match verdict:
        case Verdict.PASS:
            return True
        case Verdict.SUSPICIOUS_IMPROVED:
            return not rule.fails_on_rise
        case Verdict.INCONCLUSIVE:
            return rule.inconclusive_passes
        case Verdict.FAIL_REGRESSED | Verdict.INVALID:
            return False


def _reason(comparison: Comparison, *, rule: GateRule, doubt: str | None) -> str:
    found = f"pass@1 is {described_difference(comparison.difference)}, {abs(comparison.z):.1f} standard errors"
    if comparison.exact:
        p = comparison.p_improved if comparison.difference > 0 else comparison.p_regressed
        decides = f"exact p = {p:.2g}, {rule.alpha:.2g} or less decides"
    else:
        decides = f"{rule.critical_sigmas:.3g} decide"
    return f"{found} ({decides})." if doubt is None else f"{found} ({decides}), but {doubt}."


SHIP_IT = "Ship it"
DO_NOT_SHIP = "Do not ship"
"""How the next step of a PASS begins; where a release policy decides, a report adds its condition."""


def next_step(verdict: Verdict, *, mde_80: float | None = None, can_fail: bool = True) -> str:
    """
    Say what to do after a verdict.

    Args:
        verdict: The answer.
        mde_80: The fall, a fraction, caught with 80 % power; None for none, not even to 0.
        can_fail: Whether the gate could have turned red.
    """
    match verdict:
        case Verdict.PASS:
            return f"{SHIP_IT}; {described_fall(mde_80)} would have been caught with 80 % power."
        case Verdict.FAIL_REGRESSED:
            return f"{DO_NOT_SHIP}; look at the problems that fell, and lower a baseline only with a written reason."
        case Verdict.SUSPICIOUS_IMPROVED:
            return "Rule out contamination, a changed grader and the wrong checkpoint before you believe it."
        case Verdict.INCONCLUSIVE if not can_fail:
            return "Judge by an exam that the baseline can solve, or draw more samples; a repetition proves nothing."
        case Verdict.INCONCLUSIVE:
            return "Draw more samples, or compare with a baseline that has more; repeating the run proves nothing."
        case Verdict.INVALID:
            return "Repair what is missing and resume the run: --r1-resume."


def _next_step_of_same(verdict: Verdict, equivalence: Equivalence) -> str:
    """Say what to do after a verdict on the claim that two models are the same."""
    match verdict:
        case Verdict.PASS:
            return f"Take it for the same: a difference of {points(equivalence.margin)} points either way is excluded."
        case Verdict.FAIL_REGRESSED | Verdict.SUSPICIOUS_IMPROVED:
            return "Do not take it for the same; r1eval same MODEL_A MODEL_B shows the token where the two part."
        case Verdict.INCONCLUSIVE | Verdict.INVALID:
            return next_step(verdict)
