"""The judged runs of one training, by step: how pass@1 went over time."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pytest_r1eval.core.texts import counted
from pytest_r1eval.errors import RunError
from pytest_r1eval.judging.result import stored_results
from pytest_r1eval.reports.appearance import appearance_of
from pytest_r1eval.runs.reading import RunReader, runs_below


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """
    One checkpoint's score on one benchmark; fractions.

    Attributes:
        step: Its training step.
        model: ``org/name``.
        run: The run's folder.
        mean: pass@1.
        standard_error: On these problems.
        verdict: The stored verdict's name.
        passes: Whether the gate was green, health included.
        baseline: What it was compared with, in words; None for nothing.
        baseline_mean: Its number; None for nothing.
    """

    step: int
    model: str
    run: str
    mean: float
    standard_error: float
    verdict: str
    passes: bool
    baseline: str | None
    baseline_mean: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """
    A training's judged checkpoints.

    Attributes:
        points: By benchmark, ascending by step.
        n_stopped: Verdicts that were left out because looks ended their run early, which leaves no score.
        unreadable: Why each run that cannot be read was left out: one torn by a kill must not hide the others.
    """

    points: Mapping[str, tuple[Point, ...]]
    n_stopped: int
    unreadable: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know about what is not shown."""
        unreadable = tuple(f"a run left out: {why}" for why in self.unreadable)
        if not self.n_stopped:
            return unreadable
        return (f"{counted(self.n_stopped, 'verdict')} of runs that stopped early left out: {_NO_SCORE}", *unreadable)


_NO_SCORE = "their pass@1 is biased by the stopping; complete one to a score with --r1-resume RUN --r1-gate fixed"


def history(folder: Path) -> Training:
    """
    Read every judged run below a folder whose step is known, from its lineage or its name.

    Of several runs of one step the newest counts. Runs that stopped early have no score and are only counted.

    Raises:
        RunError: If there is none with a score.
    """
    found: dict[str, dict[int, Point]] = {}
    n_stopped, read = 0, runs_below(folder, points_of)
    for points_of_run in read.found:
        for name, point in points_of_run.items():
            if point is None:
                n_stopped += 1
            else:
                found.setdefault(name, {})[point.step] = point
    if not found and n_stopped:
        raise RunError(f"{folder} holds only runs that stopped early ({counted(n_stopped, 'verdict')}): {_NO_SCORE}")
    if not found and read.unreadable:
        raise RunError(f"{folder} holds no run that can be read ({len(read.unreadable)} found): {read.unreadable[0]}")
    if not found:
        raise RunError(
            f"{folder} holds no judged run of a known training step; expected the output folder of runs with "
            "--r1-lineage step=N, or of checkpoints whose name ends in it, such as checkpoint-200"
        )
    points = {name: tuple(points[step] for step in sorted(points)) for name, points in found.items()}
    return Training(points=points, n_stopped=n_stopped, unreadable=read.unreadable)


def points_of(run: Path) -> dict[str, Point | None]:
    """
    Return what one run found about its checkpoint, by benchmark; None where it stopped early and has no score.

    A run without a step and a benchmark without a verdict are left out.

    Raises:
        StoreError: If it cannot be read.
    """
    with closing(RunReader.open(run)) as store:
        header = store.header
        results = stored_results(store)
    step = header.step
    found: dict[str, Point | None] = {}
    if step is None:
        return found
    for name, result in results.items():
        estimate = result.judgement.estimate
        if result.is_at_stop:
            found[name] = None
        elif estimate is not None:
            found[name] = Point(
                step=step,
                model=header.model_name,
                run=str(run),
                mean=estimate.mean,
                standard_error=estimate.standard_error,
                verdict=appearance_of(result.judgement.verdict).word,
                passes=result.passes,
                baseline=result.baseline,
                baseline_mean=result.judgement.baseline_mean,
            )
    return found
