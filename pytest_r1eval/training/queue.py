"""
Checkpoints that wait for their gate while training goes on: one is judged at a time, in a thread.

Nothing that happens here reaches the training but as a value that it collects: a judgement, or the words of what went
wrong. Trainers delete old checkpoints, and some write over them in place. So what waits is a copy of its own; where the
file system can, it shares its blocks with the original (a reflink). Its digests are taken when it is made, and looked
at again when its turn comes.

A gate that fails by its machinery (an engine out of memory, a Slurm that does not answer) is tried again later, with
the same copy. What was asked wrongly is not, and neither is a verdict.
"""

from __future__ import annotations

import fcntl
import math
import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from pytest_r1eval.atomic_files import making
from pytest_r1eval.checkpoints.files import files_of, folder_digests
from pytest_r1eval.core.codec import from_json, to_json
from pytest_r1eval.core.fingerprints import FileDigest
from pytest_r1eval.errors import EvaluationError, EvaluationRefusedError, ModelError, R1EvalError
from pytest_r1eval.reports.run_report import RunReport
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import BenchmarkState
from pytest_r1eval.stats.verdicts import Verdict

_TRAINERS_OWN = (
    "optimizer*", "scheduler*", "scaler*", "rng_state*", "trainer_state.json", "training_args.bin", "*.pth",
)  # fmt: skip
"""What a checkpoint holds for going on with the training; often three times as large as the model."""

ENDED = "the training ended before its turn"
"""Why a checkpoint has no verdict that no caller waits for any more."""
WAITS_S = (60.0, 300.0, 900.0)
"""Before each further try of a gate that the machinery failed: what takes a GPU's memory is often a job that ends."""
_FICLONE = 0x40049409
"""Linux: let a file share another one's blocks, each until it is written to."""


class WhenBusy(StrEnum):
    """What a checkpoint does that is saved while another is judged: wait, or take the place of the one that waits."""

    QUEUE = "queue"
    LATEST = "latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedCheckpoint:
    """
    A checkpoint of a training.

    Attributes:
        step: Its training step.
        epoch: How far the training was; None where the trainer does not count.
        folder: The copy that is judged.
    """

    step: int
    epoch: float | None
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedCheckpoint:
    """
    What became of a checkpoint.

    Attributes:
        saved: The checkpoint.
        report: The judged run; None where there is no verdict.
        reason: Why there is none; None where there is one.
        remark: What else went wrong; None for nothing.
        is_skipped: Whether a newer checkpoint took its place, as was asked for.
    """

    saved: SavedCheckpoint
    report: RunReport | None = None
    reason: str | None = None
    remark: str | None = None
    is_skipped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptDigests:
    """Digests of a kept copy's files, as they are stored beside it."""

    files: tuple[FileDigest, ...]


class MachineryError(EvaluationError):
    """
    A run lacked samples, which is not the checkpoint's fault.

    Args:
        message: What failed.
        report: The run as it is.
    """

    def __init__(self, message: str, *, report: RunReport) -> None:
        super().__init__(message)
        self.report = report


def demand_whole(report: RunReport, *, failures: Sequence[str] = ()) -> RunReport:
    """
    Return a report unless an engine or a worker left samples out.

    Args:
        report: A judged run.
        failures: What its shards failed with, a line each.

    Raises:
        MachineryError: If samples are missing that could be drawn another time.
    """
    with closing(RunReader.open(report.run)) as store:
        lacking = [
            gate.result
            for gate in report.gates
            if gate.verdict is Verdict.INVALID
            and (gate.result.n_planned is None or gate.result.n_samples < gate.result.n_planned)
            and store.state(gate.result.benchmark)
            not in {BenchmarkState.FAILED, BenchmarkState.LEFT_OUT}  # by what was asked
        ]
    if not lacking:
        return report
    what = "; ".join(failures) or f"{lacking[0].judgement.reason} See {report.run / 'logs'}"
    raise MachineryError(f"{', '.join(result.benchmark for result in lacking)}: {what}", report=report)


class CheckpointQueue:
    """
    Judges checkpoints one after the other, in a thread of its own.

    Args:
        gate: Judges one; raises an `R1EvalError` where it cannot.
        when_busy: What becomes of those that are saved meanwhile.
        before: What is done with each first; where it fails, that is remarked and the checkpoint is judged.
        rest: What is done when none waits any more, before the next is saved.
        record: What is done with what became of each, before its copy is removed; it does not fail.
        waits_s: Seconds before each further try of a gate that the machinery failed.
        leaves_open: Whether copies without a verdict stay where they are when the queue is closed, for another start.
    """

    def __init__(  # noqa: PLR0913 - what is done before, for and after each
        self,
        gate: Callable[[SavedCheckpoint], RunReport],
        *,
        when_busy: WhenBusy,
        before: Callable[[SavedCheckpoint], None] | None = None,
        rest: Callable[[], None] | None = None,
        record: Callable[[GatedCheckpoint], None] | None = None,
        waits_s: Sequence[float] = WAITS_S,
        leaves_open: bool = False,
    ) -> None:
        self._waits_s = tuple(waits_s)
        self._record = record
        self._leaves_open = leaves_open
        self._gate = gate
        self._before = before
        self._rest = rest
        self._when_busy = when_busy
        self._waiting: deque[SavedCheckpoint] = deque()
        self._gated: deque[GatedCheckpoint] = deque()
        self._changed = threading.Condition()
        self._is_judging = False
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="r1eval checkpoints", daemon=True)

    def add(self, saved: SavedCheckpoint) -> None:
        """Let a checkpoint be judged; returns at once."""
        with self._changed:
            if self._when_busy is WhenBusy.LATEST:
                while self._waiting:
                    older = self._waiting.popleft()
                    reason = f"step {saved.step} was saved before its turn"
                    self._finish(GatedCheckpoint(saved=older, reason=reason, is_skipped=True))
            self._waiting.append(saved)
            if self._thread.ident is None:
                self._thread.start()
            self._changed.notify_all()

    @property
    def n_waiting(self) -> int:
        """How many wait for their turn."""
        with self._changed:
            return len(self._waiting)

    def collect(self) -> tuple[GatedCheckpoint, ...]:
        """Return what has been judged since the last time, in order."""
        with self._changed:
            gated = tuple(self._gated)
            self._gated.clear()
        return gated

    def wait(self, timeout_s: float | None) -> bool:
        """Wait until nothing is waiting or judged any more; False if that took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._waiting or self._is_judging), timeout_s)

    def close(self) -> None:
        """Judge nothing more; what waits is given up."""
        with self._changed:
            self._is_closed = True
            while self._waiting:
                self._finish(GatedCheckpoint(saved=self._waiting.popleft(), reason=ENDED))
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                if self._is_closed:
                    return
                saved = self._waiting.popleft()
                self._is_judging = True
            gated = self._judged(saved)
            with self._changed:
                self._finish(gated)
                is_last = not self._waiting
            if is_last and self._rest is not None:
                with suppress(Exception):  # the verdict is there; a training does not wait for ever for this
                    self._rest()
            with self._changed:
                self._is_judging = False
                self._changed.notify_all()

    def _judged(self, saved: SavedCheckpoint) -> GatedCheckpoint:
        remark = None
        try:
            if self._before is not None:
                self._before(saved)
        except Exception as error:  # noqa: BLE001 - as below
            remark = _words(error)
        gated = self._attempted(saved)
        remarks = [text for text in (remark, gated.remark) if text is not None]
        return replace(gated, remark=" ".join(remarks) or None)

    def _attempted(self, saved: SavedCheckpoint) -> GatedCheckpoint:
        """Try until there is a verdict, a refusal, or no patience left; each failure is named."""
        failures: list[str] = []
        for wait_s in (*self._waits_s, None):
            try:
                demand_unchanged(saved.folder)
                report = self._gate(saved)
            except (EvaluationRefusedError, ModelError) as error:
                return GatedCheckpoint(saved=saved, reason=_words(error), remark=_tries(failures))
            except Exception as error:  # noqa: BLE001 - handed to the training, which neither ends for it nor waits for ever
                words, found = _words(error), error.report if isinstance(error, MachineryError) else None
            else:
                return GatedCheckpoint(saved=saved, report=report, remark=_tries(failures))
            if wait_s is None or self._is_closed_within(wait_s):
                tries = _tries(failures)
                if found is not None:
                    return GatedCheckpoint(
                        saved=saved, report=found, remark=" ".join([words, *([tries] if tries else [])])
                    )
                return GatedCheckpoint(saved=saved, reason=words, remark=tries)
            failures.append(words)
        raise EvaluationError(f"{saved.folder}: no try was allowed; expected one or more")

    def _is_closed_within(self, wait_s: float) -> bool:
        """Wait before another try; whether the queue was closed meanwhile."""
        with self._changed:
            return self._changed.wait_for(lambda: self._is_closed, wait_s)

    def _finish(self, gated: GatedCheckpoint) -> None:
        if not (self._is_closed and self._leaves_open and gated.report is None):
            if self._record is not None:
                self._record(gated)
            remove_copy(gated.saved.folder)
        self._gated.append(gated)


def _tries(failures: Sequence[str]) -> str | None:
    """Say what earlier tries failed with; None where the first one was the last."""
    if not failures:
        return None
    times = "once" if len(failures) == 1 else f"{len(failures)} times"
    return f"tried again after failing {times}: {'; '.join(dict.fromkeys(failures))}"


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, R1EvalError) else f"{type(error).__name__}: {error}"


def kept_copy(checkpoint: Path, *, to: Path) -> Path:
    """
    Keep what a model needs of a checkpoint, without the trainer's own state.

    Args:
        checkpoint: The folder that the trainer wrote.
        to: The folder of the copy, made again.

    Raises:
        EvaluationError: If it cannot be read, or there is no room.
    """
    try:
        with keeping(to) as part:
            for path in _files_to_keep(checkpoint):
                copy = part / path.relative_to(checkpoint)
                copy.parent.mkdir(exist_ok=True)
                _copied(path, copy)
    except OSError as error:
        raise EvaluationError(
            f"the checkpoint {checkpoint} cannot be kept for its gate: {error.strerror or error}; expected a folder "
            f"that can be read, and room in {to.parent}"
        ) from error
    return to


def _files_to_keep(checkpoint: Path) -> list[Path]:
    """List the files that the checkpoint is known by, whatever they are called, and what else a model may need."""
    beside = [path for path in checkpoint.iterdir() if not any(map(path.match, _TRAINERS_OWN)) and path.is_file()]
    return sorted({*files_of(checkpoint), *beside})


@contextmanager
def keeping(to: Path) -> Iterator[Path]:
    """
    Give a folder to fill with a checkpoint, and keep it with the digests of its files; what was there is removed.

    Raises:
        OSError: If it cannot be made.
    """
    shutil.rmtree(to, ignore_errors=True)
    with making(to) as part:
        yield part
        kept = KeptDigests(files=folder_digests(part).files)
        _digests_of(to).write_text(to_json(KeptDigests, kept), encoding="utf-8")


def remove_copy(copy: Path) -> None:
    """Remove a kept copy and its digests."""
    shutil.rmtree(copy, ignore_errors=True)
    _digests_of(copy).unlink(missing_ok=True)


def kept_since(copy: Path) -> float:
    """Return when a copy was kept, in seconds of the file system's clock; infinity for one that was not."""
    try:
        return _digests_of(copy).stat().st_mtime
    except FileNotFoundError:
        return math.inf


def left_over(folder: Path, *, last_step: int) -> tuple[SavedCheckpoint, ...]:
    """
    Find the copies that a training which was killed left without a verdict.

    Args:
        folder: Where its copies are kept.
        last_step: The step from which it goes on; copies of later ones, which it will save again, are removed.

    Returns:
        The others, in order.
    """
    found = []
    for copy in [*folder.iterdir()] if folder.is_dir() else []:
        name, _, step = copy.name.rpartition("-")
        if name == "checkpoint" and step.isdigit() and int(step) <= last_step:
            found.append(SavedCheckpoint(step=int(step), epoch=None, folder=copy))
        elif copy.is_dir():
            remove_copy(copy)
    return tuple(sorted(found, key=lambda saved: saved.step))


def demand_unchanged(copy: Path) -> None:
    """
    Check that a kept copy is what was kept; one without digests was not kept by `kept_copy`.

    Raises:
        EvaluationRefusedError: If a file of it is another one now.
    """
    try:
        text = _digests_of(copy).read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    try:
        kept = {file.name: file.digest for file in from_json(KeptDigests, text).files}
        now = {file.name: file.digest for file in folder_digests(copy).files}
    except (OSError, ValueError) as error:
        raise EvaluationRefusedError(
            f"the kept checkpoint {copy} cannot be read: {error}; expected what was kept of it. Save it again"
        ) from error
    changed = sorted(name for name, digest in kept.items() if now.get(name) != digest)  # an engine may leave files
    if changed:
        raise EvaluationRefusedError(
            f"the kept checkpoint {copy} changed while it waited ({', '.join(changed[:3])}); expected the files that "
            "were saved. It is not judged: find what writes there"
        )


def _digests_of(copy: Path) -> Path:
    return copy.with_name(f"{copy.name}.digests.json")


def _copied(path: Path, to: Path) -> None:
    """Share the file's blocks where the file system can, else copy it: a link would change with the original."""
    with path.open("rb") as source, to.open("wb") as target:
        try:
            fcntl.ioctl(target, _FICLONE, source.fileno())
        except OSError:  # another file system, or one without
            pass
        else:
            shutil.copystat(path, to)
            return
    shutil.copy2(path, to)
