"""
A gate for every checkpoint that appears in a folder, whatever wrote it.

Decisions:

- A checkpoint is copied, or converted, as soon as it is complete, and its copy waits in the queue that the callback
  uses. So a trainer may delete it meanwhile.
- The journal is written before the copy is made and before it is removed. A watcher that is killed goes on with what
  it finds: copies that wait, and checkpoints that have no entry.
- At most so many copies wait. A further checkpoint stays where its trainer wrote it until there is room.
- A conversion or a gate that fails leaves no verdict. Each is tried again, and named when its tries are used up.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from pytest_r1eval.core.codec import Kind
from pytest_r1eval.core.points import points
from pytest_r1eval.core.texts import printable
from pytest_r1eval.errors import EvaluationError, PlanError, StoreError
from pytest_r1eval.reports.appearance import word_of
from pytest_r1eval.reports.run_report import GateReport, RunReport
from pytest_r1eval.runs.lock import RunLock
from pytest_r1eval.training.completeness import Looks, Standing, lack_of
from pytest_r1eval.training.converting import ConversionError, Converter
from pytest_r1eval.training.finding import Found, Pattern, found_in, pattern_of, stamp_of, state_of
from pytest_r1eval.training.frameworks import Framework, Layout, without_weights
from pytest_r1eval.training.journal import Became, Entry, Journal
from pytest_r1eval.training.queue import (
    WAITS_S,
    CheckpointQueue,
    GatedCheckpoint,
    SavedCheckpoint,
    WhenBusy,
    keeping,
    kept_copy,
    remove_copy,
)
from pytest_r1eval.training.runners import Runner

REFUSED = 4
"""pytest's exit code for what cannot be done as asked; here of a checkpoint that its converter does not convert."""
_NO_VERDICT = 1
_DELETED = "no verdict: it was deleted before it could be kept"
_OPEN = frozenset({Became.AGAIN, Became.GONE})
"""What is taken up where its checkpoint is there; one that was gone may be back."""
_FOLDER = -1
"""In place of a step, for what is about the whole folder."""
_ONCE_S = 0.2
"""How soon it is seen that nothing is judged any more, where that is waited for."""
_KEPT = ".kept"
"""Below the output folder: copies, journals and locks. A training's runs never have that name."""


class Backlog(StrEnum):
    """Which checkpoints are judged where they come faster than verdicts."""

    ALL = "all"
    NEWEST = "newest"
    EVERY = "every"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """
    What is watched, and how.

    Attributes:
        folder: The trainer's, absolute.
        output_dir: Where runs, copies and the journal are kept, absolute.
        layout: Where checkpoints lie.
        framework: The preset, for advice; None for none.
        converter: What makes an engine's checkpoint of a trainer's; None where it is one.
        backlog: Which are judged.
        every: Of `Backlog.EVERY`: each so many-th is judged.
        max_waiting: Copies that wait at most.
        interval_s: Seconds from one look to the next.
        settle_s: Seconds in which no file may change, where the trainer marks nothing.
        retry_after_s: Seconds before each further try of a conversion or a gate.
    """

    folder: Path
    output_dir: Path
    layout: Layout
    framework: Framework | None = None
    converter: Converter | None = None
    backlog: Backlog = Backlog.ALL
    every: int = 1
    max_waiting: int = 4
    interval_s: float = 30.0
    settle_s: float = 30.0
    retry_after_s: tuple[float, ...] = WAITS_S

    @property
    def training(self) -> str:
        """The training's name, as runs are filed under."""
        return re.sub(r"[^A-Za-z0-9_.-]", "-", self.folder.name).lstrip(".-") or "training"

    @property
    def kept(self) -> Path:
        """Where copies wait."""
        return self.output_dir / _KEPT / self.training


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """
    Something that happened, for people and programs.

    Attributes:
        step: The checkpoint's; None where it is about the folder.
        what: `waits`, `retries`, or what became of it.
        message: In words.
        run: The judged run's folder.
        exit_code: Pytest's.
    """

    step: int | None
    what: str
    message: str
    run: str | None = None
    exit_code: int | None = None

    @property
    def line(self) -> str:
        """All of it, for people."""
        subject = "" if self.step is None else f"step {self.step}: "
        return printable(f"{subject}{self.message}")


@dataclass(slots=True)
class _Tries:
    """What a conversion or copy failed with so far, and when it is tried again."""

    failures: list[str] = field(default_factory=list)
    again_at: float = 0.0


HAPPENED = Kind(of=Happened, version=1)
"""A line for programs."""


class Watcher:
    """
    Watches one folder.

    Args:
        watch: What, and how.
        runner: Judges one checkpoint at a time.
        tell: Is told what happens, from any thread.
        stopped: Ends it; what is drawn and kept stays for another start.
    """

    def __init__(
        self, watch: Watch, *, runner: Runner, tell: Callable[[Happened], None], stopped: threading.Event
    ) -> None:
        self._watch = watch
        self._runner = runner
        self._tell = tell
        self._stopped = stopped
        self._pattern: Pattern = pattern_of(watch.layout.pattern)
        self._journal = Journal.open(watch.kept.with_name(f"{watch.training}.json"))
        self._queue = CheckpointQueue(
            runner.judge,
            when_busy=WhenBusy.LATEST if watch.backlog is Backlog.NEWEST else WhenBusy.QUEUE,
            rest=runner.rest,
            record=self._record,
            waits_s=watch.retry_after_s,
            leaves_open=True,
        )
        self._looks = Looks(
            watch.folder,
            marker=watch.layout.marker,
            is_native=watch.converter is not None,
            settle_s=watch.settle_s,
        )
        self._waits: dict[int, str] = {}
        self._tries: dict[int, _Tries] = {}
        self._there: frozenset[int] = frozenset()
        self._broken: EvaluationError | None = None

    def run(self, *, once: bool, retry_failed: bool = False) -> int:
        """
        Judge what is there, and with `once` end then; else go on until it is stopped.

        Returns:
            The exit code of the worst verdict on what is there.

        Raises:
            PlanError: If another process watches the folder, it is not there, or nothing matches.
            EvaluationError: If the journal cannot be written.
        """
        with _locked(self._watch):
            self._take_up(retry_failed=retry_failed)
            try:
                self._loop(once=once)
            finally:
                self._close()
        return self._exit_code()

    def _loop(self, *, once: bool) -> None:
        while not self._stopped.is_set():
            is_idle = self._queue.wait(0)
            is_pending = self._look(once=once)
            if once and is_idle and not is_pending and self._queue.wait(0):
                return
            self._pause(once=once)

    def _pause(self, *, once: bool) -> None:
        """Wait for the next look; with `once` only while something is judged."""
        interval_s = self._watch.interval_s
        end, tick_s = time.monotonic() + interval_s, min(interval_s, _ONCE_S) if once else interval_s
        while not self._stopped.wait(tick_s) and time.monotonic() < end and not (once and self._queue.wait(0)):
            pass

    def _close(self) -> None:
        self._queue.close()
        if not self._queue.wait(0):
            self._runner.stop()
        self._queue.wait(None)
        self._runner.close()
        if self._broken is not None:
            raise self._broken

    def _take_up(self, *, retry_failed: bool) -> None:
        """Go on with what an earlier start left: copies that wait; half copies and forgotten ones are removed."""
        copies = set()
        for entry in self._journal.entries:
            copy = self._copy_of(entry.step)
            if entry.became is Became.KEPT and copy.is_dir():
                copies.add(copy)
                self._queue.add(self._saved(entry.step))
            elif entry.became is Became.KEPT or (entry.became is Became.FAILED and retry_failed):
                self._enter(replace(entry, became=Became.AGAIN, message="", run=None, exit_code=None))
        for path in self._watch.kept.iterdir():
            if path.is_dir() and path not in copies:
                remove_copy(path)

    def _look(self, *, once: bool) -> bool:
        """Take up what is complete; whether something may become complete, or is tried again, by itself."""
        found = self._found(once=once)
        if found is None:
            return True
        self._there = frozenset(one.step for one in found)
        for entry in self._journal.entries:
            if entry.became is Became.AGAIN and entry.step not in self._there:
                self._enter(replace(entry, became=Became.GONE, message=_DELETED, exit_code=_NO_VERDICT))
        ready: list[tuple[Found, Entry]] = []
        is_pending, now_s = False, time.monotonic()
        for one in found:
            try:
                entry_or_wait = self._readiness(one, once=once, now_s=now_s)
            except OSError:  # its trainer removes it while it is looked at
                entry_or_wait = True
            if isinstance(entry_or_wait, Entry):
                ready.append((one, entry_or_wait))
            else:
                is_pending |= entry_or_wait
        return self._admit(ready) or is_pending

    def _found(self, *, once: bool) -> Sequence[Found] | None:
        """Find what is there; None where that cannot be seen now."""
        watch = self._watch
        try:
            found: Sequence[Found] | None = found_in(watch.folder, self._pattern, without=watch.output_dir)
            found = found if watch.folder.is_dir() else None  # asked last: a folder that is not there lists nothing
        except OSError:  # removed while it is listed
            return None
        if found is None:
            message = f"{watch.folder}: no such folder; expected the one that the trainer writes to"
        elif not found and not self._journal.entries:
            message = f"nothing in {watch.folder} matches {watch.layout.pattern!r}"
        else:
            return found
        if once:
            raise PlanError(
                message if found is None else f"{message}; expected checkpoints: see --framework, --pattern"
            )
        self._wait_for(None, f"{message}; waiting")
        return found

    def _readiness(self, found: Found, *, once: bool, now_s: float) -> Entry | bool:
        """Return the entry of a checkpoint that may be taken up; else whether it is to be waited for."""
        stamp = stamp_of(found.folder, is_native=self._watch.converter is not None)
        entry = self._journal.of(found.step)
        is_known = entry is not None and stamp in {None, entry.stamp}
        if entry is not None and (entry.became is Became.KEPT or (is_known and entry.became not in _OPEN)):
            return False
        look = self._looks.at(found, now_s=now_s)
        match look.standing:
            case Standing.COMPLETE if stamp is not None:
                return self._entered(found, stamp)
            case Standing.BROKEN:
                self._refuse(found, look.why)
                return False
        self._wait_for(found.step, look.why)
        if once:  # what is being written is for the next time
            return look.standing is Standing.SETTLING and not look.is_changing
        return True

    def _entered(self, found: Found, stamp: str) -> Entry:
        """Return the entry of a complete checkpoint, a new one where it is new."""
        entry = self._journal.of(found.step)
        if entry is None or entry.stamp != stamp:
            folder = found.folder.relative_to(self._watch.folder).as_posix()
            number = self._journal.n_seen + 1
            entry = Entry(step=found.step, folder=folder, stamp=stamp, number=number, became=Became.AGAIN)
            self._enter(entry)
        return entry

    def _refuse(self, found: Found, lack: str) -> None:
        """Settle a checkpoint that its trainer calls complete and no engine loads."""
        framework, stamp = self._watch.framework, state_of(found.folder)
        entry = self._journal.of(found.step)
        is_known = entry is not None and entry.stamp == stamp and entry.became is Became.FAILED
        if stamp is None or is_known:
            return
        advice = "" if framework is None else f". {framework.name}: {without_weights(framework)}"
        entry = self._entered(found, stamp)
        self._enter(replace(entry, became=Became.FAILED, message=f"no verdict: {lack}{advice}", exit_code=REFUSED))

    def _admit(self, ready: Sequence[tuple[Found, Entry]]) -> bool:
        """Take up what may be; whether some have to wait for room or for another try."""
        watch, waits, is_full = self._watch, False, False
        for number, (found, entry) in enumerate(ready, start=1):
            if self._stopped.is_set():
                return True
            is_full |= watch.backlog is not Backlog.NEWEST and self._queue.n_waiting >= watch.max_waiting
            if watch.backlog is Backlog.NEWEST and number < len(ready):
                self._skip(entry, reason=f"step {ready[-1][0].step} was saved before its turn")
            elif watch.backlog is Backlog.EVERY and entry.number % watch.every:
                self._skip(entry, reason=f"one in {watch.every} is judged")
            elif is_full:  # also where there is room meanwhile: a later step does not go first
                self._wait_for(found.step, f"waits in its folder: {watch.max_waiting} are kept already")
                waits = True
            else:
                waits |= not self._take(found, entry)
        return waits

    def _take(self, found: Found, entry: Entry) -> bool:
        """Keep one for its gate; False where that is tried again."""
        tries = self._tries.setdefault(found.step, _Tries())
        if time.monotonic() < tries.again_at:
            return False
        self._enter(replace(entry, became=Became.KEPT))
        try:
            self._keep(found)
        except (EvaluationError, OSError) as error:
            return self._failed(found, entry, error, tries)
        del self._tries[found.step]
        self._queue.add(self._saved(found.step))
        return True

    def _keep(self, found: Found) -> None:
        """Copy or convert a checkpoint; what is kept is whole."""
        copy, converter = self._copy_of(found.step), self._watch.converter
        if converter is None:
            kept_copy(found.folder, to=copy)
            if (lack := lack_of(copy)) is not None:
                remove_copy(copy)
                raise EvaluationError(lack)
            return
        with keeping(copy) as part:
            out, log = part / "converted", copy.with_name(f"{copy.name}.log")
            converter.run(found.folder, out=out, step=found.step, log=log, stopped=self._stopped)
            for path in out.iterdir():
                path.rename(part / path.name)
            out.rmdir()
            if (lack := lack_of(part)) is not None:
                raise ConversionError(f"the converter wrote no whole checkpoint: {lack} (all it printed: {log})")

    def _failed(self, found: Found, entry: Entry, error: Exception, tries: _Tries) -> bool:
        """Try again later, or settle it; whether it is settled."""
        if self._stopped.is_set():
            self._enter(entry)
            return False
        if not found.folder.is_dir() and self._watch.folder.is_dir():
            self._enter(replace(entry, became=Became.GONE, message=_DELETED, exit_code=_NO_VERDICT))
            return True
        tries.failures.append(str(error))
        waits_s = self._watch.retry_after_s
        if len(tries.failures) > len(waits_s):
            n_tries = "after one try" if not waits_s else f"after {len(tries.failures)} tries"
            code = REFUSED if isinstance(error, ConversionError) else _NO_VERDICT
            message = f"no verdict {n_tries}: {error}"
            self._enter(replace(entry, became=Became.FAILED, message=message, exit_code=code))
            return True
        self._enter(entry)
        wait_s = waits_s[len(tries.failures) - 1]
        tries.again_at = time.monotonic() + wait_s
        self._tell(Happened(step=found.step, what="retries", message=f"tried again in {wait_s:g} s: {error}"))
        return False

    def _skip(self, entry: Entry, *, reason: str) -> None:
        self._enter(replace(entry, became=Became.SKIPPED, message=f"not judged: {reason}"))

    def _record(self, gated: GatedCheckpoint) -> None:
        """Write what became of a checkpoint, in the queue's thread, before its copy is removed."""
        entry = self._journal.of(gated.saved.step)
        if entry is None:
            return
        try:
            self._enter(_settled(entry, gated))
        except EvaluationError as error:
            self._broken = error
            self._stopped.set()

    def _enter(self, entry: Entry) -> None:
        self._journal.enter(entry)
        self._waits.pop(entry.step, None)
        if entry.became not in {Became.KEPT, Became.AGAIN}:
            what = entry.became.value
            self._tell(
                Happened(step=entry.step, what=what, message=entry.message, run=entry.run, exit_code=entry.exit_code)
            )

    def _wait_for(self, step: int | None, why: str) -> None:
        """Say why something waits, once."""
        key = _FOLDER if step is None else step
        if self._waits.get(key) != why:
            self._waits[key] = why
            self._tell(Happened(step=step, what="waits", message=why))

    def _saved(self, step: int) -> SavedCheckpoint:
        return SavedCheckpoint(step=step, epoch=None, folder=self._copy_of(step))

    def _copy_of(self, step: int) -> Path:
        return self._watch.kept / f"checkpoint-{step}"

    def _exit_code(self) -> int:
        """Return the worst of what is there; without any evidence it fails."""
        entries = [entry for entry in self._journal.entries if entry.step in self._there or entry.became is Became.GONE]
        codes = [entry.exit_code for entry in entries if entry.exit_code is not None]
        return max(codes, default=_NO_VERDICT)


def _settled(entry: Entry, gated: GatedCheckpoint) -> Entry:
    """Return a checkpoint's entry with what its gate found."""
    remark = "" if gated.remark is None else f" ({gated.remark})"
    if gated.report is not None:
        message, code = f"{verdict_line(gated.report)}{remark}", gated.report.exit_code
        return replace(entry, became=Became.JUDGED, message=message, run=str(gated.report.run), exit_code=code)
    if gated.is_skipped:
        return replace(entry, became=Became.SKIPPED, message=f"not judged: {gated.reason}")
    message = f"no verdict: {gated.reason}{remark}"
    return replace(entry, became=Became.FAILED, message=message, exit_code=_NO_VERDICT)


def verdict_line(report: RunReport) -> str:
    """Return a run's verdicts on one line: of each benchmark its word, pass@1, z and what it was compared with."""
    return "; ".join(map(_gate_text, report.gates))


def _gate_text(gate: GateReport) -> str:
    result, judgement = gate.result, gate.result.judgement
    parts = [f"{result.benchmark} {word_of(result)}"]
    if judgement.estimate is not None:
        parts.append(f"pass@1 {points(judgement.estimate.mean)} ± {points(judgement.estimate.standard_error)}")
    parts += [] if judgement.z is None else [f"z {judgement.z:+.2f}"]
    parts += [] if result.baseline is None else [f"against {result.baseline}"]
    return ", ".join(parts)


@contextmanager
def _locked(watch: Watch) -> Iterator[None]:
    """
    Keep other watchers away from a folder.

    Raises:
        PlanError: If one is there.
    """
    try:
        watch.kept.mkdir(parents=True, exist_ok=True)
        lock = RunLock.take(watch.kept)
    except (OSError, StoreError) as error:
        raise PlanError(
            f"{watch.folder} is watched already, or {watch.kept} cannot be written ({error}); stop the other "
            "r1eval gates, or give another --output-dir"
        ) from error
    with lock:
        yield
