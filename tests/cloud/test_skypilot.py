"""SkyPilot reads its example; run in the environment of `make cloud-test`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.documents import ROOT

SKY = ROOT / "examples/skypilot/gate.yaml"


def read(path: Path, then: str, *, home: Path) -> subprocess.CompletedProcess[str]:
    """Read a task by SkyPilot, in a process of its own, whose home is empty."""
    program = f"import sky; task = sky.Task.from_yaml({str(path)!r}); {then}"
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={**os.environ, "HOME": str(home)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip


def test_skypilot_takes_it(tmp_path: Path) -> None:
    """SkyPilot reads the file as a task with its GPU, its bucket and its script."""
    shown = "(place,) = task.resources; print(place.accelerators, [*task.storage_mounts], task.file_mounts)"
    done = read(SKY, shown, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "{'H100': 1} ['/store'] {'~/gate.sh': 'examples/cloud/gate.sh'}\n"


def test_skypilot_refuses_another_key(tmp_path: Path) -> None:
    """SkyPilot's schema refuses a key that it does not know."""
    other = tmp_path / "gate.yaml"
    other.write_text(SKY.read_text(encoding="utf-8").replace("disk_size:", "disc_size:"), encoding="utf-8")
    done = read(other, "print(task)", home=tmp_path)
    assert done.returncode != 0
    assert "'disc_size'" in done.stderr
