"""What the trackers' tests share; those with a real tracker run in the environment of `make tracker-test`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest

from pytest_r1eval.reports.files import PAGE_NAME, write_report
from pytest_r1eval.reports.run_report import read_report

_REAL = ("mlflow", "tensorboard", "trackio", "wandb")
collect_ignore_glob = [f"test_{name}.py" for name in _REAL if find_spec(name) is None]


@pytest.fixture
def judged_copy(tmp_path: Path, examples: Mapping[str, Path]) -> Callable[[str], Path]:
    """Copy a judged run of some ending, with its page."""

    def copy(name: str) -> Path:
        run = tmp_path / name
        shutil.copytree(examples[name], run)
        write_report(read_report(run), run / PAGE_NAME)
        return run

    return copy
