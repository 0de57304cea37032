"""`r1eval history`: pass@1 over the steps of a training."""
# ruff: noqa: PLC0415 - see the package

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_r1eval.commands.arguments import EXIT_PASSED, Json, answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_r1eval.reports.history import Point


def history(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="where runs are kept")],
    *,
    out: Annotated[Path | None, typer.Option(metavar="FILE.html", help="draw it there, as one page")] = None,
    json: Json = False,
) -> int:
    """Show pass@1 over training steps, with error bars and baselines."""
    from pytest_r1eval.reports.files import write_text
    from pytest_r1eval.reports.history import history as history_of
    from pytest_r1eval.reports.history_page import HistorySection, history_page
    from pytest_r1eval.reports.terminal import columns

    training = history_of(folder)
    if out is not None:
        sections = [
            HistorySection(benchmark=name, picture=_picture(points), table=_table(points))
            for name, points in training.points.items()
        ]
        page = history_page(folder, sections, notes=training.notes)
        write_text(out, page, again="name another file by --out")
        answer({"folder": str(folder), "page": str(out)}, [f"written to {out}"], json=json)
    else:
        content = {
            "benchmarks": training.points, "n_stopped": training.n_stopped, "unreadable": training.unreadable
        }  # fmt: skip
        lines = [line for name, points in training.points.items() for line in (name, *columns(_table(points)), "")]
        answer(content, [*lines, *(f"note: {note}" for note in training.notes)], json=json)
    return EXIT_PASSED


def _table(points: Sequence[Point]) -> list[tuple[str, ...]]:
    return [("step", "pass@1", "baseline", "verdict"), *map(_row, points)]


def _row(point: Point) -> tuple[str, ...]:
    from pytest_r1eval.reports.appearance import UNHEALTHY

    baseline = "-" if point.baseline_mean is None else f"{100 * point.baseline_mean:.1f}"
    health = f", {UNHEALTHY}" if point.verdict == "PASS" and not point.passes else ""
    score = f"{100 * point.mean:.1f} ± {100 * point.standard_error:.1f}"
    return str(point.step), score, baseline, point.verdict + health


def _picture(points: Sequence[Point]) -> str:
    from pytest_r1eval.reports.charts import Estimated, baselines_of
    from pytest_r1eval.reports.charts import history as drawn

    return drawn(
        [
            (
                point.step,
                Estimated(
                    label=point.model, mean=point.mean, standard_error=point.standard_error, is_red=not point.passes
                ),
            )
            for point in points
        ],
        baselines_of(point.baseline_mean for point in points),
    )
