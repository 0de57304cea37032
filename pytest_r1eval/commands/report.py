"""`r1eval report`: a judged run, in one of the formats of a report."""
# ruff: noqa: PLC0415 - see the package

from pathlib import Path
from typing import Annotated

import typer

from pytest_r1eval.commands.arguments import EXIT_PASSED, Json, Run, answer, show
from pytest_r1eval.core.choices import REPORT_FORMATS

_FORMS = "|".join(REPORT_FORMATS)


def _form(text: str) -> str:
    if text not in REPORT_FORMATS:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(map(repr, REPORT_FORMATS))}.")
    return text


def report(
    run: Run,
    *,
    form: Annotated[
        str, typer.Option("--format", parser=_form, metavar=f"[{_FORMS}]", help="how it is written")
    ] = "txt",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write it there, in the format of its suffix")
    ] = None,
    samples: Annotated[
        int, typer.Option(min=0, metavar="N", help="samples of each benchmark that a page carries")
    ] = 300,
    json: Json = False,
) -> int:
    """Show a judged run again, from its folder alone."""
    from pytest_r1eval.reports.files import report_in, write_report
    from pytest_r1eval.reports.run_report import Embedding, read_report

    found, embedding = read_report(run), Embedding(n_samples=samples)
    if out is not None:
        written = write_report(found, out, embedding=embedding)
        answer({"run": str(run), "report": str(written)}, [f"written to {written}"], json=json)
        return EXIT_PASSED
    show(report_in("json" if json else form, found, embedding=embedding).rstrip("\n"))
    return EXIT_PASSED
