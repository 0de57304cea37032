"""`r1eval k8s`: a gate as Jobs of Kubernetes."""
# ruff: noqa: PLC0415 - see the package

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer

from pytest_r1eval.commands.arguments import EXIT_PASSED, Json, show, show_json
from pytest_r1eval.errors import R1EvalError, RehearsalError

app = typer.Typer(name="k8s", help="Run a gate on Kubernetes: an Indexed Job of slices, and a Job that judges.")


@app.callback()
def _group() -> None:
    """Run a gate on Kubernetes: an Indexed Job of slices, and a Job that judges."""


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def render(  # noqa: PLR0913 - a command's options
    context: typer.Context,
    *,
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="a Hub id, or a folder in the container", show_default=False)
    ],
    benchmarks: Annotated[str, typer.Option(metavar="A,B", help="the benchmarks, by name", show_default=False)],
    image: Annotated[str, typer.Option(metavar="IMAGE", help="with pytest-r1eval and its engine", show_default=False)],
    claim: Annotated[
        str, typer.Option(metavar="NAME", help="the volume claim that all pods can write", show_default=False)
    ],
    slices: Annotated[int, typer.Option(metavar="N", min=1, help="pods that draw, each a slice")] = 1,
    ray: Annotated[
        bool, typer.Option("--ray", help="print a RayJob of KubeRay: a slice is one engine, in a pod")
    ] = False,
    gpus: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, help="GPUs of each; 0 asks for none (8, or --r1-tp with --ray)", show_default=False
        ),
    ] = None,
    workers: Annotated[str, typer.Option(metavar="auto|N", help="engines in each (one with --ray)")] = "auto",
    cpu: Annotated[str, typer.Option(metavar="QUANTITY", help="CPUs of each")] = "8",
    memory: Annotated[str, typer.Option(metavar="QUANTITY", help="memory of each")] = "64Gi",
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="of the Jobs (r1eval- and the time)", show_default=False)
    ] = None,
    namespace: Annotated[str | None, typer.Option(metavar="NAME", help="of everything", show_default=False)] = None,
    queue: Annotated[
        str | None, typer.Option(metavar="NAME", help="the local queue of Kueue", show_default=False)
    ] = None,
    mount: Annotated[str, typer.Option(metavar="PATH", help="where the volume is in the containers")] = "/data",
    root: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="where baselines are looked for (the mount)", show_default=False),
    ] = None,
    claim_size: Annotated[
        str | None, typer.Option(metavar="QUANTITY", help="make the claim, of this size", show_default=False)
    ] = None,
    storage_class: Annotated[
        str | None, typer.Option(metavar="NAME", help="of the claim that is made", show_default=False)
    ] = None,
    token_secret: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="whose key token is the judge's HF_TOKEN", show_default=False),
    ] = None,
    deadline: Annotated[
        int | None, typer.Option(metavar="S", min=1, help="seconds the judge waits at most", show_default=False)
    ] = None,
    json: Json = False,
) -> int:
    """
    Print manifests for kubectl apply. Other options go to pytest: drawing to the slices, the rest to the judge.

    Applying them again under the same --name goes on with what is stored.
    """
    from pytest_r1eval.cluster.submission import Submission, divided
    from pytest_r1eval.exams.catalog import mark_expression
    from pytest_r1eval.k8s.manifests import Cluster, manifests
    from pytest_r1eval.k8s.ray_job import ray_manifests
    from pytest_r1eval.k8s.yaml import documents
    from pytest_r1eval.ray.order import tensor_parallel_size

    chosen = name or f"r1eval-{dt.datetime.now(dt.UTC):%Y%m%d-%H%M%S}"
    try:
        cluster = Cluster(
            name=chosen, image=image, claim=claim, mount=mount.rstrip("/"), namespace=namespace, queue=queue,
            claim_size=claim_size, storage_class=storage_class, cpu=cpu, memory=memory, token_secret=token_secret,
            deadline_s=deadline,
        )  # fmt: skip
        evals = Path(cluster.mount) / "evals"
        arguments = divided(context.args)
        job = Submission(
            folder=evals / ("ray" if ray else "k8s") / chosen,
            output_dir=evals,
            root=Path(root or cluster.mount),
            python="python",
            model=model,
            marks=mark_expression(benchmarks.split(","), tasks=None),
            n_slices=slices,
            gpus_per_node=gpus if gpus is not None else tensor_parallel_size(arguments.slice) if ray else 8,
            workers=workers,
            arguments=arguments,
        )
        rendered = (
            ray_manifests(job, cluster, benchmarks=benchmarks, options=context.args) if ray else manifests(job, cluster)
        )
    except R1EvalError as error:
        raise RehearsalError(str(error)) from error
    if json:
        show_json({"name": chosen, "manifests": rendered})
    else:
        show(documents(rendered).rstrip())
    return EXIT_PASSED
