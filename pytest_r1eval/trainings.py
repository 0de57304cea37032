"""The judged runs of one training, by step: how pass@1 went over time."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from pytest_r1eval.core.decoding import decoded
from pytest_r1eval.core.lineage import step_of
from pytest_r1eval.errors import RunError
from pytest_r1eval.judge import GateResult
from pytest_r1eval.store import FILE_NAME, Store


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
        baseline: What it was compared with, in words; None for nothing.
        baseline_mean: Its number; None for nothing.
    """

    step: int
    model: str
    run: str
    mean: float
    standard_error: float
    verdict: str
    baseline: str | None
    baseline_mean: float | None


def history(folder: Path) -> dict[str, tuple[Point, ...]]:
    """
    Read every judged run below a folder whose step is known, from its lineage or its name; by benchmark, ascending.

    Of several runs of one step the newest counts. Runs that stopped early have no score and are left out.

    Raises:
        RunError: If there is none.
    """
    found: dict[str, dict[int, Point]] = {}
    for path in sorted(folder.rglob(FILE_NAME), key=lambda path: path.parent.name):
        for name, point in points_of(path.parent).items():
            found.setdefault(name, {})[point.step] = point
    if not found:
        raise RunError(
            f"{folder} holds no judged run of a known training step; expected the output folder of runs with "
            "--r1-lineage step=N, or of checkpoints whose name ends in it, such as checkpoint-200"
        )
    return {name: tuple(points[step] for step in sorted(points)) for name, points in found.items()}


def dumps(found: dict[str, tuple[Point, ...]]) -> str:
    """Write a history as JSON, in fractions."""
    benchmarks = {name: [asdict(point) for point in points] for name, points in found.items()}
    return json.dumps({"schema_version": 1, "benchmarks": benchmarks}, allow_nan=False, indent=2)


def points_of(run: Path) -> dict[str, Point]:
    """
    Return what one run says of its checkpoint, by benchmark; nothing where it has no step, no verdict or no score.

    Raises:
        StoreError: If it cannot be read.
    """
    with closing(Store.open(run)) as store:
        header = store.header
        verdicts = {name: text for name in store.selected if (text := store.verdict(name)) is not None}
    step = header.lineage.step if header.lineage and header.lineage.step is not None else step_of(header.model_name)
    found: dict[str, Point] = {}
    if step is None:
        return found
    for name, text in verdicts.items():
        result = decoded(GateResult, json.loads(text))
        estimate = result.judgement.estimate
        if estimate is not None and not result.is_at_stop:
            found[name] = Point(
                step=step,
                model=header.model_name,
                run=str(run),
                mean=estimate.mean,
                standard_error=estimate.standard_error,
                verdict=result.judgement.verdict.name,
                baseline=result.baseline,
                baseline_mean=result.judgement.baseline_mean,
            )
    return found
