"""`r1eval report`: a judged run, as a page, Markdown, JSON or text."""
# ruff: noqa: PLC0415 - see the package

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pytest_r1eval.commands.arguments import EXIT_PASSED, Json, Run, show, show_json


class Format(StrEnum):
    """How a report is written."""

    TEXT = "txt"
    MARKDOWN = "md"
    JSON = "json"
    HTML = "html"


def report(
    run: Run,
    *,
    form: Annotated[Format, typer.Option("--format", help="how it is written")] = Format.TEXT,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write it there, in the format of its suffix")
    ] = None,
    samples: Annotated[
        int, typer.Option(min=0, metavar="N", help="samples of each benchmark that a page carries")
    ] = 300,
    json: Json = False,
) -> int:
    """Show a judged run again, from its folder alone."""
    from pytest_r1eval.reports.files import FORMATS, write_report
    from pytest_r1eval.reports.page import Embedding, page
    from pytest_r1eval.reports.run_report import read_report

    found, embedding = read_report(run), Embedding(n_samples=samples)
    if out is not None:
        written = write_report(found, out, embedding=embedding)
        if json:
            show_json({"run": str(run), "report": str(written)})
        else:
            show(f"written to {written}")
        return EXIT_PASSED
    kind = Format.JSON if json else form
    text = page(found, embedding=embedding) if kind is Format.HTML else FORMATS[kind.value](found)
    show(text.rstrip("\n"))
    return EXIT_PASSED
