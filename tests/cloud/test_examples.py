"""Examples for machines that are not kept: the script run by bash, HF Jobs by the Hub's client."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.documents import ROOT
from tests.hub_jobs import taking_jobs
from tests.processes import TIMEOUT_S, n_stored
from tests.recordings import record_run

SCRIPT = ROOT / "examples/cloud/gate.sh"
HF_JOBS = ROOT / "examples/hf_jobs/gate.py"
SKY = ROOT / "examples/skypilot/gate.yaml"


class Machine:
    """A machine that is not kept, and what is: a bucket, in which a baseline's run is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.store.mkdir()
        record_run(folder / "base", n_samples=16, seed=1)

    def model(self, name: str, *, seed: int, solve_rate: float) -> Path:
        """Record a model's responses."""
        return record_run(self.folder / name, n_samples=16, seed=seed, weights=name, solve_rate=solve_rate)

    def fresh(self) -> Path:
        """Return a working folder in which nothing is."""
        folder = self.folder / "machine"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def started(self, script: str, model: Path, *arguments: str) -> subprocess.Popen[str]:
        """Start a script on a fresh machine."""
        given = {
            "R1_MODEL": str(model),
            "BENCHMARKS": "smoke",
            "STORE": str(self.store),
            "WORKERS": "0",
            "ARGUMENTS": " ".join(
                ["--r1-engine replay --r1-engine-arg ledger=true", f"--r1-baseline {self.folder / 'base'}", *arguments]
            ),
        }
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.Popen(
            ["/bin/bash", "-c", script], cwd=self.fresh(), env={"PATH": path, "HOME": str(self.folder), **given},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def ran(self, script: str, model: Path, *arguments: str) -> tuple[int, str]:
        """Run it to its end."""
        process = self.started(script, model, *arguments)
        output, _ = process.communicate(timeout=4 * TIMEOUT_S)
        return process.returncode, output


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Make a machine."""
    return Machine(tmp_path)


class TestScript:
    """What runs on the machine."""

    TEXT = SCRIPT.read_text(encoding="utf-8")

    @pytest.mark.parametrize(("solve_rate", "code", "verdict"), [(0.6, 0, "PASS"), (0.05, 1, "FAIL_REGRESSED")])
    def test_it_ends_as_the_gate(self, machine: Machine, solve_rate: float, code: int, verdict: str) -> None:
        """The exit code is the gate's; the next machine finds its verdict in the bucket's ledger and draws nothing."""
        model = machine.model("model", seed=2, solve_rate=solve_rate)
        for words in ("r1eval: run ", "r1eval: judged before, nothing is drawn"):
            done, printed = machine.ran(self.TEXT, model)
            assert (done, f"smoke: {verdict}." in printed, words in printed) == (code, True, True), printed
        (store,) = machine.store.glob("*/*/*/run.sqlite")
        assert (store.parent / "report.html").exists()

    def test_an_interrupted_gate_goes_on(self, machine: Machine) -> None:
        """After SIGTERM what is drawn is in the bucket, and the next machine draws only the rest."""
        model = machine.model("same", seed=2, solve_rate=0.6)
        process = machine.started(self.TEXT, model, "--r1-engine-arg delay_s=0.1")
        end = time.monotonic() + TIMEOUT_S
        runs = machine.folder / "machine" / "data" / "evals"
        while not any(n_stored(path.parent) for path in runs.glob("*/*/*/run.sqlite")):
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode not in {0, 1}, printed
        (kept,) = machine.store.glob("*/*/*/run.sqlite")
        assert n_stored(kept.parent) > 0
        code, printed = machine.ran(self.TEXT, model, "--r1-engine-arg delay_s=0.1")
        assert (code, "smoke: PASS." in printed) == (0, True), printed
        assert [*machine.store.glob("*/*/*/run.sqlite")] == [kept]

    def test_a_store_that_cannot_be_read_is_no_verdict(self, machine: Machine) -> None:
        """Without its bucket nothing is drawn, and the exit code is 2."""
        model = machine.model("same", seed=2, solve_rate=0.6)
        machine.store.rmdir()
        code, printed = machine.ran(self.TEXT, model)
        assert (code, "smoke" in printed) == (2, False)


class TestHfJobs:
    """The example for Hugging Face Jobs, by the client of the Hub."""

    @pytest.mark.parametrize(("solve_rate", "code", "stage"), [(0.6, 0, "COMPLETED"), (0.05, 1, "ERROR")])
    def test_it_ends_as_the_gate(self, machine: Machine, solve_rate: float, code: int, stage: str) -> None:
        """The Hub's client starts the script with bucket and model mounted; the example ends as the gate does."""
        model = machine.model("model", seed=2, solve_rate=solve_rate)
        volumes = {"me/evals": machine.store, "org/model": model}
        image = {"HOME": str(machine.folder), "WORKERS": "0"}
        arguments = f"--r1-engine replay --r1-baseline {machine.folder / 'base'}"
        with taking_jobs(volumes, image, machine.fresh()) as hub:
            done = subprocess.run(
                [
                    sys.executable, HF_JOBS, "org/model", "smoke", "--bucket", "me/evals", "--model-volume",
                    "--arguments", arguments, "--poll", "0.1", "--flavor", "h200x8",
                ],
                env={**os.environ, **hub.client_environment}, capture_output=True, text=True, check=False,
            )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        assert f"job: {stage}\n" in done.stdout
        assert "smoke: " in done.stdout
        assert (hub.spec["flavor"], hub.spec["timeoutSeconds"]) == ("h200x8", 12 * 3600)
        assert "secrets" not in hub.spec
        assert [*machine.store.glob("*/*/*/run.sqlite")]


class TestSkyPilot:
    """The example for SkyPilot."""

    def test_it_starts_the_script(self) -> None:
        """SkyPilot's file mounts the script, and gives it the variables that it reads."""
        task = yaml.safe_load(SKY.read_text(encoding="utf-8"))
        (mounted,) = (place for place, source in task["file_mounts"].items() if source == "examples/cloud/gate.sh")
        assert f"bash {mounted}" in task["run"]
        assert task["envs"]["STORE"] in task["file_mounts"]
        assert set(task["envs"]) == {"R1_MODEL", "BENCHMARKS", "WORKERS", "ARGUMENTS", "STORE"}
