"""
Fine-tune the shipped small checkpoint with the Trainer and gate each save, on a CPU, in about three minutes.

    python examples/gate_training.py --out /tmp/fine-tuned
    python examples/gate_training.py --out /tmp/fine-tuned --regress    # the learning rate goes wrong: it stops
    python examples/gate_training.py --out /tmp/fine-tuned --lora       # an adapter of PEFT's in place of the model

A step takes a second here, so that a gate comes back while the training goes on, as it does where steps are slow
because models are large.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from train_checkpoint import END, IGNORED, chat_prompt, exercises
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments

from pytest_r1eval.training.callback import R1EvalCallback

BASE = Path(__file__).parent / "r1eval" / "tiny-arithmetic"
SAVES = (3, 6)
GENTLE, RUINOUS = 1e-6, 3.0
STEP_S = 1.0


class Exercises(torch.utils.data.IterableDataset):
    """Worked arithmetic without end, as tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __iter__(self) -> Iterator[dict[str, list[int]]]:
        """Yield exercises whose labels are their responses."""
        for exercise in exercises(random.Random(1)):
            prompt = self._tokenizer(chat_prompt(exercise.problem, system=None))["input_ids"]
            response = self._tokenizer(exercise.response + END)["input_ids"]
            yield {"input_ids": prompt + response, "labels": [IGNORED] * len(prompt) + response}


class Pace(TrainerCallback):
    """Saves at the steps of SAVES, and is as slow as a larger model."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for a checkpoint where one is due."""
        control.should_save = state.global_step in SAVES
        time.sleep(STEP_S)


def padded(rows: Sequence[dict[str, list[int]]], *, padding: int) -> dict[str, torch.Tensor]:
    """Pad a batch on the right."""
    length = max(len(row["input_ids"]) for row in rows)
    fill = {"input_ids": padding, "labels": IGNORED}
    return {
        name: torch.tensor([row[name] + [filler] * (length - len(row[name])) for row in rows])
        for name, filler in fill.items()
    }


def trainer_for(out: Path, *, max_steps: int, is_regressing: bool, is_adapter: bool = False) -> Trainer:
    """Make the trainer; a regressing one has a learning rate that ruins the model between the two saves."""
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    if is_adapter:
        from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - pip install "pytest-r1eval[adapters]"

        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=8, target_modules="all-linear"))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    rates = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: RUINOUS if is_regressing and SAVES[0] <= step < SAVES[1] else GENTLE
    )
    arguments = TrainingArguments(
        output_dir=str(out),
        max_steps=max_steps,
        per_device_train_batch_size=8,
        save_strategy="no",
        logging_steps=10,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    return Trainer(
        model,
        arguments,
        train_dataset=Exercises(tokenizer),
        data_collator=lambda rows: padded(rows, padding=tokenizer.pad_token_id),
        processing_class=tokenizer,
        optimizers=(optimizer, rates),
    )


def main() -> int:
    """Train, and print what was logged of the checkpoints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--max-steps", type=int, default=SAVES[-1])
    parser.add_argument("--regress", action="store_true")
    parser.add_argument("--lora", action="store_true")
    asked = parser.parse_args()
    max_steps = 600 if asked.regress else asked.max_steps
    trainer = trainer_for(asked.out, max_steps=max_steps, is_regressing=asked.regress, is_adapter=asked.lora)
    trainer.add_callback(Pace())
    trainer.add_callback(
        R1EvalCallback(
            trainer,
            benchmarks=["smoke"],
            gpus=(),
            on_regression="stop",
            first_baseline="r1eval/tiny-arithmetic",
        )
    )
    trainer.train()
    for entry in trainer.state.log_history:
        if "r1eval/smoke/verdict" in entry or "r1eval/error" in entry:
            print({name: value for name, value in entry.items() if name == "step" or name.startswith("r1eval/")})
    print(f"ended at step {trainer.state.global_step} of {max_steps}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
