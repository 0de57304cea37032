"""What `r1eval slurm` and `r1eval ray` have in common: all that follows a submission."""
# ruff: noqa: PLC0415 - see the package

from __future__ import annotations

import datetime as dt
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, cast

import typer

from pytest_r1eval.commands.arguments import EXIT_PASSED, Json, above_zero, show, show_json

if TYPE_CHECKING:
    from pytest_r1eval.cluster.status import Backend, Submitted
    from pytest_r1eval.cluster.submission import Submission

Folder: TypeAlias = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="the folder that submit printed", show_default=False)
]


def add_commands(app: typer.Typer, backend_of: Callable[[], Backend]) -> None:
    """
    Add what looks at a submission, waits for it and ends it.

    Args:
        app: The backend's commands, with its own `submit`.
        backend_of: Imports the backend.
    """
    _add_lookers(app, backend_of)
    _add_wait(app, backend_of)

    @app.command()
    def resubmit(folder: Folder, *, json: Json = False) -> int:
        """Submit the same again, after it failed or was cancelled: nothing that is stored is drawn twice."""
        backend = backend_of()
        show_submitted(folder, backend.resubmit(folder), backend=backend.NAME, json=json)
        return EXIT_PASSED

    @app.command()
    def cancel(folder: Folder, *, json: Json = False) -> int:
        """Cancel every job of a submission; what is stored is kept."""
        backend = backend_of()
        jobs = backend.cancel(folder)
        if json:
            show_json({"folder": str(folder), "cancelled": list(jobs)})
            return EXIT_PASSED
        again = f"r1eval {backend.NAME} resubmit {shlex.quote(str(folder))}"
        show(f"cancelled jobs {' and '.join(map(str, jobs))}; go on with {again}")
        return EXIT_PASSED


@contextmanager
def nothing_submitted() -> Iterator[None]:
    """Add to the error of a refused plan that nothing was submitted."""
    from pytest_r1eval.errors import ExamError, PlanError, RehearsalError

    try:
        yield
    except (ExamError, PlanError) as error:
        raise RehearsalError(f"{error} (nothing was submitted)") from error


def submission_from_here(
    words: Sequence[str], *, model: str, benchmarks: str, submissions: Path, name: str | None = None
) -> Submission:
    """
    Plan one slice on eight GPUs, by this interpreter, from the current folder; a backend replaces what differs.

    Args:
        words: What the command line has for pytest.
        model: A Hub id, or a folder.
        benchmarks: Names, with commas between them.
        submissions: The folder of the backend's submissions, in the one that keeps runs.
        name: Of the submission; None for the time.

    Raises:
        ExamError: For a benchmark that there is not.
        PlanError: For what no job can do.
    """
    from pytest_r1eval.cluster.submission import Submission, divided
    from pytest_r1eval.exams.catalog import mark_expression

    return Submission(
        folder=submissions.resolve() / (name or f"{dt.datetime.now(dt.UTC):%Y%m%d-%H%M%S}-{token_hex(2)}"),
        output_dir=submissions.parent.resolve(),
        root=Path.cwd(),
        python=sys.executable,
        model=str(Path(model).resolve()) if Path(model).exists() else model,
        marks=mark_expression(benchmarks.split(","), tasks=tasks_in(words)),
        arguments=divided(words),
    )


def _add_lookers(app: typer.Typer, backend_of: Callable[[], Backend]) -> None:
    @app.command()
    def status(folder: Folder, *, json: Json = False) -> int:
        """Show each job, and what each slice has stored."""
        found = backend_of().standings(folder)
        if json:
            show_json({"folder": str(folder), "jobs": found})
        else:
            show("\n".join(standing.line for standing in found))
        return EXIT_PASSED

    @app.command()
    def logs(
        folder: Folder,
        *,
        slice_: Annotated[int | None, typer.Option("--slice", metavar="I", min=1, help="only this slice's")] = None,
        judge: Annotated[bool, typer.Option("--judge", help="only the judge's")] = False,
        lines: Annotated[int, typer.Option(metavar="N", min=1, help="of the end of each")] = 40,
        json: Json = False,
    ) -> int:
        """Print the ends of the logs, each under its path."""
        from pytest_r1eval.cluster.status import log_ends

        names = [f"slice-{slice_}"] if slice_ is not None else [] if judge else ["slice-*"]
        names += ["judge"] if judge or slice_ is None else []
        found = log_ends(folder, names=names, n_lines=lines, backend=backend_of().NAME)
        if json:
            show_json({"folder": str(folder), "logs": found})
        else:
            show("\n".join(map(str, found)))
        return EXIT_PASSED


def _add_wait(app: typer.Typer, backend_of: Callable[[], Backend]) -> None:
    @app.command()
    def wait(
        folder: Folder,
        *,
        interval: Annotated[
            float, typer.Option(parser=above_zero, metavar="S", help="seconds from one look to the next")
        ] = "5",  # type: ignore[assignment]  # typer parses defaults too
        json: Json = False,
    ) -> int:
        """
        Wait for the verdict, print the judge's log, and exit as the gate does.

        0 if every benchmark passes, 1 if one does not, 2 to 5 if there is no verdict: pytest's codes, and 2 for slices
        that are not whole, jobs that ended or were cancelled, and a cluster that does not answer.
        """
        return show_verdict(folder, backend_of(), interval_s=interval, json=json)


def show_verdict(folder: Path, backend: Backend, *, interval_s: float, json: bool) -> int:
    """Wait for the verdict, print the judge's log, and return the gate's exit code."""
    from pytest_r1eval.cluster.status import awaited, log_ends

    result = awaited(folder, backend, interval_s=interval_s)
    logs = log_ends(folder, names=("judge",), n_lines=200, backend=backend.NAME)
    if json:
        show_json({"folder": str(folder), **asdict(result), "logs": logs})
    else:
        show("\n".join(map(str, logs)))
    return result.exit_code


def tasks_in(extra: Sequence[str]) -> Path | None:
    """Find --r1-tasks among what is passed through: it defines names."""
    for argument, following in pairwise([*extra, ""]):
        name, _, value = argument.partition("=")
        if name == "--r1-tasks":
            return Path(value or following)
    return None


def show_submitted(folder: Path, submitted: Submitted, *, backend: str, json: bool) -> None:
    """Print what was started, and what to do next."""
    if json:
        show_json({"folder": str(folder), **asdict(cast("Any", submitted))})  # a dataclass of each backend's own
        return
    following = f"next: r1eval {backend} wait {shlex.quote(str(folder))}"
    show("\n".join([*submitted.lines, f"folder: {folder}", following]))
