"""
The runner that judges a training's checkpoints on a cluster, each as a submission of its own: of Slurm, or of Ray.

A process that is killed leaves its jobs on the cluster, and one that ends leaves what they have stored. So a checkpoint
that was submitted before, in the same words, is waited for or submitted again, and nothing is drawn twice.
"""

from __future__ import annotations

import datetime as dt
import os
import secrets
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import pytest

from pytest_r1eval.cluster.rehearsals import rehearse
from pytest_r1eval.cluster.status import Backend, Result, awaited
from pytest_r1eval.cluster.submission import Submission, divided
from pytest_r1eval.errors import EvaluationError, EvaluationRefusedError, RunError, StoreError
from pytest_r1eval.evaluation.children import REFUSALS, VERDICTS
from pytest_r1eval.evaluation.environment import without_training
from pytest_r1eval.ray import backend as ray_backend
from pytest_r1eval.ray.order import SHIP_EVERY_S, Order, is_ordered, order_of, tensor_parallel_size
from pytest_r1eval.reports.run_report import RunReport, read_report
from pytest_r1eval.slurm import backend as slurm_backend
from pytest_r1eval.slurm.jobs import is_written
from pytest_r1eval.slurm.jobs import submit as submit_jobs
from pytest_r1eval.training.queue import ENDED, SavedCheckpoint, demand_whole, kept_since
from pytest_r1eval.training.runners import GateOrder


class Place(Protocol):
    """A cluster that judges checkpoints, and what each of them asks of it."""

    @property
    def backend(self) -> Backend:
        """What runs there."""
        ...

    @property
    def interval_s(self) -> float:
        """Seconds from one look at a submission to the next."""
        ...

    def placed(self, job: Submission) -> Submission:
        """Add what a checkpoint asks of the cluster."""
        ...

    def is_left(self, job: Submission) -> bool:
        """Whether the submission's folder holds this very submission."""
        ...

    def submit(self, job: Submission, environment: Mapping[str, str]) -> None:
        """
        Submit it.

        Raises:
            R1EvalError: If it is refused; nothing stays submitted then.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmPlace:
    """
    Where Slurm judges a checkpoint; as of `r1eval slurm submit`.

    Attributes:
        nodes: Slices, each on a node of its own.
        gpus_per_node: GPUs of each; 0 asks for none.
        workers: Engines on each node, or auto.
        time: Slurm's time limit of a start.
        sbatch_arguments: Further options of sbatch.
        interval_s: Seconds from one look at the jobs to the next.
    """

    nodes: int = 1
    gpus_per_node: int = 8
    workers: str = "auto"
    time: str | None = None
    sbatch_arguments: tuple[str, ...] = ()
    interval_s: float = 15.0

    @property
    def backend(self) -> Backend:
        """What runs there."""
        return slurm_backend

    def placed(self, job: Submission) -> Submission:
        """Add what a checkpoint asks of Slurm."""
        return replace(
            job, n_slices=self.nodes, gpus_per_node=self.gpus_per_node, workers=self.workers, time=self.time,
            sbatch_arguments=self.sbatch_arguments,
        )  # fmt: skip

    def is_left(self, job: Submission) -> bool:
        """Whether the folder holds the same scripts."""
        return is_written(job)

    def submit(self, job: Submission, environment: Mapping[str, str]) -> None:
        """Submit the array and the judge."""
        rehearse(job, environment=environment)
        submit_jobs(job, environment=environment)


@dataclass(frozen=True, slots=True, kw_only=True)
class RayPlace:
    """
    Where Ray judges a checkpoint; as of `r1eval ray submit`.

    Attributes:
        slices: Tasks, each with an engine of its own.
        gpus: GPUs of each; None for as many as its tensors are spread over.
        cpus: CPUs of each.
        address: The cluster's; None for the one that this node belongs to.
        ship_every_s: Seconds of drawing that a lost node may take along.
        interval_s: Seconds from one look at the slices to the next.
    """

    slices: int = 1
    gpus: int | None = None
    cpus: int = 1
    address: str | None = None
    ship_every_s: float = SHIP_EVERY_S
    interval_s: float = 5.0

    @property
    def backend(self) -> Backend:
        """What runs there."""
        return ray_backend

    def placed(self, job: Submission) -> Submission:
        """Add what a checkpoint asks of Ray."""
        gpus = tensor_parallel_size(job.arguments.slice) if self.gpus is None else self.gpus
        return replace(job, n_slices=self.slices, gpus_per_node=gpus, workers="0")

    def order(self, job: Submission) -> Order:
        """Return what is sent to the cluster."""
        return order_of(job, cpus=self.cpus, address=self.address, ship_every_s=self.ship_every_s)

    def is_left(self, job: Submission) -> bool:
        """Whether the folder holds the same order."""
        return is_ordered(job.folder, self.order(job))

    def submit(self, job: Submission, environment: Mapping[str, str]) -> None:
        """Start the actor, which outlives this process."""
        rehearse(job, environment=environment, n_slices=job.n_slices)
        with ray_backend.submitted(job.folder, self.order(job), environment=environment):
            pass


class ClusterRunner:
    """Judges as submissions to a cluster; the checkpoint has to lie where its nodes can read it."""

    def __init__(self, order: GateOrder, place: Place) -> None:
        self._order = order
        self._place = place
        self._submitted: Path | None = None
        self._is_stopped = threading.Event()

    def judge(self, saved: SavedCheckpoint) -> RunReport:
        """Submit and wait for the judge's word."""
        if self._is_stopped.is_set():
            raise EvaluationError(ENDED)
        folder = self._submitted = self._left(saved) or self._submit(saved)
        if self._is_stopped.is_set():  # since it was asked above; `stop` may not have seen the submission
            self.stop()
        result = awaited(folder, self._place.backend, interval_s=self._place.interval_s)
        return _report(folder, result, backend=self._place.backend.NAME)

    def _left(self, saved: SavedCheckpoint) -> Path | None:
        """Go on with what another start submitted for this very copy, in the same words; None without one."""
        backend = self._place.backend
        found = self._submissions.glob(f"*-step-{saved.step}-*/{backend.FILE_NAME}")
        for path in sorted(found, reverse=True):
            folder = path.parent
            if path.stat().st_mtime < kept_since(saved.folder) or not self._place.is_left(self._job(saved, folder)):
                continue
            result = backend.result(folder)
            if result is not None and not _is_verdict(folder, result, backend=backend.NAME):
                continue
            if result is None and backend.judge_end(folder) is not None:
                backend.resubmit(folder, environment=without_training(os.environ))
            return folder
        return None

    def _submit(self, saved: SavedCheckpoint) -> Path:
        """Submit a checkpoint, and return the submission's folder."""
        name = f"{dt.datetime.now(dt.UTC):%Y%m%d-%H%M%S}-step-{saved.step}-{secrets.token_hex(2)}"
        job = self._job(saved, self._submissions / name)
        self._place.submit(job, without_training(os.environ))
        return job.folder

    @property
    def _submissions(self) -> Path:
        return self._order.output_dir / self._place.backend.NAME

    def _job(self, saved: SavedCheckpoint, folder: Path) -> Submission:
        order = self._order
        return self._place.placed(
            Submission(
                folder=folder,
                output_dir=order.output_dir,
                root=order.folder,
                python=sys.executable,
                model=str(saved.folder),
                marks=order.marks,
                arguments=divided([word for word in order.arguments(saved) if not word.startswith("--r1-output-dir=")]),
            )
        )

    def rest(self) -> None:
        """Free nothing: each checkpoint has a submission of its own."""

    def close(self) -> None:
        """Free nothing, as above."""

    def stop(self) -> None:
        """Cancel the submission."""
        self._is_stopped.set()
        if self._submitted is not None:
            with suppress(RunError):  # it ends by itself then
                self._place.backend.cancel(self._submitted)


def _report(folder: Path, result: Result, *, backend: str) -> RunReport:
    """
    Return the run that a judge's job judged.

    Raises:
        EvaluationError: If there is no verdict; an INVALID release shares its exit code with Ctrl-C.
    """
    if result.exit_code in VERDICTS and result.run:
        report = read_report(Path(result.run))
        if result.exit_code != pytest.ExitCode.INTERRUPTED or report.exit_code == result.exit_code:
            return demand_whole(report)
    kind = EvaluationRefusedError if result.exit_code in REFUSALS else EvaluationError
    raise kind(
        f"the cluster's jobs ended without a verdict (exit code {result.exit_code}): see r1eval {backend} logs "
        f"{folder}, and go on with r1eval {backend} resubmit {folder}"
    )


def _is_verdict(folder: Path, result: Result, *, backend: str) -> bool:
    """Whether a judge's job gave a verdict."""
    try:
        _report(folder, result, backend=backend)
    except (EvaluationError, RunError, StoreError):
        return False
    return True
