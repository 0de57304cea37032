"""
The training callback with nothing replaced: the real Trainer fine-tunes the small checkpoint, vLLM samples each save.

The example of the README is the test: a training whose learning rate goes wrong between two saves.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_r1eval.reports.run_report import read_report
from pytest_r1eval.runs.store import FILE_NAME
from tests.requirements import PEFT

pytestmark = pytest.mark.usefixtures("warm_engines")

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the training; return its output folder and what it printed."""
    out = tmp_path_factory.mktemp("training") / "tuned"
    command = [sys.executable, str(EXAMPLES / "gate_training.py"), "--out", str(out), "--regress"]
    done = subprocess.run(command, cwd=EXAMPLES.parent, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return out, done.stdout


def entries(text: str) -> dict[int, dict[str, Any]]:
    """Read what was logged of checkpoints, by step."""
    found = [ast.literal_eval(line) for line in text.splitlines() if line.startswith("{'r1eval/") and "'step'" in line]
    return {entry["step"]: entry for entry in found}


def test_each_save_is_judged_and_the_fallen_one_stops_the_training(said: tuple[Path, str]) -> None:
    """The first save passes against the shipped baseline; the second falls against the first and ends the training."""
    first, second = entries(said[1]).values()
    assert (first["step"], first["r1eval/smoke/verdict"]) == (3, "PASS")
    assert 0.55 < first["r1eval/smoke/pass_at_1"] < 0.75
    assert (second["step"], second["r1eval/smoke/verdict"]) == (6, "FAIL_REGRESSED")
    assert second["r1eval/smoke/z"] < -10
    ended = re.search(r"ended at step (\d+) of 600", said[1])
    assert ended is not None
    assert int(ended[1]) < 600


def test_both_saves_are_judged_by_one_engine(said: tuple[Path, str]) -> None:
    """Only the first save's run has an engine's log: the second's weights were loaded in place."""
    logs = [len([*(said[0] / "r1eval" / "tuned" / f"checkpoint-{step}").glob("*/logs/engine-*")]) for step in (3, 6)]
    assert logs == [1, 0]


def test_runs_hold_their_lineage(said: tuple[Path, str]) -> None:
    """A training's run holds its step and its parent."""
    (run,) = (said[0] / "r1eval" / "tuned" / "checkpoint-6").glob(f"*/{FILE_NAME}")
    lineage = read_report(run.parent).header.lineage
    assert lineage is not None
    assert (lineage.step, lineage.parent) == (6, "tuned/checkpoint-3")


def test_a_watcher_asks_nothing_again(said: tuple[Path, str], tmp_path: Path) -> None:
    """`r1eval gates` over the training's folder gives the same verdicts from the ledger, and starts no engine."""
    out = shutil.copytree(said[0], tmp_path / "tuned")
    program = "import sys; from pytest_r1eval.commands.cli import main; sys.exit(main(sys.argv[1:]))"
    options = ("--framework", "trl", "--benchmarks", "smoke", "--gpus", "none", "--once", "--json")
    done = subprocess.run(
        [sys.executable, "-c", program, "gates", str(out), *options, "--first-baseline", "r1eval/tiny-arithmetic"],
        cwd=EXAMPLES.parent, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["step"], one["exit_code"]) for one in told] == [(3, 0), (6, 1)]
    assert "smoke FAIL_REGRESSED" in told[1]["message"]
    assert len([*out.glob(f"r1eval/tuned/*/*/{FILE_NAME}")]) == 2


@PEFT.mark
def test_the_saves_of_an_adapter_are_judged_on_the_base_model(tmp_path: Path) -> None:
    """A gentle training's adapter passes against the base model's baseline."""
    command = [sys.executable, str(EXAMPLES / "gate_training.py"), "--out", str(tmp_path / "tuned"), "--lora"]
    done = subprocess.run(
        [*command, "--max-steps", "3"], cwd=EXAMPLES.parent, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (entry,) = entries(done.stdout).values()
    assert (entry["step"], entry["r1eval/smoke/verdict"]) == (3, "PASS")
    (run,) = (tmp_path / "tuned" / "r1eval" / "tuned" / "checkpoint-3").glob(f"*/{FILE_NAME}")
    files = {file.name for file in read_report(run.parent).header.identity.files}
    assert {"model.safetensors", "adapter/adapter_model.safetensors", "adapter/adapter_config.json"} <= files
