"""What vLLM is told, and what an engine is by vLLM's own configuration; what it answers is in tests/e2e."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_r1eval.checkpoints.quantization import Quantization
from pytest_r1eval.core.thinking import ThinkTags
from pytest_r1eval.engines.vllm import reasoning_arguments, refuse_gguf
from pytest_r1eval.errors import EngineError
from tests.requirements import VLLM

GOOD = Path(__file__).parents[2] / "examples" / "r1eval" / "tiny-arithmetic"


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


CONFIGURED = """
import json, os, sys
from dataclasses import asdict
from pathlib import Path
from vllm.engine.arg_utils import AsyncEngineArgs
from pytest_r1eval.engines.vllm import identity_of
from pytest_r1eval.engines.vllm_options import VllmOptions

model, *asked = json.load(sys.stdin)
options = VllmOptions(
    model=model, revision=None, dtype="bfloat16", max_model_length=512, gpu_memory_utilization=0.5,
    tensor_parallel_size=1, kv_cache_bytes=None, arguments={}, log=Path("log"),
)
found = []
for variables, arguments in asked:
    os.environ |= variables
    given = {"model": model, "dtype": "bfloat16", "max_model_len": 512, **arguments}
    config = AsyncEngineArgs(**given).create_engine_config()
    found.append(asdict(identity_of(config, options, device="d")))
print(json.dumps(found))
"""
"""Reads what an engine would be from the configuration that vLLM makes; no engine starts."""


@VLLM.mark
def test_the_identity_is_read_from_vllms_configuration() -> None:
    """Number format, cache, quantisation, guessing, attention and batch invariance are what vLLM resolved."""
    guessing = {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 3}
    cases: list[tuple[dict[str, str], dict[str, object], dict[str, object]]] = [
        ({}, {}, {}),
        ({}, {"dtype": "float16"}, {"dtype": "float16"}),
        ({}, {"kv_cache_dtype": "fp8"}, {"kv_cache": "fp8"}),
        ({}, {"quantization": "fp8"}, {"quantization": "fp8"}),
        ({}, {"speculative_config": guessing}, {"speculative": "ngram 4"}),
        ({}, {"attention_backend": "CPU_ATTN"}, {"attention": "CPU_ATTN"}),
        ({"VLLM_BATCH_INVARIANT": "1"}, {}, {"is_batch_invariant": True}),
    ]
    asked = [str(GOOD), *((variables, arguments) for variables, arguments, _ in cases)]
    done = subprocess.run(
        [sys.executable, "-c", CONFIGURED], input=json.dumps(asked), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    plain = {
        "dtype": "bfloat16", "quantization": None, "kv_cache": None, "speculative": None, "attention": None,
        "is_batch_invariant": False,
    }  # fmt: skip
    found = [{name: each[name] for name in plain} for each in json.loads(done.stdout.splitlines()[-1])]
    assert found == [plain | expected for _, _, expected in cases]


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
