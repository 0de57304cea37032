"""
What became of a run's upload: a small file in its folder.

A failed upload is kept there with where it was to go, so that `r1eval upload RUN`
needs no more than the folder.
"""

from dataclasses import dataclass
from pathlib import Path

from pytest_r1eval.core.codec import Kind, Layout, from_json, to_json
from pytest_r1eval.core.uploads import UploadWishes
from pytest_r1eval.errors import UploadError
from pytest_r1eval.upload.paths import replacing

FILE_NAME = "upload.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRecord:
    """
    The last attempt to upload a run.

    Attributes:
        wishes: Where it was to go.
        url: Where it is; None where it failed.
        commit: The commit that holds it; None where it failed.
        error: Why it failed; None where it did not.
    """

    wishes: UploadWishes
    url: str | None = None
    commit: str | None = None
    error: str | None = None


UPLOAD_RECORD = Kind(of=UploadRecord, version=1, layout=Layout.INDENTED)


def write_record(run: Path, record: UploadRecord) -> None:
    """
    Keep what became of an upload.

    Raises:
        DetailsError: If the folder cannot be written.
    """
    with replacing(run / FILE_NAME, run=run) as path:
        path.write_text(to_json(UPLOAD_RECORD, record) + "\n", encoding="utf-8")


def read_record(run: Path) -> UploadRecord | None:
    """
    Read what became of a run's upload; None where it was not tried.

    Raises:
        UploadError: If the file is not one of ours.
    """
    path = run / FILE_NAME
    if not path.is_file():
        return None
    try:
        return from_json(UPLOAD_RECORD, path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UploadError(
            f"{path} cannot be read ({error}); expected what an upload left there. "
            "Delete it and name the repository with --repo"
        ) from error
