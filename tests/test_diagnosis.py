"""`r1eval doctor`: what is there and what to do, without a secret and without waiting."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from pytest_r1eval.cli import main
from pytest_r1eval.diagnosis import Finding, Standing, findings, is_fit

SECRET = "hf_made_up"  # noqa: S105 - made up


def test_everything_is_looked_at(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As JSON, in seconds, with LightEval's pinned version and the sandbox' level."""
    monkeypatch.setenv("HF_TOKEN", SECRET)
    started = time.monotonic()
    assert main(["doctor", "--json"]) == 0
    assert time.monotonic() - started < 30
    printed = capsys.readouterr().out
    content = json.loads(printed)
    found = {finding["what"]: finding for finding in content["findings"]}
    assert content["is_fit"] is True
    assert found["lighteval"]["found"] == "0.13.0 (known to work: 0.13.0)"
    assert {"Python", "engine", "GPUs", "disk", "sandbox", "Hub", "GPQA", "Slurm"} <= set(found)
    assert SECRET not in printed


def test_what_is_missing_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """A line below it."""
    main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    (number,) = (number for number, line in enumerate(lines) if line.split()[:2] == ["-", "Hub"])
    assert lines[number + 1].strip().startswith("->")


def test_a_folder_that_is_not_there_yet_is_judged_by_its_parent(tmp_path: Path) -> None:
    """That is where it will be made."""
    found = {finding.what: finding for finding in findings({"HF_HUB_OFFLINE": "1"}, folder=tmp_path / "a" / "b")}
    assert found["disk"].found.endswith(f"free at {tmp_path}")


def test_only_what_no_run_can_do_without_makes_it_unfit() -> None:
    """A machine without a GPU or a Hub judges all the same."""
    missing = Finding(what="GPUs", standing=Standing.MISSING, found="none")
    bad = Finding(what="lighteval", standing=Standing.BAD, found="not installed")
    assert is_fit([missing])
    assert not is_fit([missing, bad])
