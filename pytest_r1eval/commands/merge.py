"""`r1eval merge`: the slices of one run, brought together."""
# ruff: noqa: PLC0415 - see the package

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pytest_r1eval.commands.arguments import EXIT_PASSED, Json, answer
from pytest_r1eval.core.texts import counted


def merge(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="the folders of all slices, in any order")],
    *,
    out: Annotated[Path, typer.Option(metavar="RUN", help="the folder of the new run")],
    json: Json = False,
) -> int:
    """Bring the slices of one run together (--r1-slice)."""
    from pytest_r1eval.runs.merge import merge as merged_from

    merged = merged_from(runs, out=out)
    held = ", ".join(f"{name}: {counted(n_samples, 'sample')}" for name, n_samples in merged.n_samples.items())
    lines = [
        f"{merged.n_slices} slices merged into {merged.run} ({held})",
        f"next: pytest --r1-judge-only {merged.run}",
    ]
    answer({**asdict(merged), "run": str(merged.run)}, lines, json=json)
    return EXIT_PASSED
