"""
Slurm's own commands, and what was submitted.

The one place that runs sbatch, squeue and scancel. There is no sacct in a cluster
without a database: a job that squeue has forgotten has ended, and its result is the
file that it wrote.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_r1eval.atomic_files import write_text
from pytest_r1eval.cluster.slice_environment import slice_environment
from pytest_r1eval.cluster.status import Result, result_in
from pytest_r1eval.cluster.submission import Submission, read_record
from pytest_r1eval.core.codec import Kind, Layout, to_json
from pytest_r1eval.errors import RunError
from pytest_r1eval.slurm.scripts import JUDGE_SCRIPT, SLICE_SCRIPT, judge_script, slice_script

FILE_NAME = "job.json"
COMMAND_TIMEOUT_S = 120.0
"""Slurm's own commands give a busy controller this long, in several tries."""
_ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """
    The jobs of a submission, as they are kept in its folder.

    Attributes:
        model: What is judged.
        n_slices: Tasks of the array.
        array_job: Slurm's number of the array.
        judge_job: Slurm's number of the job that judges.
    """

    model: str
    n_slices: int
    array_job: int
    judge_job: int

    @property
    def lines(self) -> tuple[str, ...]:
        """Say what was started, for people."""
        return f"slices: job {self.array_job}", f"judge: job {self.judge_job}, after them"


_SUBMITTED = Kind(of=Submitted, layout=Layout.INDENTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """
    One job as squeue shows it.

    Attributes:
        id: Its own number.
        array_job: The array's; its own for a job that is none.
        task: Its task of the array; None for a task that has not been split off yet, or for no array.
        state: Slurm's word.
        nodes: Where it runs.
        restarts: How often it was started again.
        reason: Why it waits.
    """

    id: int
    array_job: int
    task: int | None
    state: str
    nodes: str
    restarts: int
    reason: str

    @property
    def is_ended(self) -> bool:
        """Whether nothing of it will run any more."""
        return self.state in _ENDED


def submit(job: Submission, *, environment: Mapping[str, str] = os.environ) -> Submitted:
    """
    Write the scripts and submit them.

    Args:
        job: What is submitted.
        environment: What the jobs inherit; the slices' without its secrets.

    Raises:
        RunError: If the scripts cannot be written, or Slurm refuses; nothing stays submitted then.
    """
    write(job)
    return resubmit(job.folder, model=job.model, n_slices=job.n_slices, environment=environment)


def write(job: Submission) -> None:
    """
    Write both scripts into the submission's folder.

    Raises:
        RunError: If it cannot be written.
    """
    try:
        (job.folder / "logs").mkdir(parents=True)
        (job.folder / SLICE_SCRIPT).write_text(slice_script(job))
        (job.folder / JUDGE_SCRIPT).write_text(judge_script(job))
    except OSError as error:
        raise RunError(
            f"{job.folder} cannot be written: {error.strerror}; name another folder with --output-dir, one that all "
            "nodes see"
        ) from error


def is_written(job: Submission) -> bool:
    """Whether a submission's folder holds the scripts of this very submission."""
    scripts = {SLICE_SCRIPT: slice_script(job), JUDGE_SCRIPT: judge_script(job)}
    try:
        return all((job.folder / name).read_text() == text for name, text in scripts.items())
    except OSError:
        return False


def resubmit(folder: Path, *, model: str, n_slices: int, environment: Mapping[str, str] = os.environ) -> Submitted:
    """
    Submit the scripts that lie in a folder; slices go on with what is stored.

    Raises:
        RunError: If Slurm refuses; nothing stays submitted then.
    """
    array_job = _sbatch(folder / SLICE_SCRIPT, environment=slice_environment(environment))
    try:
        judge_job = _sbatch(folder / JUDGE_SCRIPT, f"--dependency=afterany:{array_job}", environment=environment)
    except RunError:
        cancel_jobs(array_job)
        raise
    submitted = Submitted(model=model, n_slices=n_slices, array_job=array_job, judge_job=judge_job)
    write_text(folder / FILE_NAME, to_json(_SUBMITTED, submitted) + "\n")
    return submitted


def submitted_in(folder: Path) -> Submitted:
    """
    Read what was submitted.

    Raises:
        RunError: If nothing was.
    """
    return read_record(_SUBMITTED, folder / FILE_NAME, printed_by="r1eval slurm submit")


def cancel_jobs(*jobs: int) -> None:
    """
    Cancel jobs; those that have ended stay as they are.

    Raises:
        RunError: If Slurm cannot be asked.
    """
    _slurm("scancel", *map(str, jobs))


def jobs_of(submitted: Submitted) -> tuple[Job, ...]:
    """
    Return the jobs of a submission that squeue still knows.

    Raises:
        RunError: If Slurm cannot be asked.
    """
    listed = json.loads(_slurm("squeue", "--json"))
    wanted = {submitted.array_job, submitted.judge_job}
    return tuple(job for entry in listed["jobs"] if (job := _job(entry)).array_job in wanted)


def result_of(folder: Path, submitted: Submitted) -> Result | None:
    """Return what the newest start of the judge's job wrote; None until it has."""
    return result_in(folder, judge=submitted.judge_job)


def _job(entry: Mapping[str, Any]) -> Job:
    """Read one entry, of Slurm 22.05 or of a newer one, which wraps numbers and lists states."""
    states = entry["job_state"]
    own = int(entry["job_id"])
    return Job(
        id=own,
        array_job=_number(entry.get("array_job_id")) or own,
        task=_number(entry.get("array_task_id")) if _number(entry.get("array_job_id")) else None,
        state=str(states[0] if isinstance(states, list) else states),
        nodes=str(entry.get("nodes") or ""),
        restarts=int(entry.get("restart_cnt") or 0),
        reason=str(entry.get("state_reason") or ""),
    )


def _number(value: object) -> int | None:
    if isinstance(value, Mapping):
        return _number(value.get("number")) if value.get("set") else None
    return value if isinstance(value, int) else None


def _sbatch(script: Path, *arguments: str, environment: Mapping[str, str]) -> int:
    output = _slurm("sbatch", "--parsable", *arguments, str(script), environment=environment)
    return int(output.strip().partition(";")[0])


def _slurm(program: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    command: Sequence[str] = (program, *arguments)
    try:
        done = subprocess.run(  # noqa: S603 - Slurm's own programs, from the caller's PATH
            command, capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT_S, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunError(
            f"{program} cannot be run ({error}); expected Slurm's commands on this machine: log in to the cluster, or "
            "print the scripts with --dry-run"
        ) from error
    if done.returncode:
        raise RunError(f"{program} refused (exit {done.returncode}): {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
