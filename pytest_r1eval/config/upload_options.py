"""
The rows of the table of options whose phase is the upload: a judged run's data set, and its trackers.

`options` has the other rows, and what a row is read for.
"""

from pytest_r1eval.config import values
from pytest_r1eval.config.option import Option, uploaded
from pytest_r1eval.core import choices

UPLOAD: tuple[Option, ...] = (
    uploaded(
        name="upload",
        parse=values.repository,
        metavar="REPO",
        help="upload the judged run to this data set on the Hub, privately; an organisation alone has it named for you",
    ),
    uploaded(
        name="upload-when",
        choices=choices.UploadWhen,
        default="pass",
        help="which runs are uploaded: those whose gates are all green, or all",
    ),
    uploaded(
        name="upload-required",
        is_flag=True,
        help="a failed upload is an error of the run, not a remark beside it",
    ),
    uploaded(name="upload-public", is_flag=True, help="make the upload public"),
    uploaded(
        name="upload-layout",
        choices=choices.UploadLayout,
        default="lighteval",
        help="whose names for repositories, folders and configs an upload uses",
    ),
    uploaded(
        name="log",
        field="trackers",
        parse=values.tracker,
        collect=values.trackers,
        metavar="mlflow|wandb|trackio|tensorboard|NAME",
        help="log the verdict to this tracker; mlflow:MODEL/VERSION writes a PASS on that version of the model",
    ),
    uploaded(
        name="upload-model-page",
        parse=values.model_page,
        metavar="REPO",
        help="put the scores into this model's .eval_results as well, for its page on the Hub",
    ),
)
