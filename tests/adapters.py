"""Adapters as PEFT saves them, of the shipped small checkpoint: headers are right, matrices are zeros."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

SHIPPED = Path(__file__).parents[1] / "examples" / "r1eval" / "tiny-arithmetic"
QUERY, DOWN = "model.layers.0.self_attn.q_proj", "model.layers.3.mlp.down_proj"
MODULES = {QUERY: (128, 128), DOWN: (384, 128)}
"""Two modules of the small checkpoint: numbers in, numbers out."""


def write_adapter(
    folder: Path, *, rank: int = 8, modules: Mapping[str, tuple[int, int]] = MODULES, base: object = SHIPPED,
    more: Mapping[str, Sequence[int]] | None = None, **settings: object,
) -> Path:  # fmt: skip
    """
    Write an adapter.

    Args:
        folder: Its folder.
        rank: Of its matrices, and in its configuration.
        modules: What it adapts: numbers in, numbers out.
        base: The base model that it names.
        more: Further tensors, by name.
        settings: Settings of PEFT's, in place of plain LoRA's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank, "lora_dropout": 0.05,
        "base_model_name_or_path": None if base is None else str(base), "revision": None, "bias": "none",
        "init_lora_weights": True, "inference_mode": True, "target_modules": ["q_proj", "down_proj"],
        "modules_to_save": None, "use_dora": False, "use_rslora": False, "rank_pattern": {}, "alpha_pattern": {},
        "loftq_config": {}, "megatron_core": "megatron.core", "qalora_group_size": 16,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps({**config, **settings}))
    shapes: dict[str, Sequence[int]] = {}
    for name, (n_in, n_out) in modules.items():
        shapes[f"base_model.model.{name}.lora_A.weight"] = (rank, n_in)
        shapes[f"base_model.model.{name}.lora_B.weight"] = (n_out, rank)
    write_tensors(folder / "adapter_model.safetensors", shapes | dict(more or {}))
    return folder


def write_tensors(path: Path, shapes: Mapping[str, Sequence[int]]) -> None:
    """Write a safetensors file of float32 zeros."""
    header, position = {}, 0
    for name, shape in shapes.items():
        end = position + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + position)
