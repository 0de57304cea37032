"""Checkpoints whose weights alone differ have one layout, and anything else that an engine reads makes another one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pytest_r1eval.checkpoints.inspect import inspect_checkpoint
from pytest_r1eval.checkpoints.weights import stored_tensors
from tests.adapters import SHIPPED, write_adapter, write_tensors

FALLEN = SHIPPED.with_name("tiny-arithmetic-regressed")


def layout(folder: Path) -> str | None:
    """Return the layout of a folder as it is now."""
    return inspect_checkpoint(str(folder), revision=None).layout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Copy the shipped checkpoint."""
    return shutil.copytree(SHIPPED, tmp_path / "copy")


def change(path: Path, **settings: object) -> None:
    """Change settings of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def test_two_steps_of_a_training_have_one_layout() -> None:
    """The values of weights are no part of the layout."""
    assert layout(SHIPPED) == layout(FALLEN) is not None


def test_what_a_trainer_leaves_is_no_part_of_it(copy: Path) -> None:
    """Where a model came from, what wrote its config and a trainer's own state change no layout."""
    change(copy / "config.json", _name_or_path="elsewhere", transformers_version="9")
    (copy / "trainer_state.json").write_text("{}")
    names = dict.fromkeys(stored_tensors(copy / "model.safetensors"), "model.safetensors")
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    assert layout(copy) == layout(SHIPPED)


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer_config.json"])
def test_other_settings_are_another_layout(copy: Path, name: str) -> None:
    """A setting of the model, of its generation or of its tokenizer makes another layout."""
    change(copy / name, made_up=1)
    assert layout(copy) not in {layout(SHIPPED), None}


def test_other_tensors_are_another_layout(copy: Path) -> None:
    """A further tensor makes another layout, though the configuration is the same."""
    write_tensors(copy / "extra.safetensors", {"more": (2, 2)})
    assert layout(copy) not in {layout(SHIPPED), None}


def test_a_tensor_in_two_files_has_no_layout(copy: Path) -> None:
    """Where two files hold a tensor of one name, which of them an engine loads is not known here."""
    write_tensors(copy / "extra.safetensors", {"model.norm.weight": (2, 2)})
    assert layout(copy) is None


def test_other_files_of_weights_have_no_layout(copy: Path) -> None:
    """Weights beside safetensors files are read by the engine's own rules, so there is no layout."""
    (copy / "pytorch_model.bin").write_bytes(b"x")
    assert layout(copy) is None


def test_an_adapter_has_no_layout(tmp_path: Path) -> None:
    """An adapter has no layout, as it is loaded beside its base model."""
    assert layout(write_adapter(tmp_path / "a")) is None
