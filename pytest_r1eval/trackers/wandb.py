"""
Weights & Biases: a run by its id, with its numbers in the summary and the page as an artifact.

`WANDB_PROJECT`, `WANDB_ENTITY`, `WANDB_MODE` and the login say where. A run is resumed by its id; offline each time it
is logged makes a folder of the same id, and `wandb sync --append` brings them together.
"""

import os
from pathlib import Path

from pytest_r1eval.trackers.tracked import TrackedRun, page_of
from pytest_r1eval.trackers.tracker import PROJECT


class WandB:
    """W&B's client, without what it collects of machine, code and console."""

    module = "wandb"
    has_versions = False

    def log(self, run: TrackedRun) -> str:
        """Log a run: texts and numbers in its summary, the verdict as its tag, the page as an artifact."""
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb  # noqa: PLC0415 - see the package

        settings = wandb.Settings(
            console="off", disable_code=True, disable_git=True, save_code=False, x_disable_meta=True,
            x_disable_stats=True, init_timeout=30,
        )  # fmt: skip
        logged = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=run.id,
            name=run.title,
            group=run.model_name,
            job_type="r1eval",
            resume="allow",
            tags=[f"r1eval {run.verdict.partition(',')[0]}"],
            config={"model": run.model_name, "checkpoint": run.checkpoint, "step": run.step},
            settings=settings,
        )
        logged.summary.update({**run.texts, **run.numbers, "verdict": run.verdict, "is_pass": run.is_pass})
        if (page := page_of(run)) is not None:
            artifact = wandb.Artifact(f"r1eval-{run.id}", type="report")
            artifact.add_file(str(page))
            logged.log_artifact(artifact)
        place = logged.url or str(Path(logged.dir).parent)
        logged.finish()
        return str(place)


TRACKER = WandB()
