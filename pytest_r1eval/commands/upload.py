"""`r1eval upload`: a judged run on the Hub."""
# ruff: noqa: PLC0415 - see the package

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from pytest_r1eval.commands.arguments import EXIT_PASSED, Json, Run, answer
from pytest_r1eval.core.choices import UploadLayout
from pytest_r1eval.core.uploads import UploadWishes, checked_repo
from pytest_r1eval.errors import UploadError


def upload(  # noqa: PLR0913 - one argument an option
    run: Run,
    *,
    repo: Annotated[
        str | None,
        typer.Option(metavar="REPO", help="org/name of a data set, or org alone (where the run was to go before)"),
    ] = None,
    layout: Annotated[
        UploadLayout | None,
        typer.Option(help="whose names for repositories, folders and configs (as before, or lighteval)"),
    ] = None,
    public: Annotated[
        bool | None, typer.Option("--public/--private", help="who may read it (as before, or private)")
    ] = None,
    model_page: Annotated[
        str | None, typer.Option(metavar="REPO", help="put the scores on this model's page as well (as before)")
    ] = None,
    json: Json = False,
) -> int:
    """Upload a judged run to the Hub, or retry a failed upload; uploading it again does nothing."""
    from pytest_r1eval.upload.after_verdict import upload as uploaded_run

    try:  # what was wished for one repository need not be wished for another
        wishes = _recorded_wishes(run) if repo is None else UploadWishes(repo=checked_repo(repo))
        page = None if model_page is None else checked_repo(model_page)
    except ValueError as error:
        raise UploadError(f"--repo {repo}, --model-page {model_page}: expected {error}") from error
    if wishes is None:
        raise UploadError(f"{run} was not to be uploaded so far; say where to with --repo REPO")
    wishes = replace(
        wishes,
        layout=layout or wishes.layout,
        is_public=wishes.is_public if public is None else public,
        model_page=page or wishes.model_page,
    )
    uploaded = uploaded_run(run, wishes)
    answer({"run": str(run), **asdict(uploaded.record)}, uploaded.lines, json=json)
    return EXIT_PASSED


def _recorded_wishes(run: Path) -> UploadWishes | None:
    """Return where a run was to go, with the options of then."""
    from pytest_r1eval.upload.record import read_record

    record = read_record(run)
    return None if record is None else record.wishes
