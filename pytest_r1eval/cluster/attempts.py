"""
Attempts of a slice: where each one writes, and what it takes over from those before it.

Seeds make samples independent of who draws them, so any whole attempt is as good as
another. What must not happen is that two hosts have one SQLite file open: the index
of its log is shared memory. So a stored run is never opened where another host may
write it. Its bytes are copied, and the copy is opened.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_r1eval.atomic_files import making
from pytest_r1eval.errors import RunError, StoreError
from pytest_r1eval.runs.merge import Merged, merge
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.slices import SliceResult, slice_results
from pytest_r1eval.runs.store import FILE_NAME

SLICES = "slices"
"""The folder below a submission's that holds a folder per slice."""
N_TRIES = 5
"""Copies begun before a file that keeps changing is given up; a checkpoint of the log takes milliseconds."""
RETRY_S = 0.2
_NAME = re.compile(r"attempt-(\d+)-(\d+)")
_LOG_HEADER_BYTES = 32
"""Of SQLite's write-ahead log: its salt changes when the log starts over (sqlite.org/fileformat2.html)."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Attempt:
    """
    One start of one slice.

    Attributes:
        job: Slurm's array job, or Ray's submission; 0 by hand.
        restart: How often the job was started before.
        folder: Where it alone writes.
    """

    job: int
    restart: int
    folder: Path

    @property
    def run(self) -> Path | None:
        """The folder of its run; None until there is one."""
        stores = sorted(self.folder.glob(f"*/*/*/{FILE_NAME}"))
        return stores[-1].parent if stores else None


def attempts(folder: Path) -> tuple[Attempt, ...]:
    """Return the attempts of a slice, oldest first."""
    found = [(match, path) for path in folder.glob("attempt-*") if (match := _NAME.fullmatch(path.name))]
    return tuple(sorted(Attempt(job=int(match[1]), restart=int(match[2]), folder=folder) for match, folder in found))


def hand_over(folder: Path) -> Path | None:
    """
    Give an attempt what the newest one before it stored.

    Args:
        folder: The attempt's own, which need not exist yet.

    Returns:
        The run to go on with; None where there is nothing to take over.
    """
    known = attempts(folder.parent)
    own = [attempt.run for attempt in known if attempt.folder == folder]
    if own and own[0] is not None:
        return own[0]
    for attempt in reversed([attempt for attempt in known if attempt.folder != folder]):
        if attempt.run is not None:
            target = folder / attempt.run.relative_to(attempt.folder)
            if copy_run(attempt.run, to=target):
                return target
    return None


def copy_run(run: Path, *, to: Path) -> bool:
    """
    Copy a store that another process may still write.

    The database changes only when the log is written back to it. If it is the same
    before and after the log was read, and the log did not start over, the two fit
    together; a transaction that was half there is dropped by SQLite's checksums.

    Returns:
        Whether there is an intact copy now; if not, nothing is left.
    """
    with suppress(_ChangingError), making(to) as part:
        _copy_settled(run, part)
        return True
    return False


class _ChangingError(Exception):
    """A store was written each time that it was copied."""


def _copy_settled(run: Path, part: Path) -> None:
    for _ in range(N_TRIES):
        if _copied_whole(run, part) and _is_intact(part):
            return
        time.sleep(RETRY_S)
    raise _ChangingError


def _copied_whole(run: Path, part: Path) -> bool:
    database, log = run / FILE_NAME, run / f"{FILE_NAME}-wal"
    try:
        header = _log_header(log)
        shutil.copyfile(database, part / FILE_NAME)
        (part / log.name).unlink(missing_ok=True)
        if header:
            shutil.copyfile(log, part / log.name)
        return _digest(database) == _digest(part / FILE_NAME) and _log_header(log) == header
    except FileNotFoundError:  # the last writer closed, and took the log away
        return False


def _log_header(log: Path) -> bytes:
    try:
        with log.open("rb") as file:
            return file.read(_LOG_HEADER_BYTES)
    except FileNotFoundError:
        return b""


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _is_intact(run: Path) -> bool:
    try:
        with closing(RunReader.open(run)) as store:
            store.check()
    except StoreError:
        return False
    return True


def gather(submission: Path, *, out: Path, n_slices: int, backend: str = "slurm") -> Merged:
    """
    Merge the newest whole attempt of every slice.

    Args:
        submission: Its folder.
        out: The folder of the merged run.
        n_slices: Slices that there must be.
        backend: Whose commands a message names.

    Raises:
        RunError: If a slice is not whole, with how far it is.
        StoreError: If something cannot be read or written.
    """
    gathered = out.parent / f".{out.name}-slices"
    shutil.rmtree(gathered, ignore_errors=True)
    try:
        runs = [
            _whole_run(submission, number, n_slices=n_slices, to=gathered / str(number), backend=backend)
            for number in range(1, n_slices + 1)
        ]
        return merge(runs, out=out)
    finally:
        shutil.rmtree(gathered, ignore_errors=True)


def _whole_run(submission: Path, number: int, *, n_slices: int, to: Path, backend: str) -> Path:
    """Copy the newest whole attempt of a slice."""
    said = "nothing is stored."
    for attempt in reversed(attempts(submission / SLICES / str(number))):
        copy = to / attempt.folder.name
        if attempt.run is None or not copy_run(attempt.run, to=copy):
            continue
        results = standing(copy)
        unfit = [result.lines[0] for result in results if result.refusal is not None]
        if results and not unfit:
            return copy
        if said == "nothing is stored.":
            said = unfit[0] if unfit else "no benchmark was begun."
    raise RunError(
        f"slice {number}/{n_slices} is not whole: {said} See r1eval {backend} logs {submission} --slice {number}; go "
        f"on with r1eval {backend} resubmit {submission}, nothing is drawn twice"
    )


def standing(run: Path) -> tuple[SliceResult, ...]:
    """
    Say how far each benchmark of a slice's run is.

    Raises:
        StoreError: If it cannot be read.
    """
    with closing(RunReader.open(run)) as store:
        part = store.header.slice
        return () if part is None else slice_results(store, part, store.selected)
