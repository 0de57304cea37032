"""A complete run against one baseline: the statistics' verdict, then what the origin of both samples makes of it."""

from dataclasses import replace

from pytest_r1eval.baselines.reference import reference_for, unstated_sampling
from pytest_r1eval.baselines.shelf import FoundBaseline
from pytest_r1eval.core.baselines import MeasuredBaseline, PublishedBaseline
from pytest_r1eval.core.benchmarks import Benchmark
from pytest_r1eval.core.evidence import Evidence
from pytest_r1eval.core.measurements import Measurement
from pytest_r1eval.core.records import Counts
from pytest_r1eval.errors import BaselineError
from pytest_r1eval.runs.finished import CompleteRun
from pytest_r1eval.stats.verdicts import (
    GateRule,
    Judgement,
    Verdict,
    invalid,
    judge_measured,
    judge_published,
)

MATTERS = "; counted all wrong or all right, they would change the verdict"


def decided(
    run: CompleteRun, found: FoundBaseline, *, benchmark: Benchmark | None, rule: GateRule, n_tests: int = 1
) -> Judgement:
    """
    Judge a complete run against a baseline, by the fixed gate.

    What the grader failed on is left out if the verdict is the same with all of it wrong or right, at each level that
    Holm's procedure may ask for.

    Args:
        run: The run.
        found: The baseline.
        benchmark: The benchmark's definition, which a published number needs; None where it is unknown.
        rule: How to decide.
        n_tests: Tests that Holm's procedure corrects together afterwards; 1 where it does not.
    """
    if run.ungraded is None:
        judgement = compared(run.measured, found, benchmark=benchmark, n_samples=run.samples_per_problem, rule=rule)
        return _by_origin(judgement, run, found)
    judgement = compared(run.measured, found, benchmark=benchmark, n_samples=None, rule=rule)
    completions = [run.measured, *(replace(run.measured, counts=counts) for counts in run.extremes)]
    for level in map(rule.shared_by, range(1, n_tests + 1)):
        judged = (compared(each, found, benchmark=benchmark, n_samples=None, rule=level) for each in completions)
        if len({each.verdict for each in judged}) > 1:
            return run.ungraded.refusal(MATTERS)
    judgement = judgement.warned(run.ungraded.note)
    return _by_origin(judgement, run, found)


def _by_origin(judgement: Judgement, run: CompleteRun, found: FoundBaseline) -> Judgement:
    """Change a judgement by the origin of both sides' samples."""
    if not isinstance(found.baseline, MeasuredBaseline):
        return judgement
    return weighed(judgement, ours=run.evidence, theirs=found.baseline.evidence)


def is_same_question(measured: Measurement, found: FoundBaseline) -> bool:
    """Whether a baseline answered the run's question; a published number counts as such."""
    if isinstance(found.baseline, PublishedBaseline):
        return True
    return not measured.fingerprint.question.differences(found.baseline.fingerprint.question)


def is_own(measured: Measurement, found: FoundBaseline | None) -> bool:
    """Whether a baseline was recorded from these very samples, which are judged once more."""
    baseline = None if found is None else found.baseline
    return (
        isinstance(baseline, MeasuredBaseline)
        and baseline.evidence == measured.evidence
        and baseline.counts == measured.counts
    )


def compared(
    measured: Measurement,
    found: FoundBaseline,
    *,
    benchmark: Benchmark | None,
    n_samples: int | None,
    rule: GateRule,
) -> Judgement:
    """
    Judge a complete run against a baseline, by the fixed gate.

    Args:
        measured: The run.
        found: The baseline.
        benchmark: The benchmark's definition, which a published number needs; None where it is unknown.
        n_samples: Samples per problem that were planned; any other number is INVALID. None accepts what is there.
        rule: How to decide.
    """
    try:
        reference = reference_for(benchmark, found, fingerprint=measured.fingerprint, claims_same=rule.claims_same)
    except BaselineError as error:
        return invalid(str(error), "Ask the same, or judge against a baseline recorded this way (--r1-save-baseline).")
    if isinstance(reference.side, Counts):
        return judge_measured(measured.counts, reference.side, tau=reference.tau, rule=rule, n_samples=n_samples)
    judgement = judge_published(
        measured.counts,
        reference.side,
        tau=reference.tau,
        rule=rule,
        standard_samples=benchmark.samples_per_problem if benchmark else measured.counts.problems[0].n_samples,
        n_samples=n_samples,
    )
    sampling, number = measured.fingerprint.question.sampling, found.baseline
    caution = unstated_sampling(sampling, number) if isinstance(number, PublishedBaseline) else None
    return judgement if caution is None else judgement.warned(caution)


def weighed(judgement: Judgement, *, ours: Evidence, theirs: Evidence) -> Judgement:
    """
    Return a judgement, changed by the origin of the samples.

    The same evidence twice decides nothing and never passes, whatever the rule lets through.

    Args:
        judgement: The verdict by the numbers.
        ours: What the run's samples come from.
        theirs: What the baseline's come from.
    """
    if judgement.verdict is Verdict.INVALID:
        return judgement
    if ours.overlaps(theirs):
        return replace(
            judgement,
            verdict=Verdict.INCONCLUSIVE,
            passes=False,
            reason="The baseline holds the same weights drawn with the same seed: this is the same evidence twice.",
            next_step="Compare with a baseline of another checkpoint (--r1-baseline), or draw these weights again with "
            "--r1-fresh to check the harness.",
        )
    if not ours.shares_weights(theirs):
        return judgement
    if ours.shares_draws(theirs) and judgement.verdict is not Verdict.FAIL_REGRESSED:
        return replace(
            judgement,
            verdict=Verdict.INCONCLUSIVE,
            passes=False,
            reason="The baseline holds the same weights drawn with the same seed, beside other files: equal samples "
            "are the same evidence twice.",
            next_step="Draw these weights with another --r1-seed to check the files that changed.",
        )
    note = "drawn with another seed: this verdict checks the harness, not a change of the model."
    if ours.model != theirs.model:
        note = "beside other files: this verdict checks those files, not a change of the weights."
    return judgement.warned(f"The baseline holds the same weights, {note}")
