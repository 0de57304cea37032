"""`--json` of every command, on real small runs: one document that any program reads, and nothing beside it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from pytest_r1eval.commands.cli import application, main
from pytest_r1eval.core.plans import Slice
from tests.judged_runs import judged
from tests.recordings import record_run
from tests.requirements import LIGHTEVAL, Requirement, need

Runs = Mapping[str, Path]
R1EVAL = (sys.executable, "-c", "from pytest_r1eval.commands.cli import main; raise SystemExit(main())")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A command line, in which a run's name in braces is its folder; what it exits with, and keys it must print."""

    line: str
    keys: set[str]
    code: int = 0
    needs: Requirement | None = None


CASES = (
    Case(line="power --benchmark aime24", keys={"mde_80", "sequential"}),
    Case(line="compare {green} {base}", keys={"passes", "gates"}),
    Case(line="compare {red} {base}", keys={"passes", "gates"}, code=1),
    Case(line="compare {holes} {base}", keys={"passes", "gates"}, code=1),
    Case(line="aggregate {green} {base}", keys={"aggregates"}),
    Case(line="merge slices/1 slices/2 --out merged", keys={"run", "n_slices", "n_samples"}),
    Case(line="watch {green}", keys={"benchmarks"}),
    Case(line="watch {stopped} --once", keys={"benchmarks"}),
    Case(line="watch slices/1 --once", keys={"benchmarks"}),
    Case(line="report {green}", keys={"run", "passes", "gates"}),
    Case(line="report {red}", keys={"run", "passes", "gates"}),
    Case(line="report {holes}", keys={"run", "passes", "gates"}),
    Case(line="report {stopped} --out page.html", keys={"run", "report"}),
    Case(line="history training", keys={"benchmarks"}),
    Case(line="index training", keys={"folder", "page"}),
    Case(line="history training --out page.html", keys={"folder", "page"}),
    Case(line="doctor", keys={"is_fit", "findings"}, needs=LIGHTEVAL),
    Case(line="policy show policy.toml", keys={"policy", "benchmarks", "gates"}),
    Case(line="policy check policy.toml", keys={"policy", "is_fit", "problems"}),
    Case(line="policy cost policy.toml", keys={"policy", "order", "gates"}),
    Case(line="baseline record {green} org/new", keys={"file", "baselines"}),
    Case(line="baseline list", keys={"baselines"}),
    Case(line="baseline show org/old", keys={"model", "measured"}),
    Case(line="baseline diff org/old org/old", keys={"changes"}),
    Case(line="baseline verify", keys={"checked", "wrong"}),
    Case(line="baseline bless {green} org/old --reason why", keys={"file", "baselines"}),
    Case(
        line="slurm submit --model {green} --benchmarks smoke --gpus-per-node 0 --no-check",
        keys={"folder", "array_job", "n_slices"},
    ),
    Case(line="slurm submit --model m --benchmarks smoke --dry-run", keys={"folder", "slice.sbatch", "judge.sbatch"}),
    Case(line="slurm status submitted", keys={"folder", "jobs"}),
    Case(line="slurm wait submitted", keys={"folder", "exit_code", "run", "logs"}, code=1),
    Case(line="slurm logs submitted --judge", keys={"folder", "logs"}),
    Case(line="slurm cancel submitted", keys={"folder", "cancelled"}),
    Case(line="slurm resubmit again", keys={"folder", "array_job", "n_slices"}),
)
ELSEWHERE = {
    **{
        f"ray {name}": "ray/test_cluster.py, which has a cluster for it"
        for name in ("cancel", "logs", "resubmit", "status", "submit", "wait")
    },
    "k8s render": "test_k8s.py, with what it renders",
    "upload": "upload/test_publish.py, which has a Hub for it",
    "same": "test_same.py, which has scores for it",
    "gates": "test_gates.py, which has checkpoints for it",
    "comment": "upload/test_pull_request.py, which has a GitHub for it",
    "log": "trackers/test_delivery.py, which has trackers for it",
}


def commands(app: typer.Typer | None = None, prefix: str = "") -> Iterator[str]:
    """List every command, as it is typed."""
    group = application() if app is None else app
    for command in group.registered_commands:
        assert command.callback is not None
        yield prefix + (command.name or command.callback.__name__)
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from commands(inner.typer_instance, f"{inner.typer_instance.info.name} ")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, examples: Runs) -> Path:
    """Make what the commands ask about: slices, a training, a baseline, and a submission to a cluster that is over."""
    here = tmp_path_factory.mktemp("json")
    for number in (1, 2):
        record_run(here / "slices" / str(number), part=Slice(number=number, total=2))
    (here / "policy.toml").write_text('[benchmarks.aime24]\ntier = "critical"\n', encoding="utf-8")
    judged(record_run(here / "training" / "run", model_name="org/checkpoint-100"))
    assert examples["base"].is_dir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        assert main(["baseline", "record", str(examples["base"]), "org/old"]) == 0
    submitted = here / "submitted"
    for name in ("logs", "results"):
        (submitted / name).mkdir(parents=True)
    for name in ("slice.sbatch", "judge.sbatch"):
        (submitted / name).write_text("#!/bin/bash\n")
    (submitted / "job.json").write_text(json.dumps({"model": "m", "n_slices": 2, "array_job": 7, "judge_job": 8}))
    (submitted / "results" / "8-0.txt").write_text("1\nmerged\n")
    (submitted / "logs" / "judge.log").write_text("red\n")
    shutil.copytree(submitted, here / "again")
    return here


@pytest.fixture(autouse=True)
def _here(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run there, with a Slurm that takes every job and has forgotten it by now."""
    monkeypatch.chdir(folder)
    programs = {"sbatch": "echo 7", "scancel": "true", "squeue": """echo '{"jobs": []}'"""}
    for name, does in programs.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{does}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


def parsed(text: str) -> dict[str, Any]:
    """Parse one document, refusing what JSON does not have."""
    content = json.loads(text, parse_constant=pytest.fail)
    assert isinstance(content, dict)
    return content


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.line)
def test_one_document(case: Case, examples: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` prints one document with a schema version, the command's exit code and nothing on standard error."""
    if case.needs is not None:
        need(case.needs)
    assert main([*case.line.format(**examples).split(), "--json"]) == case.code
    printed = capsys.readouterr()
    content = parsed(printed.out)
    assert "schema_version" in content
    assert case.keys <= content.keys()
    assert printed.err == ""


def test_no_command_is_left_out() -> None:
    """Every command has a case of --json in this module, or is listed as tested elsewhere."""
    asked = {name for name in commands() for case in CASES if f"{case.line} ".startswith(f"{name} ")}
    assert asked | ELSEWHERE.keys() == set(commands())


def test_the_numbers_of_a_job(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown value in `slurm status --json` is null, not text."""
    main(["slurm", "status", "submitted", "--json"])
    _, _, judge = parsed(capsys.readouterr().out)["jobs"]
    assert judge == {"name": "judge", "state": None, "restarts": 0, "where": "", "samples": [], "exit_code": 1}


@pytest.mark.parametrize("name", [*commands(), "baseline", "slurm", "ray", "k8s", ""])
def test_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command says how it is typed and what it does, in a sentence, and has `--json`."""
    assert main([*name.split(), "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"Usage: {' '.join(['r1eval', *name.split()])} " in said
    assert name in {"", "baseline", "slurm", "ray", "k8s"} or "--json" in said
    assert said.partition("╭")[0].rstrip().endswith(".")


class TestCompletion:
    """The shell asks for completions as it does when Tab is pressed."""

    @staticmethod
    def completed(words: str) -> list[str]:
        """Ask what a line can be continued with."""
        asked = {"_R1EVAL_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
        done = subprocess.run(
            R1EVAL, env={**os.environ, **asked}, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout.split()

    def test_commands_and_options(self) -> None:
        """A shell completes commands of both levels, and their options."""
        assert self.completed("r1eval wa") == ["watch"]
        assert self.completed("r1eval baseline ve") == ["verify"]
        assert self.completed("r1eval report --js") == ["--json"]

    def test_the_script_is_offered(self) -> None:
        """`--show-completion` prints the completion script of the shell that asks."""
        line = f"{R1EVAL[0]} -c '{R1EVAL[2]}' --show-completion; exit $?"
        done = subprocess.run(["/bin/bash", "-c", line], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "complete -o default -F _r1eval_completion r1eval" in done.stdout
