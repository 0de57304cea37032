"""A batch job is checked before it is submitted, by the pytest that it will run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_r1eval.commands.cli import main
from tests.judged_runs import judged
from tests.recordings import record_run
from tests.requirements import LIGHTEVAL

EXAMPLE = Path(__file__).parents[2] / "examples" / "r1eval" / "tiny-arithmetic"


@pytest.fixture(autouse=True)
def _cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put an sbatch into the path that notes its calls, and a recorded model with its baseline into the folder."""
    monkeypatch.chdir(tmp_path)
    program = tmp_path / "bin" / "sbatch"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho called >> {tmp_path}/sbatch.log; echo 7\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    record_run(tmp_path / "models" / "good", seed=1)
    judged(tmp_path / "models" / "good", root=tmp_path)


def submit(*arguments: str, model: str = "models/good", engine: tuple[str, ...] = ("--r1-engine", "replay")) -> int:
    """Submit a gate of a recorded run."""
    return main(["slurm", "submit", "--model", model, "--benchmarks", "smoke", *engine, *arguments])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--benchmarks", "smok"), "--benchmarks smok: no such benchmark"),
        (("--r1-nonsense", "3"), "unrecognized arguments: --r1-nonsense"),
        (("--r1-sigmas", "abc"), "--r1-sigmas is 'abc'; expected a number above 0"),
        (("--r1-gate", "seqential"), "argument --r1-gate: invalid choice: 'seqential'"),
        (("--r1-samples", "smok=3"), "--r1-samples smok=...: no such benchmark; expected one of aime24"),
        (("--r1-baseline", "local/tyo"), "--r1-baseline local/tyo: no such baseline; looked for "),
        (("--r1-subset", "5"), "was asked something else: question.exam: "),
        (("--r1-engine-arg", "delay=1"), "--r1-engine-arg delay=1: "),
        (("--junitxlm=gate.xml",), "unrecognized arguments: --junitxlm=gate.xml"),
        (("--r1-save-baseline", "nope"), "--r1-save-baseline is 'nope'; expected org/name"),
        (("--r1-save-baseline", "../../x"), "--r1-save-baseline is '../../x'; expected org/name"),
        (("--r1-tasks", "missing.py"), "missing.py: cannot be read"),
        (("--workers", "many"), "--workers many; expected auto or a whole number"),
        (("--workers", "-1"), "--workers -1; expected auto or a whole number"),
        (("-k", "smoke"), "-k: the batch scripts decide that"),
        (("--deselect=r1eval::smoke",), "--deselect=r1eval::smoke: the batch scripts decide that"),
        (("--collect-only",), "--collect-only: pytest would show something and judge nothing"),
        (("--setup-plan",), "--setup-plan: pytest would show something and judge nothing"),
        (("--markers",), "--markers: pytest would show something and judge nothing"),
        (("--version",), "pytest would end before it looks at the run"),
    ],
)
def test_an_option_that_cannot_work_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], reason: str
) -> None:
    """A wrong option of slices or judge is refused in one line before sbatch is called or a file is written."""
    before = sorted(tmp_path.rglob("*"))
    assert submit(*arguments) == 4
    error = capsys.readouterr().err
    assert error.startswith("r1eval slurm submit: error: ")
    assert reason in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("model", ["./models/godo", "models/godo", "models"])
def test_a_checkpoint_that_is_not_there_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    """A checkpoint that is not there is refused before sbatch is called."""
    assert submit(model=model, engine=()) == 4
    assert model in capsys.readouterr().err
    assert not (tmp_path / "sbatch.log").exists()


@LIGHTEVAL.mark
@pytest.mark.usefixtures("warm_graders")
def test_a_data_set_that_cannot_be_read_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A submission whose data set cannot be read is refused in one line."""
    (tmp_path / "data").mkdir()
    command = ["slurm", "submit", "--model", str(EXAMPLE), "--benchmarks", "aime24", "--r1-data", "data"]
    assert main(command) == 4
    assert "aime24" in (error := capsys.readouterr().err)
    assert error.count("\n") == 1


def test_what_will_work_is_submitted(tmp_path: Path) -> None:
    """A submission that will work calls sbatch twice, and its check leaves no file behind."""
    assert submit("--r1-baseline", "local/toy", "--junitxml=gate.xml", "--r1-sigmas=4") == 0
    assert (tmp_path / "sbatch.log").read_text(encoding="utf-8").count("called") == 2
    assert not (tmp_path / "gate.xml").exists()
    assert [path.name for path in (tmp_path / "data" / "evals").iterdir()] == ["slurm"]
    assert submit("--r1-nonsense=3", "--no-check") == 0
