"""Ray, as the commands and runners that any cluster has know it, and what submits to it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from pytest_r1eval.atomic_files import write_text
from pytest_r1eval.cluster.attempts import SLICES
from pytest_r1eval.cluster.status import GONE, Result, Standing, result_in, stored
from pytest_r1eval.errors import RunError
from pytest_r1eval.ray.cluster import ANSWER_S, actor_name, actor_of, answers, connected
from pytest_r1eval.ray.coordinator import Coordinator, State
from pytest_r1eval.ray.order import FILE_NAME, Order, alive_file, end_file, is_ordered, order_in, text_of

__all__ = ["FILE_NAME", "NAME", "cancel", "judge_end", "next_order", "resubmit", "result", "standings", "submitted"]

NAME = "ray"
SILENT_S = 30.0
"""An actor leaves a sign of life several times in it."""
_AT_ONCE = 64
"""Methods of the actor that run at the same time: one draws and judges, the others keep what is shipped or answer."""


@contextmanager
def submitted(
    folder: Path, order: Order, *, is_detached: bool = True, environment: Mapping[str, str] = os.environ
) -> Iterator[None]:
    """
    Start the actor of a submission; within, this process is connected to its cluster.

    Args:
        folder: The submission's, on this node.
        order: What is submitted.
        is_detached: Whether it outlives this process.
        environment: The judge's; slices get the plugin's settings of it.

    Raises:
        RunError: If there is no cluster, no node that could ever draw a slice, or the folder cannot be written.
    """
    with connected(order.address) as ray:
        _demand_room(ray, order)
        _write(folder, order)
        options: dict[str, Any] = {"lifetime": "detached"} if is_detached else {}
        with answers("the cluster"):
            actor = (
                ray.remote(Coordinator)
                .options(
                    name=actor_name(folder.name, order.job),
                    num_cpus=0,
                    max_concurrency=_AT_ONCE,
                    scheduling_strategy=_here(ray),
                    **options,
                )
                .remote(str(folder), order)
            )
            ray.get(actor.states.remote())
        actor.run.remote(dict(environment), actor)
        yield


def _here(ray: ModuleType) -> Any:  # noqa: ANN401 - Ray's
    """Keep the actor where its folder is."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415 - an extra

    return NodeAffinitySchedulingStrategy(node_id=ray.get_runtime_context().get_node_id(), soft=False)


def _demand_room(ray: ModuleType, order: Order) -> None:
    """Refuse what no node has: Ray would wait for one."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("GPU", 0) >= order.gpus and node.get("CPU", 0) >= order.cpus for node in nodes):
        most = {what: max((node.get(what, 0) for node in nodes), default=0) for what in ("GPU", "CPU")}
        raise RunError(
            f"a slice needs {order.gpus} GPUs and {order.cpus} CPUs of one node, and the largest has {most['GPU']:g} "
            f"and {most['CPU']:g}; ask for less with --gpus and --cpus, or add nodes"
        )


def _write(folder: Path, order: Order) -> None:
    try:
        for name in ("logs", "results", SLICES):
            (folder / name).mkdir(parents=True, exist_ok=True)
        write_text(folder / FILE_NAME, text_of(order))
    except OSError as error:
        raise RunError(
            f"{folder} cannot be written: {error.strerror}; name another folder with --output-dir"
        ) from error


def standings(folder: Path) -> tuple[Standing, ...]:
    """
    Look at every slice and the judge; a finished submission needs no cluster.

    Raises:
        RunError: If there is none, or the cluster cannot be asked.
    """
    order, left = order_in(folder), result(folder)
    end = _end(folder, order)
    slices, judge = _states(folder, order) if end is None else ({}, State(state=end))
    found = [
        _standing(f"slice {number}/{order.n_slices}", slices.get(number), folder / SLICES / str(number))
        for number in range(1, order.n_slices + 1)
    ]
    last = _standing("judge", judge, None)
    return (*found, replace(last, exit_code=None if left is None else left.exit_code))


def _end(folder: Path, order: Order) -> str | None:
    """Read how the actor ended; None where it left no word."""
    file = end_file(folder, order)
    return file.read_text().strip() if file.exists() else None


def _is_alive(folder: Path, order: Order) -> bool:
    """Whether the actor has left a sign of life: asking the cluster again and again would fill its list of jobs."""
    try:
        return time.time() - alive_file(folder, order).stat().st_mtime < SILENT_S
    except FileNotFoundError:
        return False


def _standing(name: str, state: State | None, folder: Path | None) -> Standing:
    samples = () if folder is None else stored(folder)
    if state is None:
        return Standing(name=name, state=None, samples=samples)
    return Standing(name=name, state=state.state, restarts=state.restarts, where=state.where, samples=samples)


def _states(folder: Path, order: Order) -> tuple[dict[int, State], State | None]:
    with connected(order.address) as ray:
        actor = actor_of(ray, actor_name(folder.name, order.job))
        if actor is None:
            return {}, None
        with answers(f"the actor of {folder}"):
            slices, judge = ray.get(actor.states.remote(), timeout=ANSWER_S)
        return slices, judge


def result(folder: Path) -> Result | None:
    """Return what the judge left; None until it has."""
    return result_in(folder, judge=order_in(folder).job)


def judge_end(folder: Path) -> str | None:
    """
    Say how the judge ended; None while it may still give a verdict.

    Raises:
        RunError: If the cluster cannot be asked.
    """
    order = order_in(folder)
    if (end := _end(folder, order)) is not None:
        return end
    if _is_alive(folder, order):
        return None
    return _actor_end(folder, order)


def _actor_end(folder: Path, order: Order) -> str | None:
    """Ask the cluster how the judge ended."""
    _, judge = _states(folder, order)
    if judge is None:
        return GONE
    return None if judge.state in {"PENDING", "RUNNING"} else judge.state


def cancel(folder: Path) -> tuple[int | str, ...]:
    """
    End every slice, which stores and ships what it has drawn, and the actor.

    Raises:
        RunError: If the cluster cannot be asked.
    """
    order = order_in(folder)
    name = actor_name(folder.name, order.job)
    with connected(order.address) as ray:
        actor = actor_of(ray, name)
        if actor is not None:
            with answers(f"the actor of {folder}"):
                ray.get(actor.cancel.remote(), timeout=ANSWER_S)
    return (name,)


def resubmit(folder: Path, *, environment: Mapping[str, str] = os.environ) -> Order:
    """
    Start all of a submission again, in another actor.

    Raises:
        RunError: If it has not ended, or there is no cluster.
    """
    folder = folder.resolve()
    before = order_in(folder)
    with connected(before.address) as ray:
        order = next_order(folder, before)
        if (actor := actor_of(ray, actor_name(folder.name, before.job))) is not None:
            ray.kill(actor)
        with submitted(folder, order, environment=environment):
            return order


def next_order(folder: Path, order: Order) -> Order:
    """
    Return an order with the number that its next submission in a folder has.

    Raises:
        RunError: If the folder holds another order, or this one and it has not ended, as the cluster knows it.
    """
    if not (folder / FILE_NAME).exists():
        return order
    if not is_ordered(folder, order):
        raise RunError(f"{folder} holds another submission; expected the same options again, or another --name")
    before = order_in(folder)
    if result(folder) is None and _end(folder, before) is None and _actor_end(folder, before) is None:
        raise RunError(f"the slices of {folder} have not ended; wait for them, or r1eval ray cancel {folder} first")
    return replace(before, job=before.job + 1)
