"""
Checkpoints that wait for their gate while training goes on: one is judged at a time, in a thread.

Nothing that happens here reaches the training but as a value that it collects: a judgement, or
the words of what went wrong. Trainers delete old checkpoints, so what waits is a copy of its own,
made of hard links where the file system can.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pytest_r1eval.errors import EvaluationError, R1EvalError
from pytest_r1eval.run_reports import RunReport

_TRAINERS_OWN = (
    "optimizer*", "scheduler*", "scaler*", "rng_state*", "trainer_state.json", "training_args.bin", "*.pth",
)  # fmt: skip
"""What a checkpoint holds for going on with the training; often three times as large as the model."""

ENDED = "the training ended before its turn"
"""Why there is no verdict on a checkpoint that nobody waits for any more."""
_PART = ".part-"
"""In front of the name of a copy that is not whole yet."""


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


class CheckpointQueue:
    """
    Judges checkpoints one after the other, in a thread of its own.

    Args:
        gate: Judges one; raises an `R1EvalError` where it cannot.
        when_busy: What becomes of those that are saved meanwhile.
        before: What is done with each first; where it fails, that is remarked and the checkpoint is judged.
    """

    def __init__(
        self,
        gate: Callable[[SavedCheckpoint], RunReport],
        *,
        when_busy: WhenBusy,
        before: Callable[[SavedCheckpoint], None] | None = None,
    ) -> None:
        self._gate = gate
        self._before = before
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
                self._is_judging = False
                self._changed.notify_all()

    def _judged(self, saved: SavedCheckpoint) -> GatedCheckpoint:
        remark = None
        try:
            if self._before is not None:
                self._before(saved)
        except Exception as error:  # noqa: BLE001 - as below
            remark = _words(error)
        try:
            return GatedCheckpoint(saved=saved, report=self._gate(saved), remark=remark)
        except Exception as error:  # noqa: BLE001 - handed to the training, which neither ends for it nor waits for ever
            return GatedCheckpoint(saved=saved, reason=_words(error), remark=remark)

    def _finish(self, gated: GatedCheckpoint) -> None:
        shutil.rmtree(gated.saved.folder, ignore_errors=True)
        self._gated.append(gated)


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, R1EvalError) else f"{type(error).__name__}: {error}"


def kept_copy(checkpoint: Path, *, to: Path) -> Path:
    """
    Keep what a model needs of a checkpoint, without the trainer's own state.

    Args:
        checkpoint: The folder that the trainer wrote.
        to: The folder of the copy, made anew.

    Raises:
        EvaluationError: If it cannot be read, or there is no room.
    """
    part = to.with_name(f"{_PART}{to.name}")
    try:
        for old in (part, to):
            shutil.rmtree(old, ignore_errors=True)
        part.mkdir(parents=True)
        for path in sorted(checkpoint.iterdir()):
            if path.is_file() and not any(path.match(pattern) for pattern in _TRAINERS_OWN):
                _linked(path, part / path.name)
        part.rename(to)
    except OSError as error:
        raise EvaluationError(
            f"the checkpoint {checkpoint} cannot be kept for its gate: {error.strerror or error}; expected a folder "
            f"that can be read, and room in {to.parent}"
        ) from error
    return to


def left_over(folder: Path, *, last_step: int) -> tuple[SavedCheckpoint, ...]:
    """
    Find the copies that a training which was killed left without a verdict.

    Args:
        folder: Where its copies are kept.
        last_step: The step from which it goes on; copies of later ones, which it will save anew, are removed.

    Returns:
        The others, in order.
    """
    found = []
    for copy in [*folder.iterdir()] if folder.is_dir() else []:
        name, _, step = copy.name.rpartition("-")
        if name == "checkpoint" and step.isdigit() and int(step) <= last_step:
            found.append(SavedCheckpoint(step=int(step), epoch=None, folder=copy))
        else:
            shutil.rmtree(copy, ignore_errors=True)
    return tuple(sorted(found, key=lambda saved: saved.step))


def _linked(path: Path, to: Path) -> None:
    try:
        os.link(path, to)
    except OSError:  # another file system, or one without links
        shutil.copy2(path, to)
