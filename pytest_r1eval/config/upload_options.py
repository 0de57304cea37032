"""
The rows of the table of options whose phase is the upload: a judged run's data set, and its trackers.

`options` has the other rows, and what a row is read for.
"""

from __future__ import annotations

from pytest_r1eval.config import values
from pytest_r1eval.config.option import Option
from pytest_r1eval.core import choices

UPLOAD: tuple[Option, ...] = (
    Option(
        name="upload",
        phase="upload",
        parse=values.repository,
        metavar="REPO",
        help="upload the judged run to this data set on the Hub, privately; an organisation alone has it named for you",
    ),
    Option(
        name="upload-when",
        phase="upload",
        choices=choices.UploadWhen,
        default="pass",
        help="which runs are uploaded: those whose gates are all green, or all",
    ),
    Option(
        name="upload-required",
        phase="upload",
        is_flag=True,
        help="a failed upload is an error of the run, not a remark beside it",
    ),
    Option(name="upload-public", phase="upload", is_flag=True, help="make the upload public"),
    Option(
        name="upload-layout",
        phase="upload",
        choices=choices.UploadLayout,
        default="lighteval",
        help="whose names for repositories, folders and configs an upload uses",
    ),
    Option(
        name="log",
        phase="upload",
        field="trackers",
        parse=values.tracker,
        collect=values.trackers,
        metavar="mlflow|wandb|trackio|tensorboard|NAME",
        help="log the verdict to this tracker; mlflow:MODEL/VERSION writes a PASS on that version of the model",
    ),
    Option(
        name="upload-model-page",
        phase="upload",
        parse=values.model_page,
        metavar="REPO",
        help="put the scores into this model's .eval_results as well, for its page on the Hub",
    ),
)
