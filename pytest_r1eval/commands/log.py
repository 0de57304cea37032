"""`r1eval log`: a judged run in a tracker."""
# ruff: noqa: PLC0415 - see the package

from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer

from pytest_r1eval.commands.arguments import EXIT_PASSED, Json, Run, answer, parsed_by
from pytest_r1eval.config.tracker_choice import tracker_choice
from pytest_r1eval.errors import TrackerError


def log(
    run: Run,
    *,
    to: Annotated[
        list[str],
        typer.Option(metavar="TRACKER", help="mlflow, wandb, trackio, tensorboard or mlflow:MODEL/VERSION"),
    ],
    json: Json = False,
) -> int:
    """Log a judged run to trackers, or again; a run that is there already is brought up to date."""
    from pytest_r1eval.trackers.delivery import check_trackers, log_run

    choices = tuple(dict.fromkeys(map(partial(parsed_by, tracker_choice), to)))
    check_trackers(choices)
    logged = log_run(run, choices)
    failed = [f"{one.choice}: {one.answer.error}" for one in logged if one.answer.error is not None]
    answers = {str(one.choice): asdict(one.answer) for one in logged}
    lines = [f"{one.choice.name}: {one.answer.place}" for one in logged if one.answer.error is None]
    answer({"run": str(run), "trackers": answers}, lines, json=json)
    if failed:
        raise TrackerError(f"{run} is not logged to {'; '.join(failed)}. Repair that, and log it again")
    return EXIT_PASSED
