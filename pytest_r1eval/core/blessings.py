"""
How a measured baseline may change: a higher number freely, a lower one on new evidence and with a reason.

Lowering a reference after each flaky failure is a ratchet that only goes down. So a lower
number needs samples that were not there before, and somebody who says why; both stay in
the file, where a reviewer sees them.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

from pytest_r1eval.core.baselines import BaselineFile, Blessing, MeasuredBaseline, with_measured
from pytest_r1eval.errors import BaselineError


def recorded(file: BaselineFile, measured: MeasuredBaseline) -> BaselineFile:
    """
    Return the file with a first entry for a benchmark.

    Raises:
        BaselineError: If it has one already.
    """
    if (there := file.measured_for(measured.benchmark)) is not None:
        raise BaselineError(
            f"{file.model} has a baseline for {measured.benchmark} already ({_words(there)}); "
            "expected none. Replace it with r1eval baseline bless"
        )
    return with_measured(file, measured)


def blessed(file: BaselineFile, measured: MeasuredBaseline, *, when: dt.datetime, reason: str | None) -> BaselineFile:
    """
    Return the file with a benchmark's entry replaced, and what was replaced in its history.

    Args:
        file: The model's baselines.
        measured: The run that takes the place.
        when: The time of it, with its offset from UTC.
        reason: Why; only a number that is not lower needs none.

    Raises:
        BaselineError: If the number is lower and there is no reason, or the evidence is the same, or nothing is there.
    """
    there = file.measured_for(measured.benchmark)
    if there is None:
        return with_measured(file, measured)
    if _evidence(there) == _evidence(measured):
        raise BaselineError(
            f"{file.model}, {measured.benchmark}: the run {measured.run} holds the samples that are the baseline "
            f"already ({_words(there)}); expected a new run. Draw one with another --r1-seed, or of another checkpoint"
        )
    differences = measured.fingerprint.question.differences(there.fingerprint.question)
    if differences and reason is None:
        raise BaselineError(
            f"{file.model}, {measured.benchmark}: the run was asked something else than the baseline "
            f"({'; '.join(map(str, differences))}); expected the same, or --reason with why the question changed"
        )
    if measured.pass_at_1 < there.pass_at_1 and reason is None:
        raise BaselineError(
            f"{file.model}, {measured.benchmark}: the run {measured.run} has {100 * measured.pass_at_1:.1f}, the "
            f"baseline {100 * there.pass_at_1:.1f}; expected a number that is not lower, or --reason with why it is"
        )
    blessing = Blessing(
        blessed=when,
        run=measured.run,
        pass_at_1=measured.pass_at_1,
        replaced_run=there.run,
        replaced_pass_at_1=there.pass_at_1,
        reason=reason,
    )
    return with_measured(file, replace(measured, history=(*there.history, blessing)))


def _evidence(measured: MeasuredBaseline) -> tuple[str, int]:
    """Name what decides a run's samples: weights and seed."""
    return measured.fingerprint.model.weights, measured.seed


def _words(measured: MeasuredBaseline) -> str:
    return f"run {measured.run}, {100 * measured.pass_at_1:.1f} from {measured.counts.n_samples} samples"
