"""How far a submission is: a backend's word for each job, and how much each slice has stored."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from pytest_r1eval.cluster.attempts import attempts, copy_run, standing
from pytest_r1eval.core.texts import printable
from pytest_r1eval.errors import RunError

MAX_SILENCE_S = 300.0
"""A controller that is restarted answers again within minutes."""
VISIBLE_S = 60.0
"""A shared file system may show a new file this much later (the attribute cache of NFS)."""
GONE = "the judge is gone"
"""The end of a judge whom its cluster no longer knows."""
CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What the judge's job left: pytest's exit code, and the run's folder, empty where nothing could be merged."""

    exit_code: int
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """How many of a benchmark's planned samples a slice has."""

    benchmark: str
    n_samples: int
    n_planned: int

    def __str__(self) -> str:
        return f"{self.benchmark} {self.n_samples}/{self.n_planned}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """The end of a job's log."""

    path: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([f"== {self.path}", *map(printable, self.lines)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """
    One job of a submission.

    Attributes:
        name: ``slice 1/4`` or ``judge``.
        state: Slurm's word; None where squeue has forgotten it.
        restarts: How often it was started again.
        where: Its node, or why it waits.
        samples: What its newest attempt has stored.
        exit_code: What the judge's pytest ended with; None where it has not, and for a slice.
    """

    name: str
    state: str | None
    restarts: int = 0
    where: str = ""
    samples: tuple[Stored, ...] = ()
    exit_code: int | None = None

    @property
    def line(self) -> str:
        """All of it, for people."""
        restarts = f"start {self.restarts + 1}" if self.restarts else ""
        left = [str(one) for one in self.samples]
        left += [] if self.exit_code is None else [f"exit code {self.exit_code}"]
        return f"{self.name:<12} {self.state or 'ended':<12} {restarts:<8} {self.where:<16} {', '.join(left)}".rstrip()


def stored(folder: Path) -> tuple[Stored, ...]:
    """Say how much the newest attempt of a slice has stored; read from a copy, another host may be writing it."""
    for attempt in reversed(attempts(folder)):
        if attempt.run is None:
            continue
        with TemporaryDirectory(prefix="r1eval-") as scratch:
            copy = Path(scratch) / "run"
            if copy_run(attempt.run, to=copy):
                return tuple(
                    Stored(benchmark=result.benchmark, n_samples=result.n_samples, n_planned=result.n_planned)
                    for result in standing(copy)
                )
    return ()


def result_in(folder: Path, *, judge: int) -> Result | None:
    """Return what the newest start of a judge's job wrote; None until it has."""
    files = (folder / "results").glob(f"{judge}-*.txt")
    newest = max(files, key=lambda path: int(path.stem.rpartition("-")[2]), default=None)
    if newest is None:
        return None
    exit_code, run = newest.read_text().split("\n", 1)
    return Result(exit_code=int(exit_code), run=run.removesuffix("\n"))


class Backend(Protocol):
    """What starts the slices and the judge of a submission, and knows how far they are."""

    NAME: str
    """Of its commands: ``r1eval NAME``."""
    FILE_NAME: str
    """Of what is kept of a submission, in its folder."""

    def standings(self, folder: Path) -> tuple[Standing, ...]:
        """Look at every job."""
        ...

    def result(self, folder: Path) -> Result | None:
        """Return what the judge left; None until it has."""
        ...

    def judge_end(self, folder: Path) -> str | None:
        """Say how the judge ended; None while it may still give a verdict."""
        ...

    def cancel(self, folder: Path) -> tuple[int | str, ...]:
        """End every job, and return what they are called; what is stored is kept."""
        ...

    def resubmit(self, folder: Path, *, environment: Mapping[str, str] = ...) -> Submitted:
        """Start all of it again, with an environment to inherit; slices go on with what is stored."""
        ...


class Submitted(Protocol):
    """What a backend keeps of a submission, as a dataclass."""

    @property
    def lines(self) -> tuple[str, ...]:
        """Say what was started, for people."""
        ...


def awaited(folder: Path, backend: Backend, *, interval_s: float) -> Result:
    """
    Wait until the judge has given its verdict.

    Args:
        folder: The submission's.
        backend: What runs it.
        interval_s: Seconds from one look to the next.

    Raises:
        RunError: If the jobs ended without one, or the cluster does not answer for minutes.
    """
    answered = time.monotonic()
    gone: float | None = None
    while (result := backend.result(folder)) is None:
        now = time.monotonic()
        try:
            end = backend.judge_end(folder)
        except RunError:
            if now - answered > MAX_SILENCE_S:
                raise
        else:
            answered = now
            gone = None if end is None else gone or now
            if gone is not None and (end == CANCELLED or now - gone > VISIBLE_S):
                raise RunError(
                    f"the jobs of {folder} ended without a verdict ({end}); see r1eval {backend.NAME} logs {folder}, "
                    f"and go on with r1eval {backend.NAME} resubmit {folder}"
                )
        time.sleep(interval_s)
    return result


def log_ends(folder: Path, *, names: Iterable[str], n_lines: int, backend: str) -> tuple[Log, ...]:
    """
    Return the ends of logs.

    Raises:
        RunError: If there is none yet.
    """
    found = [path for name in names for path in sorted((folder / "logs").glob(f"{name}.log"), key=_order)]
    if not found:
        raise RunError(f"no log in {folder / 'logs'} yet; see r1eval {backend} status {folder}")
    return tuple(
        Log(path=str(path), lines=tuple(path.read_text(errors="replace").splitlines()[-n_lines:])) for path in found
    )


def _order(path: Path) -> tuple[int, str]:
    return len(path.name), path.name
