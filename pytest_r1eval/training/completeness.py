"""
Whether a checkpoint is complete: by its trainer's marker, or because it is whole and no file of it changes.

A marker alone is not believed: what it calls complete is loaded by no engine where weights are missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from pytest_r1eval.errors import ModelError
from pytest_r1eval.training.finding import Found, check_whole, is_marked, state_of
from pytest_r1eval.training.frameworks import Marker


class Standing(Enum):
    """How far a checkpoint is."""

    COMPLETE = "complete"
    COMING = "coming"
    """Its trainer has not called it complete, or it is not whole."""
    SETTLING = "settling"
    """It may be complete: a later look at the same files tells."""
    BROKEN = "broken"
    """Its trainer calls it complete, and no engine loads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """
    What one look at a checkpoint found.

    Attributes:
        standing: How far it is.
        why: What it waits for, or lacks.
        is_changing: Whether its files changed since the first look.
    """

    standing: Standing
    why: str = ""
    is_changing: bool = False


@dataclass(slots=True)
class _Seen:
    """A folder's files as of the last look, and since when they are so."""

    state: str
    since: float
    has_changed: bool = False


class Looks:
    """
    Looks at checkpoints again and again.

    Args:
        root: The watched folder.
        marker: What its trainer marks.
        is_native: Whether a converter reads them, so that there is nothing that an engine could miss.
        settle_s: Seconds in which no file may change, where the marker says nothing.
    """

    def __init__(self, root: Path, *, marker: Marker, is_native: bool, settle_s: float) -> None:
        self._root = root
        self._marker = marker
        self._is_native = is_native
        self._settle_s = settle_s
        self._seen: dict[int, _Seen] = {}

    def at(self, found: Found, *, now_s: float) -> Look:
        """
        Look at one.

        Args:
            found: The checkpoint.
            now_s: When, of one clock; the same for all that one look goes over, so that they settle in their order.
        """
        mark = is_marked(found, self._marker, root=self._root)
        if mark is False:
            return Look(standing=Standing.COMING, why=f"waits for {self._marker.name}")
        lack = None if self._is_native else lack_of(found.folder)
        if mark and lack is None:
            return Look(standing=Standing.COMPLETE)
        seen = self._updated(found, now_s=now_s)
        if now_s - seen.since < self._settle_s:
            why = "waits until its files stay as they are" if lack is None else f"waits: {lack}"
            standing = Standing.SETTLING if mark or lack is None else Standing.COMING
            return Look(standing=standing, why=why, is_changing=seen.has_changed)
        if lack is None:
            return Look(standing=Standing.COMPLETE)
        return Look(standing=Standing.BROKEN if mark else Standing.COMING, why=lack)

    def _updated(self, found: Found, *, now_s: float) -> _Seen:
        state = state_of(found.folder) or ""
        seen = self._seen.setdefault(found.step, _Seen(state=state, since=now_s))
        if state != seen.state:
            seen.state, seen.since, seen.has_changed = state, now_s, True
        return seen


def lack_of(folder: Path) -> str | None:
    """Return what an engine would miss in a folder; None for nothing."""
    try:
        check_whole(folder)
    except ModelError as error:
        return str(error)
    return None
