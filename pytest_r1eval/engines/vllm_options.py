"""How vLLM is started: its arguments as a run decides them, and the environment that it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_r1eval.checkpoints.adapter import Adapter
from pytest_r1eval.checkpoints.quantization import Quantization
from pytest_r1eval.core.thinking import ThinkTags
from pytest_r1eval.engines.engine import EngineParts

CPU_KV_CACHE_GIB = 2
_HARMLESS_IN_PLACE = frozenset({
    "block_size", "compilation_config", "cudagraph_capture_sizes", "disable_log_stats", "distributed_executor_backend",
    "enable_chunked_prefill", "enable_prefix_caching", "enforce_eager", "gpu_memory_utilization",
    "kv_cache_memory_bytes", "max_cudagraph_capture_size", "max_model_len", "max_num_batched_tokens", "max_num_seqs",
    "seed",
})  # fmt: skip
"""Engine arguments that say nothing about weights; with any other, no weights are loaded in place."""
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes for ``max_lora_rank``."""
VARIABLES: Mapping[str, str] = {
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_CPU_KVCACHE_SPACE": str(CPU_KV_CACHE_GIB),
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
}
"""
What vLLM is told where the user's environment does not. vLLM 0.32 compiles FlashInfer's sampler at a machine's first
start, two minutes on an H200, and never calls it for requests with a seed, which all of ours have (perf/README.md).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmOptions:
    """
    How vLLM is started.

    Attributes:
        model: Hub id or folder.
        revision: Hub revision; None for a folder or the default branch.
        dtype: ``bfloat16``, ``float16``, ``float32`` or ``auto``.
        max_model_length: Tokens of prompt and response together.
        gpu_memory_utilization: The fraction of one GPU's memory this engine may take, (0, 1].
        kv_cache_bytes: Its cache on each GPU; None to let vLLM measure what is free.
        tensor_parallel_size: GPUs one engine spans.
        arguments: Further engine arguments, passed through.
        log: Where the engine's processes write what they have to say.
        adapter: The adapter on the model; None for none.
        tokenizer: The folder of the adapter's own tokenizer; None for the model's.
        source: A digest of what is loaded at the start: the model's files and the tokenizer's, a served adapter apart.
        layout: A digest of that without the values of the weights; None where they cannot be loaded in place.
        think_tags: What encloses a thought, where requests may limit one; else None.
        quantization: How the checkpoint's weights are packed; None for not.
    """

    model: str
    revision: str | None
    dtype: str
    max_model_length: int
    gpu_memory_utilization: float
    tensor_parallel_size: int
    arguments: dict[str, Any]
    log: Path
    kv_cache_bytes: int | None = None
    adapter: Adapter | None = None
    tokenizer: str | None = None
    source: str = ""
    layout: str | None = None
    think_tags: ThinkTags | None = None
    quantization: Quantization | None = None

    @property
    def served(self) -> Adapter | None:
        """The adapter that vLLM loads on the model; None for none, and for one that is merged into it."""
        return None if self.adapter is None or self.adapter.is_merged else self.adapter

    @property
    def at_start(self) -> VllmOptions:
        """What an engine was started with, without what a started one can change."""
        started = replace(self, log=Path())
        return started if self.served is None else replace(started, adapter=None, tokenizer=None)


def options_of(parts: EngineParts) -> VllmOptions:
    """Return how vLLM is started for a run."""
    settings, placement, checkpoint = parts.settings, parts.placement, parts.checkpoint
    return VllmOptions(
        model=checkpoint.model,
        revision=checkpoint.revision,
        dtype=settings.dtype,
        max_model_length=parts.max_model_length,
        gpu_memory_utilization=settings.gpu_memory_utilization / parts.devices.n_sharing,
        tensor_parallel_size=1 if placement is None else placement.tensor_parallel_size,
        kv_cache_bytes=None if placement is None else placement.kv_cache_bytes,
        arguments=dict(settings.engine_args),
        log=parts.log,
        adapter=checkpoint.adapter,
        tokenizer=checkpoint.tokenizer,
        source=checkpoint.source,
        layout=checkpoint.layout,
        think_tags=checkpoint.tags_for(settings.think_tags)
        if any(one.thinking_budget is not None for one in settings.each)
        else None,
        quantization=checkpoint.size.quantization,
    )


def refusal_in_place(started: VllmOptions, asked: VllmOptions) -> str | None:
    """
    Return why an engine cannot load other weights in place of its own; None where it can.

    Args:
        started: What the engine was started with.
        asked: What is to answer.
    """
    unsafe = sorted(started.arguments.keys() - _HARMLESS_IN_PLACE)
    both, layouts = (started, asked), {started.layout, asked.layout}
    same = replace(asked, model=started.model, source=started.source, layout=started.layout, log=started.log)
    reasons = {
        "an adapter is served or merged": any(one.adapter is not None for one in both),
        "its weights are quantised, which vLLM repacks": any(one.quantization is not None for one in both),
        "several GPUs hold parts of each tensor, which are not compared with the files": (
            started.tensor_parallel_size > 1
        ),
        f"the engine argument {'/'.join(unsafe)} may change what is made of the weights": bool(unsafe),
        "its weights are not safetensors files in a folder": None in layouts,
        "configuration, tokenizer or tensors differ": len(layouts) > 1,
        "other settings are asked for": same != started,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def adapter_arguments(adapter: Adapter | None, *, tokenizer: str | None) -> dict[str, Any]:
    """
    Return the engine arguments that make room for one adapter, and name the tokenizer that it was trained with.

    Args:
        adapter: The adapter; None for none.
        tokenizer: The folder of its own tokenizer; None for the model's.
    """
    named = {} if tokenizer is None else {"tokenizer": tokenizer, "tokenizer_revision": None}
    if adapter is None or adapter.is_merged:
        return named
    return {"enable_lora": True, "max_loras": 1, "max_lora_rank": room_for(adapter), **named}


def room_for(adapter: Adapter | None) -> int:
    """Return the lowest rank of vLLM's that has room for an adapter; 0 for none."""
    return 0 if adapter is None else next(rank for rank in LORA_RANKS if rank >= adapter.rank)


def missing_from(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that an environment lacks; what a user has set stays."""
    return {name: value for name, value in VARIABLES.items() if name not in environment}
