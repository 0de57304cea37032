"""
How a training's checkpoints are judged, and the runner that judges them in a process on this machine.

A checkpoint is compared with the one before it: the judged run of the highest step below its own that did not regress.
It is looked up in the stored runs, so a resumed training continues from there. A checkpoint that fell never becomes
what the next one is measured by. Runs of a cluster's slices are not looked at: another host may have them open.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pytest_r1eval.config.baseline_choice import PREVIOUS
from pytest_r1eval.errors import EvaluationError, PlanError, StoreError
from pytest_r1eval.evaluation.children import EvaluationProcess, EvaluationSeries
from pytest_r1eval.evaluation.process import Workers, arguments_of
from pytest_r1eval.exams.catalog import mark_expression
from pytest_r1eval.reports.history import Point, points_of
from pytest_r1eval.reports.run_report import RunReport
from pytest_r1eval.runs.store import FILE_NAME
from pytest_r1eval.stats.verdicts import Verdict
from pytest_r1eval.training.queue import ENDED, SavedCheckpoint, demand_whole

_LOGGER = logging.getLogger(__name__)
_REFERENCES = frozenset({Verdict.PASS.name, Verdict.INCONCLUSIVE.name})
"""
Verdicts of checkpoints that may be a reference; the first of a training has nothing to be compared with.

A suspicious rise alone is not a reference: the next checkpoint is compared with the one before it, or with what a
person has blessed.
"""


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
