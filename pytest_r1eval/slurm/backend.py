"""Slurm, as the commands and runners that any cluster has know it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pytest_r1eval.cluster.status import Result
from pytest_r1eval.errors import RunError
from pytest_r1eval.slurm import jobs
from pytest_r1eval.slurm.jobs import FILE_NAME
from pytest_r1eval.slurm.status import judge_end, standings

__all__ = ["FILE_NAME", "NAME", "cancel", "judge_end", "resubmit", "result", "standings"]

NAME = "slurm"


def result(folder: Path) -> Result | None:
    """Return what the judge's job left; None until it has."""
    return jobs.result_of(folder, jobs.submitted_in(folder))


def cancel(folder: Path) -> tuple[int | str, ...]:
    """
    Cancel the array and the judge.

    Raises:
        RunError: If Slurm cannot be asked.
    """
    submitted = jobs.submitted_in(folder)
    jobs.cancel_jobs(submitted.judge_job, submitted.array_job)
    return submitted.array_job, submitted.judge_job


def resubmit(folder: Path, *, environment: Mapping[str, str] = os.environ) -> jobs.Submitted:
    """
    Submit the scripts of a folder again.

    Raises:
        RunError: If its jobs have not ended, or Slurm refuses.
    """
    before = jobs.submitted_in(folder)
    if any(not job.is_ended for job in jobs.jobs_of(before)):
        raise RunError(f"the jobs of {folder} have not ended; wait for them, or r1eval slurm cancel {folder} first")
    return jobs.resubmit(folder.resolve(), model=before.model, n_slices=before.n_slices, environment=environment)
