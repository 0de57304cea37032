"""Checkpoints are found by a pattern, in numeric order, and each is told from a later one of its step."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from pytest_r1eval.errors import PlanError
from pytest_r1eval.training.finding import found_in, pattern_of, stamp_of
from tests.adapters import write_adapter
from tests.training.watched import OLD_S, write_model


def steps(root: Path, pattern: str) -> list[int]:
    """List the steps that a pattern finds."""
    return [one.step for one in found_in(root, pattern_of(pattern), without=root / "r1eval")]


@pytest.mark.parametrize(
    ("pattern", "folders", "expected"),
    [
        ("global_step_*/actor/huggingface", ["global_step_1000", "global_step_200", "global_step_30"], [30, 200, 1000]),
        ("iter_*", ["iter_0000200", "iter_0001000"], [200, 1000]),
        ("global_step*_hf", ["global_step5_hf", "best_hf", "global_step10_hf"], [5, 10]),
        ("epoch_*/step_*", ["epoch_2/step_40", "epoch_1/step_7"], [7, 40]),
        ("checkpoint-*", ["checkpoint-best", "checkpoint-10", "r1eval/checkpoint-20"], [10]),
    ],
)
def test_steps_are_numbers(tmp_path: Path, pattern: str, folders: list[str], expected: list[int]) -> None:
    """Steps are found as numbers and in their order; what has no number, and our own folder, is not a checkpoint."""
    rest = pattern.partition("/actor")[2]
    for folder in folders:
        (tmp_path / (f"{folder}/actor{rest}" if rest else folder)).mkdir(parents=True)
    assert steps(tmp_path, pattern) == expected


@pytest.mark.parametrize("pattern", ["/abs/step_*", "../step_*", "**/step_*", "checkpoint-final", ""])
def test_a_pattern_without_a_step_is_refused(pattern: str) -> None:
    """A pattern that leads elsewhere or names no step is refused with an example."""
    with pytest.raises(PlanError, match=re.escape(f"--pattern {pattern!r}: expected a path below the folder with *")):
        pattern_of(pattern)


def test_two_folders_of_one_step_are_refused(tmp_path: Path) -> None:
    """A pattern that matches two folders of one step is refused with both."""
    for run in ("a", "b"):
        (tmp_path / run / "step_5").mkdir(parents=True)
    with pytest.raises(PlanError, match=r"a/step_5 and .*b/step_5, both step 5; expected one folder for each step"):
        steps(tmp_path, "*/step_*")


def test_only_weights_tell_a_checkpoint_from_a_later_one(tmp_path: Path) -> None:
    """Removing an optimizer leaves a checkpoint what it is; other weights under its step make another one."""
    folder = write_model(tmp_path / "checkpoint-5", seed=1)
    (folder / "optimizer.pt").write_text("x")
    before = stamp_of(folder, is_native=False)
    (folder / "optimizer.pt").unlink()
    assert stamp_of(folder, is_native=False) == before
    write_model(folder, seed=2)
    os.utime(folder / "model.safetensors", (OLD_S, OLD_S))
    assert stamp_of(folder, is_native=False) != before
    assert stamp_of(tmp_path / "nothing", is_native=False) is None
    assert stamp_of(write_adapter(tmp_path / "adapter"), is_native=False) is not None


def test_a_native_checkpoint_is_its_model_s_files(tmp_path: Path) -> None:
    """Of a trainer's own format the model's files count, in folders below too, and the optimizer's do not."""
    for name in ("policy/weights/__0_0.distcp", "policy/optimizer/__0_0.distcp", "training_info.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    before = stamp_of(tmp_path, is_native=True)
    (tmp_path / "policy/optimizer/__0_0.distcp").unlink()
    (tmp_path / "training_info.json").write_text("longer")
    assert stamp_of(tmp_path, is_native=True) == before
    (tmp_path / "policy/weights/__0_0.distcp").write_text("longer")
    assert stamp_of(tmp_path, is_native=True) != before
