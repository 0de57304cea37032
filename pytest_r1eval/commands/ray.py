"""`r1eval ray`: a gate as tasks of a Ray cluster."""
# ruff: noqa: PLC0415 - see the package

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_r1eval.commands.arguments import EXIT_PASSED, Json, above_zero
from pytest_r1eval.commands.cluster_jobs import (
    add_commands,
    nothing_submitted,
    show_submitted,
    show_verdict,
    submission_from_here,
)

if TYPE_CHECKING:
    from pytest_r1eval.cluster.status import Backend

app = typer.Typer(name="ray", help="Run a gate on a Ray cluster: a task for each slice, then a judge.")


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _folder_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise typer.BadParameter(f"{text!a}; expected letters, digits, dots, dashes and underscores")
    return text


def _ray() -> Backend:
    from pytest_r1eval.ray import backend

    return backend


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def submit(  # noqa: PLR0913 - a command's options
    context: typer.Context,
    *,
    model: Annotated[str, typer.Option(metavar="MODEL", help="the checkpoint, as of --r1-model", show_default=False)],
    benchmarks: Annotated[str, typer.Option(metavar="A,B", help="the benchmarks, by name", show_default=False)],
    slices: Annotated[int, typer.Option(metavar="N", min=1, help="tasks, each with an engine of its own")] = 1,
    gpus: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="GPUs of each (--r1-tp, or 1)", show_default=False)
    ] = None,
    cpus: Annotated[int, typer.Option(metavar="N", min=1, help="CPUs of each")] = 1,
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="the cluster (RAY_ADDRESS, or this node's)", show_default=False),
    ] = None,
    ship_every: Annotated[
        float, typer.Option(parser=above_zero, metavar="S", help="seconds of drawing that a lost node may take along")
    ] = "30",  # type: ignore[assignment]  # typer parses defaults too
    output_dir: Annotated[Path, typer.Option(metavar="DIR", help="where runs are kept")] = Path("data/evals"),
    name: Annotated[
        str | None,
        typer.Option(
            parser=_folder_name,
            metavar="NAME",
            help="of the submission; given again, it goes on (the time)",
            show_default=False,
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="wait for the verdict; slices end with this process, as a job of Ray needs")
    ] = False,
    check: Annotated[
        bool, typer.Option(help="look at options, checkpoint, baseline and data sets before anything is submitted")
    ] = True,
    json: Json = False,
) -> int:
    """
    Submit a gate. Other options go to pytest: drawing to the slices, gate, report and upload to the judge.

    Run it on a node of the cluster; its folder stays there, and slices ship what they store to it. Secrets of the
    environment (HF_TOKEN and its like) reach the judge alone.
    """
    from pytest_r1eval.cluster.rehearsals import rehearse
    from pytest_r1eval.ray.backend import next_order, submitted
    from pytest_r1eval.ray.cluster import ray_package
    from pytest_r1eval.ray.order import order_of, tensor_parallel_size

    ray_package()
    with nothing_submitted():
        plan = submission_from_here(
            context.args, model=model, benchmarks=benchmarks, submissions=output_dir / "ray", name=name
        )
        n_gpus = tensor_parallel_size(plan.arguments.slice) if gpus is None else gpus
        job = replace(plan, n_slices=slices, gpus_per_node=n_gpus, workers="0")
    if check:
        rehearse(job, n_slices=slices)
    order = next_order(job.folder, order_of(job, cpus=cpus, address=address, ship_every_s=ship_every))
    with submitted(job.folder, order, is_detached=not wait):
        if not (wait and json):
            show_submitted(job.folder, order, backend="ray", json=json)
        return show_verdict(job.folder, _ray(), interval_s=1.0, json=json) if wait else EXIT_PASSED


add_commands(app, _ray)
