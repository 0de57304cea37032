"""Each preset finds the complete checkpoints of a folder laid out as its trainer writes it, and no others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_r1eval.errors import PlanError
from pytest_r1eval.training.completeness import Looks, Standing
from pytest_r1eval.training.finding import found_in, pattern_of
from pytest_r1eval.training.frameworks import FRAMEWORKS, framework_named, layout_of
from tests.adapters import write_adapter
from tests.training.watched import write_model


def standings(root: Path, *, framework: str, pattern: str | None = None, converts: bool = False) -> dict[int, Standing]:
    """Look once at every checkpoint of a folder whose files have settled."""
    layout = layout_of(framework_named(framework), pattern=pattern, marker=None, converts=converts)
    looks = Looks(root, marker=layout.marker, is_native=converts, settle_s=0.0)
    found = found_in(root, pattern_of(layout.pattern), without=root / "r1eval")
    return {one.step: looks.at(one, now_s=0.0).standing for one in found}


def write_shards(folder: Path, *names: str) -> None:
    """Write a trainer's own files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"0")


def verl(root: Path) -> None:
    """Three saves of verl with hf_model among its contents; the tracker names the second."""
    for step in (5, 10, 15):
        actor = root / f"global_step_{step}" / "actor"
        write_shards(
            actor,
            "fsdp_config.json",
            *(f"{kind}_world_size_2_rank_{rank}.pt" for kind in ("model", "optim", "extra_state") for rank in (0, 1)),
        )
        write_model(actor / "huggingface", seed=step, shards=2)
        write_shards(root / f"global_step_{step}", "data.pt")
        write_model(root / f"global_step_{step}" / "critic" / "huggingface", seed=step)
    (root / "latest_checkpointed_iteration.txt").write_text("10")


def openrlhf(root: Path) -> None:
    """Two saves of OpenRLHF with --save_hf_ckpt, one of them an adapter, beside DeepSpeed's own; a third is half."""
    write_shards(root / "_actor" / "global_step5", "mp_rank_00_model_states.pt")
    (root / "_actor" / "latest").write_text("global_step5")
    write_model(root / "global_step5_hf", seed=5, shards=2)
    write_adapter(root / "global_step10_hf")
    write_model(root / "global_step20_hf", seed=20, shards=3, missing=1)


def prime_rl(root: Path) -> None:
    """Two saves of prime-rl, the second without STABLE, beside the trainer's state."""
    for step in (20, 100):
        write_shards(root / "checkpoints" / f"step_{step}" / "trainer", "__0_0.distcp", ".metadata")
        write_model(root / "weights" / f"step_{step}", seed=step, shards=2)
        write_shards(root / "weights" / f"step_{step}" / "lora_adapters", "adapter_model.bin", "adapter_config.json")
    (root / "weights" / "step_20" / "STABLE").touch()


def trainer(root: Path) -> None:
    """Two saves of transformers' Trainer, the second without its state, beside logs and the final model."""
    for step in (50, 100):
        write_shards(write_model(root / f"checkpoint-{step}", seed=step), "optimizer.pt", "scheduler.pt")
    (root / "checkpoint-50" / "trainer_state.json").write_text("{}")
    write_model(root, seed=100)
    write_shards(root / "runs", "events.out.tfevents.1")


@pytest.mark.parametrize(
    ("framework", "write", "expected"),
    [
        ("verl", verl, {5: Standing.COMPLETE, 10: Standing.COMPLETE, 15: Standing.COMING}),
        ("openrlhf", openrlhf, {5: Standing.COMPLETE, 10: Standing.COMPLETE, 20: Standing.COMING}),
        ("prime-rl", prime_rl, {20: Standing.COMPLETE, 100: Standing.COMING}),
        ("trl", trainer, {50: Standing.COMPLETE, 100: Standing.COMING}),
        ("axolotl", trainer, {50: Standing.COMPLETE, 100: Standing.COMING}),
    ],
)
def test_what_an_engine_loads(
    tmp_path: Path, framework: str, write: Callable[[Path], None], expected: dict[int, Standing]
) -> None:
    """A preset finds the trainer's own steps and goes by its own marker."""
    write(tmp_path)
    assert standings(tmp_path, framework=framework) == expected


def nemo_rl(root: Path) -> None:
    """Two saves of NeMo-RL; the third is still under its temporary name."""
    for name in ("step_10", "step_100", "tmp_step_110"):
        write_shards(
            root / name, "training_info.json", "config.yaml", "train_dataloader.pt", "policy/weights/__0_0.distcp",
            "policy/weights/.metadata", "policy/optimizer/__0_0.distcp", "policy/tokenizer/tokenizer.json",
        )  # fmt: skip


def slime(root: Path) -> None:
    """Two saves of slime's Megatron; the tracker names the first."""
    for step in (9, 19):
        write_shards(root / f"iter_{step:07d}", "__0_0.distcp", ".metadata", "common.pt", "metadata.json")
    (root / "latest_checkpointed_iteration.txt").write_text("9")


@pytest.mark.parametrize(
    ("framework", "write", "expected"),
    [
        ("verl", verl, {5: Standing.COMPLETE, 10: Standing.COMPLETE, 15: Standing.COMING}),
        ("nemo-rl", nemo_rl, {10: Standing.COMPLETE, 100: Standing.COMPLETE}),
        ("slime", slime, {9: Standing.COMPLETE, 19: Standing.COMING}),
        ("trl", trainer, {50: Standing.COMPLETE, 100: Standing.COMING}),
    ],
)
def test_what_a_converter_reads(
    tmp_path: Path, framework: str, write: Callable[[Path], None], expected: dict[int, Standing]
) -> None:
    """With a converter a preset finds the folders that the trainer's own format is in."""
    write(tmp_path)
    assert standings(tmp_path, framework=framework, converts=True) == expected


def test_what_slime_saves_for_engines_is_complete_by_itself(tmp_path: Path) -> None:
    """Slime's tracker is older than its --save-hf folder, which therefore has to be whole and settled."""
    slime(tmp_path)
    write_model(tmp_path / "hf" / "rollout_9", seed=9, shards=2)
    write_model(tmp_path / "hf" / "rollout_19", seed=19, shards=2, missing=1)
    found = standings(tmp_path, framework="slime", pattern="hf/rollout_*")
    assert found == {9: Standing.COMPLETE, 19: Standing.COMING}


def test_verl_without_weights_is_broken(tmp_path: Path) -> None:
    """A folder that verl calls complete and that holds a configuration alone is broken, not waited for."""
    write_model(tmp_path / "global_step_5" / "actor" / "huggingface", weights=False)
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("5")
    assert standings(tmp_path, framework="verl") == {5: Standing.BROKEN}


def test_each_preset_names_its_source() -> None:
    """Every preset says at which commit or version its layout was read."""
    assert all(" at " in row.source or "transformers 5" in row.source for row in FRAMEWORKS.values())
    assert [*FRAMEWORKS] == ["verl", "nemo-rl", "openrlhf", "slime", "prime-rl", "trl", "axolotl"]


@pytest.mark.parametrize(("name", "meant"), [("varl", "verl"), ("NeMo_RL", "nemo-rl"), ("megatron", None)])
def test_an_unknown_framework_is_refused_with_the_nearest(name: str, meant: str | None) -> None:
    """An unknown preset is refused with the nearest name, if there is one, and all names."""
    with pytest.raises(PlanError, match="expected one of verl, nemo-rl, openrlhf") as caught:
        framework_named(name)
    assert (f"did you mean {meant}?" in str(caught.value)) == (meant is not None)


@pytest.mark.parametrize("name", ["nemo-rl", "slime"])
def test_a_trainer_without_an_engine_s_format_needs_a_converter(name: str) -> None:
    """A trainer that writes nothing an engine loads is refused with its own converter's command."""
    with pytest.raises(PlanError, match=r"add --convert 'python .*\{checkpoint\}.*\{out\}"):
        layout_of(framework_named(name), pattern=None, marker=None, converts=False)


def test_no_layout_is_refused() -> None:
    """Neither a preset nor a pattern is refused with both."""
    with pytest.raises(PlanError, match=r"expected --framework NAME, or .* --pattern"):
        layout_of(None, pattern=None, marker=None, converts=False)


def test_a_marker_of_one_s_own(tmp_path: Path) -> None:
    """A file that is named as the marker decides for any layout."""
    for step in (1, 2):
        write_model(tmp_path / f"save-{step}", seed=step)
    (tmp_path / "save-1" / "DONE").touch()
    layout = layout_of(None, pattern="save-*", marker="DONE", converts=False)
    looks = Looks(tmp_path, marker=layout.marker, is_native=False, settle_s=60.0)
    found = found_in(tmp_path, pattern_of(layout.pattern), without=tmp_path / "r1eval")
    assert [looks.at(one, now_s=0.0).standing for one in found] == [Standing.COMPLETE, Standing.COMING]
