"""A run's reports as files, in the format that the suffix names."""

from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from pytest_r1eval import atomic_files
from pytest_r1eval.core.choices import REPORT_FORMATS, report_suffixes
from pytest_r1eval.core.codec import document
from pytest_r1eval.errors import ReportError
from pytest_r1eval.reports.markdown import markdown
from pytest_r1eval.reports.release import release_lines
from pytest_r1eval.reports.run_report import USUAL, Embedding, RunReport
from pytest_r1eval.reports.terminal import family_lines, gate_lines, gate_table, health_lines

PAGE_NAME = "report.html"
"""The page that every judged run keeps in its folder."""


def report_text(report: RunReport, *, embedding: Embedding = USUAL) -> str:  # noqa: ARG001 - the table's
    """Write a run's verdicts as the terminal shows them."""
    results = [gate.result for gate in report.gates]
    lines = [line for result in results for line in ("", *gate_lines(result), *health_lines(result))]
    missing = [f"{name}: not judged yet" for name in report.unjudged]
    release = [] if report.release is None else ["", *release_lines(report.release)]
    return "\n".join([*gate_table(results), *missing, *lines, *family_lines(results), *release]) + "\n"


def report_markdown(report: RunReport, *, embedding: Embedding = USUAL) -> str:  # noqa: ARG001 - the table's
    """Write a run's verdicts as Markdown."""
    title = f"{report.header.model_name}: may this checkpoint ship?"
    return markdown(
        [gate.result for gate in report.gates], title=title, unjudged=report.unjudged, release=report.release
    )


def report_json(report: RunReport, *, embedding: Embedding = USUAL) -> str:  # noqa: ARG001 - the table's
    """Write a run as JSON, in fractions: `schema_version`, run, header, harnesses, and per gate verdict and counts."""
    gates = [
        {
            "verdict": gate.result,
            "dataset": gate.dataset,
            "plan": gate.plan,
            "problems": gate.problems,
            "looks": [{**asdict(look), "z": look.z, "verdict": look.verdict} for look in gate.looks],
        }
        for gate in report.gates
    ]
    content: dict[str, object] = {
        "run": str(report.run),
        "passes": report.passes,
        "header": report.header,
        "harnesses": report.harnesses,
        "family_wise_error": report.family_wise_error,
        "unjudged": report.unjudged,
        "gates": gates,
    }
    content |= {} if report.release is None else {"release": report.release}
    return document(content) + "\n"


def report_in(form: str, report: RunReport, *, embedding: Embedding = USUAL) -> str:
    """
    Write a run's report in one of `REPORT_FORMATS`.

    Args:
        form: Which, by its suffix.
        report: The run.
        embedding: Which samples the report carries, where its format has room for them.

    Raises:
        StoreError: If the samples cannot be read.
    """
    module, _, name = REPORT_FORMATS[form].partition(":")
    text: str = getattr(import_module(module), name)(report, embedding=embedding)
    return text


def write_report(report: RunReport, path: Path, *, embedding: Embedding = USUAL) -> Path:
    """
    Write a run's report in the format that the file's suffix names.

    Args:
        report: The run.
        path: The file; a folder that is not there is made.
        embedding: Which samples a report carries, where its format has room for them.

    Raises:
        ReportError: If the suffix names no format, or the file cannot be written.
        StoreError: If the samples cannot be read.
    """
    form = path.suffix.removeprefix(".").lower()
    if form not in REPORT_FORMATS:
        raise ReportError(f"{path}: no report of that kind; expected a file that ends in {report_suffixes()}")
    text = report_in(form, report, embedding=embedding)
    return write_text(path, text, again="r1eval report RUN writes it again")


def write_text(path: Path, text: str, *, again: str) -> Path:
    """
    Write a report's text, whole or not at all; a folder that is not there is made.

    Args:
        path: The file.
        text: What it says.
        again: What to do where it cannot be written.

    Raises:
        ReportError: If it cannot be written.
    """
    try:
        atomic_files.write_text(path, text)
    except OSError as error:
        raise ReportError(f"cannot write the report {path}: {error.strerror}; {again}") from error
    return path
