"""`r1eval upload`: put a judged run on the Hub, or try a failed upload again."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from pytest_r1eval.core.uploads import UploadLayout, UploadWishes, checked_repo
from pytest_r1eval.errors import UploadError
from pytest_r1eval.finishing import upload as upload_run
from pytest_r1eval.upload_records import SCHEMA_VERSION, read_record


def upload(  # noqa: PLR0913 - the command's options
    run: Path,
    *,
    repo: str | None = None,
    layout: UploadLayout = UploadLayout.LIGHTEVAL,
    is_public: bool = False,
    model_page: str | None = None,
    as_json: bool = False,
) -> int:
    """
    Upload a run and say where it lies.

    Args:
        run: The folder of a judged run.
        repo: ``org/name`` or ``org``; None for where it was to go before, with the options of then.
        layout: Whose names are used.
        is_public: Whether everybody may read it.
        model_page: The model's repository, to show scores on its page.
        as_json: Whether to print for other programs.

    Returns:
        The exit code.

    Raises:
        R1EvalError: If it cannot be done.
    """
    uploaded = upload_run(run, _wishes(run, repo, layout=layout, is_public=is_public, model_page=model_page))
    said = {"schema_version": SCHEMA_VERSION, "run": str(run), **asdict(uploaded.record)}
    sys.stdout.write((json.dumps(said, indent=2) if as_json else "\n".join(uploaded.lines)) + "\n")
    return 0


def _wishes(
    run: Path, repo: str | None, *, layout: UploadLayout, is_public: bool, model_page: str | None
) -> UploadWishes:
    if repo is None:
        record = read_record(run)
        if record is None:
            raise UploadError(f"{run} was not to be uploaded so far; say where to, with --repo REPO")
        return record.wishes
    try:
        return UploadWishes(
            repo=checked_repo(repo),
            layout=layout,
            is_public=is_public,
            model_page=None if model_page is None else checked_repo(model_page),
        )
    except ValueError as error:
        raise UploadError(f"--repo {repo}, --model-page {model_page}: expected {error}") from error
