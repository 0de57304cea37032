"""What a GitHub job shows: the table on the job's summary page, and an annotation for each gate that is not green."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pytest_r1eval.core.texts import printable
from pytest_r1eval.errors import ReportError
from pytest_r1eval.judging.release import Release
from pytest_r1eval.judging.result import GateResult
from pytest_r1eval.reports.appearance import UNHEALTHY, Annotation, annotation_of, appearance_of
from pytest_r1eval.reports.markdown import markdown
from pytest_r1eval.reports.release import release_annotation, release_lines
from pytest_r1eval.reports.terminal import next_step_of


def write_summary(
    environ: Mapping[str, str], results: Sequence[GateResult], *, title: str, release: Release | None = None
) -> bool:
    """
    Append the verdicts to the job's summary.

    Args:
        environ: The environment; without ``GITHUB_STEP_SUMMARY`` nothing is written.
        results: The verdicts.
        title: What was judged.
        release: The verdict under a policy; None without one.

    Returns:
        Whether this is a GitHub job.

    Raises:
        ReportError: If the summary cannot be written.
    """
    path = environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return False
    try:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(markdown(results, title=title, release=release))
    except OSError as error:
        raise ReportError(
            f"cannot write the job's summary {path}: {error.strerror}; the verdicts stand above"
        ) from error
    return True


def workflow_commands(results: Sequence[GateResult], *, release: Release | None = None) -> Iterator[str]:
    """Yield a workflow command for the release and each gate that a person must look at."""
    if release is not None and (kind := release_annotation(release)) is not None:
        yield _command(kind, f"release: {release.verdict.name}", *release_lines(release))
    for result in results:
        judgement = result.judgement
        kind = annotation_of(judgement)
        if kind is not None and result.is_tolerated:
            kind = Annotation.WARNING
        if kind is not None:
            title = f"{result.title}: {appearance_of(judgement.verdict).word}"
            yield _command(kind, title, judgement.reason, next_step_of(result))
        if result.health is not None and not result.health.passes:
            reasons = f"{result.health.truncation.reason} {result.health.no_answer.reason}"
            sick = Annotation.WARNING if result.is_tolerated else Annotation.ERROR
            yield _command(sick, f"{result.title}: {UNHEALTHY}", reasons, "")


def _command(kind: Annotation, title: str, *sentences: str) -> str:
    message = " ".join(sentence for sentence in sentences if sentence)
    return f"::{kind} title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    return printable(text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
