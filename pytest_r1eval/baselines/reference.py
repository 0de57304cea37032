"""What a run is compared with: a baseline as counts or as a number, and the noise between the two harnesses."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_r1eval.baselines.shelf import FoundBaseline
from pytest_r1eval.core.baselines import MeasuredBaseline, PublishedBaseline, PublishedHarness
from pytest_r1eval.core.benchmarks import Benchmark, Sampling
from pytest_r1eval.core.evidence import Evidence
from pytest_r1eval.core.fingerprints import Difference, Fingerprint
from pytest_r1eval.core.records import Counts
from pytest_r1eval.errors import BaselineError
from pytest_r1eval.stats.health import LIMITS_ALONE, USUAL_LIMITS, HealthLimits, HealthReference
from pytest_r1eval.stats.tests import Design, Published, within_variance
from pytest_r1eval.stats.verdicts import Tau, measured_tau, published_tau


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """
    One side of a comparison.

    Attributes:
        side: The baseline's counts, or the published number.
        tau: Harness noise between it and the run.
        source: Where it came from, in words.
        evidence: Which samples it rests on; None for a published number.
    """

    side: Counts | Published
    tau: Tau
    source: str
    evidence: Evidence | None = None


def side_of(baseline: MeasuredBaseline | PublishedBaseline) -> Counts | Published:
    """Return the numbers of a baseline that a test needs."""
    match baseline:
        case MeasuredBaseline():
            return baseline.counts
        case PublishedBaseline():
            return published_side(baseline)


def published_side(baseline: PublishedBaseline) -> Published:
    """Return the number that a scalar test needs."""
    return Published(value=baseline.pass_at_1, rounding=baseline.rounding_unit, n_samples=baseline.samples_per_problem)


def design_against(side: Counts | Published, benchmark: Benchmark, *, n_samples: int, tau: float) -> Design:
    """
    Describe a run of `n_samples` samples per problem against a baseline.

    Raises:
        BaselineError: If nothing is known of the spread within the benchmark's problems.
    """
    if isinstance(side, Counts):
        return Design.from_baseline(side, n_samples=n_samples, tau=tau)
    if benchmark.planning is None:
        raise BaselineError(
            f"{benchmark.name}: nothing is known of the spread within its problems, so nothing can be planned "
            "against a published number; record a baseline of your own with --r1-save-baseline"
        )
    return Design.from_planning(
        benchmark.planning,
        n_samples=n_samples,
        n_baseline_samples=side.n_samples or benchmark.samples_per_problem,
        tau=tau,
        mean=side.value,
    )


def reference_for(
    benchmark: Benchmark | None, found: FoundBaseline, *, fingerprint: Fingerprint, claims_same: bool = False
) -> Reference:
    """
    Work out what a run with this fingerprint is compared with.

    Args:
        benchmark: The benchmark's definition, which a published number needs; None where there is none.
        found: The baseline.
        fingerprint: The run's.
        claims_same: Whether the two are claimed to be the same, so that nothing is forgiven a harness.

    Raises:
        BaselineError: If the baseline was asked something else, or the noise between the harnesses is unknown.
    """
    match found.baseline:
        case MeasuredBaseline() as measured:
            differences = fingerprint.differences(measured.fingerprint)
            check_same_question(differences, found)
            return Reference(
                side=side_of(measured),
                tau=widened(
                    _CLAIMED if claims_same else _harness_noise(fingerprint, measured.fingerprint, differences),
                    measured,
                ),
                source=found.source,
                evidence=measured.evidence,
            )
        case PublishedBaseline() as published:
            if benchmark is None:
                raise BaselineError(
                    f"{published.benchmark} is not defined here, so nothing is known of the published number's noise; "
                    "name the module that defines it (--tasks, --r1-tasks)"
                )
            check_same_sampling(fingerprint.question.sampling, published, found)
            grader = fingerprint.harness.grader
            return Reference(
                side=side_of(published), tau=tau_of(published, benchmark, grader=grader), source=found.source
            )


_CLAIMED = Tau(value=0.0, source="the claim is that nothing changed, the harness included")


def _harness_noise(ours: Fingerprint, theirs: Fingerprint, differences: Sequence[Difference]) -> Tau:
    """
    Return the noise between two harnesses, of which nothing is forgiven where one checkpoint answered in both.

    Such a comparison asks whether the harness changed the answers, so what it changes is not noise.
    """
    if ours.model == theirs.model and ours.harness != theirs.harness:
        return Tau(value=0.0, source="one checkpoint answered in both harnesses, which are what is compared")
    return measured_tau(differences)


def own_noise(baseline: MeasuredBaseline) -> float:
    """
    SD of a difference that stays however many samples are drawn, because runs of one checkpoint move.

    Solve rates move from run to run with intra-class correlation rho. That adds rho p (1 - p) to the variance of each
    side's rate on each problem, and no number of samples reduces it.

    Args:
        baseline: The baseline; nothing is added where one run alone was recorded.

    Returns:
        A fraction, to be added to harness noise in squares.
    """
    if not baseline.correlation:
        return 0.0
    return math.sqrt(2 * baseline.correlation * within_variance(baseline.counts) / baseline.counts.n_problems)


def widened(tau: Tau, baseline: MeasuredBaseline) -> Tau:
    """Return harness noise with what the baseline's own runs add."""
    own = own_noise(baseline)
    if own == 0:
        return tau
    moves = f"runs of the baseline's checkpoint move beyond sampling (rho = {baseline.correlation:.2g})"
    return Tau(
        value=math.hypot(tau.value, own),
        source=f"{tau.source}, and {moves}" if tau.value else moves,
        advice="more samples change little; find out what makes the runs move",
    )


def harness_noise(tau: Tau, baseline: MeasuredBaseline) -> float:
    """Return the harness's part of a noise: what the runs of a checkpoint move by is of pass@1, and of no rate."""
    return math.sqrt(max(0.0, tau.value**2 - own_noise(baseline) ** 2))


def health_reference(
    found: FoundBaseline | None, tau: Tau | None, *, limits: HealthLimits = USUAL_LIMITS
) -> HealthReference:
    """
    Return what health is judged against; limits alone where no baseline was measured.

    Args:
        found: The baseline; None where there is none.
        tau: Noise of the comparison with it; None where pass@1 was not compared.
        limits: What each rate may be.
    """
    if found is None or not isinstance(found.baseline, MeasuredBaseline):
        return LIMITS_ALONE.within(limits)
    noise = 0.0 if tau is None else harness_noise(tau, found.baseline)
    return HealthReference(counts=found.baseline.health, tau=noise).within(limits)


def check_same_question(differences: Iterable[Difference], found: FoundBaseline) -> None:
    """
    Refuse a baseline that was asked something else, or whose programs were graded by another rule.

    Args:
        differences: In what a run and the baseline differ.
        found: The baseline.

    Raises:
        BaselineError: If one of them forbids a comparison.
    """
    differences = tuple(differences)
    has_other_prompts = any(difference.field == "question.prompts" for difference in differences)
    asked = [each for each in differences if each.is_question or (has_other_prompts and each.changes_prompts)]
    if not any(each.is_question for each in asked):
        return
    unexplained = has_other_prompts and not any(each.changes_prompts or each.field == "question.exam" for each in asked)
    why = " (template, tokenizer, system prompt and date are equal: another version of transformers rendered them)"
    raise BaselineError(
        f"The baseline ({found.source}) was asked something else: {'; '.join(map(str, asked))}"
        f"{why if unexplained else ''}. "
        "Ask the same, or record a baseline of your own with --r1-save-baseline and --r1-baseline."
    )


def check_same_sampling(ours: Sampling, published: PublishedBaseline, found: FoundBaseline) -> None:
    """
    Refuse a published number whose source states another sampling; how long a response may be is the run's own matter.

    Raises:
        BaselineError: If it does.
    """
    theirs = published.sampling
    if theirs is None or (ours.temperature, ours.top_p) == (theirs.temperature, theirs.top_p):
        return
    raise BaselineError(
        f"The baseline ({found.source}) was asked something else: temperature {theirs.temperature:g} and top-p "
        f"{theirs.top_p:g} in the source, {ours.temperature:g} and {ours.top_p:g} here. "
        "Ask the same, or record a baseline of your own with --r1-save-baseline and --r1-baseline."
    )


def unstated_sampling(ours: Sampling, published: PublishedBaseline) -> str | None:
    """Return a warning where the source states no sampling and the run's is not the usual one; None for none."""
    usual = Sampling()
    if published.sampling is not None or (ours.temperature, ours.top_p) == (usual.temperature, usual.top_p):
        return None
    return (
        f"The source names no sampling: {usual.temperature:g} and {usual.top_p:g} are usual for temperature and top-p, "
        f"and this run has {ours.temperature:g} and {ours.top_p:g}. It may have been asked something else."
    )


def tau_of(published: PublishedBaseline, benchmark: Benchmark, *, grader: str = "lighteval") -> Tau:
    """
    Return the noise between a run and a published number.

    Args:
        published: The number.
        benchmark: What it is of.
        grader: What graded the run; only LightEval's is the harness of a number made with LightEval.

    Raises:
        BaselineError: If it was not measured.
    """
    is_lighteval = published.harness is PublishedHarness.LIGHTEVAL and grader.startswith("lighteval")
    try:
        return published_tau(benchmark, made_with_lighteval=is_lighteval)
    except ValueError as error:
        raise BaselineError(f"{error}; or record a baseline of your own with --r1-save-baseline") from error
