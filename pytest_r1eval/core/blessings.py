"""
How a measured baseline may change: a higher number freely, a lower one on new evidence and with a reason.

Lowering a reference after each flaky failure is a ratchet that only goes down. So a lower
number needs samples that were not there when it was recorded, and a reason; both stay in
the file, where a reviewer sees them.
"""

import datetime as dt
from dataclasses import replace

from pytest_r1eval.core.baselines import BaselineFile, Blessing, MeasuredBaseline, with_measured
from pytest_r1eval.errors import BaselineError, LowerBaselineError


def recorded(file: BaselineFile, measured: MeasuredBaseline) -> BaselineFile:
    """
    Return the file with a first entry for a benchmark.

    Raises:
        BaselineError: If it has one already.
    """
    if (there := file.measured_for(measured.benchmark)) is not None:
        raise BaselineError(
            f"{file.model} has a baseline for {measured.benchmark} already ({_described(there)}); "
            "expected none. Replace it with r1eval baseline bless"
        )
    return with_measured(file, measured)


def kept(file: BaselineFile, measured: MeasuredBaseline, *, when: dt.datetime) -> BaselineFile:
    """
    Return the file with a benchmark's entry from a gate's run, where no reason is asked for.

    Args:
        file: The model's baselines.
        measured: The run.
        when: The time of it, with its offset from UTC.

    Raises:
        LowerBaselineError: If the number is lower than the one that is there, for the same question.
    """
    there = file.measured_for(measured.benchmark)
    if there is None:
        return with_measured(file, measured)
    if there.evidence == measured.evidence and there.counts == measured.counts:
        return with_measured(file, replace(measured, history=there.history))  # judged once more
    differences = _question_differences(there, measured)
    if not differences and measured.pass_at_1 < there.pass_at_1:
        advice = ". Lower it on purpose, with r1eval baseline bless RUN NAME --reason TEXT"
        raise _lower(file, there, measured, advice=advice)
    return _replaced(
        file, there, measured, when=when, reason=f"asked another question: {differences}" if differences else None
    )


def blessed(file: BaselineFile, measured: MeasuredBaseline, *, when: dt.datetime, reason: str | None) -> BaselineFile:
    """
    Return the file with a benchmark's entry replaced, and what was replaced in its history.

    Args:
        file: The model's baselines.
        measured: The run that takes the place.
        when: The time of it, with its offset from UTC.
        reason: Why; only a number that is not lower needs none.

    Raises:
        BaselineError: If the number is lower without a reason or by an older run, or the evidence is the same.
    """
    if reason is not None and not reason.strip():
        raise BaselineError(f"--reason is {reason!r}; expected some text: why the baseline changes")
    there = file.measured_for(measured.benchmark)
    if there is None:
        return with_measured(file, measured)
    if there.evidence == measured.evidence:
        raise BaselineError(
            f"{file.model}, {measured.benchmark}: the run {measured.run} holds the samples that are the baseline "
            f"already ({_described(there)}); expected a new run. Draw one with --r1-fresh, or of another checkpoint"
        )
    differences = _question_differences(there, measured)
    if differences and reason is None:
        raise BaselineError(
            f"{file.model}, {measured.benchmark}: the run was asked something else than the baseline "
            f"({differences}); expected the same, or --reason with why the question changed"
        )
    is_lower = measured.pass_at_1 < there.pass_at_1
    if is_lower and reason is None:
        raise _lower(file, there, measured, advice=", or --reason with why it is")
    if is_lower and measured.recorded < there.recorded:
        raise BaselineError(
            f"{file.model}, {measured.benchmark}: the run {measured.run} is lower, and older than the baseline "
            f"({measured.recorded.isoformat()}, {there.recorded.isoformat()}); expected a new run for a lower number"
        )
    return _replaced(file, there, measured, when=when, reason=reason)


def _replaced(
    file: BaselineFile, there: MeasuredBaseline, measured: MeasuredBaseline, *, when: dt.datetime, reason: str | None
) -> BaselineFile:
    """Put an entry in another's place, and that into its history."""
    blessing = Blessing(
        blessed=when,
        run=measured.run,
        pass_at_1=measured.pass_at_1,
        replaced_run=there.run,
        replaced_pass_at_1=there.pass_at_1,
        reason=reason,
    )
    return with_measured(file, replace(measured, history=(*there.history, blessing)))


def _lower(
    file: BaselineFile, there: MeasuredBaseline, measured: MeasuredBaseline, *, advice: str
) -> LowerBaselineError:
    return LowerBaselineError(
        f"{file.model}, {measured.benchmark}: the run {measured.run} has {100 * measured.pass_at_1:.1f}, the baseline "
        f"{100 * there.pass_at_1:.1f}; expected a number that is not lower{advice}"
    )


def _question_differences(there: MeasuredBaseline, measured: MeasuredBaseline) -> str:
    """Say in what the two were asked different things; nothing where they were asked the same."""
    return "; ".join(map(str, measured.fingerprint.question.differences(there.fingerprint.question)))


def _described(measured: MeasuredBaseline) -> str:
    return f"run {measured.run}, {100 * measured.pass_at_1:.1f} from {measured.counts.n_samples} samples"
