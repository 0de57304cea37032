"""How far a submission is: Slurm's word for each job, and how much each slice has stored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pytest_r1eval.cluster.attempts import SLICES
from pytest_r1eval.cluster.status import GONE, Standing, stored
from pytest_r1eval.slurm.jobs import Job, jobs_of, result_of, submitted_in


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


def judge_end(folder: Path) -> str | None:
    """
    Return Slurm's word for how the judge's job ended; None while it may still give a verdict.

    Raises:
        RunError: If Slurm cannot be asked.
    """
    submitted = submitted_in(folder)
    judge = next((job for job in jobs_of(submitted) if job.id == submitted.judge_job), None)
    if judge is None:
        return GONE
    return judge.state if judge.is_ended else None


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
