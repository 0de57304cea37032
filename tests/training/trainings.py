"""A training that was recorded, whose checkpoints real runs of pytest judge."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pytest_r1eval.reports.run_report import RunReport
from pytest_r1eval.training.queue import SavedCheckpoint
from pytest_r1eval.training.runners import GateOrder, LocalRunner
from tests.recordings import record_run


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A training whose checkpoints are recorded runs, for the replay engine."""

    folder: Path

    def order(self, **options: object) -> GateOrder:
        """Say how its checkpoints are judged."""
        return GateOrder(
            benchmarks=("smoke",),
            output_dir=self.folder / "r1eval",
            folder=self.folder,
            options={"engine": "replay", **options},
            first_baseline=None,
            commit="abc",
        )

    def checkpoint(self, step: int, *, solve_rate: float = 0.6, training: str = "out") -> SavedCheckpoint:
        """Save a checkpoint."""
        folder = self.folder / training / f"checkpoint-{step}"
        name = f"{training}/checkpoint-{step}"
        record_run(folder, solve_rate=solve_rate, seed=step, weights=f"w{step}", model_name=name, n_samples=16)
        return SavedCheckpoint(step=step, epoch=None, folder=folder)

    def judged(self, saved: SavedCheckpoint, **options: object) -> RunReport:
        """Judge a checkpoint in a process of its own."""
        with closing(LocalRunner(self.order(**options), workers=None, gpus=())) as runner:
            return runner.judge(saved)
