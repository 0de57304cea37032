"""
What happens to a run after its verdicts: its files, then the upload.

A step that fails is reported beside the verdicts and changes none of them, nor the exit code, whatever it raises: a
verdict cost hours of a GPU, and no file is worth one. Files that could not be written are not uploaded either: older
ones would belong to other verdicts.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_r1eval.core.choices import UploadWhen
from pytest_r1eval.core.texts import counted, escaped, printable
from pytest_r1eval.core.uploads import UploadWishes
from pytest_r1eval.errors import R1EvalError, UploadError
from pytest_r1eval.judging.release import Release, may_ship
from pytest_r1eval.judging.result import GateResult, write_verdicts
from pytest_r1eval.reports.files import PAGE_NAME, write_report
from pytest_r1eval.reports.index import write_index
from pytest_r1eval.reports.run_report import read_report
from pytest_r1eval.runs.finished import StoredRun
from pytest_r1eval.upload.package import pack
from pytest_r1eval.upload.page_scores import PageScores
from pytest_r1eval.upload.record import UploadRecord, write_record
from pytest_r1eval.upload.results import write_run_files


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """
    What became of the steps.

    Attributes:
        reports: Where reports lie, or why one could not be written; a line each.
        lines: What else a person reads below the verdicts.
        is_uploaded: Whether the run is on the Hub; None where it was not to be.
    """

    reports: tuple[str, ...]
    lines: tuple[str, ...]
    is_uploaded: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """Where a run is on the Hub, and the lines that say so."""

    record: UploadRecord
    lines: tuple[str, ...]


def finish(  # noqa: PLR0913 - the steps' wishes, named at the only call
    run: Path,
    results: Sequence[GateResult],
    *,
    tasks: Mapping[str, str],
    wishes: UploadWishes | None,
    when: UploadWhen = UploadWhen.PASS,
    reports: Sequence[Path] = (),
    index: Path | None = None,
    release: Release | None = None,
) -> Finished:
    """
    Write a judged run's files and reports, and upload it where that is wished for.

    Args:
        run: The run's folder.
        results: Its verdicts.
        tasks: LightEval's name of each benchmark's task.
        wishes: Where it is to be uploaded; None for nowhere.
        when: Which runs are.
        reports: Files to write a report to, beside the page in the run's folder.
        index: The output folder, whose page of all runs is written again; None for none.
        release: The verdict under a policy; None without one.
    """
    lines: list[str] = []
    with noted("verdicts.json", lines):
        write_verdicts(run, results, release=release)
    written = (*_reports(run, (run / PAGE_NAME, *reports)), *_write_index(index))
    with noted("details", lines):
        write_run_files(run, results, tasks=tasks)
    if wishes is None:
        return Finished(reports=written, lines=tuple(lines), is_uploaded=None)
    if when is UploadWhen.PASS and not may_ship(results, release):
        why = "a gate is not green" if release is None else f"the release is {release.verdict.name}"
        note = f"upload: none, as {why} (--r1-upload-when always uploads every run)"
        return Finished(reports=written, lines=(*lines, note), is_uploaded=None)
    uploads, is_uploaded = _uploads([run], wishes)
    return Finished(reports=written, lines=(*lines, *uploads), is_uploaded=is_uploaded)


@contextmanager
def noted(what: str, lines: list[str], *, failed: str = "not written:") -> Iterator[None]:
    """
    Go on after a step that fails, with a line that says so.

    Args:
        what: The step, as the line begins.
        lines: Where the line is added.
        failed: What became of it.
    """
    try:
        yield
    except R1EvalError as error:
        lines.append(printable(f"{what}: {failed} {error}"))
    except Exception as error:  # noqa: BLE001 - see the module: no file takes a verdict away
        reason = escaped(" ".join(f"{type(error).__name__}: {error}".split()))
        lines.append(f"{what}: {failed} {reason}; samples and verdicts are in the run's store")


def finish_again(  # noqa: PLR0913 - the steps' wishes, named at the only call
    runs: Sequence[Path],
    results: Sequence[GateResult],
    *,
    wishes: UploadWishes | None,
    when: UploadWhen,
    reports: Sequence[Path],
    release: Release | None = None,
) -> Finished:
    """
    Write reports of runs whose verdicts were stored before, and upload them where that is wished for.

    Their own files stay as they are. A run that is not there any more has no more than its verdict.

    Args:
        runs: The runs' folders.
        results: Their verdicts.
        wishes: Where they are to be uploaded; None for nowhere.
        when: Which runs are.
        reports: Files to write a report to.
        release: The verdict under a policy; None without one.
    """
    there = [run for run in runs if StoredRun(folder=run).exists]
    lines = [f"the samples of {run} are gone; its verdict is in the ledger" for run in runs if run not in there]
    written = _reports(there[0], reports, release=release) if there and reports else ()
    is_wanted = when is UploadWhen.ALWAYS or may_ship(results, release)
    if wishes is None or not there or not is_wanted:
        return Finished(reports=written, lines=tuple(lines), is_uploaded=None)
    uploads, is_uploaded = _uploads(there, wishes)
    return Finished(reports=written, lines=(*lines, *uploads), is_uploaded=is_uploaded)


def _uploads(runs: Sequence[Path], wishes: UploadWishes) -> tuple[list[str], bool]:
    """Upload runs until one fails; return what a person should know of it, and whether all went."""
    lines: list[str] = []
    failures: list[str] = []
    for run in runs:
        with noted("upload", failures, failed="FAILED."):
            lines += upload(run, wishes).lines
        if failures:
            return [*lines, *failures, f"  nothing is lost; try again with: r1eval upload {run}"], False
    return lines, True


def _write_index(folder: Path | None) -> tuple[str, ...]:
    lines: list[str] = []
    if folder is not None:
        with noted("all runs", lines):
            lines.append(f"all runs: {write_index(folder)}")
    return tuple(lines)


def _reports(run: Path, paths: Sequence[Path], *, release: Release | None = None) -> tuple[str, ...]:
    lines: list[str] = []
    with noted("report", lines):
        report = read_report(run)
        report = report if release is None else replace(report, release=release)
    for path in () if lines else paths:
        with noted("report", lines):
            lines.append(f"report: {write_report(report, path)}")
    return tuple(lines)


def upload(run: Path, wishes: UploadWishes) -> Uploaded:
    """
    Upload a judged run, and keep in its folder what became of that.

    Raises:
        R1EvalError: If it cannot be done; where it was to go is kept for the next try.
    """
    if not StoredRun(folder=run).exists:
        raise UploadError(f"no run at {run}; expected the folder of a judged run, which pytest prints at its end")
    write_record(run, UploadRecord(wishes=wishes, error="it was begun and did not end"))
    try:
        uploaded = _uploaded(run, wishes)
    except R1EvalError as error:
        write_record(run, UploadRecord(wishes=wishes, error=str(error)))
        raise
    write_record(run, uploaded.record)
    return uploaded


def _uploaded(run: Path, wishes: UploadWishes) -> Uploaded:
    from pytest_r1eval.upload import publish  # noqa: PLC0415 - only where something is uploaded

    package = pack(run, wishes)
    receipt = publish.publish(package)
    state = "commit" if receipt.is_new else "was there already, commit"
    lines = [f"upload: {receipt.url} ({state} {receipt.commit[:12]})"]
    if wishes.model_page is not None:
        lines += _page_lines(wishes.model_page, package.page, url=receipt.url)
    return Uploaded(record=UploadRecord(wishes=wishes, url=receipt.url, commit=receipt.commit), lines=tuple(lines))


def _page_lines(model: str, page: PageScores, *, url: str) -> list[str]:
    """Put scores on a model's page, and say what became of them and of those that it cannot show."""
    from pytest_r1eval.upload import publish  # noqa: PLC0415 - only where something is uploaded

    gaps = "; ".join(page.gaps)
    if not page.scores:
        return [f"model page: nothing for {model}: {gaps}"]
    try:
        receipt = publish.publish_page(model, page.scores, source=url)
    except UploadError as error:
        raise UploadError(f"the samples are at {url}, but not the scores on the model's page: {error}") from error
    line = f"model page: {receipt.url} ({counted(len(page.scores), 'score')}, commit {receipt.commit[:12]})"
    return [line, *([f"  not shown there: {gaps}"] if gaps else [])]
