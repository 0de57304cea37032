"""How far a submission is: Slurm's word for each job, and how much each slice has stored."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from pytest_r1eval.core.texts import printable
from pytest_r1eval.errors import RunError
from pytest_r1eval.slurm.attempts import SLICES, attempts, copy_run, standing
from pytest_r1eval.slurm.jobs import Job, Result, jobs_of, result_of, submitted_in

MAX_SILENCE_S = 300.0
"""A controller that is restarted answers again within minutes."""
VISIBLE_S = 60.0
"""A shared file system may show a new file this much later (the attribute cache of NFS)."""


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


def standings(folder: Path) -> tuple[Standing, ...]:
    """
    Look at every job of a submission.

    Raises:
        RunError: If there is none, or Slurm cannot be asked.
    """
    submitted = submitted_in(folder)
    jobs = jobs_of(submitted)
    found = []
    for number in range(1, submitted.n_slices + 1):
        job = _task(jobs, submitted.array_job, number)
        standing_now = _standing(f"slice {number}/{submitted.n_slices}", job)
        found.append(replace(standing_now, samples=stored(folder / SLICES / str(number))))
    judge = next((job for job in jobs if job.id == submitted.judge_job), None)
    result = result_of(folder, submitted)
    exit_code = None if result is None else result.exit_code
    return (*found, replace(_standing("judge", judge), exit_code=exit_code))


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


def awaited(folder: Path, *, interval_s: float) -> Result:
    """
    Wait until the judge has given its verdict.

    Args:
        folder: The submission's.
        interval_s: Seconds from one look to the next.

    Raises:
        RunError: If the jobs ended without one, or Slurm does not answer for minutes.
    """
    submitted = submitted_in(folder)
    answered = time.monotonic()
    gone: float | None = None
    while (result := result_of(folder, submitted)) is None:
        now = time.monotonic()
        try:
            judge = next((job for job in jobs_of(submitted) if job.id == submitted.judge_job), None)
        except RunError:
            if now - answered > MAX_SILENCE_S:
                raise
        else:
            answered = now
            gone = None if judge is not None and not judge.is_ended else gone or now
            cancelled = judge is not None and judge.state == "CANCELLED"
            if gone is not None and (cancelled or now - gone > VISIBLE_S):
                raise RunError(
                    f"the jobs of {folder} ended without a verdict ({judge.state if judge else 'the judge is gone'}); "
                    f"see r1eval slurm logs {folder}, and go on with r1eval slurm resubmit {folder}"
                )
        time.sleep(interval_s)
    return result


def log_ends(folder: Path, *, names: Iterable[str], n_lines: int) -> tuple[Log, ...]:
    """
    Return the ends of logs.

    Raises:
        RunError: If there is none yet.
    """
    found = [path for name in names for path in sorted((folder / "logs").glob(f"{name}.log"), key=_order)]
    if not found:
        raise RunError(f"no log in {folder / 'logs'} yet; see r1eval slurm status {folder}")
    return tuple(
        Log(path=str(path), lines=tuple(path.read_text(errors="replace").splitlines()[-n_lines:])) for path in found
    )


def _order(path: Path) -> tuple[int, str]:
    return len(path.name), path.name


def _task(jobs: Iterable[Job], array_job: int, number: int) -> Job | None:
    """Return a slice's job; tasks that still wait together are one job without a number."""
    array = [job for job in jobs if job.array_job == array_job]
    own = [job for job in array if job.task == number]
    waiting = [job for job in array if job.task is None]
    return next(iter([*own, *waiting]), None)


def _standing(name: str, job: Job | None) -> Standing:
    if job is None:
        return Standing(name=name, state=None)
    where = job.nodes or ("" if job.reason in {"", "None"} or job.is_ended else f"({job.reason})")
    return Standing(name=name, state=job.state, restarts=job.restarts, where=where)
