"""Verdicts in a real MLflow: a server with SQLite behind it, its registry, and a gate that logs to all trackers."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pytest_r1eval.commands.cli import main
from pytest_r1eval.config.tracker_choice import TrackerChoice
from pytest_r1eval.reports.run_report import read_report
from pytest_r1eval.trackers.delivery import log_run
from pytest_r1eval.trackers.mlflow import ALIAS, ID_TAG, VERDICT_TAG
from pytest_r1eval.trackers.tracked import TrackedRun, tracked
from tests.plugin_runs import judge, save_baseline
from tests.warm_pytest import COLD

START_S = 180
"""How long MLflow's server may take: it makes its tables, on a machine that has other work."""


def free_port() -> int:
    """Return a port where nothing listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve MLflow from a SQLite file to the whole module."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={port}", "--workers=1"]
    stores = [f"--backend-store-uri=sqlite:///{folder}/mlflow.db", f"--artifacts-destination={folder}/artifacts"]
    environ = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "DO_NOT_TRACK": "true"}
    with (folder / "log").open("w") as log:
        process = COLD([*command, *stores], stdout=log, stderr=log, env=environ, start_new_session=True)
    try:
        url, end = f"http://127.0.0.1:{port}", time.monotonic() + START_S
        while not is_up(url):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.3)
        yield url
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def is_up(url: str) -> bool:
    """Whether the server answers."""
    try:
        with urlopen(f"{url}/health", timeout=5):  # noqa: S310 - our own address
            return True
    except (URLError, OSError):
        return False


@pytest.fixture
def client(server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """Ask the server; each test has an experiment of its own, as MLflow's variables say."""
    monkeypatch.setenv("DO_NOT_TRACK", "true")  # MLflow counts its use, over the network
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", request.node.name)
    return MlflowClient(server)


def runs_in(client: MlflowClient) -> list[Run]:
    """Return every run of the test's experiment."""
    experiment = client.get_experiment_by_name(os.environ["MLFLOW_EXPERIMENT_NAME"])
    assert experiment is not None
    return [*client.search_runs([experiment.experiment_id])]


def logged(run: Path, *, version: str | None = None, all_pass: bool = True) -> TrackedRun:
    """Log a run, and return what was told."""
    (answer,) = log_run(run, [TrackerChoice(name="mlflow", version=version)], all_pass=all_pass)
    assert answer.answer.error is None, answer
    return tracked(read_report(run))


@pytest.fixture
def prod(client: MlflowClient, request: pytest.FixtureRequest) -> str:
    """Register a model with one version, as a training does, and name both."""
    name = f"prod-{request.node.name}"
    client.create_registered_model(name)
    trained = client.create_run("0").info
    return f"{name}/{client.create_model_version(name, source=trained.artifact_uri, run_id=trained.run_id).version}"


class TestRun:
    def test_a_pass_is_logged_with_all_that_was_measured(
        self, client: MlflowClient, judged_copy: Callable[[str], Path]
    ) -> None:
        """A run in MLflow has the verdict's numbers, texts and page, and ends as FINISHED."""
        told = logged(judged_copy("green"))
        (run,) = runs_in(client)
        assert run.data.metrics == pytest.approx(dict(told.numbers))
        assert {"smoke/pass_at_1", "smoke/z", "smoke/tokens", "smoke/baseline_pass_at_1"} <= set(run.data.metrics)
        tags = {name.removeprefix("r1eval."): text for name, text in run.data.tags.items() if "r1eval" in name}
        assert tags == {
            **told.texts,
            "id": told.id,
            "verdict": "PASS",
            "model": "local/toy",
            "checkpoint": told.checkpoint,
        }
        assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["report.html"]
        assert run.info.status == "FINISHED"

    def test_the_command_logs_it(
        self, client: MlflowClient, judged_copy: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """`r1eval log RUN --to mlflow` logs a stored run, and prints where it is."""
        assert main(["log", str(judged_copy("green")), "--to", "mlflow"]) == 0
        (run,) = runs_in(client)
        assert capsys.readouterr().out.startswith(f"mlflow: run {run.info.run_id} of experiment ")

    def test_logging_again_brings_it_up_to_date(self, client: MlflowClient, judged_copy: Callable[[str], Path]) -> None:
        """A run that is logged twice is one run and one model version."""
        run = judged_copy("green")
        told = logged(run)
        logged(run)
        assert len(runs_in(client)) == 1
        versions = client.search_model_versions("name = 'local-toy'")
        assert sum(version.tags.get(ID_TAG) == told.id for version in versions) == 1


class TestVersion:
    """Tag and alias say PASS, and nothing else."""

    def test_a_pass_has_both(self, client: MlflowClient, judged_copy: Callable[[str], Path]) -> None:
        """A PASS makes a model version of the checkpoint that carries tag and alias."""
        told = logged(judged_copy("green"))
        version = client.get_model_version_by_alias("local-toy", ALIAS)
        assert version.tags == {ID_TAG: told.id, VERDICT_TAG: "PASS", "r1eval.checkpoint": told.checkpoint}

    @pytest.mark.parametrize("name", ["red", "holes"])
    def test_another_verdict_has_none(
        self, client: MlflowClient, judged_copy: Callable[[str], Path], prod: str, name: str
    ) -> None:
        """A run that is not PASS is logged, and its model version has neither tag nor alias."""
        told = logged(judged_copy(name), version=prod)
        (run,) = runs_in(client)
        assert run.data.tags["r1eval.verdict"] == told.verdict != "PASS"
        version = client.get_model_version(*prod.split("/"))
        assert (version.tags, [*version.aliases]) == ({}, [])

    def test_a_pass_that_is_no_more(self, client: MlflowClient, judged_copy: Callable[[str], Path], prod: str) -> None:
        """A named version carries a PASS until the same run is judged again and is none."""
        run = judged_copy("green")
        told = logged(run, version=prod)
        version = client.get_model_version(*prod.split("/"))
        assert (version.tags, [*version.aliases]) == ({ID_TAG: told.id, VERDICT_TAG: "PASS"}, [ALIAS])
        logged(run, version=prod, all_pass=False)
        version = client.get_model_version(*prod.split("/"))
        assert (version.tags, [*version.aliases]) == ({ID_TAG: told.id}, [])


class TestFailures:
    def test_a_server_that_is_not_there(
        self, pytester: pytest.Pytester, recorded: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A gate whose MLflow does not answer ends with the verdict's exit code, and one line without the password."""
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:hidden-word@127.0.0.1:{free_port()}")
        recorded("base", seed=1)
        save_baseline(pytester, "base")
        recorded("good", seed=2)
        result = judge(pytester, "good", "--r1-log=mlflow")
        assert result.ret == 0
        (line,) = [line for line in result.stdout.lines if line.startswith("mlflow: ")]
        assert line.startswith("mlflow: failed: MlflowException: API request to http://***@127.0.0.1:")
        assert line.endswith("--to mlflow")
        assert "hidden-word" not in result.stdout.str() + result.stderr.str()

    def test_a_version_that_is_not_there(self, client: MlflowClient, judged_copy: Callable[[str], Path]) -> None:
        """A model version that does not exist is one line; the run is logged before that."""
        (answer,) = log_run(judged_copy("green"), [TrackerChoice(name="mlflow", version="nothing/7")])
        assert answer.answer.error is not None
        (run,) = runs_in(client)
        logged = f"run {run.info.run_id} of experiment {run.info.experiment_id} at {client.tracking_uri} is logged"
        assert answer.answer.error.startswith(f"{logged}, and its model version is not: RESOURCE_DOES_NOT_EXIST: ")


@pytest.mark.parametrize("case", [("good", 0), ("bad", 1)], ids=["green", "red"])
def test_a_gate_logs_to_all_of_them(
    pytester: pytest.Pytester,
    client: MlflowClient,
    recorded: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[str, int],
) -> None:
    """A green and a red gate on two workers are logged to four trackers at once, one line each."""
    model, code = case
    places: Mapping[str, str] = {
        "WANDB_MODE": "offline", "WANDB_DIR": "offline", "TRACKIO_DIR": "trackio", "TENSORBOARD_LOGGING_DIR": "events",
    }  # fmt: skip
    for name, value in places.items():
        monkeypatch.setenv(name, value if name == "WANDB_MODE" else str(pytester.mkdir(value)))
    recorded("base", seed=1)
    save_baseline(pytester, "base")
    recorded("good", seed=2)
    recorded("bad", seed=3, weights="w2", solve_rate=0.05)
    names = ("mlflow", "wandb", "trackio", "tensorboard")
    result = judge(pytester, model, *(f"--r1-log={name}" for name in names), "-n2")
    assert result.ret == code
    lines = [line for line in result.stdout.lines if line.startswith(names)]
    assert [line.partition(":")[0] for line in lines] == [*names]
    assert not [line for line in lines if ": failed: " in line]
    (run,) = runs_in(client)
    assert run.data.tags["r1eval.smoke/verdict"] == ("PASS" if code == 0 else "FAIL_REGRESSED")
    assert len([*pytester.path.glob("offline/wandb/offline-run-*")]) == 1
    assert len([*pytester.path.glob("events/r1eval/*/events*")]) == 1
    assert (pytester.path / "trackio/r1eval.db").is_file()
