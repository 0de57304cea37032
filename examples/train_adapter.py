"""
Train a LoRA adapter with PEFT on a CPU: one that improves its base model, and the same one ruined.

    python examples/train_adapter.py --out /tmp/adapters

The base model is the shipped small checkpoint with noise of low rank on some of its weights, so that half a minute of
training is enough. It writes three folders: `base`, `improved` and `ruined`.
"""

from __future__ import annotations

import argparse
import random
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import train_checkpoint
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

SHIPPED = Path(__file__).parent / "r1eval" / "tiny-arithmetic"
NOISE, NOISE_RANK = 0.75, 4
"""The noise's norm, as a fraction of the weights', and its rank."""
RANK = 8
BATCH_SIZE = 32
STEPS, RUINOUS_STEPS = 30, 5
RATE, RUINOUS_RATE = 5e-3, 1.0


def noisy_model() -> Any:
    """Load the shipped checkpoint and add noise to one matrix of each layer."""
    model = AutoModelForCausalLM.from_pretrained(SHIPPED, dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    for layer in model.model.layers:
        weight = layer.mlp.down_proj.weight
        left = torch.randn(weight.shape[0], NOISE_RANK, generator=generator)
        noise = left @ torch.randn(NOISE_RANK, weight.shape[1], generator=generator)
        weight.data += NOISE * weight.norm() / noise.norm() * noise
    return model


def write_base(folder: Path) -> None:
    """Write the base model, a whole checkpoint."""
    shutil.copytree(SHIPPED, folder, dirs_exist_ok=True)
    noisy_model().to(torch.bfloat16).save_pretrained(folder)


def train(model: Any, batches: Iterable[train_checkpoint.Batch], *, rates: Iterable[float]) -> None:
    """Train an adapter in place, a step for each rate."""
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], weight_decay=0.0)
    model.train()
    for rate, batch in zip(rates, batches, strict=False):
        optimizer.param_groups[0]["lr"] = rate
        loss = model(input_ids=batch.tokens, labels=batch.labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        print(f"rate {rate:.4f}  loss {loss.item():.4f}", flush=True)


def main() -> int:
    """Write the base model and both adapters."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out.resolve()
    torch.set_num_threads(min(2, torch.get_num_threads()))
    torch.manual_seed(0)
    train_checkpoint.BATCH_SIZE = BATCH_SIZE
    write_base(out / "base")
    base = AutoModelForCausalLM.from_pretrained(out / "base", dtype=torch.float32)
    config = LoraConfig(task_type="CAUSAL_LM", r=RANK, lora_alpha=2 * RANK, target_modules=["down_proj"])
    model = get_peft_model(base, config)
    batches = train_checkpoint.batches(train_checkpoint.character_tokenizer(), random.Random(1), device="cpu")
    train(model, batches, rates=[RATE * (1 - step / STEPS) for step in range(STEPS)])
    model.save_pretrained(out / "improved")
    train(model, batches, rates=[RUINOUS_RATE] * RUINOUS_STEPS)
    model.save_pretrained(out / "ruined")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
