"""`r1eval slurm`: a gate as jobs of a cluster."""
# ruff: noqa: PLC0415 - see the package

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_r1eval.commands.arguments import EXIT_PASSED, Json, show, show_json
from pytest_r1eval.commands.cluster_jobs import add_commands, nothing_submitted, show_submitted, submission_from_here

if TYPE_CHECKING:
    from pytest_r1eval.cluster.status import Backend
    from pytest_r1eval.cluster.submission import Submission

app = typer.Typer(name="slurm", help="Run a gate on a Slurm cluster: an array of slices, then a job that judges.")


def _slurm() -> Backend:
    from pytest_r1eval.slurm import backend

    return backend


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

    What the environment holds of secrets (HF_TOKEN and its like) reaches the judge alone: a slice that downloads a
    model or data set which is not public needs them cached before, or the login of hf auth login.
    """
    from pytest_r1eval.cluster.rehearsals import rehearse
    from pytest_r1eval.slurm.jobs import submit as submitted

    with nothing_submitted():
        job = replace(
            submission_from_here(context.args, model=model, benchmarks=benchmarks, submissions=output_dir / "slurm"),
            n_slices=nodes,
            gpus_per_node=gpus_per_node,
            workers=workers,
            time=time,
            grace_s=grace,
            sbatch_arguments=tuple(sbatch_arg or ()),
        )
    if dry_run:
        _show_scripts(job, json=json)
    else:
        if check:
            rehearse(job)
        show_submitted(job.folder, submitted(job), backend="slurm", json=json)
    return EXIT_PASSED


def _show_scripts(job: Submission, *, json: bool) -> None:
    from pytest_r1eval.slurm.scripts import JUDGE_SCRIPT, SLICE_SCRIPT, judge_script, slice_script

    if json:
        show_json({"folder": str(job.folder), SLICE_SCRIPT: slice_script(job), JUDGE_SCRIPT: judge_script(job)})
    else:
        show(f"{slice_script(job)}\n{judge_script(job)}".rstrip())


add_commands(app, _slurm)
