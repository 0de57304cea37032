"""What the commands, the actor and the slices of a Ray submission tell each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_r1eval.cluster.submission import PytestArguments, Submission, read_record
from pytest_r1eval.core.codec import Kind, Layout, to_json
from pytest_r1eval.errors import PlanError, RunError

FILE_NAME = "ray.json"
SHIP_EVERY_S = 30.0
"""What a lost node may take along, in seconds of drawing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """
    A submission, as it is kept in its folder.

    Attributes:
        model: What is judged.
        n_slices: Tasks.
        marks: The expression of pytest's -m.
        root: The folder that pytest runs in, on every node.
        output_dir: Where the merged run is kept.
        slice_arguments: More arguments of the slices' pytest.
        judge_arguments: More arguments of the judge's.
        address: The cluster's; None for the one that this node belongs to.
        gpus: Of each slice.
        cpus: Of each slice.
        ship_every_s: Seconds from one copy of a store to the next.
        job: Which submission of the folder it is, from 1.
    """

    model: str
    n_slices: int
    marks: str
    root: str
    output_dir: str
    slice_arguments: tuple[str, ...]
    judge_arguments: tuple[str, ...]
    address: str | None
    gpus: int
    cpus: int
    ship_every_s: float
    job: int

    @property
    def lines(self) -> tuple[str, ...]:
        """Say what was started, for people."""
        gpus = f", {self.gpus} GPUs each" if self.gpus else ""
        return (f"slices: {self.n_slices} tasks{gpus}", "judge: after them, where this was submitted")

    def submission(self, folder: Path, *, python: str) -> Submission:
        """Return it as every cluster's."""
        return Submission(
            folder=folder,
            output_dir=Path(self.output_dir),
            root=Path(self.root),
            python=python,
            model=self.model,
            marks=self.marks,
            n_slices=self.n_slices,
            gpus_per_node=self.gpus,
            workers="0",
            arguments=PytestArguments(slice=self.slice_arguments, judge=self.judge_arguments),
        )


def order_of(job: Submission, *, cpus: int, address: str | None, ship_every_s: float) -> Order:
    """Return what is kept and sent of a submission."""
    return Order(
        model=job.model,
        n_slices=job.n_slices,
        marks=job.marks,
        root=str(job.root),
        output_dir=str(job.output_dir),
        slice_arguments=job.arguments.slice,
        judge_arguments=job.arguments.judge,
        address=address,
        gpus=job.gpus_per_node,
        cpus=cpus,
        ship_every_s=ship_every_s,
        job=1,
    )


_ORDER = Kind(of=Order, version=1, layout=Layout.INDENTED)


def text_of(order: Order) -> str:
    """Write an order."""
    return to_json(_ORDER, order) + "\n"


def order_in(folder: Path) -> Order:
    """
    Read what was submitted.

    Raises:
        RunError: If nothing was.
    """
    return read_record(_ORDER, folder / FILE_NAME, printed_by="r1eval ray submit")


def is_ordered(folder: Path, order: Order) -> bool:
    """Whether a folder holds this very order, however often it was submitted."""
    try:
        return replace(order_in(folder), job=order.job) == order
    except RunError:
        return False


def alive_file(folder: Path, order: Order) -> Path:
    """Return the file that the actor of a submission touches while it runs."""
    return folder / "results" / f"{order.job}.alive"


def end_file(folder: Path, order: Order) -> Path:
    """Return the file in which the actor of a submission says how it ended."""
    return folder / "results" / f"{order.job}.end"


def tensor_parallel_size(arguments: tuple[str, ...]) -> int:
    """
    Return the GPUs that an engine needs by the arguments of a slice; the last one counts, as in pytest.

    Raises:
        PlanError: If it is not a number.
    """
    size = "1"
    for number, argument in enumerate(arguments):
        flag, is_given, value = argument.partition("=")
        if flag == "--r1-tp":
            size = value if is_given else "".join(arguments[number + 1 : number + 2])
    if not (size.isascii() and size.isdecimal()):
        raise PlanError(f"--r1-tp {size}: expected the number of GPUs that a model is spread over")
    return int(size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cargo:
    """
    A copy of a run's store on its way from one node to another.

    Attributes:
        place: Of the run's folder in its attempt's, ``org/model/stamp``; empty where only a log is sent.
        files: The contents of the run's files, by name.
        log: What pytest has printed since the last one.
    """

    place: str = ""
    files: Mapping[str, bytes]
    log: bytes = b""

    def unpack(self, folder: Path) -> Path:
        """Write the files into an attempt's folder that holds nothing yet, and return the run's."""
        run = folder / self.place
        run.mkdir(parents=True)
        for name, content in self.files.items():
            (run / name).write_bytes(content)
        return run


def packed(run: Path, *, attempt: Path, log: bytes = b"") -> Cargo:
    """Read a run's files; no other process may be writing them."""
    files = {path.name: path.read_bytes() for path in sorted(run.iterdir()) if path.is_file()}
    return Cargo(place=str(run.relative_to(attempt)), files=files, log=log)
