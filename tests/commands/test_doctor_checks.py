"""`r1eval doctor`: what is there and what to do, without a secret and without waiting."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from importlib.metadata import files
from pathlib import Path
from typing import Any

import pytest

from pytest_r1eval.commands.cli import main
from pytest_r1eval.commands.doctor_checks import (
    DATA_SETS,
    HUB_TIMEOUT_S,
    KNOWN_TO_WORK,
    Finding,
    Standing,
    findings,
    is_fit,
)
from pytest_r1eval.core.built_in import BUILT_IN
from tests.hub_client import Client, client
from tests.hub_server import TOKEN, USER, StandInHub, Trouble
from tests.nvidia_smi import install_nvidia_smi
from tests.requirements import LIGHTEVAL

ROOT = Path(__file__).parents[2]
SECRET = "hf_made_up"  # noqa: S105 - made up


@LIGHTEVAL.mark
def test_everything_is_looked_at(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`doctor --json` reports every check within 30 seconds, LightEval's pinned version and the sandbox among them."""
    monkeypatch.setenv("HF_TOKEN", SECRET)
    started = time.monotonic()
    assert main(["doctor", "--json"]) == 0
    assert time.monotonic() - started < 30
    printed = capsys.readouterr().out
    content = json.loads(printed)
    found = {finding["what"]: finding for finding in content["findings"]}
    assert content["is_fit"] is True
    assert found["lighteval"]["found"] == "0.13.0 (known to work: 0.13.0)"
    assert {"Python", "engine", "GPUs", "disk", "sandbox", "Hub", "data sets", "Slurm"} <= set(found)
    assert "a program that tries can make it say" in found["programs"]["found"]
    assert "quit() or begin with `from __future__`" in found["programs"]["found"]
    assert SECRET not in printed


def test_known_versions_are_those_that_run_here() -> None:
    """The versions that doctor recommends are those installed here."""
    found = {finding.what: finding.found for finding in findings({"HF_HUB_OFFLINE": "1"}, folder=Path())}
    for name, known in KNOWN_TO_WORK.items():
        version, _, _ = found[name].partition("+")
        assert found[name] == "not installed" or version.split()[0] in known.split(", "), name


@LIGHTEVAL.mark
def test_data_sets_are_those_that_lighteval_reads() -> None:
    """`r1eval doctor` asks for the data set that each benchmark's task names, or is made of."""
    lightevals = {str(path): path for path in files("lighteval") or ()}
    assert {benchmark.name for benchmark in BUILT_IN} == {*DATA_SETS}
    for benchmark in BUILT_IN:
        path = benchmark.task_module.replace(".", "/") + ".py"
        source = (lightevals.get(path) or ROOT / path).read_text(encoding="utf-8")
        is_made_of_it = "hf_repo=benchmark.card.dataset" in source
        assert is_made_of_it or f'"{DATA_SETS[benchmark.name]}"' in source


def test_what_is_missing_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """A missing item has its remedy in the line below."""
    main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    (number,) = (number for number, line in enumerate(lines) if line.split()[:2] == ["-", "Hub"])
    assert lines[number + 1].strip().startswith("->")


def test_a_folder_that_is_not_there_yet_is_judged_by_its_parent(tmp_path: Path) -> None:
    """The disk of an output folder that does not exist yet is its parent's."""
    found = {finding.what: finding for finding in findings({"HF_HUB_OFFLINE": "1"}, folder=tmp_path / "a" / "b")}
    assert found["disk"].found.endswith(f"free at {tmp_path}")


def test_only_what_no_run_can_do_without_makes_it_unfit() -> None:
    """A machine without a GPU or a Hub judges all the same."""
    missing = Finding(what="GPUs", standing=Standing.MISSING, found="none")
    bad = Finding(what="lighteval", standing=Standing.BAD, found="not installed")
    assert is_fit([missing])
    assert not is_fit([missing, bad])


@pytest.mark.parametrize(
    ("visible", "standing", "words"),
    [
        (None, Standing.GOOD, "2: NVIDIA H100, 81559 MiB; driver 580.159.04"),
        ("1", Standing.GOOD, "2: NVIDIA H100, 81559 MiB; driver 580.159.04; CUDA_VISIBLE_DEVICES=1"),
        ("-1", Standing.MISSING, "2: NVIDIA H100, 81559 MiB; driver 580.159.04; CUDA_VISIBLE_DEVICES=-1"),
    ],
)
def test_gpus_that_are_hidden_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, standing: Standing, words: str
) -> None:
    """GPUs that CUDA_VISIBLE_DEVICES hides from a run are reported as missing."""
    install_nvidia_smi(tmp_path, monkeypatch, "yes 'NVIDIA H100, 81559 MiB, 580.159.04' | head -n 2")
    environ = {"HF_HUB_OFFLINE": "1"} if visible is None else {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": visible}
    found = {finding.what: finding for finding in findings(environ, folder=tmp_path)}["GPUs"]
    assert (found.standing, found.found) == (standing, words)
    assert (found.advice is None) == (standing is Standing.GOOD)


def test_a_driver_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nvidia-smi prints when it fails is the finding, in one line."""
    broken = "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18"
    install_nvidia_smi(tmp_path, monkeypatch, broken)
    found = {finding.what: finding for finding in findings({"HF_HUB_OFFLINE": "1"}, folder=tmp_path)}["GPUs"]
    assert found.standing is Standing.BAD
    assert found.found == "nvidia-smi failed: Failed to initialize NVML: Driver/library version mismatch"


def test_a_busy_gpu_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU whose memory another process holds is a finding of its own, with the process."""
    install_nvidia_smi(
        tmp_path,
        monkeypatch,
        "case $1 in\n"
        "*apps*) echo 'GPU-1, 42, python3, 80000';;\n"
        "-L) echo 'GPU 0: NVIDIA H100 (UUID: GPU-1)';;\n"
        "*name*) echo 'NVIDIA H100, 81559 MiB, 580.159.04';;\n"
        "*) echo '0, GPU-1, 81559, 80100';;\nesac",
    )
    found = {finding.what: finding for finding in findings({"HF_HUB_OFFLINE": "1"}, folder=tmp_path)}["GPU memory"]
    assert found.standing is Standing.MISSING
    assert found.found.startswith("GPU 0 is busy: 1.4 of 79.6 GiB are free, and an engine takes 63.7 (0.8 of all); ")
    assert found.found.endswith("it is held by python3 (process 42, 78.1 GiB)")


@pytest.fixture
def hub(served: StandInHub) -> StandInHub:
    """Fill it with the data sets, all but one."""
    served.reset()
    for repo in DATA_SETS.values():
        served.make_repo(repo)
    del served.repos["dataset", DATA_SETS["gpqa"]]
    return served


@pytest.fixture(scope="module")
def member(served: StandInHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Log in."""
    with client(served.environment(tmp_path_factory.mktemp("home"))) as found:
        yield found


class TestHub:
    """What the Hub says, by its real client and a stand-in."""

    @staticmethod
    def asked(member: Client, folder: Path) -> dict[str, dict[str, Any]]:
        """Return the findings by name."""
        code, printed = member.r1eval(folder, "doctor", "--json")
        assert TOKEN not in printed
        content = json.loads(printed)
        assert code == (0 if content["is_fit"] else 1), printed
        return {finding["what"]: finding for finding in content["findings"]}

    def test_login_and_data(self, hub: StandInHub, member: Client, tmp_path: Path) -> None:
        """`r1eval doctor` reports who is logged in, which data can be read, and what to do about the rest."""
        assert hub.repos
        found = self.asked(member, tmp_path)
        assert (found["Hub"]["standing"], found["Hub"]["found"]) == ("good", f"logged in as {USER}")
        others = ", ".join(benchmark.name for benchmark in BUILT_IN if benchmark.name != "gpqa")
        assert found["data sets"]["found"] == f"the Hub lets you read those of {others}"
        gpqa = found["data of gpqa"]
        assert gpqa["found"] == "Idavidrein/gpqa: the token may not read it, or there is none"
        assert gpqa["advice"].startswith("see https://huggingface.co/datasets/Idavidrein/gpqa: accept its terms")

    def test_expired(self, hub: StandInHub, member: Client, tmp_path: Path) -> None:
        """An expired token is reported as expired, not as a missing network."""
        hub.fail("other", Trouble.EXPIRED)
        found = self.asked(member, tmp_path)["Hub"]
        assert found["found"] == "the Hub does not take the token: expired or revoked"
        assert found["advice"] == "set HF_TOKEN again, or hf auth login"

    def test_silence_ends(self, hub: StandInHub, member: Client, tmp_path: Path) -> None:
        """`r1eval doctor` ends in bounded time when the Hub does not answer."""
        hub.fail("other", Trouble.SILENT)
        started = time.monotonic()
        assert self.asked(member, tmp_path)["Hub"]["found"] == "no answer (ReadTimeout)"
        assert time.monotonic() - started < HUB_TIMEOUT_S + 20

    def test_not_logged_in(self, hub: StandInHub, tmp_path: Path) -> None:
        """`r1eval doctor` tells a user who is not logged in how to log in, and what for."""
        with client(hub.environment(tmp_path, token=None)) as stranger:
            found = self.asked(stranger, tmp_path)["Hub"]
        assert (found["found"], found["standing"]) == ("not logged in", "missing")
        assert found["advice"] == "hf auth login, or HF_TOKEN: for gated data sets and uploads"
