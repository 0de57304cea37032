"""`r1eval aggregate`: one number of several runs."""
# ruff: noqa: PLC0415 - see the package

from pathlib import Path
from typing import Annotated

import typer

from pytest_r1eval.commands.arguments import EXIT_PASSED, Benchmarks, Json, answer


def aggregate(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="folders of two or more runs")],
    *,
    benchmark: Benchmarks = None,
    json: Json = False,
) -> int:
    """Make one number of several stored runs: counts added, or pooled with their spread."""
    from pytest_r1eval.judging.aggregate import aggregate as aggregated
    from pytest_r1eval.judging.aggregate import read_runs
    from pytest_r1eval.reports.aggregate import aggregate_text
    from pytest_r1eval.runs.finished import StoredRun, chosen_benchmarks

    stored = [StoredRun(folder=folder) for folder in runs]
    names = chosen_benchmarks(stored[0], asked=benchmark or ())
    found = [aggregated(read_runs(stored, name)) for name in names]
    answer({"aggregates": found}, (line for one in found for line in aggregate_text(one)), json=json)
    return EXIT_PASSED
