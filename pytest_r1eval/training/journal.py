"""
What became of each checkpoint of a watched folder: one file, written whole at every change.

A checkpoint is entered before its copy is made and settled before its copy is removed. So a watcher that is killed at
any moment finds each one either settled, kept, or still in the trainer's folder.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pytest_r1eval.atomic_files import write_text
from pytest_r1eval.core.codec import Kind, Layout, from_json, to_json
from pytest_r1eval.errors import EvaluationError


class Became(StrEnum):
    """What became of a checkpoint."""

    AGAIN = "again"
    """It is complete and not kept: there was no room, or it could not be copied or converted yet."""
    KEPT = "kept"
    """It waits for its gate."""
    JUDGED = "judged"
    """It has a verdict."""
    FAILED = "failed"
    """It has none: its conversion or its gate failed every time."""
    SKIPPED = "skipped"
    """It has none, as was asked for."""
    GONE = "gone"
    """It was deleted before it could be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """
    One checkpoint.

    Attributes:
        step: Its training step.
        folder: Where the trainer wrote it, as of the watched folder.
        stamp: What tells it from a later one of the same step.
        number: How many complete checkpoints it came after, itself included; of these every k-th is judged.
        became: What became of it.
        message: The verdict, or why there is none.
        run: The folder of its judged run; None without one.
        exit_code: Pytest's; None where nothing was asked of it.
    """

    step: int
    folder: str
    stamp: str
    number: int
    became: Became
    message: str = ""
    run: str | None = None
    exit_code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entries:
    """
    The file.

    Attributes:
        n_seen: Complete checkpoints so far.
        entries: The newest of each step.
    """

    n_seen: int = 0
    entries: tuple[Entry, ...] = ()


_KIND = Kind(of=Entries, version=1, layout=Layout.INDENTED)


class Journal:
    """The file of one watched folder; the thread that judges writes to it too."""

    def __init__(self, path: Path, entries: Entries) -> None:
        self._path = path
        self._n_seen = entries.n_seen
        self._entries = {entry.step: entry for entry in entries.entries}
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path) -> Journal:
        """
        Read the file, or begin one.

        Raises:
            EvaluationError: If it cannot be read.
        """
        try:
            return cls(path, from_json(_KIND, path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return cls(path, Entries())
        except (OSError, ValueError) as error:
            raise EvaluationError(
                f"{path} cannot be read: {error}; expected what r1eval gates wrote. Move it away to judge everything "
                "that is there again"
            ) from error

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All of them, by step."""
        with self._lock:
            return tuple(self._entries[step] for step in sorted(self._entries))

    def of(self, step: int) -> Entry | None:
        """Return a step's entry; None without one."""
        with self._lock:
            return self._entries.get(step)

    @property
    def n_seen(self) -> int:
        """Complete checkpoints so far."""
        with self._lock:
            return self._n_seen

    def enter(self, entry: Entry) -> None:
        """
        Write an entry in the place of its step's.

        Raises:
            EvaluationError: If it cannot be written.
        """
        with self._lock:
            self._n_seen = max(self._n_seen, entry.number)
            self._entries[entry.step] = entry
            entries = tuple(self._entries[step] for step in sorted(self._entries))
            try:
                write_text(self._path, to_json(_KIND, Entries(n_seen=self._n_seen, entries=entries)) + "\n")
            except OSError as error:
                raise EvaluationError(
                    f"{self._path} cannot be written: {error.strerror or error}; expected room and a folder that can "
                    "be written. What was judged is stored: start again"
                ) from error
