"""What one run measured on one benchmark: a candidate before a judge, and what a baseline is recorded from."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, fields, replace

from pytest_r1eval.core.baselines import HealthCounts, MeasuredBaseline
from pytest_r1eval.core.evidence import Evidence
from pytest_r1eval.core.fingerprints import Fingerprint
from pytest_r1eval.core.lineage import Lineage
from pytest_r1eval.core.records import Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """
    One run's counts, health and fingerprint.

    A baseline is more: a person's choice, with its reason and history.

    Attributes:
        benchmark: Our name of the benchmark.
        recorded: When the run was made, with its offset from UTC.
        run: The run's name.
        seed: The run's seed.
        fingerprint: What the counts depend on.
        counts: Correct samples per problem, in the exam's order.
        health: Truncation, missing answers, tokens.
        lineage: The checkpoint's place in its training; None if not given.
    """

    benchmark: str
    recorded: dt.datetime
    run: str
    seed: int
    fingerprint: Fingerprint
    counts: Counts
    health: HealthCounts
    lineage: Lineage | None = None

    @classmethod
    def of(cls, baseline: MeasuredBaseline) -> Measurement:
        """Return what the run of a baseline measured."""
        return cls(**{name: getattr(baseline, name) for name in _SHARED})

    @property
    def evidence(self) -> Evidence:
        """What decides its samples."""
        return Evidence(model=self.fingerprint.model, seeds=(self.seed,))

    def as_baseline(self, *, reason: str | None = None) -> MeasuredBaseline:
        """
        Return it as a baseline's first entry, which names no file of the checkpoint.

        Args:
            reason: Why a person makes it the baseline; None where no reason was given.
        """
        named_no_file = replace(self.fingerprint, model=replace(self.fingerprint.model, files=()))
        shared = {name: getattr(self, name) for name in _SHARED}
        return MeasuredBaseline(**{**shared, "fingerprint": named_no_file}, reason=reason)


_SHARED = tuple(field.name for field in fields(Measurement))
"""What a run's measurement and the baseline that is recorded from it have in common."""
