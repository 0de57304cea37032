"""Verdicts in a local trackio, read back through its own API."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_r1eval.config.tracker_choice import TrackerChoice
from pytest_r1eval.reports.run_report import read_report
from pytest_r1eval.trackers.delivery import log_run
from pytest_r1eval.trackers.tracked import tracked

TRACKIO = TrackerChoice(name="trackio")
READ = """
import json, trackio
from trackio.sqlite_storage import SQLiteStorage
(run,) = trackio.Api().runs("r1eval")
print(json.dumps({"name": run.name, "config": run.config, "logs": SQLiteStorage.get_logs("r1eval", run.name)}))
"""
"""Its folder is read when it is imported, so each test reads in a process of its own."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let trackio write to a folder."""
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    return tmp_path / "trackio"


def test_a_run_is_logged_and_brought_up_to_date(folder: Path, judged_copy: Callable[[str], Path]) -> None:
    """A run that is logged twice is one run in trackio, whose last step has the verdict's numbers, and its page."""
    run = judged_copy("green")
    for _ in range(2):
        (logged,) = log_run(run, [TRACKIO])
        assert logged.answer.error is None
    told = tracked(read_report(run))
    done = subprocess.run([sys.executable, "-c", READ], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["name"] == f"local-toy-{told.id}"
    assert found["config"]["r1eval.id"] == told.id
    last = found["logs"][-1]
    assert {name: last[name] for name in told.numbers} == pytest.approx(dict(told.numbers))
    assert (last["verdict"], last["is_pass"], last["step"]) == ("PASS", True, 1)
    page = (run / "report.html").read_bytes()
    assert page in [blob.read_bytes() for blob in folder.glob("artifacts/r1eval/blobs/*/*/*")]


def test_a_server_without_a_token_is_one_line(
    folder: Path, judged_copy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trackio server that wants a token is one line, and nothing is written here instead."""
    monkeypatch.setenv("TRACKIO_SERVER_URL", "http://127.0.0.1:9")
    (logged,) = log_run(judged_copy("green"), [TRACKIO])
    assert logged.answer.error is not None
    assert logged.answer.error.startswith("ValueError: Self-hosted logging requires a write token")
    assert not [*folder.glob("*.db")]
