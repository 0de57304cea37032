"""
Where a run keeps the files that LightEval reads: its layout, inside the run's own folder.

So ``--output-dir RUN`` is all that LightEval needs. Runs do not write over each other, and a copied folder carries
everything with it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pytest_r1eval import atomic_files
from pytest_r1eval.errors import DetailsError
from pytest_r1eval.runs.store import RunHeader


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFiles:
    """
    The files of one run.

    Attributes:
        folder: The run's folder.
        model_name: ``org/name`` of the checkpoint.
        date: The run's date as LightEval writes it in names.
    """

    folder: Path
    model_name: str
    date: str

    @classmethod
    def of(cls, folder: Path, header: RunHeader) -> RunFiles:
        """Name the files of a run."""
        return cls(folder=folder, model_name=header.model_name, date=run_date(header.created, run=folder.name))

    @property
    def results(self) -> Path:
        """Scores, settings and verdicts, as JSON."""
        return self.folder / "results" / self.model_name / f"results_{self.date}.json"

    @property
    def results_table(self) -> Path:
        """The same as a table of one row, for the Hub's viewer."""
        return self.results.with_suffix(".parquet")

    def details(self, task: str) -> Path:
        """Every sample of a task; `task` is LightEval's full name, ``aime24|0``."""
        return self.folder / "details" / self.model_name / self.date / f"details_{task}_{self.date}.parquet"

    def details_for_pipeline(self, task: str) -> Path:
        """The same file by the name, and in the folder, that LightEval's pipeline looks for when it scores again."""
        beside = self.details(f"{task}|0").relative_to(self.folder)
        return self.folder / "lighteval" / beside


def run_date(created: str, *, run: str) -> str:
    """
    Return the date that names a run's files: LightEval's form, and the same however often they are written.

    LightEval's dates go down to microseconds, a run's to seconds. A digest of the folder's name fills its microseconds,
    so that two runs begun in one second have two names in a repository.

    Args:
        created: ISO date and time of the run.
        run: The name of its folder.
    """
    second = dt.datetime.fromisoformat(created).astimezone(dt.UTC).replace(tzinfo=None, microsecond=0)
    fraction = int(hashlib.sha256(run.encode()).hexdigest(), 16) % 999_999 + 1
    return f"{second.isoformat()}.{fraction:06d}".replace(":", "-")


@contextmanager
def replacing(path: Path, *, run: Path) -> Iterator[Path]:
    """
    Give a name to write to, and put what was written in the file's place at once, inside the run's folder.

    Raises:
        DetailsError: If it cannot be written, or a link leads out of the folder.
    """
    try:
        with atomic_files.replacing(path, inside=run) as part:
            yield part
    except OSError as error:
        raise DetailsError(
            f"cannot write {path}: {error.strerror or error}; the samples and verdicts are in the run's store. "
            f"Make room or repair the rights, then pytest --r1-judge-only RUN writes it again"
        ) from error
