"""Runs of pytest that judge a recorded run as a user would, and what they leave."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pytest_r1eval.core.built_in import BUILT_IN, BUILT_IN_POOLS
from pytest_r1eval.runs.finished import StoredRun
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import FILE_NAME
from tests.judged_runs import judged

N_OTHERS = len(BUILT_IN) + len(BUILT_IN_POOLS) + len(["smoke_code"])
"""Benchmarks that `-m smoke` leaves out: one shard of each."""


def judge(pytester: pytest.Pytester, run: str, *arguments: str, mark: str = "smoke") -> pytest.RunResult:
    """Judge a recorded run as a user would, in a process of its own."""
    return pytester.runpytest_subprocess(
        "--r1-model", run, "--r1-engine", "replay", "-m", mark, "-p", "no:cacheprovider", *arguments
    )


def judge_only(pytester: pytest.Pytester, run: Path, *arguments: str) -> pytest.RunResult:
    """Judge a stored run again."""
    return pytester.runpytest_subprocess("--r1-judge-only", str(run), "-p", "no:cacheprovider", *arguments)


def save_baseline(pytester: pytest.Pytester, run: str) -> None:
    """Make a recorded run the baseline of its model, as `--r1-save-baseline` does, without a process for it."""
    judged(pytester.path / run, root=pytester.path)


def runs_of(pytester: pytest.Pytester) -> list[Path]:
    """Return the folders of all runs so far, oldest first."""
    return sorted(
        (path.parent for path in pytester.path.glob(f"data/evals/*/*/*/{FILE_NAME}")),
        key=lambda folder: (folder / FILE_NAME).stat().st_mtime_ns,
    )


def verdict_of(run: Path, benchmark: str = "smoke") -> str:
    """Return the stored verdict."""
    found = StoredRun(folder=run).verdict(benchmark)
    assert found is not None
    return found.value


def stored_samples(run: Path) -> set[tuple[str, int, str]]:
    """Return what a run stores of smoke: problem, index, text."""
    with closing(RunReader.open(run)) as stored:
        return {(sample.problem_id, sample.index, sample.response.text) for sample in stored.samples("smoke")}


def drawn_by(run: Path) -> dict[str, list[int]]:
    """Return how many units each worker did, by benchmark."""
    found: dict[str, list[int]] = {}
    with closing(sqlite3.connect(run / FILE_NAME)) as db:
        for name, n_units in db.execute("SELECT benchmark, count(*) FROM unit WHERE done GROUP BY benchmark, owner"):
            found.setdefault(name, []).append(n_units)
    return found
