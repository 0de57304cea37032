"""Verdicts in W&B's offline mode, read back from the file that `wandb sync` sends."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from wandb.proto.wandb_internal_pb2 import Record

from pytest_r1eval.config.tracker_choice import TrackerChoice
from pytest_r1eval.reports.run_report import read_report
from pytest_r1eval.trackers.delivery import log_run
from pytest_r1eval.trackers.tracked import tracked
from tests.plugin_runs import judge, save_baseline

WANDB = TrackerChoice(name="wandb")
KEY = "0123456789abcdef0123456789abcdef01234567"
_BLOCK = 32768


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let W&B write to a folder, with a key that it has no use for."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    return tmp_path / "wandb"


def records(file: Path) -> Iterator[Record]:
    """Read W&B's file: LevelDB's log format behind a header of seven bytes."""
    data, at, part = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if _BLOCK - at % _BLOCK < 7:
            at += _BLOCK - at % _BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        part += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in {1, 4}:  # whole, or the last part
            record = Record()
            record.ParseFromString(part)
            yield record
            part = b""


def test_a_run_is_logged(offline: Path, judged_copy: Callable[[str], Path]) -> None:
    """A run in W&B has our id, the verdict as its tag, the numbers in its summary and the page as an artifact."""
    run = judged_copy("red")
    (logged,) = log_run(run, [WANDB])
    told = tracked(read_report(run))
    (folder,) = offline.glob("offline-run-*")
    assert logged.answer.place == str(folder)
    found = [*records(folder / f"run-{told.id}.wandb")]
    (began,) = [record.run for record in found if record.HasField("run")]
    assert (began.run_id, began.project, began.run_group) == (told.id, "r1eval", "local/toy")
    assert [*began.tags] == ["r1eval FAIL_REGRESSED"]
    summary = {
        item.key: json.loads(item.value_json)
        for record in found
        if record.HasField("summary")
        for item in record.summary.update
        if item.key
    }
    assert {name: summary[name] for name in told.numbers} == pytest.approx(dict(told.numbers))
    assert (summary["verdict"], summary["is_pass"]) == (told.verdict, False)
    (artifact,) = [record.artifact for record in found if record.HasField("artifact")]
    assert (artifact.name, artifact.type) == (f"r1eval-{told.id}", "report")


def test_logging_again_is_the_same_run(offline: Path, judged_copy: Callable[[str], Path]) -> None:
    """A run that is logged twice has one id, by which W&B brings both together."""
    run = judged_copy("green")
    for _ in range(2):
        (logged,) = log_run(run, [WANDB])
        assert logged.answer.error is None
    assert {path.name for path in offline.glob("*/run-*.wandb")} == {f"run-{tracked(read_report(run)).id}.wandb"}


def test_no_key_is_stored(offline: Path, judged_copy: Callable[[str], Path]) -> None:
    """No file that W&B writes for a run holds its key."""
    log_run(judged_copy("green"), [WANDB])
    written = [path for path in offline.rglob("*") if path.is_file()]
    assert len(written) > 2
    assert not [path for path in written if KEY.encode() in path.read_bytes()]


def test_no_credentials_are_one_line(
    pytester: pytest.Pytester, recorded: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gate without a login at W&B ends with the verdict's exit code, and one line says what is missing."""
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(pytester.mkdir("home")))
    recorded("base", seed=1)
    save_baseline(pytester, "base")
    recorded("good", seed=2)
    result = judge(pytester, "good", "--r1-log=wandb")
    assert result.ret == 0
    (line,) = [line for line in result.stdout.lines if line.startswith("wandb: ")]
    assert line.startswith("wandb: failed: UsageError: No API key configured.")
    assert line.endswith("--to wandb")
