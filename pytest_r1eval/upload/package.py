"""
What a run sends to the Hub, put together from its folder.

Everything is in the results file that was written when the run was judged. An upload that is tried again next week
sends the same bytes to the same names.
"""

import json
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pytest_r1eval.core import uploads
from pytest_r1eval.core.codec import Kind, from_json
from pytest_r1eval.core.texts import escaped, quoted
from pytest_r1eval.core.uploads import CardRow, RunKey, UploadWishes
from pytest_r1eval.errors import UploadError, in_one_line
from pytest_r1eval.judging.summary import BenchmarkSummary, RunSummary, verdicts_digest
from pytest_r1eval.reports.appearance import appearance_of
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.upload.page_scores import PageScores, page_scores
from pytest_r1eval.upload.paths import RunFiles

VERDICTS_NAME = "verdicts.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedFile:
    """One file of this machine, and its place in the repository."""

    path: str
    source: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """
    What one run sends to a data set's repository.

    Attributes:
        repo: ``org/name``.
        key: What names the run's files.
        wishes: What the user asked for.
        files: Details, results and verdicts.
        tasks: Full names of the tasks that have details.
        rows: The run's benchmarks, for the card.
        page: Scores for the model's page, and those that it cannot show.
        run: The name of the run's folder.
    """

    repo: str
    key: RunKey
    wishes: UploadWishes
    files: tuple[PackedFile, ...]
    tasks: tuple[str, ...]
    rows: tuple[CardRow, ...]
    page: PageScores
    run: str


def pack(run: Path, wishes: UploadWishes) -> Package:
    """
    Put together what a judged run sends.

    Raises:
        StoreError: If there is no such run.
        UploadError: If its files are not all there.
    """
    with closing(RunReader.open(run)) as store:
        files = RunFiles.of(run, store.header)
    return _package(_summary(files.results, run), files, wishes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Results:
    """What an upload reads of a results file; the rest is LightEval's."""

    r1eval: RunSummary


_RESULTS = Kind(of=_Results, is_excerpt=True)


def _summary(path: Path, run: Path) -> RunSummary:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UploadError(
            f"{run} has no results file to upload ({path.name}: {type(error).__name__}); expected a judged run. "
            f"Judge it: pytest --r1-judge-only {run}"
        ) from error
    try:
        return from_json(_RESULTS, text).r1eval
    except ValueError as error:
        raise UploadError(
            f"{path} is not as this version writes it ({error}); write it again with pytest --r1-judge-only {run}"
        ) from error


def _package(summary: RunSummary, files: RunFiles, wishes: UploadWishes) -> Package:
    key = RunKey(model_name=summary.model_name, revision=summary.revision, date=summary.date)
    parts = [*summary.benchmarks.values()]
    tasks = [part.task for part in parts]
    with_details = {part.task: files.folder / part.details for part in parts if part.details is not None}
    packed = {uploads.details_path(task, key, wishes.layout): path for task, path in with_details.items()}
    packed |= dict.fromkeys(uploads.results_paths(tasks, key, wishes.layout), files.results)
    packed[uploads.results_table_path(key)] = files.results_table
    packed[uploads.verdicts_path(key)] = files.folder / VERDICTS_NAME
    _demand_own(packed.values(), files.folder)
    if (key.model_name, key.date) != (files.model_name, files.date):
        raise UploadError(
            f"{files.results} is of another run than {files.folder}; expected {files.model_name} of {files.date}. "
            f"Write it again: pytest --r1-judge-only {files.folder}"
        )
    missing = [source for source in packed.values() if not source.is_file()]
    if missing:
        raise UploadError(
            f"{escaped(str(missing[0]))} is missing; expected the files of a judged run. "
            f"Write them again: pytest --r1-judge-only {files.folder}"
        )
    if _digest_of_verdicts(files.folder) != summary.verdicts:
        raise UploadError(
            f"{files.results} belongs to other verdicts than {VERDICTS_NAME}; expected both of one judging. "
            f"Write them again: pytest --r1-judge-only {files.folder}"
        )
    return Package(
        repo=wishes.repo_of(key.model_name),
        key=key,
        wishes=wishes,
        files=tuple(PackedFile(path=path, source=source) for path, source in sorted(packed.items())),
        tasks=tuple(with_details),
        rows=tuple(map(_row, parts)),
        page=page_scores(summary),
        run=files.folder.name,
    )


def _demand_own(sources: Iterable[Path], folder: Path) -> None:
    """Refuse a file that is not in the run's folder: a name with ``..``, or a link, in a folder from elsewhere."""
    home = folder.resolve()
    for source in sources:
        try:
            source.is_file()
            place = source.resolve()
        except (OSError, ValueError) as error:  # too long for a name, or with a NUL
            raise UploadError(
                f"{quoted(str(source))} is not the name of a file ({error}); expected the run's own files. Nothing is "
                f"uploaded; write them again: pytest --r1-judge-only {folder}"
            ) from error
        if not place.is_relative_to(home):
            raise UploadError(
                f"{escaped(str(source))} leads out of {folder}, to {escaped(str(place))}; expected the run's own "
                f"files. Nothing is uploaded; write them again: pytest --r1-judge-only {folder}"
            )


def _digest_of_verdicts(folder: Path) -> str:
    try:
        content = json.loads((folder / VERDICTS_NAME).read_text(encoding="utf-8"))
        if not isinstance(content, dict) or "gates" not in content:
            raise ValueError("it holds no gates")  # noqa: TRY301 - one refusal for whatever is wrong with it
        return verdicts_digest(content["gates"])
    except (OSError, ValueError, RecursionError) as error:
        raise UploadError(
            f"{folder / VERDICTS_NAME} cannot be read ({in_one_line(error)}); write it again: pytest --r1-judge-only "
            f"{folder}"
        ) from error


def _row(part: BenchmarkSummary) -> CardRow:
    score = part.score
    notes = [] if score is not None else ["stopped early" if part.is_at_stop else "see the verdict"]
    if part.first_verdict is not None:
        notes.append(f"attempt {part.attempt}, the first was {part.first_verdict}")
    return CardRow(
        task=part.task,
        score=None if score is None else score.mean,
        standard_error=None if score is None else score.standard_error,
        baseline=part.baseline_mean,
        samples_per_problem=part.samples_per_problem,
        verdict=appearance_of(part.verdict).word,
        note="; ".join(notes),
    )
