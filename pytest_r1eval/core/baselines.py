"""
What a checkpoint is compared with: numbers somebody published, counts we measured.

One JSON file per model, reviewed like code. The decoder is a handful of typed
functions over a node that knows its file and key path, so that every mistake is
reported where it stands. Decisions:

- Every key is required and an unknown one is an error; "not known" is an explicit null.
- Each range is stated once and used twice: by the types, which raise `ValueError`,
  and by the decoder, which raises `BaselineError` with the key path.
- ``NaN`` and duplicate keys survive Python's JSON parser; they are refused by the
  decoder, which knows their path, rather than by parser hooks, which do not.
- Text is written in ASCII escapes: any string that was read can be written again.

Known trade-offs (accepted): dates must be in the form that ``isoformat`` writes,
so ``Z`` for UTC is refused; exactness of the round trip is worth more.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias, TypeVar

from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.core.evidence import Evidence
from pytest_r1eval.core.fingerprints import Fingerprint, Harness, ModelIdentity, Question
from pytest_r1eval.core.lineage import Lineage
from pytest_r1eval.core.records import Counts
from pytest_r1eval.errors import BaselineError

SCHEMA_VERSION = 2
"""
The newest version of the file format. Version 2 added lineage, history, a reason and a correlation; a file that has
none of them is written as version 1, byte for byte as before.
"""

_MODEL_DIGESTS = ("weights", "tokenizer", "chat_template", "checkpoint")
"""What is kept of a checkpoint's identity; the digests of its files one by one stay with the run."""

_Json: TypeAlias = "bool | int | float | str | list[_Json] | dict[str, _Json] | None"
_T = TypeVar("_T")

_SHOWN_CHARACTERS = 60  # of an offending value: enough to find it, short enough for one line
_MODEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Range:
    """Which numbers a field takes: from low (left out if `above`) to high."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False

    def __contains__(self, value: float) -> bool:
        finite = abs(value) <= sys.float_info.max  # false for NaN; a whole number may be larger than any float
        return finite and (self.low < value if self.above else self.low <= value) and value <= self.high

    def __str__(self) -> str:
        if math.isinf(self.low):
            return ""
        if math.isinf(self.high):
            return f" above {self.low}" if self.above else f" of {self.low} or more"
        return f" above {self.low} and at most {self.high}" if self.above else f" from {self.low} to {self.high}"


_ANY = _Range()
_FRACTION = _Range(low=0, high=1)
_POSITIVE_FRACTION = _Range(low=0, high=1, above=True)
_NOT_NEGATIVE = _Range(low=0)
_AT_LEAST_ONE = _Range(low=1)


def _require(field: str, value: float, allowed: _Range) -> None:
    if value not in allowed:
        raise ValueError(f"{field} is {value}; expected a number{allowed}")


def _require_label(field: str, value: str) -> None:
    if not value.strip():
        raise ValueError(f"{field} is {value!r}; expected some text")


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

    temperature: float
    top_p: float
    max_new_tokens: int

    def __post_init__(self) -> None:
        _require("temperature", self.temperature, _NOT_NEGATIVE)
        _require("top_p", self.top_p, _POSITIVE_FRACTION)
        _require("max_new_tokens", self.max_new_tokens, _AT_LEAST_ONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedBaseline:
    """
    One number that somebody printed.

    Attributes:
        benchmark: Our name of the benchmark, e.g. ``aime24``.
        pass_at_1: The number, as a fraction.
        rounding_unit: The last printed digit's unit, as a fraction: 0.001 for 79.8 %.
        harness: What made the number.
        source: Document, repository and commit, in words.
        date: When the source was published; None where nobody could tell.
        sampling: None where the source does not state it.
        samples_per_problem: None where the source does not state it.
        note: What a reader should know besides; None for nothing.

    Raises:
        ValueError: If a value is out of its range.
    """

    benchmark: str
    pass_at_1: float
    rounding_unit: float
    harness: PublishedHarness
    source: str
    date: dt.date | None
    sampling: PublishedSampling | None
    samples_per_problem: int | None
    note: str | None

    def __post_init__(self) -> None:
        _require_label("benchmark", self.benchmark)
        _require("pass_at_1", self.pass_at_1, _FRACTION)
        _require("rounding_unit", self.rounding_unit, _POSITIVE_FRACTION)
        _require_label("source", self.source)
        if self.samples_per_problem is not None:
            _require("samples_per_problem", self.samples_per_problem, _AT_LEAST_ONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCounts:
    """
    What a run looked like besides its score.

    Attributes:
        n_samples: Responses in all.
        n_truncated: Of these, truncated at the token limit, right or wrong.
        n_no_answer: Of these, ended by themselves without an answer.
        n_tokens: Generated tokens in all.

    Raises:
        ValueError: If a count is impossible.
    """

    n_samples: int
    n_truncated: int
    n_no_answer: int
    n_tokens: int

    def __post_init__(self) -> None:
        _require("n_samples", self.n_samples, _AT_LEAST_ONE)
        of_samples = _Range(low=0, high=self.n_samples)
        _require("n_truncated", self.n_truncated, of_samples)
        _require("n_no_answer", self.n_no_answer, of_samples)
        _require("n_tokens", self.n_tokens, _NOT_NEGATIVE)


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
    run: str
    pass_at_1: float
    replaced_run: str
    replaced_pass_at_1: float
    reason: str | None

    def __post_init__(self) -> None:
        if self.blessed.utcoffset() is None:
            raise ValueError(f"blessed is {self.blessed}; expected a date-time with its offset from UTC")
        for field, text in (("run", self.run), ("replaced_run", self.replaced_run)):
            _require_label(field, text)
        _require("pass_at_1", self.pass_at_1, _FRACTION)
        _require("replaced_pass_at_1", self.replaced_pass_at_1, _FRACTION)
        if self.reason is not None:
            _require_label("reason", self.reason)
        if self.reason is None and self.pass_at_1 < self.replaced_pass_at_1:
            raise ValueError(f"pass_at_1 fell from {self.replaced_pass_at_1} to {self.pass_at_1} without a reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredBaseline:
    """
    Per-problem counts of one fixed-k run of this plugin.

    Attributes:
        benchmark: Our name of the benchmark.
        recorded: When the run ended, with its offset from UTC.
        run: The run's name.
        seed: The run's seed: a comparison of two runs with one seed is no comparison.
        fingerprint: What the counts depend on.
        counts: Correct samples per problem, in the exam's order.
        health: Truncation, missing answers, tokens.
        lineage: Where the checkpoint stands in its training; None if nobody said.
        history: Every time that the entry was replaced, oldest first.
        reason: What the person wrote who made it the baseline; None where nothing had to be written.
        correlation: rho, how far runs of the checkpoint move beyond sampling; None where one run alone was recorded.

    Raises:
        ValueError: If `recorded` has no offset, a reason is empty, or `health` is of other samples than `counts`.
    """

    benchmark: str
    recorded: dt.datetime
    run: str
    seed: int
    fingerprint: Fingerprint
    counts: Counts
    health: HealthCounts
    lineage: Lineage | None = None
    history: tuple[Blessing, ...] = ()
    reason: str | None = None
    correlation: float | None = None

    @property
    def evidence(self) -> Evidence:
        """What decides its samples."""
        return Evidence(model=self.fingerprint.model, seeds=(self.seed,))

    @property
    def pass_at_1(self) -> float:
        """The mean over problems of the share of correct samples, a fraction."""
        shares = [problem.n_correct / problem.n_samples for problem in self.counts.problems]
        return math.fsum(shares) / len(shares)

    def __post_init__(self) -> None:
        _require_label("benchmark", self.benchmark)
        _require_label("run", self.run)
        if self.reason is not None:
            _require_label("reason", self.reason)
        if self.correlation is not None:
            _require("correlation", self.correlation, _FRACTION)
        if self.recorded.utcoffset() is None:
            raise ValueError(f"recorded is {self.recorded}; expected a date-time with its offset from UTC")
        if self.health.n_samples != self.counts.n_samples:
            raise ValueError(
                f"health.n_samples is {self.health.n_samples}; expected {self.counts.n_samples}, the samples in counts"
            )


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

    model: str
    published: tuple[PublishedBaseline, ...] = ()
    measured: tuple[MeasuredBaseline, ...] = ()

    def __post_init__(self) -> None:
        if not _MODEL.fullmatch(self.model):
            raise ValueError(f"model is {self.model!r}; expected org/name")
        for repeat in (_repeated_published(self.published), _repeated_measured(self.measured)):
            if repeat is not None:
                raise ValueError(f"{repeat.path}: found {repeat.found}; expected {repeat.expected}")

    @property
    def schema_version(self) -> int:
        """The lowest version of the format that holds everything in it."""
        more = ((entry.lineage, entry.reason, entry.correlation) for entry in self.measured)
        has_history = any(entry.history for entry in self.measured)
        return SCHEMA_VERSION if has_history or any(value is not None for one in more for value in one) else 1

    def published_for(self, benchmark: str) -> PublishedBaseline | None:
        """Return the published number to compare with: LightEval's over the lab's own, then the later."""
        candidates = [entry for entry in reversed(self.published) if entry.benchmark == benchmark]
        return max(candidates, key=_preference, default=None)

    def measured_for(self, benchmark: str) -> MeasuredBaseline | None:
        """Return the benchmark's measured baseline."""
        return next((entry for entry in self.measured if entry.benchmark == benchmark), None)


def _preference(entry: PublishedBaseline) -> tuple[bool, dt.date]:
    """Rank LightEval's over any other, then the later; an undated source counts as the earliest."""
    return entry.harness is PublishedHarness.LIGHTEVAL, entry.date or dt.date.min


@dataclass(frozen=True, slots=True, kw_only=True)
class _Repeat:
    """An entry that is there twice: the second one's path, and what is wrong with it."""

    path: str
    found: str
    expected: str


def _repeated_published(entries: Sequence[PublishedBaseline]) -> _Repeat | None:
    keys = [(entry.benchmark, entry.source) for entry in entries]
    for index, key in enumerate(keys):
        if (first := keys.index(key)) < index:
            return _Repeat(
                path=f"published[{index}]",
                found=f"{_shown(key[0])} from the source of published[{first}]",
                expected="one entry per benchmark and source",
            )
    return None


def _repeated_measured(entries: Sequence[MeasuredBaseline]) -> _Repeat | None:
    benchmarks = [entry.benchmark for entry in entries]
    for index, benchmark in enumerate(benchmarks):
        if (first := benchmarks.index(benchmark)) < index:
            return _Repeat(
                path=f"measured[{index}]",
                found=f"{_shown(benchmark)}, the benchmark of measured[{first}]",
                expected="one entry per benchmark",
            )
    return None


def with_measured(file: BaselineFile, measured: MeasuredBaseline) -> BaselineFile:
    """Return the file with the benchmark's measured entry replaced in its place, or added at the end."""
    if file.measured_for(measured.benchmark) is None:
        return replace(file, measured=(*file.measured, measured))
    return replace(
        file,
        measured=tuple(measured if entry.benchmark == measured.benchmark else entry for entry in file.measured),
    )


def dumps(file: BaselineFile) -> str:
    """
    Write a baseline file: fixed key order, two spaces, one line per problem, so that reviews diff well.

    Raises:
        ValueError: If a number is not finite.
    """
    document: _Json = {
        "schema_version": file.schema_version,
        "model": file.model,
        "published": [_published_json(entry) for entry in file.published],
        "measured": [_measured_json(entry, version=file.schema_version) for entry in file.measured],
    }
    return _written(document, indent="") + "\n"


def _published_json(entry: PublishedBaseline) -> _Json:
    return {
        "benchmark": entry.benchmark,
        "pass_at_1": entry.pass_at_1,
        "rounding_unit": entry.rounding_unit,
        "harness": entry.harness.value,
        "source": entry.source,
        "date": None if entry.date is None else entry.date.isoformat(),
        "sampling": None if entry.sampling is None else _published_sampling_json(entry.sampling),
        "samples_per_problem": entry.samples_per_problem,
        "note": entry.note,
    }


def _published_sampling_json(sampling: PublishedSampling) -> _Json:
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_new_tokens": sampling.max_new_tokens,
    }


def _measured_json(entry: MeasuredBaseline, *, version: int) -> _Json:
    content: dict[str, _Json] = {
        "benchmark": entry.benchmark,
        "recorded": entry.recorded.isoformat(),
        "run": entry.run,
        "seed": entry.seed,
        "fingerprint": _fingerprint_json(entry.fingerprint),
        "counts": {problem.problem_id: [problem.n_correct, problem.n_samples] for problem in entry.counts.problems},
        "health": {
            "n_samples": entry.health.n_samples,
            "n_truncated": entry.health.n_truncated,
            "n_no_answer": entry.health.n_no_answer,
            "n_tokens": entry.health.n_tokens,
        },
    }
    if version > 1:
        content["lineage"] = None if entry.lineage is None else _lineage_json(entry.lineage)
        content["history"] = [_blessing_json(blessing) for blessing in entry.history]
        content["reason"] = entry.reason
        content["correlation"] = entry.correlation
    return content


def _lineage_json(lineage: Lineage) -> _Json:
    return {"parent": lineage.parent, "step": lineage.step, "commit": lineage.commit}


def _blessing_json(blessing: Blessing) -> _Json:
    return {
        "blessed": blessing.blessed.isoformat(),
        "run": blessing.run,
        "pass_at_1": blessing.pass_at_1,
        "replaced_run": blessing.replaced_run,
        "replaced_pass_at_1": blessing.replaced_pass_at_1,
        "reason": blessing.reason,
    }


def _fingerprint_json(fingerprint: Fingerprint) -> _Json:
    model, question, harness = fingerprint.model, fingerprint.question, fingerprint.harness
    return {
        "model": {name: getattr(model, name) for name in _MODEL_DIGESTS},
        "question": {
            "exam": question.exam,
            "sampling": {
                "temperature": question.sampling.temperature,
                "top_p": question.sampling.top_p,
                "max_new_tokens": question.sampling.max_new_tokens,
                "max_model_length": question.sampling.max_model_length,
            },
            "system_prompt": question.system_prompt,
            "template_date": question.template_date,
            "prompts": question.prompts,
        },
        "harness": {
            "engine": harness.engine,
            "dtype": harness.dtype,
            "quantization": harness.quantization,
            "device": harness.device,
            "n_devices": harness.n_devices,
            "grader": harness.grader,
        },
    }


def _written(value: _Json, *, indent: str) -> str:
    """Return a value as JSON; the one list of numbers in the format, a problem's counts, stays on its line."""
    inner = indent + "  "
    match value:
        case dict() if value:
            lines = [f"{inner}{json.dumps(key)}: {_written(item, indent=inner)}" for key, item in value.items()]
            return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
        case [dict(), *_]:
            return "[\n" + ",\n".join(inner + _written(item, indent=inner) for item in value) + f"\n{indent}]"
        case _:
            return json.dumps(value, allow_nan=False)


def loads(text: str, *, name: str) -> BaselineFile:
    """
    Read a baseline file.

    Args:
        text: The file's content.
        name: The file's name, for messages.

    Raises:
        BaselineError: If anything in it is not as ``baselines/README.md`` says; names file, key, found and expected.
    """
    top = _parsed(text, name=name)
    version = _version(top)
    fields = top.fields("schema_version", "model", "published", "measured")
    published = tuple(_published(item) for item in fields["published"].items())
    measured = tuple(_measured(item, version=version) for item in fields["measured"].items())
    for repeat in (_repeated_published(published), _repeated_measured(measured)):
        if repeat is not None:
            raise _error(name, repeat.path, found=repeat.found, expected=repeat.expected)
    return BaselineFile(model=_model(fields["model"]), published=published, measured=measured)


def _parsed(text: str, *, name: str) -> _Node:
    try:
        value: object = json.loads(text, object_pairs_hook=_Object)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise _error(name, place, found=f"no JSON ({error.msg})", expected="a JSON document") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; thousands of brackets
        raise _error(name, "", found=f"JSON beyond what can be read ({error})", expected="a baseline file") from error
    return _Node(file=name, path="", value=value)


def _version(top: _Node) -> int:
    """Look at the version before anything else: a newer file's other keys mean nothing to us."""
    node = top.members().get("schema_version")
    if node is None:
        return SCHEMA_VERSION  # its absence is reported with the other keys
    if (version := node.integer(_AT_LEAST_ONE)) > SCHEMA_VERSION:
        raise node.error(f"{SCHEMA_VERSION} or less; update pytest-r1eval to read this file", found=str(version))
    return version


def _model(node: _Node) -> str:
    if not _MODEL.fullmatch(model := node.text()):
        raise node.error("org/name, as on the Hub")
    return model


def _published(node: _Node) -> PublishedBaseline:
    fields = node.fields(*PublishedBaseline.__dataclass_fields__)
    return PublishedBaseline(
        benchmark=fields["benchmark"].label(),
        pass_at_1=fields["pass_at_1"].number(_FRACTION),
        rounding_unit=fields["rounding_unit"].number(_POSITIVE_FRACTION),
        harness=_published_harness(fields["harness"]),
        source=fields["source"].label(),
        date=fields["date"].optional(_date),
        sampling=fields["sampling"].optional(_published_sampling),
        samples_per_problem=fields["samples_per_problem"].optional(lambda item: item.integer(_AT_LEAST_ONE)),
        note=fields["note"].optional(_Node.text),
    )


def _published_harness(node: _Node) -> PublishedHarness:
    try:
        return PublishedHarness(node.text())
    except ValueError as error:
        raise node.error(" or ".join(json.dumps(harness.value) for harness in PublishedHarness)) from error


def _published_sampling(node: _Node) -> PublishedSampling:
    fields = node.fields(*PublishedSampling.__dataclass_fields__)
    return PublishedSampling(
        temperature=fields["temperature"].number(_NOT_NEGATIVE),
        top_p=fields["top_p"].number(_POSITIVE_FRACTION),
        max_new_tokens=fields["max_new_tokens"].integer(_AT_LEAST_ONE),
    )


def _date(node: _Node) -> dt.date:
    text = node.text()
    try:
        date = dt.date.fromisoformat(text)
    except ValueError:
        date = None
    if date is None or date.isoformat() != text:
        raise node.error("a date such as 2025-01-20, or null")
    return date


def _measured(node: _Node, *, version: int) -> MeasuredBaseline:
    names = tuple(MeasuredBaseline.__dataclass_fields__)
    fields = node.fields(*(names if version > 1 else names[: names.index("lineage")]))
    counts = _counts(fields["counts"])
    return MeasuredBaseline(
        benchmark=fields["benchmark"].label(),
        recorded=_date_time(fields["recorded"]),
        run=fields["run"].label(),
        seed=fields["seed"].integer(_ANY),
        fingerprint=_fingerprint(fields["fingerprint"]),
        counts=counts,
        health=_health(fields["health"], n_samples=counts.n_samples),
        lineage=fields["lineage"].optional(_lineage) if version > 1 else None,
        history=tuple(_blessing(item) for item in fields["history"].items()) if version > 1 else (),
        reason=fields["reason"].optional(_Node.label) if version > 1 else None,
        correlation=fields["correlation"].optional(lambda item: item.number(_FRACTION)) if version > 1 else None,
    )


def _lineage(node: _Node) -> Lineage:
    fields = node.fields(*Lineage.__dataclass_fields__)
    return Lineage(
        parent=fields["parent"].optional(_Node.label),
        step=fields["step"].optional(lambda item: item.integer(_NOT_NEGATIVE)),
        commit=fields["commit"].optional(_Node.label),
    )


def _blessing(node: _Node) -> Blessing:
    fields = node.fields(*Blessing.__dataclass_fields__)
    pass_at_1, replaced = fields["pass_at_1"].number(_FRACTION), fields["replaced_pass_at_1"].number(_FRACTION)
    if fields["reason"].value is None and pass_at_1 < replaced:
        raise fields["reason"].error("why the number became lower")
    return Blessing(
        blessed=_date_time(fields["blessed"]),
        run=fields["run"].label(),
        pass_at_1=pass_at_1,
        replaced_run=fields["replaced_run"].label(),
        replaced_pass_at_1=replaced,
        reason=fields["reason"].optional(_Node.label),
    )


def _date_time(node: _Node) -> dt.datetime:
    text = node.text()
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.utcoffset() is None or moment.isoformat() != text:
        raise node.error("a date-time with its offset, such as 2025-01-20T09:30:00+00:00")
    return moment


def _counts(node: _Node) -> Counts:
    members = node.members()
    if not members:
        raise node.error("at least one problem")
    return Counts.from_mapping({id_: _problem_counts(item) for id_, item in members.items()})


def _problem_counts(node: _Node) -> tuple[int, int]:
    items = node.items()
    if len(items) != 2:
        raise node.error("[correct, samples]")
    n_samples = items[1].integer(_AT_LEAST_ONE)
    return items[0].integer(_Range(low=0, high=n_samples)), n_samples


def _health(node: _Node, *, n_samples: int) -> HealthCounts:
    fields = node.fields(*HealthCounts.__dataclass_fields__)
    of_samples = _Range(low=0, high=n_samples)
    if fields["n_samples"].integer(_AT_LEAST_ONE) != n_samples:
        raise fields["n_samples"].error(f"{n_samples}, the samples in counts")
    return HealthCounts(
        n_samples=n_samples,
        n_truncated=fields["n_truncated"].integer(of_samples),
        n_no_answer=fields["n_no_answer"].integer(of_samples),
        n_tokens=fields["n_tokens"].integer(_NOT_NEGATIVE),
    )


def _fingerprint(node: _Node) -> Fingerprint:
    fields = node.fields(*Fingerprint.__dataclass_fields__)
    model = fields["model"].fields(*_MODEL_DIGESTS)
    question = fields["question"].fields(*Question.__dataclass_fields__)
    return Fingerprint(
        model=ModelIdentity(
            weights=model["weights"].text(),
            tokenizer=model["tokenizer"].text(),
            chat_template=model["chat_template"].text(),
            checkpoint=model["checkpoint"].text(),
        ),
        question=Question(
            exam=question["exam"].text(),
            sampling=_sampling(question["sampling"]),
            system_prompt=question["system_prompt"].optional(_Node.text),
            template_date=question["template_date"].text(),
            prompts=question["prompts"].text(),
        ),
        harness=_harness(fields["harness"]),
    )


def _sampling(node: _Node) -> Sampling:
    fields = node.fields(*Sampling.__dataclass_fields__)
    return Sampling(
        temperature=fields["temperature"].number(_NOT_NEGATIVE),
        top_p=fields["top_p"].number(_POSITIVE_FRACTION),
        max_new_tokens=fields["max_new_tokens"].integer(_AT_LEAST_ONE),
        max_model_length=fields["max_model_length"].integer(_AT_LEAST_ONE),
    )


def _harness(node: _Node) -> Harness:
    fields = node.fields(*Harness.__dataclass_fields__)
    return Harness(
        engine=fields["engine"].text(),
        dtype=fields["dtype"].text(),
        quantization=fields["quantization"].optional(_Node.text),
        device=fields["device"].text(),
        n_devices=fields["n_devices"].integer(_AT_LEAST_ONE),
        grader=fields["grader"].text(),
    )


class _Object(list[tuple[str, object]]):
    """A JSON object as its pairs, so that a key that is there twice is still there twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """A JSON value that knows where it stands."""

    file: str
    path: str
    value: object

    def error(self, expected: str, *, found: str | None = None) -> BaselineError:
        return _error(self.file, self.path, found=found or _shown(self.value), expected=expected)

    def members(self) -> dict[str, _Node]:
        """Return an object's members in order; a key that is there twice is an error."""
        if not isinstance(self.value, _Object):
            raise self.error("an object")
        members: dict[str, _Node] = {}
        for key, value in self.value:
            node = _Node(file=self.file, path=self._path_of(key), value=value)
            if key in members:
                raise node.error("it once", found="the key twice")
            members[key] = node
        return members

    def fields(self, *names: str) -> dict[str, _Node]:
        """Return the members of an object that must have these keys and no other."""
        members = self.members()
        for key, node in members.items():
            if key not in names:
                raise node.error(f"one of {', '.join(names)}", found="an unknown key")
        for key in names:
            if key not in members:
                raise _error(self.file, self._path_of(key), found="no such key", expected="it to be there")
        return members

    def items(self) -> list[_Node]:
        if not isinstance(self.value, list) or isinstance(self.value, _Object):
            raise self.error("a list")
        return [
            _Node(file=self.file, path=f"{self.path}[{index}]", value=item) for index, item in enumerate(self.value)
        ]

    def optional(self, decode: Callable[[_Node], _T]) -> _T | None:
        return None if self.value is None else decode(self)

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.error("a string")
        return self.value

    def label(self) -> str:
        if not (text := self.text()).strip():
            raise self.error("some text")
        return text

    def integer(self, allowed: _Range) -> int:
        """Return a whole number; true and false are none."""
        if not isinstance(self.value, int) or isinstance(self.value, bool) or self.value not in allowed:
            raise self.error(f"a whole number{allowed}")
        return self.value

    def number(self, allowed: _Range) -> float:
        """Return a finite number as a float; JSON does not tell 1 from 1.0."""
        if not isinstance(self.value, int | float) or isinstance(self.value, bool) or self.value not in allowed:
            raise self.error(f"a number{allowed}")
        return float(self.value)

    def _path_of(self, key: str) -> str:
        if not key.isidentifier():
            return f"{self.path}[{json.dumps(key)}]"
        return f"{self.path}.{key}" if self.path else key


def _shown(value: object) -> str:
    match value:
        case _Object():
            return f"an object of {len(value)}"
        case list():
            return f"a list of {len(value)}"
        case _:
            text = json.dumps(value)
            return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _error(file: str, path: str, *, found: str, expected: str) -> BaselineError:
    place = f"{file}: {path}" if path else file
    return BaselineError(f"{place}: found {found}; expected {expected} (format: baselines/README.md)")
