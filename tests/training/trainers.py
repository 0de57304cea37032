"""Trainers of one linear layer, whose checkpoints are recorded runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from pytest_r1eval.training.callback import R1EvalCallback
from tests.recordings import record_run

TIMEOUT_S = 120.0


class RecordingTrainer(Trainer):  # type: ignore[misc]  # transformers says nothing of its types
    """A trainer whose checkpoints are recorded runs, fallen from a step on."""

    falls_at = 10**9

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:  # noqa: FBT001, FBT002
        """Write what the replay engine answers from, beside a model."""
        folder, step = Path(output_dir or ""), self.state.global_step
        solve_rate = 0.1 if step >= self.falls_at else 0.6
        name = f"{folder.parent.name}/{folder.name}"
        if self.args.should_save:
            record_run(folder, solve_rate=solve_rate, seed=step, weights=f"w{step}", model_name=name, n_samples=16)
        super().save_model(output_dir, _internal_call)


class Patient(TrainerCallback):  # type: ignore[misc]  # the same
    """Steps as slow as those of a large model: at a step it waits until something is in the trainer's log."""

    def __init__(self, trainer: Trainer, waits: dict[int, int]) -> None:
        self._trainer = trainer
        self._waits = waits

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ANN401, ARG002
        """Wait until so many checkpoints have been judged."""
        gate = next(one for one in self._trainer.callback_handler.callbacks if isinstance(one, R1EvalCallback))
        end = time.monotonic() + TIMEOUT_S
        while len(gated_steps(self._trainer)) < self._waits.get(state.global_step, 0) and time.monotonic() < end:
            time.sleep(0.05)
            gate.on_step_end(args, state, control)


def trainer_in(folder: Path, *, max_steps: int, save_steps: int = 2, **arguments: object) -> RecordingTrainer:
    """Make a trainer of one linear layer."""
    rows = [{"x": torch.ones(2), "labels": torch.ones(1)} for _ in range(4)]
    return RecordingTrainer(
        Line(),
        TrainingArguments(
            output_dir=str(folder / "out"), max_steps=max_steps, save_steps=save_steps, logging_steps=1,
            per_device_train_batch_size=1, use_cpu=True, disable_tqdm=True, **{"report_to": [], **arguments},
        ),
        train_dataset=rows,
    )  # fmt: skip


class Line(torch.nn.Module):  # type: ignore[misc]  # torch says nothing of its types
    """A model that is quick to train."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, x: Any, labels: Any) -> dict[str, Any]:  # noqa: ANN401 - torch says nothing of its types
        """Return the loss."""
        return {"loss": ((self.layer(x) - labels) ** 2).mean()}


def logged(trainer: Trainer) -> dict[int, dict[str, Any]]:
    """Return what was logged of checkpoints, by step."""
    entries = [entry for entry in trainer.state.log_history if any(key.startswith("r1eval/") for key in entry)]
    return {entry["step"]: entry for entry in entries}


def gated_steps(trainer: Trainer) -> list[int]:
    """List the steps that something was logged of."""
    return [*logged(trainer)]
