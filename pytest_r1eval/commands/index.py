"""`r1eval index`: one page of all runs in a folder."""
# ruff: noqa: PLC0415 - see the package

from pathlib import Path
from typing import Annotated

import typer

from pytest_r1eval.commands.arguments import EXIT_PASSED, Json, answer


def index(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="where runs are kept")],
    *,
    json: Json = False,
) -> int:
    """Write one page of all runs below a folder: checkpoints, verdicts, pass@1 over time."""
    from pytest_r1eval.reports.index import write_index

    page = write_index(folder)
    answer({"folder": str(folder), "page": str(page)}, [f"written to {page}"], json=json)
    return EXIT_PASSED
