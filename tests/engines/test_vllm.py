"""Adapters and budgets are arguments of the engine; what it answers with them is in tests/e2e."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_r1eval.checkpoints.inspect import inspect_checkpoint
from pytest_r1eval.checkpoints.quantization import Quantization
from pytest_r1eval.core.thinking import ThinkTags
from pytest_r1eval.engines.vllm import (
    adapter_arguments,
    missing_from,
    reasoning_arguments,
    refuse_gguf,
)
from pytest_r1eval.errors import EngineError
from tests.adapters import write_adapter
from tests.requirements import VLLM


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


class TestBudget:
    TAGS = ThinkTags(opening="<think>", closing="</think>")

    def test_vllm_is_told_what_ends_a_thought(self) -> None:
        """The engine tells vLLM the tags of a thought only where a budget is asked for."""
        expected = {"reasoning_config": {"reasoning_start_str": "<think>", "reasoning_end_str": "</think>"}}
        assert expected == reasoning_arguments(self.TAGS, known={"model", "reasoning_config"})
        assert reasoning_arguments(None, known={"model"}) == {}

    @VLLM.mark
    def test_a_vllm_without_budgets_is_refused(self) -> None:
        """A vLLM that cannot end a thought is refused in one line before the model is loaded."""
        with pytest.raises(EngineError, match=r"^--r1-thinking-budget: vLLM .* cannot end a thought; expected one "):
            reasoning_arguments(self.TAGS, known={"model"})


def test_variables_of_the_user_stay() -> None:
    """FlashInfer's sampler, which no seeded request uses, is not compiled unless the user asks for it."""
    assert missing_from({})["VLLM_USE_FLASHINFER_SAMPLER"] == "0"
    assert "VLLM_USE_FLASHINFER_SAMPLER" not in missing_from({"VLLM_USE_FLASHINFER_SAMPLER": "1"})


class TestGguf:
    PACKED = Quantization(method="gguf Q4_1", bits=4)

    @VLLM.mark
    def test_a_vllm_without_it_is_refused(self) -> None:
        """GGUF weights that this vLLM does not serve are refused in one line that names two ways out."""
        with pytest.raises(EngineError) as caught:
            refuse_gguf(self.PACKED, model="/models/small", known=("awq", "fp8"))
        message = str(caught.value)
        assert message.startswith("/models/small holds its weights as GGUF, which vLLM ")
        assert "save_pretrained), or judge the server that serves the file: --r1-engine server" in message
        assert len(message.splitlines()) == 1

    def test_what_it_serves_is_left_to_it(self) -> None:
        """A vLLM that knows GGUF gets it, and every other method is left to vLLM's own word."""
        refuse_gguf(self.PACKED, model="m", known=("gguf",))
        refuse_gguf(Quantization(method="awq", bits=4), model="m", known=())
        refuse_gguf(None, model="m", known=())
