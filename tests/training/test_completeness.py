"""Without a marker a checkpoint is complete when it is whole and its files stay as they are."""

from __future__ import annotations

from pathlib import Path

from pytest_r1eval.training.completeness import Looks, Standing, lack_of
from pytest_r1eval.training.finding import Found
from pytest_r1eval.training.frameworks import SETTLED, Marker, MarkerKind
from tests.adapters import write_adapter
from tests.training.watched import write_model


def test_files_that_change_are_being_written(tmp_path: Path) -> None:
    """A whole checkpoint is complete only after its files stayed as they are for long enough."""
    found = Found(step=1, folder=write_model(tmp_path / "checkpoint-1"))
    looks = Looks(tmp_path, marker=SETTLED, is_native=False, settle_s=10.0)
    first = looks.at(found, now_s=100.0)
    assert (first.standing, first.is_changing) == (Standing.SETTLING, False)
    (found.folder / "generation_config.json").write_text("{}")
    second = looks.at(found, now_s=111.0)
    assert (second.standing, second.is_changing) == (Standing.SETTLING, True)
    assert looks.at(found, now_s=120.0).standing is Standing.SETTLING
    assert looks.at(found, now_s=121.0).standing is Standing.COMPLETE


def test_a_shard_of_the_index_that_is_missing(tmp_path: Path) -> None:
    """A checkpoint that lacks a shard of its index is coming, however long its files stay as they are."""
    found = Found(step=1, folder=write_model(tmp_path / "checkpoint-1", shards=3, missing=1))
    look = Looks(tmp_path, marker=SETTLED, is_native=False, settle_s=0.0).at(found, now_s=0.0)
    assert look.standing is Standing.COMING
    assert "lacks model-00003-of-00003.safetensors" in look.why


def test_a_shard_that_is_cut_off(tmp_path: Path) -> None:
    """A shard that is shorter than its header says is not whole."""
    folder = write_model(tmp_path / "checkpoint-1", shards=2)
    path = folder / "model-00002-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert "is cut off" in (lack_of(folder) or "")


def test_half_an_adapter(tmp_path: Path) -> None:
    """An adapter is whole with its configuration and its weights, and not with one of them."""
    assert lack_of(write_adapter(tmp_path / "whole")) is None
    half = write_adapter(tmp_path / "half")
    (half / "adapter_model.safetensors").unlink()
    assert lack_of(half) is not None
    (half / "adapter_config.json").unlink()
    assert "holds no weights" in (lack_of(half) or "")


def test_a_marker_is_waited_for(tmp_path: Path) -> None:
    """A whole and settled checkpoint is not complete while its trainer's marker is missing."""
    found = Found(step=1, folder=write_model(tmp_path / "step_1"))
    looks = Looks(tmp_path, marker=Marker(kind=MarkerKind.IN_FOLDER, name="STABLE"), is_native=False, settle_s=0.0)
    assert looks.at(found, now_s=0.0).why == "waits for STABLE"
    (found.folder / "STABLE").touch()
    assert looks.at(found, now_s=0.0).standing is Standing.COMPLETE
