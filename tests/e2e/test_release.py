"""The example of a release gate, a shipped checkpoint and a real engine; plugin/test_releases has recorded ones."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.documents import ROOT


def test_the_regressed_checkpoint_is_held(tmp_path: Path) -> None:
    """By the example's policy the regressed checkpoint is HOLD with exit code 1, and each tier counts as it should."""
    for name in ("release", "r1eval"):
        shutil.copytree(ROOT / "examples" / name, tmp_path / name)
    command = [sys.executable, "-m", "pytest", "--r1-model=../r1eval/tiny-arithmetic-regressed", "-m", "release"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider"],
        cwd=tmp_path / "release",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 1, done.stdout
    (path,) = tmp_path.glob("release/data/evals/*/*/*/verdicts.json")
    release = json.loads(path.read_text(encoding="utf-8"))["release"]
    assert release["verdict"] == "hold"
    found = {one["benchmark"]: (one["verdict"], one["counts"]) for one in release["members"]}
    assert found["smoke"] == ("fail_regressed", "hold")
    assert found["sums"] == ("fail_regressed", "ship")
    assert found["cold_sums"][1] == "ship"
