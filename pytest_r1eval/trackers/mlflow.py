"""
MLflow: a run with its numbers, and in its registry a model version that carries a tag and an alias after a PASS.

`MLFLOW_TRACKING_URI`, `MLFLOW_REGISTRY_URI` and `MLFLOW_EXPERIMENT_NAME` say where, as everywhere in MLflow. A run that
is there is found by its tag; MLflow gives out ids of its own. Texts are tags and not parameters, which cannot change.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

from pytest_r1eval.errors import TrackerError
from pytest_r1eval.trackers.tracked import TrackedRun, page_of
from pytest_r1eval.trackers.tracker import PROJECT

if TYPE_CHECKING:
    from mlflow import MlflowClient

ID_TAG = "r1eval.id"
VERDICT_TAG = "r1eval.verdict"
ALIAS = "r1eval-pass"
"""Of the newest version whose every gate says PASS."""
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""MLflow alone would ask seven times, for minutes; what is set stays."""
_MAX_TAG_CHARACTERS = 5000


class MLflow:
    """MLflow's client, without its global state."""

    module = "mlflow"
    has_versions = True

    def log(self, run: TrackedRun) -> str:
        """Log a run: numbers, tags, page; then the model version."""
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient  # noqa: PLC0415 - see the package
        from mlflow.entities import Metric, RunTag  # noqa: PLC0415
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        client = MlflowClient()
        experiment = _experiment(client)
        found = client.search_runs([experiment], filter_string=f"tags.`{ID_TAG}` = '{run.id}'", max_results=1)
        logged = found[0] if found else client.create_run(experiment, run_name=run.title, tags={ID_TAG: run.id})
        run_id, now_ms = logged.info.run_id, int(time.time() * 1000)
        texts = {**run.texts, "verdict": run.verdict, "model": run.model_name, "checkpoint": run.checkpoint}
        tags = [RunTag(f"r1eval.{name}", text[:_MAX_TAG_CHARACTERS]) for name, text in texts.items()]
        numbers = [Metric(name, value, now_ms, run.step or 0) for name, value in run.numbers.items()]
        client.log_batch(run_id, metrics=numbers, tags=tags)
        if (page := page_of(run)) is not None:
            client.log_artifact(run_id, str(page))
        client.set_terminated(run_id, "FINISHED")
        place = f"run {run_id} of experiment {experiment} at {client.tracking_uri}"
        try:
            _write_version(client, run, run_id=run_id, source=logged.info.artifact_uri)
        except MlflowException as error:
            raise TrackerError(f"{place} is logged, and its model version is not: {error}") from error
        return place


def _experiment(client: MlflowClient) -> str:
    if (given := os.environ.get("MLFLOW_EXPERIMENT_ID")) is not None:
        return given
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    found = client.get_experiment_by_name(name)
    return str(client.create_experiment(name) if found is None else found.experiment_id)


def _write_version(client: MlflowClient, run: TrackedRun, *, run_id: str, source: str) -> None:
    """Put tag and alias on the model version after a PASS, and take off what an earlier PASS of this run left."""
    name, _, number = (run.version or "").partition("/")
    name = name or re.sub(r"[/:.]", "-", run.model_name)
    number = number or _own_version(client, name, run)
    if not run.is_pass:
        found = client.get_model_version(name, number) if number else None
        if found is not None and found.tags.get(ID_TAG) == run.id:
            client.delete_model_version_tag(name, number, VERDICT_TAG)
            if ALIAS in found.aliases:
                client.delete_registered_model_alias(name, ALIAS)
        return
    if not number:
        tags = {ID_TAG: run.id, "r1eval.checkpoint": run.checkpoint}
        number = str(client.create_model_version(name, source=source, run_id=run_id, tags=tags).version)
    client.set_model_version_tag(name, number, ID_TAG, run.id)
    client.set_model_version_tag(name, number, VERDICT_TAG, run.verdict)
    client.set_registered_model_alias(name, ALIAS, number)


def _own_version(client: MlflowClient, name: str, run: TrackedRun) -> str:
    """Return the version that an earlier PASS of this run was written on; empty where there is none."""
    if not any(model.name == name for model in client.search_registered_models(f"name = '{name}'")):
        if run.is_pass:
            client.create_registered_model(name)
        return ""
    versions = client.search_model_versions(f"name = '{name}'")
    return next((str(one.version) for one in versions if one.tags.get(ID_TAG) == run.id), "")


TRACKER = MLflow()
