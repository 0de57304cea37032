"""Two adapters of a model by PEFT, one that changes nothing and one of noise: `python -m tests.noisy_adapter`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

NOISE = 0.5
"""The standard deviation of the second matrices, which PEFT starts at zero."""


def main() -> None:
    """Write `fresh` and `noise` into a folder; the arguments are the model and the folder."""
    base, folder = sys.argv[1], Path(sys.argv[2])
    torch.manual_seed(0)
    config = LoraConfig(task_type="CAUSAL_LM", r=1, lora_alpha=2, target_modules=["q_proj", "v_proj", "down_proj"])
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    model.save_pretrained(folder / "fresh")
    for name, matrix in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(matrix, std=NOISE)
    model.save_pretrained(folder / "noise")


if __name__ == "__main__":
    main()
