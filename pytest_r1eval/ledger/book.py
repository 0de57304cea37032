"""
The ledger: which weights were asked which question before, and what the verdict was.

A red gate that can be rerun until it is green is not a gate, and equal seeds do not give equal samples on a GPU. So a
verdict is an answer for good: the same question about the same weights, by the same rule, is not drawn again. A further
attempt (``--r1-fresh``, or another rule) is judged on the samples of all attempts.

Decisions:

- One file of JSON lines in the output folder. A line is appended by one write and synced, under a lock that several
  processes share; a line that a crash cut off is passed over. Nothing is ever changed or removed.
- A run is named relative to the folder, so that a CI's cache may be restored elsewhere. What it measured is in the
  line: a run's folder that was deleted neither hides its verdict nor gives a second chance.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from pytest_r1eval.baselines.shelf import FoundBaseline
from pytest_r1eval.core.attempts import Asked, Attempt
from pytest_r1eval.core.baselines import BASELINE_FILE, BaselineFile, PublishedBaseline
from pytest_r1eval.core.codec import Kind, digest, from_json, to_json
from pytest_r1eval.core.measurements import Measurement
from pytest_r1eval.errors import StoreError
from pytest_r1eval.judging.result import GateResult
from pytest_r1eval.runs.store import FILE_NAME
from pytest_r1eval.stats.health import USUAL_LIMITS, HealthLimits
from pytest_r1eval.stats.verdicts import GateRule, Verdict

LEDGER_NAME = "ledger.jsonl"


class Event(StrEnum):
    """What a line records about a run."""

    BEGUN = "begun"
    JUDGED = "judged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """
    One line.

    Attributes:
        event: What happened.
        key: What was asked of which weights, by which rule and against which baseline.
        question: What was asked of which weights, whatever the rule.
        subset: How many problems were asked for; None for all.
        benchmark: The benchmark.
        run: The run's folder, relative to the ledger's where it is below it.
        attempt: Which attempt at the question it is, from 1.
        seed: The run's seed.
        when: ISO date and time, UTC.
        verdict: The verdict's name; None for one that was begun.
        passes: Whether that lets the checkpoint through, health included.
        result: The verdict with all its numbers, as JSON.
        measured: What the run measured, as a baseline file; None where it measured nothing.
    """

    event: Event
    key: str
    question: str
    subset: int | None
    benchmark: str
    run: str
    attempt: int
    seed: int
    when: str
    verdict: str | None = None
    passes: bool = False
    result: str | None = None
    measured: str | None = None

    @property
    def holds(self) -> bool:
        """Whether it is a verdict; INVALID is none, and its run is gone on with."""
        return self.event is Event.JUDGED and self.verdict != Verdict.INVALID.name

    def measurement(self) -> Measurement:
        """
        Return what the run measured.

        Raises:
            StoreError: If the line holds nothing such.
        """
        file = None if self.measured is None else from_json(BASELINE_FILE, self.measured, name=LEDGER_NAME)
        if file is None or not file.measured:
            raise StoreError(f"{LEDGER_NAME} holds no counts of the run {self.run}; expected what it measured")
        return Measurement.of(file.measured[0])


_LINE = Kind(of=Entry, version=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The ledger of one output folder, which need not exist."""

    folder: Path

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / LEDGER_NAME

    @contextmanager
    def locked(self) -> Iterator[None]:
        """
        Keep other processes from it: what is asked at the same moment is drawn once.

        Raises:
            StoreError: If the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder / f".{LEDGER_NAME}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def entries(self, question: str) -> tuple[Entry, ...]:
        """
        Return what is known of a question, oldest first.

        Raises:
            StoreError: If the file cannot be read, or a newer version wrote it.
        """
        try:
            text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"cannot read {self.path}: {error}; expected the ledger of earlier verdicts") from error
        return tuple(self._entry(line) for line in text.splitlines() if f'"{question}"' in line and _is_whole(line))

    def _entry(self, line: str) -> Entry:
        try:
            return from_json(_LINE, line)
        except ValueError as error:
            raise StoreError(
                f"{self.path} has a damaged line about this question: {error}; expected what pytest-r1eval wrote; put "
                "the file back from a copy, or remove that line and judge its run again by --r1-judge-only"
            ) from error

    def append(self, entries: Sequence[Entry]) -> None:
        """
        Add lines, all of them or none.

        Raises:
            StoreError: If the file cannot be written.
        """
        lines = [to_json(_LINE, entry) for entry in entries]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b") as file:
                file.seek(0, os.SEEK_END)
                start = b""
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    start = b"" if file.read(1) == b"\n" else b"\n"
                file.write(start + "".join(f"{line}\n" for line in lines).encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> StoreError:
        return StoreError(
            f"cannot write {self.path}: {error.strerror}; expected a writable --r1-output-dir: it keeps every verdict"
        )

    def name_of(self, run: Path) -> str:
        """Return what a run is called in the ledger, by whatever path it was reached."""
        folder, run = self.folder.resolve(), run.resolve()
        return str(run.relative_to(folder)) if run.is_relative_to(folder) else str(run)

    def run_of(self, entry: Entry) -> Path:
        """Return the folder of an entry's run, which need not be there any more."""
        return self.folder / entry.run

    def attempt_of(self, entry: Entry) -> Attempt:
        """Return what is shown of a judged run."""
        return Attempt(
            number=entry.attempt,
            run=str(self.run_of(entry)),
            verdict=entry.verdict or "",
            passes=entry.passes,
            judged=entry.when,
        )

    def is_there(self, entry: Entry) -> bool:
        """Whether a run's samples are still stored."""
        return (self.run_of(entry) / FILE_NAME).is_file()


def _is_whole(line: str) -> bool:
    """Whether a line is one; a crash may have cut it off."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """
    What the ledger knows of one question.

    Attributes:
        attempts: Of every run that has a verdict, by whatever rule, the last one; oldest run first.
        verdicts: The same by one rule, and against one baseline.
        unfinished: The newest run without one by that rule, whose samples are still stored; None where there is none.
        is_invalid: Whether that run was judged, and INVALID.
        seeds: Seeds that were drawn with.
    """

    attempts: tuple[Entry, ...]
    verdicts: tuple[Entry, ...]
    unfinished: Entry | None
    is_invalid: bool
    seeds: frozenset[int]


def known(ledger: Ledger, question: str, *, key: str) -> Known:
    """Read what is known of a question, and by one key of it."""
    entries = ledger.entries(question)
    last: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        if (entry.run, entry.key) not in last or entry.event is Event.JUDGED:
            last[entry.run, entry.key] = entry
    own = [entry for entry in last.values() if entry.key == key]
    without = [entry for entry in own if not entry.holds and ledger.is_there(entry)]
    return Known(
        attempts=_by_attempt({entry.run: entry for entry in last.values() if entry.holds}.values()),
        verdicts=_by_attempt(entry for entry in own if entry.holds),
        unfinished=without[-1] if without else None,
        is_invalid=bool(without) and without[-1].event is Event.JUDGED,
        seeds=frozenset(
            entry.seed
            for entry in entries
            if entry.event is Event.JUDGED or (entry.key != key and ledger.is_there(entry))
        ),
    )


def _by_attempt(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    return tuple(sorted(entries, key=lambda entry: entry.attempt))


def key_of(  # noqa: PLR0913  a verdict depends on all of them
    asked: Asked,
    *,
    rule: GateRule,
    family: str,
    found: FoundBaseline | None,
    anchor: FoundBaseline | None = None,
    limits: HealthLimits = USUAL_LIMITS,
) -> str:
    """
    Digest what a verdict depends on besides the samples.

    Args:
        asked: What is asked of which weights.
        rule: How the gate decides; what INCONCLUSIVE does to the exit code is not part of the verdict.
        family: Which gates share the error rate.
        found: The baseline.
        anchor: The second, fixed baseline; None where none was named.
        limits: What rates of unhealthy responses may be.
    """
    how = replace(rule, inconclusive_passes=False)
    parts: dict[str, object] = {"asked": asked, "rule": how, "family": family, "baseline": _baseline_digest(found)}
    parts |= {} if anchor is None else {"anchor": _baseline_digest(anchor)}
    parts |= {} if limits == USUAL_LIMITS else {"limits": limits}
    return digest(parts)


def _baseline_digest(found: FoundBaseline | None) -> str:
    """Digest the numbers of a baseline; lineage, history and a reason change none."""
    if found is None:
        return "none"
    if isinstance(found.baseline, PublishedBaseline):
        return digest(found.baseline)
    return digest(replace(found.baseline, lineage=None, history=(), reason=None))


def judged_entry(begun: Entry, result: GateResult, *, measured: Measurement | None, when: str) -> Entry:
    """Return the line of a verdict."""
    file = BaselineFile(model="r1eval/ledger", measured=() if measured is None else (measured.as_baseline(),))
    return replace(
        begun,
        event=Event.JUDGED,
        when=when,
        verdict=result.judgement.verdict.name,
        passes=result.passes,
        result=to_json(GateResult, result),
        measured=None if measured is None else to_json(BASELINE_FILE, file),
    )


def stored_result(entry: Entry) -> GateResult:
    """
    Return the verdict that a line holds.

    Raises:
        StoreError: If it holds none.
    """
    try:
        return from_json(GateResult, entry.result or "")
    except ValueError as error:
        raise StoreError(
            f"{LEDGER_NAME}: the verdict on run {entry.run} cannot be read ({error}); judge that run again with "
            "--r1-judge-only"
        ) from error
