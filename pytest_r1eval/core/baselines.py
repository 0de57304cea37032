"""
What a checkpoint is compared with: published numbers, and counts that we measured.

One JSON file per model, reviewed like code. Every key is required and an unknown one is an error; "not known" is an
explicit null. Each range is stated once, in a field's annotation, for the constructor and for the file.
"""

import datetime as dt
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from pytest_r1eval.core.codec import Kind, Layout
from pytest_r1eval.core.evidence import Evidence
from pytest_r1eval.core.fields import (
    AtLeastOne,
    Count,
    FieldError,
    Fraction,
    Label,
    ModelName,
    NotNegative,
    PositiveFraction,
    Range,
    require,
)
from pytest_r1eval.core.fingerprints import Fingerprint
from pytest_r1eval.core.lineage import Lineage
from pytest_r1eval.core.records import Counts
from pytest_r1eval.core.thinking import ThoughtCounts
from pytest_r1eval.errors import BaselineError


class PublishedHarness(StrEnum):
    """What made a published number: LightEval, as here, or anything else."""

    LIGHTEVAL = "lighteval"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedSampling:
    """
    The part of a sampling that sources print.

    Attributes:
        temperature: Softmax temperature, >= 0.
        top_p: Nucleus mass, in (0, 1].
        max_new_tokens: Longest response.

    Raises:
        ValueError: If a value is out of its range.
    """

    temperature: NotNegative
    top_p: PositiveFraction
    max_new_tokens: AtLeastOne

    def __post_init__(self) -> None:
        require(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedBaseline:
    """
    One published number.

    Attributes:
        benchmark: Our name of the benchmark, e.g. ``aime24``.
        pass_at_1: The number, as a fraction.
        rounding_unit: The last printed digit's unit, as a fraction: 0.001 for 79.8 %.
        harness: What made the number.
        source: Document, repository and commit, in words.
        date: When the source was published; None where that is unknown.
        sampling: None where the source does not state it.
        samples_per_problem: None where the source does not state it.
        note: What a reader should know besides; None for nothing.

    Raises:
        ValueError: If a value is out of its range.
    """

    benchmark: Label
    pass_at_1: Fraction
    rounding_unit: PositiveFraction
    harness: PublishedHarness
    source: Label
    date: dt.date | None
    sampling: PublishedSampling | None
    samples_per_problem: AtLeastOne | None
    note: str | None

    def __post_init__(self) -> None:
        require(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCounts:
    """
    What a run looked like besides its score.

    Attributes:
        n_samples: Responses in all.
        n_truncated: Of these, truncated at the token limit, right or wrong.
        n_no_answer: Of these, ended by themselves without an answer.
        n_tokens: Generated tokens in all.
        thoughts: What of it thinking took; None where that is not known of each response.

    Raises:
        ValueError: If a count is impossible.
    """

    n_samples: AtLeastOne
    n_truncated: int
    n_no_answer: int
    n_tokens: Count
    thoughts: ThoughtCounts | None = None

    def __post_init__(self) -> None:
        require(self)
        of_samples = Range(low=0, high=self.n_samples)
        for field, count in (("n_truncated", self.n_truncated), ("n_no_answer", self.n_no_answer)):
            if count not in of_samples:
                expected = of_samples.expected(int)
                raise FieldError(f"{field} is {count}; expected {expected}", path=field, expected=expected)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blessing:
    """
    One time that a baseline was replaced.

    Attributes:
        blessed: When, with its offset from UTC.
        run: The run that took its place.
        pass_at_1: The new number, a fraction.
        replaced_run: The run that was replaced.
        replaced_pass_at_1: The old number, a fraction.
        reason: Why; a lower number has one.

    Raises:
        ValueError: If a value is out of its range, or a lower number has no reason.
    """

    blessed: dt.datetime
    run: Label
    pass_at_1: Fraction
    replaced_run: Label
    replaced_pass_at_1: Fraction
    reason: Label | None

    def __post_init__(self) -> None:
        require(self)
        if self.blessed.utcoffset() is None:
            raise ValueError(f"blessed is {self.blessed}; expected a date-time with its offset from UTC")
        if self.reason is None and self.pass_at_1 < self.replaced_pass_at_1:
            raise FieldError(
                f"pass_at_1 fell from {self.replaced_pass_at_1} to {self.pass_at_1} without a reason",
                path="reason",
                expected="why the number became lower",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredBaseline:
    """
    Per-problem counts of one fixed-k run of this plugin.

    Attributes:
        benchmark: Our name of the benchmark.
        recorded: When the run ended, with its offset from UTC.
        run: The run's name.
        seed: The run's seed: two runs with one seed cannot be compared.
        fingerprint: What the counts depend on.
        counts: Correct samples per problem, in the exam's order.
        health: Truncation, missing answers, tokens.
        lineage: The checkpoint's place in its training; None if not given.
        history: Every time that the entry was replaced, oldest first.
        reason: What the person wrote who made it the baseline; None where nothing had to be written.
        correlation: rho, how far runs of the checkpoint move beyond sampling; None where one run alone was recorded.

    Raises:
        ValueError: If `recorded` has no offset, a reason is empty, or `health` is of other samples than `counts`.
    """

    benchmark: Label
    recorded: dt.datetime
    run: Label
    seed: int
    fingerprint: Fingerprint
    counts: Counts
    health: HealthCounts
    lineage: Lineage | None = None
    history: tuple[Blessing, ...] = ()
    reason: Label | None = None
    correlation: Fraction | None = None

    @property
    def evidence(self) -> Evidence:
        """What decides its samples."""
        return Evidence(model=self.fingerprint.model, seeds=(self.seed,))

    @property
    def pass_at_1(self) -> float:
        """The mean over problems of the fraction of correct samples."""
        fractions = [problem.n_correct / problem.n_samples for problem in self.counts.problems]
        return math.fsum(fractions) / len(fractions)

    def __post_init__(self) -> None:
        require(self)
        if self.recorded.utcoffset() is None:
            raise ValueError(f"recorded is {self.recorded}; expected a date-time with its offset from UTC")
        if self.health.n_samples != self.counts.n_samples:
            path, expected = "health.n_samples", f"{self.counts.n_samples}, the samples in counts"
            raise FieldError(f"{path} is {self.health.n_samples}; expected {expected}", path=path, expected=expected)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineFile:
    """
    All baselines of one model.

    Attributes:
        model: ``org/name``.
        published: At most one per benchmark and source.
        measured: At most one per benchmark.

    Raises:
        ValueError: If the model is not ``org/name``, or an entry appears twice.
    """

    model: ModelName
    published: tuple[PublishedBaseline, ...] = ()
    measured: tuple[MeasuredBaseline, ...] = ()

    def __post_init__(self) -> None:
        require(self)
        published = [(entry.benchmark, entry.source) for entry in self.published]
        _demand_one_each("published", published, repeats=" from the source of", of="benchmark and source")
        measured = [(entry.benchmark,) for entry in self.measured]
        _demand_one_each("measured", measured, repeats=", the benchmark of", of="benchmark")

    def published_for(self, benchmark: str) -> PublishedBaseline | None:
        """Return the published number to compare with: LightEval's over the lab's own, then the later."""
        candidates = [entry for entry in reversed(self.published) if entry.benchmark == benchmark]
        is_ours = PublishedHarness.LIGHTEVAL
        return max(candidates, key=lambda one: (one.harness is is_ours, one.date or dt.date.min), default=None)

    def measured_for(self, benchmark: str) -> MeasuredBaseline | None:
        """Return the benchmark's measured baseline."""
        return next((entry for entry in self.measured if entry.benchmark == benchmark), None)


def _demand_one_each(entries: str, keys: Sequence[tuple[str, ...]], *, repeats: str, of: str) -> None:
    """Refuse an entry that is there twice."""
    for index, key in enumerate(keys):
        if (first := keys.index(key)) < index:
            path, found = f"{entries}[{index}]", f"{json.dumps(key[0])}{repeats} {entries}[{first}]"
            expected = f"one entry per {of}"
            raise FieldError(f"{path}: found {found}; expected {expected}", path=path, expected=expected, found=found)


def with_measured(file: BaselineFile, measured: MeasuredBaseline) -> BaselineFile:
    """Return the file with the benchmark's measured entry replaced in its place, or added at the end."""
    if file.measured_for(measured.benchmark) is None:
        return replace(file, measured=(*file.measured, measured))
    return replace(
        file,
        measured=tuple(measured if entry.benchmark == measured.benchmark else entry for entry in file.measured),
    )


BASELINE_FILE = Kind(
    of=BaselineFile,
    version=1,
    layout=Layout.REVIEWED,
    error=BaselineError,
    advice=" (format: baselines/README.md)",
)
"""A baseline file: fixed key order, two spaces, one line per problem."""
