"""The example of a release gate, a shipped checkpoint and a real engine; plugin/test_releases has recorded ones."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.documents import ROOT
from tests.processes import EAGER

pytestmark = pytest.mark.usefixtures("warm_engines")


def release(folder: Path, model: str) -> tuple[int, dict[str, Any]]:
    """Judge a shipped checkpoint by a copy of the example; return pytest's exit code and the release as JSON."""
    for name in ("release", "r1eval"):
        shutil.copytree(ROOT / "examples" / name, folder / name)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            f"--r1-model=../r1eval/{model}",
            "-m",
            "release",
            "-p",
            "no:cacheprovider",
            EAGER,
        ],
        cwd=folder / "release",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=900,
    )
    paths = [*folder.glob("release/data/evals/*/*/*/verdicts.json")]
    assert len(paths) == 1, done.stdout
    return done.returncode, json.loads(paths[0].read_text(encoding="utf-8"))["release"]


def test_the_good_checkpoint_ships(tmp_path: Path) -> None:
    """By the example's policy the good checkpoint is SHIP with exit code 0, and no benchmark holds it."""
    code, found = release(tmp_path, "tiny-arithmetic")
    assert (code, found["verdict"]) == (0, "ship")
    assert [one["counts"] for one in found["members"]] == ["ship"] * 3
    assert found["members"][0]["verdict"] == "pass"


def test_the_regressed_checkpoint_is_held(tmp_path: Path) -> None:
    """By the example's policy the regressed checkpoint is HOLD with exit code 1, and each tier counts as it should."""
    code, found = release(tmp_path, "tiny-arithmetic-regressed")
    assert (code, found["verdict"]) == (1, "hold")
    members = {one["benchmark"]: (one["verdict"], one["counts"]) for one in found["members"]}
    assert members["smoke"] == ("fail_regressed", "hold")
    assert members["sums"] == ("fail_regressed", "ship")
    assert members["cold_sums"][1] == "ship"
