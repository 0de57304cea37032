"""`r1eval slurm`: a gate as jobs of a cluster."""
# ruff: noqa: PLC0415 - see the package

from __future__ import annotations

import datetime as dt
import secrets
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from pytest_r1eval.commands.arguments import EXIT_PASSED, Json, above_zero, show, show_json

if TYPE_CHECKING:
    from pytest_r1eval.slurm import jobs as slurm_jobs
    from pytest_r1eval.slurm.scripts import Submission

app = typer.Typer(name="slurm", help="Run a gate on a Slurm cluster: an array of slices, then a job that judges.")

Submitted: TypeAlias = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="what r1eval slurm submit printed", show_default=False)
]


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def submit(  # noqa: PLR0913 - a command's options
    context: typer.Context,
    *,
    model: Annotated[str, typer.Option(metavar="MODEL", help="the checkpoint, as of --r1-model", show_default=False)],
    benchmarks: Annotated[str, typer.Option(metavar="A,B", help="the benchmarks, by name", show_default=False)],
    nodes: Annotated[int, typer.Option(metavar="N", min=1, help="slices, each on a node of its own")] = 1,
    gpus_per_node: Annotated[int, typer.Option(metavar="N", min=0, help="GPUs of each; 0 asks for none")] = 8,
    workers: Annotated[str, typer.Option(metavar="auto|N", help="engines on each node")] = "auto",
    time: Annotated[
        str | None, typer.Option(metavar="TIME", help="time limit of a start; a slice goes on in the next one")
    ] = None,
    grace: Annotated[int, typer.Option(metavar="S", min=1, help="seconds before the limit at which it stops")] = 120,
    sbatch_arg: Annotated[
        list[str] | None,
        typer.Option(metavar="ARG", help="option of sbatch, as in --sbatch-arg=--cpus-per-task=64; repeatable"),
    ] = None,
    output_dir: Annotated[Path, typer.Option(metavar="DIR", help="where runs are kept")] = Path("data/evals"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the scripts, submit and write nothing")] = False,
    check: Annotated[
        bool, typer.Option(help="look at options, checkpoint, baseline and data sets before anything is submitted")
    ] = True,
    json: Json = False,
) -> int:
    """
    Submit a gate. Other options go to pytest: drawing to the slices, gate, report and upload to the judge.

    What the environment holds of secrets (HF_TOKEN and its like) reaches the judge alone: a share that downloads a
    model or data set which is not public needs them cached before, or the login of hf auth login.
    """
    from pytest_r1eval.errors import ExamError, PlanError, RehearsalError
    from pytest_r1eval.exams.catalog import mark_expression
    from pytest_r1eval.slurm.jobs import submit as submitted
    from pytest_r1eval.slurm.rehearsals import rehearse
    from pytest_r1eval.slurm.scripts import Submission, divided

    started = f"{dt.datetime.now(dt.UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    try:
        job = Submission(
            folder=output_dir.resolve() / "slurm" / started,
            output_dir=output_dir.resolve(),
            root=Path.cwd(),
            python=sys.executable,
            model=str(Path(model).resolve()) if Path(model).exists() else model,
            marks=mark_expression(benchmarks.split(","), tasks=_tasks(context.args)),
            n_slices=nodes,
            gpus_per_node=gpus_per_node,
            workers=workers,
            time=time,
            grace_s=grace,
            sbatch_arguments=tuple(sbatch_arg or ()),
            arguments=divided(context.args),
        )
    except (ExamError, PlanError) as error:
        raise RehearsalError(f"{error} (nothing was submitted)") from error
    if dry_run:
        _show_scripts(job, json=json)
    else:
        if check:
            rehearse(job)
        _show_submitted(job.folder, submitted(job), json=json)
    return EXIT_PASSED


@app.command()
def resubmit(folder: Submitted, *, json: Json = False) -> int:
    """Submit the same scripts again, after they failed or were cancelled: nothing that is stored is drawn twice."""
    from pytest_r1eval.errors import RunError
    from pytest_r1eval.slurm.jobs import jobs_of, submitted_in
    from pytest_r1eval.slurm.jobs import resubmit as resubmitted

    before = submitted_in(folder)
    if any(not job.is_ended for job in jobs_of(before)):
        raise RunError(f"the jobs of {folder} have not ended; wait for them, or r1eval slurm cancel {folder} first")
    jobs = resubmitted(folder.resolve(), model=before.model, n_slices=before.n_slices)
    _show_submitted(folder, jobs, json=json)
    return EXIT_PASSED


@app.command()
def status(folder: Submitted, *, json: Json = False) -> int:
    """Show each job, and what each slice has stored."""
    from pytest_r1eval.slurm.status import standings

    found = standings(folder)
    if json:
        show_json({"folder": str(folder), "jobs": found})
    else:
        show("\n".join(standing.line for standing in found))
    return EXIT_PASSED


@app.command()
def wait(
    folder: Submitted,
    *,
    interval: Annotated[
        float, typer.Option(parser=above_zero, metavar="S", help="seconds from one look to the next")
    ] = "5",  # type: ignore[assignment]  # typer parses defaults too
    json: Json = False,
) -> int:
    """
    Wait for the verdict, print the judge's log, and exit as the gate does.

    0 if every benchmark passes, 1 if one does not, 2 to 5 if there is no verdict: pytest's codes, and 2 for slices
    that are not whole, jobs that ended or were cancelled, and a Slurm that does not answer.
    """
    from pytest_r1eval.slurm.status import awaited, log_ends

    result = awaited(folder, interval_s=interval)
    logs = log_ends(folder, names=("judge",), n_lines=200)
    if json:
        show_json({"folder": str(folder), **asdict(result), "logs": logs})
    else:
        show("\n".join(map(str, logs)))
    return result.exit_code


@app.command()
def logs(
    folder: Submitted,
    *,
    slice_: Annotated[int | None, typer.Option("--slice", metavar="I", min=1, help="only this slice's")] = None,
    judge: Annotated[bool, typer.Option("--judge", help="only the judge's")] = False,
    lines: Annotated[int, typer.Option(metavar="N", min=1, help="of the end of each")] = 40,
    json: Json = False,
) -> int:
    """Print the ends of the logs, each under its path."""
    from pytest_r1eval.slurm.status import log_ends

    names = [f"slice-{slice_}"] if slice_ is not None else [] if judge else ["slice-*"]
    names += ["judge"] if judge or slice_ is None else []
    found = log_ends(folder, names=names, n_lines=lines)
    if json:
        show_json({"folder": str(folder), "logs": found})
    else:
        show("\n".join(map(str, found)))
    return EXIT_PASSED


@app.command()
def cancel(folder: Submitted, *, json: Json = False) -> int:
    """Cancel every job of a submission; what is stored is kept."""
    from pytest_r1eval.slurm.jobs import cancel_jobs, submitted_in

    jobs = submitted_in(folder)
    cancel_jobs(jobs.judge_job, jobs.array_job)
    if json:
        show_json({"folder": str(folder), "cancelled": [jobs.array_job, jobs.judge_job]})
        return EXIT_PASSED
    again = f"r1eval slurm resubmit {shlex.quote(str(folder))}"
    show(f"cancelled jobs {jobs.array_job} and {jobs.judge_job}; go on with {again}")
    return EXIT_PASSED


def _tasks(extra: Sequence[str]) -> Path | None:
    """Find --r1-tasks among what is passed through: it defines names."""
    for argument, following in pairwise([*extra, ""]):
        name, _, value = argument.partition("=")
        if name == "--r1-tasks":
            return Path(value or following)
    return None


def _show_scripts(job: Submission, *, json: bool) -> None:
    from pytest_r1eval.slurm.scripts import JUDGE_SCRIPT, SLICE_SCRIPT, judge_script, slice_script

    if json:
        show_json({"folder": str(job.folder), SLICE_SCRIPT: slice_script(job), JUDGE_SCRIPT: judge_script(job)})
    else:
        show(f"{slice_script(job)}\n{judge_script(job)}".rstrip())


def _show_submitted(folder: Path, submitted: slurm_jobs.Submitted, *, json: bool) -> None:
    if json:
        show_json({"folder": str(folder), **asdict(submitted)})
        return
    show(
        f"slices: job {submitted.array_job}\njudge: job {submitted.judge_job}, after them\nfolder: {folder}\n"
        f"next: r1eval slurm wait {shlex.quote(str(folder))}"
    )
