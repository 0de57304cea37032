"""An adapter is judged on its base model: both are its identity. What vLLM does not serve is refused in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pytest_r1eval.checkpoints.inspect import Checkpoint, inspect_checkpoint
from pytest_r1eval.errors import ModelError
from tests.adapters import DOWN, MODULES, QUERY, SHIPPED, write_adapter


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """Write an adapter of the shipped checkpoint."""
    return write_adapter(tmp_path / "tuned" / "checkpoint-3")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Copy the shipped checkpoint."""
    return Path(shutil.copytree(SHIPPED, tmp_path / "copy" / "tiny-arithmetic"))


def inspected(model: Path, **options: object) -> Checkpoint:
    """Inspect an adapter, or a model with one."""
    return inspect_checkpoint(str(model), revision=None, **options)  # type: ignore[arg-type]  # as named there


def refusal(model: Path | str, **options: object) -> str:
    """Return what a user reads, in one line."""
    with pytest.raises(ModelError) as caught:
        inspect_checkpoint(str(model), revision=None, **options)  # type: ignore[arg-type]  # as named there
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestFound:
    def test_the_base_model_is_the_one_that_the_adapter_names(self, adapter: Path) -> None:
        """The engine loads the base model that the adapter names, and the run has the adapter's name and place."""
        found = inspected(adapter)
        assert (found.model, found.revision) == (str(SHIPPED), None)
        assert (found.name, found.place) == ("tuned/checkpoint-3", str(adapter))
        assert found.adapter is not None
        assert (found.adapter.rank, found.adapter.is_merged) == (8, False)

    def test_another_place_of_the_base_model(self, adapter: Path, base: Path) -> None:
        """--r1-base-model replaces the base model that the adapter names."""
        assert inspected(adapter, base_model=str(base)).model == str(base)

    def test_an_adapter_beside_the_model(self, adapter: Path, base: Path) -> None:
        """--r1-adapter beside the base model, or a copy of it, asks the same question as the adapter alone."""
        alone, beside = inspected(adapter), inspected(SHIPPED, adapter=str(adapter))
        assert alone == beside
        assert inspected(base, adapter=str(adapter)).identity == alone.identity

    def test_its_sizes_are_the_base_models_and_its_own(self, adapter: Path) -> None:
        """An adapter's number of parameters is the base model's plus its own."""
        n_base = inspected(SHIPPED).size.n_parameters
        n_own = 8 * (128 + 128) + 8 * (384 + 128)
        assert n_base is not None
        assert inspected(adapter).size.n_parameters == n_base + n_own
        assert inspected(adapter).max_position == inspected(SHIPPED).max_position

    def test_the_template_that_it_was_trained_with_goes_before_the_base_models(self, adapter: Path) -> None:
        """A tokenizer with a template beside the adapter goes before the base model's; an incomplete one does not."""
        base = inspected(SHIPPED)
        assert inspected(adapter).asked_through == (str(SHIPPED), None)
        assert inspected(adapter).identity.chat_template == base.identity.chat_template
        shutil.copy(SHIPPED / "tokenizer.json", adapter)
        assert inspected(adapter).asked_through == (str(SHIPPED), None)
        (adapter / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
        assert inspected(adapter).asked_through == (str(adapter), None)
        assert inspected(adapter).identity.chat_template != base.identity.chat_template

    def test_a_base_model_without_a_chat_template(self, adapter: Path, base: Path) -> None:
        """An adapter with a chat template of its own is asked through it, though the base model has none."""
        shutil.copy(SHIPPED / "tokenizer.json", adapter)
        shutil.copy(SHIPPED / "tokenizer_config.json", adapter)
        (base / "tokenizer_config.json").unlink()
        assert inspected(adapter, base_model=str(base)).asked_through == (str(adapter), None)


class TestIdentity:
    def test_it_is_neither_the_base_models_nor_another_adapters(self, adapter: Path, tmp_path: Path) -> None:
        """Base model, adapter and another adapter have three different digests."""
        other = write_adapter(tmp_path / "tuned" / "checkpoint-6", lora_alpha=1)
        digests = {inspected(each).identity.checkpoint for each in (SHIPPED, adapter, other)}
        assert len(digests) == 3
        assert inspected(adapter).identity.weights != inspected(SHIPPED).identity.weights

    def test_a_byte_of_the_base_model_counts(self, adapter: Path, base: Path) -> None:
        """A changed byte of the base model's weights changes the adapter's identity."""
        before = inspected(adapter, base_model=str(base)).identity
        path = base / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
        after = inspected(adapter, base_model=str(base)).identity
        assert before.weights != after.weights
        assert after.changes_since(before) == "model.safetensors changed"

    def test_a_byte_of_the_adapter_counts(self, adapter: Path) -> None:
        """A changed byte of the adapter's weights changes its digest, and the file is named."""
        before = inspected(adapter).identity
        path = adapter / "adapter_model.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
        assert inspected(adapter).identity.changes_since(before) == "adapter/adapter_model.safetensors changed"
        assert inspected(adapter).identity.weights != before.weights

    @pytest.mark.parametrize("reread", [False, True])
    def test_files_that_change_while_a_run_goes_on(self, adapter: Path, base: Path, *, reread: bool) -> None:
        """A file that changes in the adapter's or the base model's folder during a run is named."""
        found = inspected(adapter, base_model=str(base))
        assert found.changes(reread=reread) == ""
        (adapter / "adapter_config.json").write_text("{}")
        (base / "generation_config.json").unlink()
        assert found.changes(reread=reread) == "adapter/adapter_config.json changed, generation_config.json is gone"

    def test_what_a_trainer_leaves_beside_it_does_not_count(self, adapter: Path) -> None:
        """Optimizer, README and logs beside an adapter do not change its identity."""
        before = inspected(adapter).identity
        for name in ("README.md", "optimizer.pt", "training_args.bin", "trainer_state.json"):
            (adapter / name).write_text("x")
        assert inspected(adapter).identity == before


UNSERVED = [
    ({"use_dora": True}, "use_dora=true"),
    ({"modules_to_save": ["lm_head"]}, 'modules_to_save=["lm_head"]'),
    ({"lora_bias": True}, "lora_bias=true"),
    ({"bias": "lora_only"}, 'bias="lora_only"'),
    ({"rank_pattern": {"q_proj": 8}}, 'rank_pattern={"q_proj": 8}'),
    ({"alpha_pattern": {"q_proj": 3}}, 'alpha_pattern={"q_proj": 3}'),
    ({"init_lora_weights": "pissa"}, 'init_lora_weights="pissa"'),
    ({"trainable_token_indices": [3]}, "trainable_token_indices=[3]"),
    ({"layer_replication": [[0, 4]]}, "layer_replication=[[0, 4]]"),
    ({"kasa_config": {"rank": 2}}, 'kasa_config={"rank": 2}'),
    ({"a_setting_of_next_year": 1}, "a_setting_of_next_year=1"),
    ({"target_modules": ["q_proj", "lm_head"]}, "target_modules with lm_head"),
    ({"peft_type": "LOHA"}, "peft_type=LOHA"),
]


class TestUnserved:
    """An engine drops an unknown setting without a word, and dies of a known one after its start."""

    @pytest.mark.parametrize(("settings", "named"), UNSERVED, ids=[named for _, named in UNSERVED])
    def test_a_setting_is_refused_with_the_command_that_merges(
        self, tmp_path: Path, settings: dict[str, object], named: str
    ) -> None:
        """A setting that vLLM does not serve is refused with --r1-adapter-merge and the command that merges."""
        adapter = write_adapter(tmp_path / "my run", **settings)  # type: ignore[arg-type]  # PEFT's
        assert refusal(adapter) == (
            f"{adapter} is an adapter that vLLM does not serve: {named}; expected plain LoRA. Add --r1-adapter-merge, "
            f"or merge it: python -m pytest_r1eval.checkpoints.merging '{adapter}' {SHIPPED} MERGED"
        )
        merged = inspected(adapter, merges=True).adapter
        assert merged is not None
        assert merged.is_merged

    def test_a_tensor_that_is_not_lora_is_refused(self, tmp_path: Path) -> None:
        """An adapter with a tensor that is not LoRA is refused, even where its settings do not mention it."""
        adapter = write_adapter(tmp_path / "a", more={"base_model.model.lm_head.weight": (265, 128)})
        assert "does not serve: base_model.model.lm_head.weight; expected plain LoRA" in refusal(adapter)
        (tmp_path / "b").mkdir()
        both = write_adapter(tmp_path / "b", modules={**MODULES, "lm_head": (128, 265)})
        assert "base_model.model.lm_head.lora_A.weight and 1 more; expected" in refusal(both)

    def test_a_rank_above_the_highest(self, tmp_path: Path) -> None:
        """An adapter of rank 512 is accepted, and one of rank 513 is refused."""
        assert inspected(write_adapter(tmp_path / "a", rank=512)).adapter is not None
        assert "does not serve: r=513, above 512; expected" in refusal(write_adapter(tmp_path / "b", rank=513))

    @pytest.mark.parametrize(
        "settings", [{"use_rslora": True}, {"init_lora_weights": "gaussian"}, {"lora_alpha": 3.5}, {"lora_dropout": 0}]
    )
    def test_what_vllm_does_as_peft_does_is_served(self, tmp_path: Path, settings: dict[str, object]) -> None:
        """Adapters whose settings vLLM applies as PEFT does, rsLoRA among them, are accepted."""
        assert inspected(write_adapter(tmp_path / "a", **settings)).adapter is not None  # type: ignore[arg-type]


class TestAnotherBase:
    def test_a_module_of_another_size(self, tmp_path: Path) -> None:
        """An adapter whose module has another size than the base model's is refused, with both sizes."""
        adapter = write_adapter(tmp_path / "a", modules={QUERY: (1536, 1536)}, base="Qwen/Qwen2.5-1.5B")
        assert refusal(adapter, base_model=str(SHIPPED)) == (
            f"{adapter} is an adapter of another model than {SHIPPED}: {QUERY} is 128 x 128 in it, and the adapter's "
            "is 1536 x 1536; adapter_config.json names Qwen/Qwen2.5-1.5B. Give the model that it was trained on as "
            "--r1-base-model"
        )

    @pytest.mark.parametrize("merges", [False, True])
    def test_a_module_that_is_missing(self, tmp_path: Path, *, merges: bool) -> None:
        """An adapter of a layer that the base model lacks is refused, also where it would be merged."""
        adapter = write_adapter(tmp_path / "a", modules={DOWN.replace(".3.", ".4."): (384, 128)})
        assert "model.layers.4.mlp.down_proj is missing in it" in refusal(adapter, merges=merges)

    def test_a_prefix_of_another_release_is_the_same_module(self, tmp_path: Path) -> None:
        """A module is recognised under the prefix that another release of the library gives it."""
        adapter = write_adapter(tmp_path / "a", modules={f"model.language_{QUERY}": (128, 128)})
        assert inspected(adapter).adapter is not None

    def test_another_name_beside_the_model(self, tmp_path: Path) -> None:
        """--r1-adapter on a model that it does not name is refused, with the words that insist."""
        adapter = write_adapter(tmp_path / "a", base="Qwen/Qwen2.5-1.5B")
        assert refusal(SHIPPED, adapter=str(adapter)) == (
            f"--r1-adapter {adapter} is an adapter of Qwen/Qwen2.5-1.5B, by its adapter_config.json, and --r1-model is "
            f"{SHIPPED}; expected its base model. If they are the same: --r1-model {adapter} --r1-base-model {SHIPPED}"
        )

    def test_an_equal_folder_of_another_name(self, tmp_path: Path, base: Path) -> None:
        """A base model in a folder of another name is accepted where its weights are equal."""
        moved = base.rename(base.with_name("moved"))
        adapter = write_adapter(tmp_path / "a", base=moved)
        assert inspected(SHIPPED, adapter=str(adapter)).adapter is not None


class TestDamaged:
    def test_ranks_of_two_saves(self, tmp_path: Path) -> None:
        """An adapter whose matrices have another rank than its settings is refused, as the scaling would be wrong."""
        adapter = write_adapter(tmp_path / "a")
        config = json.loads((adapter / "adapter_config.json").read_text())
        (adapter / "adapter_config.json").write_text(json.dumps(config | {"r": 16}))
        assert refusal(adapter) == (
            f"{adapter}: the matrices of {QUERY} have the ranks 8 and 8, and adapter_config.json says 16; expected "
            "files of one save: copy the adapter again"
        )

    def test_half_a_pair(self, tmp_path: Path) -> None:
        """An adapter with one matrix of a LoRA pair and without the other is refused."""
        adapter = write_adapter(tmp_path / "a", modules={}, more={f"base_model.model.{QUERY}.lora_A.weight": (8, 128)})
        assert refusal(adapter).startswith(f"{adapter} holds lora_A of {QUERY} and not its other half; expected both")

    def test_no_tensor(self, tmp_path: Path) -> None:
        """An adapter whose file of weights holds no tensor is refused."""
        assert "its weights hold no tensor" in refusal(write_adapter(tmp_path / "a", modules={}))

    def test_cut_off(self, adapter: Path) -> None:
        """An adapter's file that is shorter than its header demands is refused as cut off."""
        path = adapter / "adapter_model.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
        assert f"{path} is cut off" in refusal(adapter)

    def test_a_pointer(self, adapter: Path) -> None:
        """An adapter's weights that are a pointer of Git LFS are refused as one."""
        (adapter / "adapter_model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
        assert "is a Git-LFS pointer" in refusal(adapter)

    @pytest.mark.parametrize(
        ("name", "expected"),
        [("adapter_model.bin", "adapter_model.bin, whose content is a program"), ("x", "no weights")],
    )
    def test_weights_without_a_header(self, adapter: Path, name: str, expected: str) -> None:
        """An adapter's weights that are not safetensors are refused with the way to save them again."""
        (adapter / "adapter_model.safetensors").rename(adapter / name)
        assert refusal(adapter) == (
            f"{adapter} is an adapter with {expected}; expected adapter_model.safetensors: save it again "
            "(save_pretrained of PEFT writes that)"
        )

    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            ({"peft_type": None}, "adapter_config.json has no peft_type; expected what PEFT's save_pretrained writes"),
            ({"r": 0}, "the rank r in adapter_config.json is 0; expected a whole number, 1 or more"),
            ({"r": "8"}, "the rank r in adapter_config.json is '8'; expected a whole number, 1 or more"),
            ({"r": True}, "the rank r in adapter_config.json is True; expected a whole number, 1 or more"),
        ],
    )
    def test_a_configuration_that_cannot_be(self, adapter: Path, settings: dict[str, object], expected: str) -> None:
        """An adapter's impossible setting is refused with what was found and what was expected."""
        config = json.loads((adapter / "adapter_config.json").read_text())
        (adapter / "adapter_config.json").write_text(json.dumps(config | settings))
        assert f"{adapter}: {expected}" in refusal(adapter)

    def test_a_configuration_that_cannot_be_read(self, adapter: Path) -> None:
        """An adapter's settings that are no JSON are refused by their path."""
        (adapter / "adapter_config.json").write_text("{")
        assert refusal(adapter).startswith(f"{adapter}/adapter_config.json cannot be read: ")


class TestBaseModel:
    def test_none_is_named(self, tmp_path: Path) -> None:
        """An adapter that names no base model is refused, with the option that names one."""
        adapter = write_adapter(tmp_path / "a", base=None)
        expected = f"{adapter}: adapter_config.json names no base model; give it: --r1-base-model MODEL"
        assert refusal(adapter) == expected

    def test_it_is_not_here(self, tmp_path: Path) -> None:
        """A base model in a folder that is not on this machine is refused, with the option that names its place."""
        adapter = write_adapter(tmp_path / "a", base="/scratch/models/base")
        assert refusal(adapter) == (
            f"{adapter} is an adapter, and its base model /scratch/models/base: no such folder, and a Hub id would "
            "read org/name; check the path (or give the base model's place: --r1-base-model)"
        )

    def test_it_is_an_adapter_itself(self, adapter: Path, tmp_path: Path) -> None:
        """An adapter whose base model is an adapter itself is refused."""
        second = write_adapter(tmp_path / "second", base=adapter)
        assert refusal(second) == (
            f"{adapter}, the base model of {second}, is an adapter itself; expected a whole model: merge it first "
            "(merge_and_unload of PEFT)"
        )


class TestOptions:
    def test_an_adapter_on_an_adapter(self, adapter: Path) -> None:
        """--r1-adapter beside a model that is an adapter itself is refused."""
        assert refusal(adapter, adapter=str(adapter)) == (
            f"--r1-adapter {adapter} with --r1-model {adapter}, which is an adapter itself; expected one adapter on a "
            "whole model: leave one of them out"
        )

    def test_no_adapter(self, tmp_path: Path) -> None:
        """A whole model is not an adapter, and neither is an empty folder."""
        for folder in (SHIPPED, tmp_path):
            assert refusal(SHIPPED, adapter=str(folder)) == (
                f"--r1-adapter {folder} holds no adapter (adapter_config.json without a model's weights); expected "
                "what PEFT's save_pretrained writes"
            )

    @pytest.mark.parametrize(
        ("options", "named"),
        [({"base_model": "org/m"}, "--r1-base-model org/m"), ({"merges": True}, "--r1-adapter-merge")],
    )
    def test_options_of_an_adapter_with_a_whole_model(self, options: dict[str, object], named: str) -> None:
        """An option of an adapter is refused beside a whole model, where it would do nothing."""
        assert refusal(SHIPPED, **options) == (
            f"{named} with --r1-model {SHIPPED}, which is a whole model; expected an adapter's folder as --r1-model: "
            "leave the option out"
        )
