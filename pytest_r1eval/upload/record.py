"""
What became of a run's upload: a small file in its folder.

A failed upload is kept there with where it was to go, so that `r1eval upload RUN`
needs no more than the folder.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pytest_r1eval.core.choices import UploadLayout
from pytest_r1eval.core.uploads import UploadWishes
from pytest_r1eval.errors import UploadError
from pytest_r1eval.upload.paths import replacing

FILE_NAME = "upload.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRecord:
    """
    The last attempt to upload a run.

    Attributes:
        wishes: Where it was to go.
        url: Where it lies; None where it failed.
        commit: The commit that holds it; None where it failed.
        error: Why it failed; None where it did not.
    """

    wishes: UploadWishes
    url: str | None = None
    commit: str | None = None
    error: str | None = None


def write_record(run: Path, record: UploadRecord) -> None:
    """
    Keep what became of an upload.

    Raises:
        DetailsError: If the folder cannot be written.
    """
    with replacing(run / FILE_NAME, run=run) as path:
        content = {"schema_version": SCHEMA_VERSION, **asdict(record)}
        path.write_text(json.dumps(content, allow_nan=False, indent=2) + "\n", encoding="utf-8")


def read_record(run: Path) -> UploadRecord | None:
    """
    Read what became of a run's upload; None where nobody tried.

    Raises:
        UploadError: If the file is not one of ours.
    """
    path = run / FILE_NAME
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        wishes = content["wishes"]
        return UploadRecord(
            wishes=UploadWishes(**{**wishes, "layout": UploadLayout(wishes["layout"])}),
            **{name: content[name] for name in ("url", "commit", "error")},
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UploadError(
            f"{path} cannot be read ({type(error).__name__}: {error}); expected what an upload left there. "
            "Delete it and name the repository with --repo"
        ) from error
