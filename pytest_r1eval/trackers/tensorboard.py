"""
TensorBoard: a folder of one event file for each run, with the page beside it.

`TENSORBOARD_LOGGING_DIR` says where, else it is ``runs`` in the current folder, as trainers have it. The events of an
earlier verdict on the run are replaced. TensorBoard's own writer is used: others import torch, for seconds.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_r1eval.trackers.tracked import TrackedRun, page_of

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

_SUFFIX = ".r1eval"


class TensorBoard:
    """TensorBoard's file writer."""

    module = "tensorboard"
    has_versions = False

    def log(self, run: TrackedRun) -> str:
        """Log a run: numbers as scalars at the checkpoint's step, texts as one text, the page as a file."""
        from tensorboard.compat.proto.event_pb2 import Event  # noqa: PLC0415 - see the package
        from tensorboard.summary.writer.event_file_writer import EventFileWriter  # noqa: PLC0415

        folder = Path(os.environ.get("TENSORBOARD_LOGGING_DIR", "runs")) / "r1eval" / run.title
        earlier = [*folder.glob(f"events.out.tfevents.*{_SUFFIX}")]
        writer = EventFileWriter(str(folder), filename_suffix=_SUFFIX)
        for summary in (*_scalars(run), _text(run)):
            writer.add_event(Event(wall_time=time.time(), step=run.step or 0, summary=summary))
        writer.close()
        for path in earlier:
            path.unlink(missing_ok=True)
        if (page := page_of(run)) is not None:
            shutil.copyfile(page, folder / page.name)
        return str(folder)


def _scalars(run: TrackedRun) -> list[Summary]:
    from tensorboard.compat.proto.summary_pb2 import Summary  # noqa: PLC0415 - see the package

    numbers = {**run.numbers, "is_pass": float(run.is_pass)}
    return [Summary(value=[Summary.Value(tag=name, simple_value=value)]) for name, value in numbers.items()]


def _text(run: TrackedRun) -> Summary:
    from tensorboard.plugins.text.summary_v2 import text_pb  # noqa: PLC0415 - see the package

    texts = {"verdict": run.verdict, "model": run.model_name, "checkpoint": run.checkpoint, "id": run.id, **run.texts}
    found: Summary = text_pb("r1eval", "\n".join(f"- {name}: {text}" for name, text in texts.items()))
    return found


TRACKER = TensorBoard()
