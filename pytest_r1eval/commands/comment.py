"""`r1eval comment`: a judged run's verdicts on a pull request of GitHub."""
# ruff: noqa: PLC0415 - see the package

import os
from dataclasses import asdict
from typing import Annotated

import typer

from pytest_r1eval.commands.arguments import EXIT_PASSED, Json, Run, answer


def comment(
    run: Run,
    *,
    pull_request: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="its number (the GitHub job's own)")
    ] = None,
    link: Annotated[str | None, typer.Option(metavar="URL", help="where the report is (the job's page)")] = None,
    gate: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="tells it from other gates' comments (workflow and job)"),
    ] = None,
    json: Json = False,
) -> int:
    """Put a judged run's table into one comment on a pull request, and bring that up to date the next time."""
    from pytest_r1eval.reports.run_report import read_report
    from pytest_r1eval.upload import pull_request as comments

    place = comments.pull_request_of(os.environ, number=pull_request, gate=gate)
    written = None
    if place is not None:
        written = comments.comment(read_report(run), place, link=comments.link_to_report(os.environ, given=link))
    line = "no comment: this is not a job of a pull request; name one with --pull-request N"
    if written is not None:
        line = f"comment: {written.url} ({'new' if written.is_new else 'brought up to date'})"
    answer({"run": str(run), "comment": None if written is None else asdict(written)}, [line], json=json)
    return EXIT_PASSED
