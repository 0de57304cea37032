"""What a Ray submission keeps and sends, without a cluster."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.commands.cli import main
from pytest_r1eval.errors import PlanError, RunError
from pytest_r1eval.ray.order import FILE_NAME, Cargo, Order, order_in, packed, tensor_parallel_size, text_of

ORDER = Order(
    model="org/m", n_slices=3, marks="aime24", root="/here", output_dir="/here/runs",
    slice_arguments=("--r1-tp", "2"), judge_arguments=("--r1-sigmas", "4"), address=None, gpus=2, cpus=1,
    ship_every_s=30.0, job=1,
)  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "n_gpus"), [((), 1), (("--r1-tp", "4"), 4), (("--r1-tp=8",), 8), (("--r1-tp", "4", "--r1-tp=2"), 2)]
)
def test_a_slice_asks_for_the_gpus_of_its_engine(arguments: tuple[str, ...], n_gpus: int) -> None:
    """A slice asks for as many GPUs as a tensor is spread over; the last option counts."""
    assert tensor_parallel_size(arguments) == n_gpus


def test_a_size_that_is_no_number_is_refused() -> None:
    """A tensor-parallel size that is no number is refused before Ray is asked for it."""
    with pytest.raises(PlanError, match="--r1-tp two: expected the number of GPUs"):
        tensor_parallel_size(("--r1-tp", "two"))


def test_an_order_is_read_as_it_was_written(tmp_path: Path) -> None:
    """The order in a submission's folder is read as it was written, and a folder without one is refused."""
    (tmp_path / FILE_NAME).write_text(text_of(replace(ORDER, job=2)))
    assert order_in(tmp_path) == replace(ORDER, job=2)
    with pytest.raises(RunError, match="is not a submission"):
        order_in(tmp_path / "other")


def test_cargo_arrives_as_it_was_packed(tmp_path: Path) -> None:
    """A run's files reach another attempt's folder at the same place, with the same content."""
    run = tmp_path / "attempt-1-0" / "org" / "m" / "stamp"
    run.mkdir(parents=True)
    (run / "run.sqlite").write_bytes(b"rows")
    cargo = packed(run, attempt=tmp_path / "attempt-1-0")
    assert cargo == Cargo(place="org/m/stamp", files={"run.sqlite": b"rows"})
    unpacked = cargo.unpack(tmp_path / "attempt-1-1")
    assert unpacked == tmp_path / "attempt-1-1" / "org" / "m" / "stamp"
    assert (unpacked / "run.sqlite").read_bytes() == b"rows"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("ray", "submit", "--model", "org/m"), 2),
        (("gates", ".", "--framework", "trl", "--runner", "ray"), 4),
    ],
)
def test_without_ray(
    command: Sequence[str],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Without Ray, a submission and a watcher say in one line what to install, and write nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([*command, "--benchmarks", "aime24"]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert "Ray is not installed here" in line
    assert "pip install 'pytest-r1eval[ray]'" in line
    assert list(tmp_path.iterdir()) == []
