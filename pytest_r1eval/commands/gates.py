"""`r1eval gates`: a gate for every checkpoint that any trainer leaves in a folder."""
# ruff: noqa: PLC0415 - see the package

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_r1eval.commands.arguments import Json, above_zero, count, show
from pytest_r1eval.errors import R1EvalError, RehearsalError

if TYPE_CHECKING:
    from pytest_r1eval.evaluation.process import OptionValue, Workers
    from pytest_r1eval.training.runners import GateOrder, Runner
    from pytest_r1eval.training.watcher import Happened, Watch

_OWN = ("output_dir", "resume", "revision")
"""Options of a gate that the command has itself, or that a watched checkpoint does not have."""
_BACKLOG = re.compile(r"(?P<policy>all|newest)|every:(?P<every>[1-9]\d*)")


class RunnerName(StrEnum):
    """Where checkpoints are judged."""

    LOCAL = "local"
    SLURM = "slurm"
    RAY = "ray"


def gates(  # noqa: PLR0913 - a command's options
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="where a trainer saves checkpoints", show_default=False)
    ],
    *,
    benchmarks: Annotated[str, typer.Option(metavar="A,B", help="the benchmarks, by name", show_default=False)],
    framework: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="its layout: verl, nemo-rl, openrlhf, slime, prime-rl, trl or axolotl"),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(metavar="GLOB", help="where checkpoints are below DIR, with * for the step", show_default=False),
    ] = None,
    marker: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="a file in a checkpoint that its trainer writes last", show_default=False),
    ] = None,
    convert: Annotated[
        str | None,
        typer.Option(
            metavar="COMMAND",
            help="makes {out} of {checkpoint} before it is judged; run without a shell",
            show_default=False,
        ),
    ] = None,
    backlog: Annotated[
        str, typer.Option(metavar="all|newest|every:K", help="which are judged where they come faster than verdicts")
    ] = "all",
    max_waiting: Annotated[int, typer.Option(metavar="N", min=1, help="copies that wait at most")] = 4,
    first_baseline: Annotated[
        str | None,
        typer.Option(metavar="BASELINE", help="what the first checkpoint is compared with", show_default=False),
    ] = None,
    runner: Annotated[RunnerName, typer.Option(help="where they are judged")] = RunnerName.LOCAL,
    workers: Annotated[
        str | None, typer.Option(metavar="auto|N", help="engines on this machine, or on each node")
    ] = None,
    gpus: Annotated[
        str | None, typer.Option(metavar="0,1|none", help="GPUs of this machine for them (all)", show_default=False)
    ] = None,
    nodes: Annotated[int, typer.Option(metavar="N", min=1, help="Slurm: slices, each on a node of its own")] = 1,
    gpus_per_node: Annotated[int, typer.Option(metavar="N", min=0, help="Slurm: GPUs of each; 0 asks for none")] = 8,
    time: Annotated[str | None, typer.Option(metavar="TIME", help="Slurm: time limit of a start")] = None,
    sbatch_arg: Annotated[
        list[str] | None, typer.Option(metavar="ARG", help="Slurm: option of sbatch; repeatable", show_default=False)
    ] = None,
    slices: Annotated[int, typer.Option(metavar="N", min=1, help="Ray: tasks, each with an engine of its own")] = 1,
    gpus_per_slice: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Ray: GPUs of each (--r1-tp, or 1)", show_default=False)
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Ray: the cluster (RAY_ADDRESS, or this node's)", show_default=False),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="judge what is there, and end with the worst verdict")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="try again what an earlier start gave up")
    ] = False,
    retry_after: Annotated[
        str, typer.Option(metavar="S,S", help="seconds before each further try of a conversion or a gate")
    ] = "60,300,900",
    interval: Annotated[
        float, typer.Option(parser=above_zero, metavar="S", help="seconds from one look to the next")
    ] = "30",  # type: ignore[assignment]  # typer parses defaults too
    settle: Annotated[
        float,
        typer.Option(parser=above_zero, metavar="S", help="seconds in which no file changes, without a marker"),
    ] = "30",  # type: ignore[assignment]  # the same
    output_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="where runs and copies are kept (DIR/r1eval)", show_default=False)
    ] = None,
    json: Json = False,
) -> int:
    """
    Judge every checkpoint of a folder as it appears. Other options, as --r1-samples, go to each gate.

    Each is compared with the last one that held (--r1-baseline previous), and with --r1-anchor, a fixed one, too.
    """
    try:
        watch = _watch(
            folder, framework=framework, pattern=pattern, marker=marker, convert=convert, backlog=backlog,
            max_waiting=max_waiting, interval_s=interval, settle_s=settle, retry_after=retry_after,
            output_dir=output_dir,
        )  # fmt: skip
        order = _order(watch, benchmarks, context.args, first_baseline=first_baseline)
        match runner:
            case RunnerName.SLURM:
                judge = _slurm_runner(
                    order, nodes=nodes, gpus_per_node=gpus_per_node, workers=workers, time=time, sbatch_arg=sbatch_arg
                )
            case RunnerName.RAY:
                judge = _ray_runner(order, slices=slices, gpus=gpus_per_slice, address=address)
            case RunnerName.LOCAL:
                judge = _local_runner(order, workers=workers, gpus=gpus)
        return _watched(watch, judge, once=once, retry_failed=retry_failed, json=json)
    except R1EvalError as error:
        raise RehearsalError(str(error)) from error


def _watch(  # noqa: PLR0913 - as above
    folder: Path,
    *,
    framework: str | None,
    pattern: str | None,
    marker: str | None,
    convert: str | None,
    backlog: str,
    max_waiting: int,
    interval_s: float,
    settle_s: float,
    retry_after: str,
    output_dir: Path | None,
) -> Watch:
    from pytest_r1eval.errors import PlanError
    from pytest_r1eval.training.converting import converter_of
    from pytest_r1eval.training.frameworks import framework_named, layout_of
    from pytest_r1eval.training.watcher import Backlog, Watch

    preset = None if framework is None else framework_named(framework)
    policy = _BACKLOG.fullmatch(backlog)
    if policy is None:
        raise PlanError(f"--backlog {backlog}; expected all, newest, or every:K as in every:5")
    if not folder.is_dir():
        raise PlanError(f"{folder}: no such folder; expected the one that the trainer writes to")
    return Watch(
        folder=folder.resolve(),
        output_dir=(output_dir or folder / "r1eval").resolve(),
        layout=layout_of(preset, pattern=pattern, marker=marker, converts=convert is not None),
        framework=preset,
        converter=None if convert is None else converter_of(convert),
        backlog=Backlog.EVERY if policy["every"] else Backlog(policy["policy"]),
        every=int(policy["every"] or 1),
        max_waiting=max_waiting,
        interval_s=interval_s,
        settle_s=settle_s,
        retry_after_s=tuple(above_zero(text) for text in retry_after.split(",") if text.strip()),
    )


def _order(watch: Watch, benchmarks: str, words: Sequence[str], *, first_baseline: str | None) -> GateOrder:
    from pytest_r1eval.evaluation.process import options_of
    from pytest_r1eval.training.runners import GateOrder, refuse_contradictions

    options: dict[str, OptionValue] = options_of(words, without=_OWN)
    order = GateOrder(
        benchmarks=tuple(name.strip() for name in benchmarks.split(",")),
        output_dir=watch.output_dir,
        folder=Path.cwd(),
        options=options,
        first_baseline=first_baseline,
    )
    refuse_contradictions(order)
    return order


def _local_runner(order: GateOrder, *, workers: str | None, gpus: str | None) -> Runner:
    from pytest_r1eval.training.runners import LocalRunner

    n_workers: Workers = None if workers is None else "auto" if workers == "auto" else count(workers)
    ids = None if gpus is None else () if gpus == "none" else tuple(gpus.split(","))
    return LocalRunner(order, workers=n_workers, gpus=ids)


def _slurm_runner(  # noqa: PLR0913 - as above
    order: GateOrder,
    *,
    nodes: int,
    gpus_per_node: int,
    workers: str | None,
    time: str | None,
    sbatch_arg: Sequence[str] | None,
) -> Runner:
    from pytest_r1eval.training.cluster_runner import ClusterRunner, SlurmPlace

    place = SlurmPlace(
        nodes=nodes, gpus_per_node=gpus_per_node, workers=workers or "auto", time=time,
        sbatch_arguments=tuple(sbatch_arg or ()),
    )  # fmt: skip
    return ClusterRunner(order, place)


def _ray_runner(order: GateOrder, *, slices: int, gpus: int | None, address: str | None) -> Runner:
    from pytest_r1eval.ray.cluster import connected
    from pytest_r1eval.training.cluster_runner import ClusterRunner, RayPlace

    with connected(address):  # refused here rather than at each checkpoint
        return ClusterRunner(order, RayPlace(slices=slices, gpus=gpus, address=address))


def _watched(watch: Watch, runner: Runner, *, once: bool, retry_failed: bool, json: bool) -> int:
    from pytest_r1eval.core.codec import to_json
    from pytest_r1eval.training.watcher import HAPPENED, Watcher

    stopped, signals = threading.Event(), list[int]()

    def tell(happened: Happened) -> None:
        try:
            show(to_json(HAPPENED, happened) if json else happened.line)
        except BrokenPipeError:  # nothing reads it any more
            stopped.set()

    with _ended_by_signals(stopped, signals):
        code = Watcher(watch, runner=runner, tell=tell, stopped=stopped).run(once=once, retry_failed=retry_failed)
    return 128 + signals[0] if signals else code


@contextmanager
def _ended_by_signals(stopped: threading.Event, signals: list[int]) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end what is under way, which stores what is drawn."""

    def end(number: int, _: FrameType | None) -> None:
        signals.append(number)
        stopped.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
