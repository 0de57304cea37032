"""What is known of a Ray submission by its folder alone; test_cluster.py has a cluster."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.errors import R1EvalError, RunError
from pytest_r1eval.ray.backend import SILENT_S, judge_end, next_order
from pytest_r1eval.ray.order import FILE_NAME, Order, alive_file, end_file, text_of

ORDER = Order(
    model="org/m", n_slices=1, marks="aime24", root="/here", output_dir="/here/runs", slice_arguments=(),
    judge_arguments=(), address="127.0.0.1:1", gpus=0, cpus=1, ship_every_s=30.0, job=3,
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make the folder of a submission that was submitted three times."""
    (tmp_path / "results").mkdir()
    (tmp_path / FILE_NAME).write_text(text_of(ORDER))
    return tmp_path


def test_a_name_that_is_given_again_goes_on(folder: Path) -> None:
    """The same order in a folder whose actor has ended is its next submission, whatever number it comes with."""
    end_file(folder, ORDER).write_text("CANCELLED\n")
    assert next_order(folder, replace(ORDER, job=1)) == replace(ORDER, job=4)


def test_a_new_name_begins(tmp_path: Path) -> None:
    """An order in a folder that is not there yet is submitted as it is."""
    assert next_order(tmp_path / "new", replace(ORDER, job=1)).job == 1


def test_another_order_under_a_name_is_refused(folder: Path) -> None:
    """A name whose folder holds another order is refused before a cluster is asked."""
    with pytest.raises(RunError, match="holds another submission; expected the same options again"):
        next_order(folder, replace(ORDER, n_slices=2, job=1))


def test_a_sign_of_life_needs_no_cluster(folder: Path) -> None:
    """An actor that showed life lately has not ended, and the cluster is asked only when it is silent."""
    sign = alive_file(folder, ORDER)
    sign.touch()
    assert judge_end(folder) is None
    long_ago = time.time() - 2 * SILENT_S
    os.utime(sign, (long_ago, long_ago))
    with pytest.raises(R1EvalError, match=r"no Ray cluster at 127\.0\.0\.1:1|Ray is not installed"):
        judge_end(folder)
