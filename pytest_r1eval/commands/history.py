"""`r1eval history`: pass@1 over the steps of a training."""
# ruff: noqa: PLC0415 - see the package

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_r1eval.commands.arguments import EXIT_PASSED, Json, show, show_json
from pytest_r1eval.errors import ReportError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_r1eval.trainings import Point


def history(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="where runs are kept", show_default=False)],
    *,
    out: Annotated[Path | None, typer.Option(metavar="FILE.html", help="draw it there, as one page")] = None,
    json: Json = False,
) -> int:
    """Show pass@1 over training steps, with error bars and baselines."""
    from pytest_r1eval.reports.page import history_page
    from pytest_r1eval.reports.terminal import columns
    from pytest_r1eval.trainings import dumps
    from pytest_r1eval.trainings import history as history_of

    found = history_of(folder)
    if out is not None:
        sections = [(name, _picture(points)) for name, points in found.items()]
        try:
            out.write_text(history_page(folder, sections), encoding="utf-8")
        except OSError as error:
            raise ReportError(f"cannot write {out}: {error.strerror}; name a file in a folder that is there") from error
        if json:
            show_json({"folder": str(folder), "page": str(out)})
        else:
            show(f"written to {out}")
    elif json:
        show(dumps(found))
    else:
        for name, points in found.items():
            rows = [("step", "pass@1", "baseline", "verdict"), *map(_row, points)]
            show("\n".join([name, *columns(rows), ""]))
    return EXIT_PASSED


def _row(point: Point) -> tuple[str, ...]:
    baseline = "-" if point.baseline_mean is None else f"{100 * point.baseline_mean:.1f}"
    return str(point.step), f"{100 * point.mean:.1f} ± {100 * point.standard_error:.1f}", baseline, point.verdict


def _picture(points: Sequence[Point]) -> str:
    from pytest_r1eval.reports.charts import Estimated
    from pytest_r1eval.reports.charts import history as drawn

    def estimated(label: str, mean: float, error: float | None) -> Estimated:
        return Estimated(label=label, mean=mean, standard_error=error, exam_standard_error=None)

    means = {point.baseline_mean: point.baseline for point in points if point.baseline_mean is not None}
    baselines = [estimated("baseline", mean, None) for mean in means]
    return drawn(
        [(point.step, estimated(point.model, point.mean, point.standard_error)) for point in points], baselines
    )
