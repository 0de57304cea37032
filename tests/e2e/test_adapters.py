"""
Adapters with nothing replaced: PEFT trains them, vLLM serves them, and the gate judges them against their base model.

The example is the test: one adapter improves its base model, the other is the same one, ruined.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_r1eval import RunReport, evaluate
from pytest_r1eval.judging.result import GateResult
from pytest_r1eval.reports.run_report import read_report
from pytest_r1eval.runs.store import FILE_NAME
from pytest_r1eval.stats.verdicts import Verdict
from tests.processes import EAGER
from tests.requirements import PEFT, need

pytestmark = pytest.mark.usefixtures("warm_engines")

EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gated:
    """A finished gate: its exit code, what it printed, and its result."""

    code: int
    output: str
    result: GateResult


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train the adapters of the example; return the folder of the base model and both."""
    need(PEFT)
    out = tmp_path_factory.mktemp("trained")
    command = [sys.executable, str(EXAMPLES / "train_adapter.py"), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def project(trained: Path) -> Path:
    """Judge the base model itself, and keep its number as baseline acme/base of a project."""
    folder = trained / "project"
    folder.mkdir()
    gated(folder, f"--r1-model={trained / 'base'}", "--r1-save-baseline=acme/base")
    return folder


def gated(folder: Path, *arguments: str) -> Gated:
    """Judge as a user would, with half of the benchmark's samples."""
    before = {*folder.glob(f"data/evals/*/*/*/{FILE_NAME}")}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "smoke", "--r1-samples=smoke=8", EAGER]
    done = subprocess.run(
        [*command, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        timeout=900,
    )  # fmt: skip
    new = {*folder.glob(f"data/evals/*/*/*/{FILE_NAME}")} - before
    assert len(new) == 1, done.stdout[-3000:]
    return Gated(code=done.returncode, output=done.stdout, result=read_report(new.pop().parent)["smoke"].result)


@pytest.fixture(scope="module")
def series(trained: Path, project: Path) -> tuple[RunReport, ...]:
    """Judge both adapters from Python, the ruined one first: what it leaves in the engine would ruin the other."""
    return evaluate(
        [trained / "ruined", trained / "improved"],
        ["smoke"],
        folder=project,
        output_dir=project / "series",
        baseline="acme/base",
        samples={"smoke": 8},
        engine_arg={"enforce_eager": True},
        timeout_s=900,
    )


def test_each_has_its_own_verdict(series: tuple[RunReport, ...]) -> None:
    """Adapters of one base are each judged by their own answers, also the one that follows a ruined one."""
    ruined, improved = (report["smoke"] for report in series)
    assert (ruined.verdict, improved.verdict) == (Verdict.FAIL_REGRESSED, Verdict.SUSPICIOUS_IMPROVED)
    assert improved.result.judgement.z is not None
    assert improved.result.judgement.z > 3
    assert ruined.result.n_samples == improved.result.n_samples == 40 * 8
    assert len({report.header.identity.checkpoint for report in series}) == 2


def test_the_engine_is_started_once(series: tuple[RunReport, ...]) -> None:
    """Only the first adapter's run has an engine's log, and both runs name the same harness."""
    assert [len([*report.run.glob("logs/engine-*.log")]) for report in series] == [1, 0]
    assert len({report.harnesses for report in series}) == 1


def test_a_merged_adapter_that_improves_is_far_above_its_base_model(trained: Path, project: Path) -> None:
    """An adapter that improves is SUSPICIOUS_IMPROVED with exit code 0, merged as it is when served."""
    done = gated(project, f"--r1-model={trained / 'improved'}", "--r1-baseline=acme/base", "--r1-adapter-merge")
    assert (done.code, done.result.judgement.verdict) == (0, Verdict.SUSPICIOUS_IMPROVED), done.output[-3000:]
    assert done.result.judgement.z is not None
    assert done.result.judgement.z > 3
    assert done.result.n_samples == 40 * 8


def test_an_adapter_that_ruins_fails(trained: Path, project: Path) -> None:
    """An adapter that ruins its base model is FAIL_REGRESSED beside it, with exit code 1."""
    model = (f"--r1-model={trained / 'base'}", f"--r1-adapter={trained / 'ruined'}")
    done = gated(project, *model, "--r1-baseline=acme/base")
    assert (done.code, done.result.judgement.verdict) == (1, Verdict.FAIL_REGRESSED), done.output[-3000:]
    assert f"r1eval: an adapter of rank 8 on {trained / 'base'}" in done.output
