"""
Trackio: a run by its name, on this machine, a Space or a server, as `TRACKIO_DIR` and its like say.

Trackio resumes a run by its name, so the name holds our id. What is logged again is its next step; the last one counts.
"""

import os

from pytest_r1eval.trackers.tracked import TrackedRun, page_of
from pytest_r1eval.trackers.tracker import PROJECT


class Trackio:
    """Trackio's client, without its metrics of the machine."""

    module = "trackio"
    has_versions = False

    def log(self, run: TrackedRun) -> str:
        """Log a run: numbers and texts as one step, the page as an artifact."""
        import trackio  # noqa: PLC0415 - see the package

        project, name = os.environ.get("TRACKIO_PROJECT", PROJECT), f"{run.model_name.replace('/', '-')}-{run.id}"
        trackio.init(
            project=project,
            name=name,
            group=run.model_name,
            resume="allow",
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
            config={"model": run.model_name, "checkpoint": run.checkpoint, "step": run.step, "r1eval.id": run.id},
        )
        trackio.log({**run.texts, **run.numbers, "verdict": run.verdict, "is_pass": run.is_pass})
        if (page := page_of(run)) is not None:
            trackio.log_artifact(str(page), name=f"r1eval-{run.id}", type="report")
        trackio.finish()
        return f"run {name} of project {project}"


TRACKER = Trackio()
