"""Folders as trainers leave them, whose checkpoints are recorded runs that the replay engine answers from."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.adapters import write_tensors
from tests.recordings import record_run

SHAPES: Mapping[str, Sequence[int]] = {"model.embed_tokens.weight": (4, 4)}
"""A model of one tensor: whole by its header, and quick to write."""
OLD_S = 1_700_000_000
"""A time of modification long ago."""


def write_model(folder: Path, *, seed: int = 1, shards: int = 1, missing: int = 0, weights: bool = True) -> Path:
    """
    Write what transformers saves of a model: configuration, tokenizer, weights and, of several files, their index.

    Args:
        folder: The folder.
        seed: Makes other weights.
        shards: Files of weights.
        missing: How many of them are not there yet.
        weights: Whether there are any.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text("{}")
    if not weights:
        return folder
    if shards == 1:
        write_tensors(folder / "model.safetensors", {**SHAPES, f"seed.{seed}": (1,)})
        return folder
    names = [f"model-{number:05d}-of-{shards:05d}.safetensors" for number in range(1, shards + 1)]
    index = {f"part.{number}": name for number, name in enumerate(names)}
    for tensor, name in [*index.items()][: shards - missing]:
        write_tensors(folder / name, {tensor: (1, seed)})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return folder


def write_recorded(folder: Path, *, step: int, training: str = "out", solve_rate: float = 0.6) -> Path:
    """Write a model and, beside it, what the replay engine answers with."""
    write_model(folder, seed=step)
    name = f"{training}/checkpoint-{step}"
    record_run(folder, solve_rate=solve_rate, seed=step, weights=f"w{step}", model_name=name, n_samples=16)
    return folder


def write_trl(out: Path, *, step: int, solve_rate: float = 0.6) -> Path:
    """Write a checkpoint as transformers' Trainer does, its state last."""
    folder = write_recorded(out / f"checkpoint-{step}", step=step, training=out.name, solve_rate=solve_rate)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "trainer_state.json"):
        (folder / name).write_text("{}")
    return folder


def age(folder: Path) -> None:
    """Let every file of a folder be old."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (OLD_S, OLD_S))
