"""
Where a training's checkpoints are judged: in a process on this machine, or as jobs of a Slurm cluster.

A checkpoint is compared with the one before it: the judged run of the highest step below its own that did not regress.
It is looked up in the stored runs, so a resumed training continues from there. A checkpoint that fell never becomes
what the next one is measured by. Runs of a cluster's slices are not looked at: another host may have them open.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import secrets
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from pytest_r1eval.cluster.rehearsals import rehearse
from pytest_r1eval.cluster.status import Result, awaited
from pytest_r1eval.cluster.submission import Submission, divided
from pytest_r1eval.config.baseline_choice import PREVIOUS
from pytest_r1eval.errors import EvaluationError, EvaluationRefusedError, PlanError, RunError, StoreError
from pytest_r1eval.evaluation.children import REFUSALS, VERDICTS, EvaluationProcess, EvaluationSeries
from pytest_r1eval.evaluation.environment import without_training
from pytest_r1eval.evaluation.process import Workers, arguments_of
from pytest_r1eval.exams.catalog import mark_expression
from pytest_r1eval.reports.history import Point, points_of
from pytest_r1eval.reports.run_report import RunReport, read_report
from pytest_r1eval.runs.store import FILE_NAME
from pytest_r1eval.slurm import backend as slurm_backend
from pytest_r1eval.slurm.jobs import FILE_NAME as JOBS_FILE
from pytest_r1eval.slurm.jobs import (
    Submitted,
    cancel_jobs,
    is_written,
    jobs_of,
    resubmit,
    result_of,
    submit,
    submitted_in,
)
from pytest_r1eval.stats.verdicts import Verdict
from pytest_r1eval.training.queue import ENDED, SavedCheckpoint, demand_whole, kept_since

_LOGGER = logging.getLogger(__name__)
_REFERENCES = frozenset({Verdict.PASS.name, Verdict.INCONCLUSIVE.name})
"""
Verdicts of checkpoints that may be a reference; the first of a training has nothing to be compared with.

A suspicious rise alone is not a reference: the next checkpoint is compared with the one before it, or with what a
person has blessed.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmPlace:
    """
    Where a cluster judges a checkpoint; as of `r1eval slurm submit`.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class GateOrder:
    """
    How every checkpoint of a training is judged.

    Attributes:
        benchmarks: By name.
        output_dir: Where runs are kept, absolute.
        folder: Where baselines and relative paths are looked for.
        options: Options of the command line, as of `pytest_r1eval.evaluate`.
        first_baseline: What the first checkpoint is compared with where `baseline` is the previous one.
        commit: The commit of the training code; None if unknown.
    """

    benchmarks: tuple[str, ...]
    output_dir: Path
    folder: Path
    options: Mapping[str, object]
    first_baseline: str | None = None
    commit: str | None = None

    @property
    def marks(self) -> str:
        """The expression of pytest's -m."""
        tasks = self.options.get("tasks")
        return mark_expression(
            self.benchmarks, tasks=None if tasks is None else self.folder / str(tasks), folder=self.folder
        )

    def arguments(self, saved: SavedCheckpoint) -> list[str]:
        """Return pytest's arguments for one checkpoint: what was asked for, its lineage and its baseline."""
        before = self._reference(saved)
        baseline = self.options.get("baseline", PREVIOUS)
        if baseline == PREVIOUS:
            first = self.first_baseline or self.options.get("anchor")
            baseline = first if before is None else before.run
        said = self.options.get("lineage", {})
        if isinstance(said, list):  # as a command line gives it
            said = dict(text.partition("=")[::2] for text in map(str, said))
        lineage: dict[str, object] = {"step": saved.step}
        lineage |= {} if before is None else {"parent": before.model}
        lineage |= {} if self.commit is None else {"commit": self.commit}
        lineage |= dict(said) if isinstance(said, Mapping) else {}
        return arguments_of({**self.options, "baseline": baseline, "lineage": lineage, "output_dir": self.output_dir})

    def _reference(self, saved: SavedCheckpoint) -> Point | None:
        """Find the last checkpoint of this training that held, on every benchmark."""
        newest: dict[int, tuple[Point, ...]] = {}
        for path in sorted(self._runs(saved), key=lambda path: path.parent.name):
            try:
                points = tuple(point for point in points_of(path.parent).values() if point is not None)
            except StoreError as error:  # a run that was killed at its start must not end all gates after it
                _LOGGER.warning("r1eval: passed over as a baseline: %s", error)
                continue
            if points and points[0].step < saved.step:
                newest[points[0].step] = points
        held = [
            points[0]
            for points in newest.values()
            if len(points) >= len(set(self.benchmarks)) and all(point.verdict in _REFERENCES for point in points)
        ]
        return max(held, key=lambda point: point.step, default=None)

    def _runs(self, saved: SavedCheckpoint) -> Iterator[Path]:
        """Find the runs of this training: they lie below its folder's name, as their checkpoints do."""
        return (self.output_dir / saved.folder.parent.name).glob(f"*/*/{FILE_NAME}")


def refuse_contradictions(order: GateOrder) -> None:
    """
    Refuse before the training what would fail at every checkpoint.

    Raises:
        PlanError: With the reason.
    """
    order.marks  # noqa: B018 - raises for a benchmark that does not exist
    if order.options.get("gate") == "sequential" and "anchor" in order.options:
        raise PlanError(
            "gate='sequential' with an anchor: looks are planned around one baseline; leave one of them out"
        )
    if order.options.get("gate") == "sequential" and order.options.get("baseline", PREVIOUS) == PREVIOUS:
        raise PlanError(
            "gate='sequential' with the previous checkpoint as baseline: a run that stops early gives none for the "
            "next one; name a fixed baseline, as in baseline='org/name', or leave gate out"
        )


class Runner(Protocol):
    """Judges the checkpoints of one start of a training, one at a time."""

    def judge(self, saved: SavedCheckpoint) -> RunReport:
        """
        Judge one; takes as long as that takes.

        Raises:
            R1EvalError: If there is no verdict.
        """
        ...

    def rest(self) -> None:
        """Free what the training may need, as no checkpoint waits."""
        ...

    def stop(self) -> None:
        """End what is under way, from another thread, and judge nothing more; what is drawn stays stored."""
        ...

    def close(self) -> None:
        """Free all that is kept from one checkpoint to the next; nothing is under way any more."""
        ...


class LocalRunner:
    """
    Judges on this machine, in a process that inherits nothing of the training's environment.

    Without workers one process judges all, and keeps its engine: checkpoints of one architecture, or adapters of one
    base model, need one start. GPUs that the training uses too are freed as soon as no checkpoint waits.
    """

    def __init__(self, order: GateOrder, *, workers: Workers, gpus: Sequence[int | str] | None) -> None:
        self._order = order
        self._workers = workers
        self._gpus = gpus
        self._under_way: EvaluationProcess | EvaluationSeries | None = None
        self._series: EvaluationSeries | None = None
        self._kept = ExitStack()
        self._is_stopped = threading.Event()

    def judge(self, saved: SavedCheckpoint) -> RunReport:
        """Run pytest and wait for it."""
        order, model = self._order, str(saved.folder)
        if self._is_stopped.is_set():
            raise EvaluationError(ENDED)
        arguments = ["-m", order.marks, *([] if self._workers is None else ["-n", str(self._workers)])]
        arguments += order.arguments(saved)
        if self._workers is None:
            return self._judge_in_series(model, arguments)
        with EvaluationProcess.started(model, arguments, folder=order.folder, gpus=self._gpus) as process:
            self._begin(process)
            return demand_whole(process.report(), failures=process.failures())

    def rest(self) -> None:
        """End the engine, unless its GPUs are its own."""
        if self._gpus is None:
            self.close()

    def stop(self) -> None:
        """End pytest as Ctrl-C does."""
        self._is_stopped.set()
        if self._under_way is not None:
            self._under_way.stop()

    def close(self) -> None:
        """End the process that judges, and its engine."""
        self._series = None
        self._kept.close()

    def _judge_in_series(self, model: str, arguments: Sequence[str]) -> RunReport:
        """Judge a checkpoint; after a failure, the next try has another process."""
        if self._series is None:
            series = EvaluationSeries.started(folder=self._order.folder, gpus=self._gpus)
            self._series = self._kept.enter_context(series)
        try:
            self._begin(self._series)
            return demand_whole(self._series.report(model, arguments), failures=self._series.failures())
        except BaseException:  # whatever failed: its engine may not hold a device until the next try
            self.close()
            raise

    def _begin(self, under_way: EvaluationProcess | EvaluationSeries) -> None:
        self._under_way = under_way
        if self._is_stopped.is_set():  # since it was asked above; `stop` may not have seen it
            under_way.stop()


class SlurmRunner:
    """Judges as jobs of a cluster; the checkpoint has to lie where its nodes can read it."""

    def __init__(self, order: GateOrder, place: SlurmPlace) -> None:
        self._order = order
        self._place = place
        self._submitted: Submitted | None = None
        self._is_stopped = threading.Event()

    def judge(self, saved: SavedCheckpoint) -> RunReport:
        """Submit and wait for the judge's word."""
        if self._is_stopped.is_set():
            raise EvaluationError(ENDED)
        folder = self._left(saved) or self._submit(saved)
        if self._is_stopped.is_set():  # since it was asked above; `stop` may not have seen the jobs
            self.stop()
        return _report(folder, awaited(folder, slurm_backend, interval_s=self._place.interval_s))

    def _left(self, saved: SavedCheckpoint) -> Path | None:
        """
        Go on with what another start submitted for this very copy, in the same words; None where there is nothing.

        A process that is killed leaves its jobs on the cluster, and one that ends leaves what they have stored.
        """
        for path in sorted((self._order.output_dir / "slurm").glob(f"*-step-{saved.step}-*/{JOBS_FILE}"), reverse=True):
            job, submitted = self._job(saved, path.parent), submitted_in(path.parent)
            if path.stat().st_mtime < kept_since(saved.folder) or not is_written(job):
                continue
            result = result_of(path.parent, submitted)
            if result is not None and not _is_verdict(path.parent, result):
                continue
            if result is None and all(one.is_ended for one in jobs_of(submitted)):
                environment = without_training(os.environ)
                submitted = resubmit(job.folder, model=job.model, n_slices=job.n_slices, environment=environment)
            self._submitted = submitted
            return path.parent
        return None

    def _submit(self, saved: SavedCheckpoint) -> Path:
        """Submit a checkpoint, and return the submission's folder."""
        name = f"{dt.datetime.now(dt.UTC):%Y%m%d-%H%M%S}-step-{saved.step}-{secrets.token_hex(2)}"
        job = self._job(saved, self._order.output_dir / "slurm" / name)
        environment = without_training(os.environ)
        rehearse(job, environment=environment)
        self._submitted = submit(job, environment=environment)
        return job.folder

    def _job(self, saved: SavedCheckpoint, folder: Path) -> Submission:
        place, order = self._place, self._order
        return Submission(
            folder=folder,
            output_dir=order.output_dir,
            root=order.folder,
            python=sys.executable,
            model=str(saved.folder),
            marks=order.marks,
            n_slices=place.nodes,
            gpus_per_node=place.gpus_per_node,
            workers=place.workers,
            time=place.time,
            sbatch_arguments=place.sbatch_arguments,
            arguments=divided([word for word in order.arguments(saved) if not word.startswith("--r1-output-dir=")]),
        )

    def rest(self) -> None:
        """Free nothing: each checkpoint has jobs of its own."""

    def close(self) -> None:
        """Free nothing, as above."""

    def stop(self) -> None:
        """Cancel the jobs."""
        self._is_stopped.set()
        if self._submitted is not None:
            with suppress(RunError):  # they end by themselves then
                cancel_jobs(self._submitted.judge_job, self._submitted.array_job)


def _report(folder: Path, result: Result) -> RunReport:
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
        f"the cluster's jobs ended without a verdict (exit code {result.exit_code}): see r1eval slurm logs {folder}, "
        f"and go on with r1eval slurm resubmit {folder}"
    )


def _is_verdict(folder: Path, result: Result) -> bool:
    """Whether a judge's job gave a verdict."""
    try:
        _report(folder, result)
    except (EvaluationError, RunError, StoreError):
        return False
    return True
