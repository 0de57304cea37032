"""What an engine is started with is decided without an import of vLLM."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_r1eval.checkpoints.inspect import inspect_checkpoint
from pytest_r1eval.checkpoints.quantization import Quantization
from pytest_r1eval.engines.vllm_options import VllmOptions, adapter_arguments, missing_from, refusal_in_place
from tests.adapters import write_adapter


class TestAdapters:
    @pytest.mark.parametrize(("rank", "expected"), [(1, 1), (6, 8), (8, 8), (300, 320), (512, 512)])
    def test_there_is_room_for_the_rank(self, tmp_path: Path, rank: int, expected: int) -> None:
        """The engine takes a few ranks; the next higher one holds the adapter's."""
        found = inspect_checkpoint(str(write_adapter(tmp_path / "a", rank=rank)), revision=None)
        arguments = {"enable_lora": True, "max_loras": 1, "max_lora_rank": expected}
        assert adapter_arguments(found.adapter, tokenizer=None) == arguments

    def test_a_merged_adapter_needs_none(self, tmp_path: Path) -> None:
        """A merged adapter needs no arguments of vLLM, as a whole model is loaded."""
        found = inspect_checkpoint(str(write_adapter(tmp_path / "a", use_dora=True)), revision=None, merges=True)
        assert adapter_arguments(found.adapter, tokenizer=None) == adapter_arguments(None, tokenizer=None) == {}

    def test_its_own_tokenizer(self) -> None:
        """An adapter's own tokenizer is loaded from its folder, without the base model's revision."""
        assert adapter_arguments(None, tokenizer="/a") == {"tokenizer": "/a", "tokenizer_revision": None}


def test_variables_of_the_user_stay() -> None:
    """FlashInfer's sampler, which no seeded request uses, is not compiled unless the user asks for it."""
    assert missing_from({})["VLLM_USE_FLASHINFER_SAMPLER"] == "0"
    assert "VLLM_USE_FLASHINFER_SAMPLER" not in missing_from({"VLLM_USE_FLASHINFER_SAMPLER": "1"})


class TestInPlace:
    """Which weights take the place of those that an engine was started with."""

    STARTED = VllmOptions(
        model="a", revision=None, dtype="bfloat16", max_model_length=512, gpu_memory_utilization=0.5,
        tensor_parallel_size=1, arguments={"max_num_seqs": 8}, log=Path("a.log"), source="a", layout="one",
    )  # fmt: skip

    def test_another_step_of_a_training(self) -> None:
        """Weights of one layout are loaded in place where nothing else is asked for."""
        asked = replace(self.STARTED, model="b", log=Path("b.log"), source="b")
        assert refusal_in_place(self.STARTED, asked) is None

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"layout": "two"}, "configuration, tokenizer or tensors differ"),
            ({"layout": None}, "its weights are not safetensors files in a folder"),
            ({"quantization": Quantization(method="awq", bits=4)}, "its weights are quantised, which vLLM repacks"),
            ({"dtype": "float32"}, "other settings are asked for"),
            ({"max_model_length": 256}, "other settings are asked for"),
            ({"arguments": {"max_num_seqs": 9}}, "other settings are asked for"),
            ({"kv_cache_bytes": 7}, "other settings are asked for"),
        ],
    )
    def test_what_differs_needs_another_engine(self, changes: dict[str, Any], reason: str) -> None:
        """Another layout, quantised weights and other settings are refused, each with its reason."""
        assert refusal_in_place(self.STARTED, replace(self.STARTED, model="b", **changes)) == reason

    @pytest.mark.parametrize(
        ("settings", "reason"),
        [
            ({"tensor_parallel_size": 2}, "several GPUs hold parts of each tensor"),
            ({"arguments": {"quantization": "fp8"}}, "the engine argument quantization may change what is made"),
            ({"arguments": {"speculative_config": {}}}, "the engine argument speculative_config may change"),
            ({"quantization": Quantization(method="fp8", bits=8)}, "its weights are quantised"),
        ],
    )
    def test_what_cannot_be_checked_is_refused(self, settings: dict[str, Any], reason: str) -> None:
        """Where what is loaded cannot be compared with its files, the next checkpoint gets an engine of its own."""
        started = replace(self.STARTED, **settings)
        assert (refusal_in_place(started, replace(started, model="b")) or "").startswith(reason)

    def test_adapters_are_refused(self, tmp_path: Path) -> None:
        """An engine with an adapter loads no other weights in place, and no adapter takes a model's place."""
        adapter = inspect_checkpoint(str(write_adapter(tmp_path / "a")), revision=None).adapter
        for started, asked in ((adapter, None), (None, adapter)):
            one, other = replace(self.STARTED, adapter=started), replace(self.STARTED, model="b", adapter=asked)
            assert refusal_in_place(one, other) == "an adapter is served or merged"
