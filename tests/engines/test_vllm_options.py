"""What an engine is started with is decided without an import of vLLM."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_r1eval.checkpoints.inspect import inspect_checkpoint
from pytest_r1eval.engines.vllm_options import adapter_arguments, missing_from
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
