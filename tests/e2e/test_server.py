"""
A real `vllm serve` on a CPU, killed in mid-run and started again; nothing replaced.

The server starts twice for all tests together, half a minute each.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_r1eval.core.records import Outcome, Sample
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import FILE_NAME, Store
from tests.vllm_server import SERVE

pytestmark = pytest.mark.usefixtures("warm_engines")

REPOSITORY = Path(__file__).parents[2]
GOOD = REPOSITORY / "examples" / "r1eval" / "tiny-arithmetic"
REGRESSED = REPOSITORY / "examples" / "r1eval" / "tiny-arithmetic-regressed"
N_SAMPLES = 40 * 16
N_STORED_AT_KILL = 100
START_TIMEOUT_S = 300
RUN_TIMEOUT_S = 600
KEY = "sk-e2e-do-not-show-0123456789"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """
    A run that its server left alone for a while.

    Attributes:
        code: pytest's exit code.
        output: What it printed.
        run: The run's folder.
        n_before: Samples in the store when the server was killed.
        n_answered_after: Completions that the second server gave.
        other_code: Exit code of a run of another model against the second server.
        other_output: What that printed.
        example_code: Exit code of the documents' example of Python against the second server.
        example_output: What that printed.
    """

    code: int
    output: str
    run: Path
    n_before: int
    n_answered_after: int
    other_code: int
    other_output: str
    example_code: int
    example_output: str

    def samples(self) -> tuple[Sample, ...]:
        """Return the stored samples."""
        with closing(Store.open(self.run)) as store:
            return tuple(RunReader(store).samples("smoke"))


def free_port() -> int:
    """Return a port that no process listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Serve the good checkpoint in a process group of its own until the block ends or it is killed."""
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_API_KEY": KEY}
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(GOOD), "--port", str(port)]
    with log.open("wb") as file:
        server = subprocess.Popen(
            [*command, *SERVE, "--enforce-eager"],
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until_healthy(server, port, log)
        yield server
    finally:
        kill(server)


def kill(server: subprocess.Popen[bytes]) -> None:
    """Kill a server and its engine, as the machine's end would."""
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def wait_until_healthy(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until the model is loaded."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()[-4000:]
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
            return
        time.sleep(0.5)
    raise TimeoutError(log.read_text()[-4000:])


def start_gate(folder: Path, model: Path, url: str, *arguments: str) -> subprocess.Popen[str]:
    """Judge a checkpoint against the server as a user would."""
    folder.mkdir()
    command = [
        sys.executable,
        "-m",
        "pytest",
        f"--r1-model={model}",
        "--r1-engine",
        "server",
        "--r1-server-url",
        url,
    ]
    return subprocess.Popen(
        [*command, "-m", "smoke", "-p", "no:cacheprovider", "-v", "--showlocals", *arguments],
        cwd=folder,
        env={**os.environ, "R1_SERVER_API_KEY": KEY},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_example(folder: Path, url: str) -> subprocess.CompletedProcess[str]:
    """Run the documents' example of Python, which starts no vLLM of its own where the environment names a server."""
    folder.mkdir()
    command = [sys.executable, str(REPOSITORY / "examples" / "evaluate_checkpoint.py")]
    named = {"R1_ENGINE": "server", "R1_SERVER_URL": url, "R1_SERVER_API_KEY": KEY}
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **named}, capture_output=True, text=True, check=False,
        timeout=RUN_TIMEOUT_S,
    )  # fmt: skip


def n_stored(folder: Path) -> int:
    """Count the samples of the run in a folder, of which there may be none yet."""
    found = list(folder.glob(f"data/evals/*/*/*/{FILE_NAME}"))
    if not found:
        return 0
    with closing(Store.open(found[0].parent)) as store:
        return len(tuple(RunReader(store).samples("smoke"))) if "smoke" in RunReader(store).selected else 0


def wait_until_stored(gate: subprocess.Popen[str], folder: Path, n: int) -> int:
    """Wait until the run holds so many samples."""
    deadline = time.monotonic() + RUN_TIMEOUT_S
    while time.monotonic() < deadline and gate.poll() is None:
        found = n_stored(folder)
        if found >= n:
            return found
        time.sleep(0.05)
    raise AssertionError(f"the run never held {n} samples: {gate.communicate(timeout=60)[0]}")


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """Judge the good checkpoint while its server dies and comes back, then ask the server about another."""
    folder = tmp_path_factory.mktemp("server")
    port = free_port()
    url = f"http://127.0.0.1:{port}/v1"
    with serving(port, folder / "first.log") as server:
        gate = start_gate(folder / "gate", GOOD, url, "--r1-engine-arg", "max_concurrent=32")
        n_before = wait_until_stored(gate, folder / "gate", N_STORED_AT_KILL)
        kill(server)
    with serving(port, folder / "second.log"):
        output, _ = gate.communicate(timeout=RUN_TIMEOUT_S)
        n_answered = len(re.findall(r"POST /v1/completions HTTP/1.1\" 200", (folder / "second.log").read_text()))
        other = start_gate(folder / "other", REGRESSED, url)
        other_output, _ = other.communicate(timeout=RUN_TIMEOUT_S)
        example = run_example(folder / "example", url)
    (store,) = folder.glob(f"gate/data/evals/*/*/*/{FILE_NAME}")
    return Ended(
        code=gate.returncode,
        output=output,
        run=store.parent,
        n_before=n_before,
        n_answered_after=n_answered,
        other_code=other.returncode,
        other_output=other_output,
        example_code=example.returncode,
        example_output=example.stdout + example.stderr,
    )


def test_the_run_ends_with_its_verdict(ended: Ended) -> None:
    """The run ends with its verdict although the server is killed and restarted."""
    assert ended.code == 0, ended.output
    assert "r1eval::smoke::pass@1" in ended.output


def test_every_sample_is_there_once(ended: Ended) -> None:
    """After the server's kill each sample is stored once, and none is graded from an answer that was cut off."""
    samples = ended.samples()
    assert len(samples) == N_SAMPLES
    assert len({(sample.problem_id, sample.index) for sample in samples}) == N_SAMPLES
    assert len({sample.seed for sample in samples}) == N_SAMPLES
    assert Outcome.ERROR not in {sample.grade.outcome for sample in samples}
    assert all(sample.response.n_tokens > 0 for sample in samples)


def test_thoughts_are_told_from_answers(ended: Ended) -> None:
    """The token ids of vLLM's server tell thoughts from answers, and most thoughts end."""
    responses = [sample.response for sample in ended.samples()]
    assert all(one.n_thought_tokens is not None and 0 < one.n_thought_tokens <= one.n_tokens for one in responses)
    finished = [one for one in responses if one.n_thought_tokens != one.n_tokens]
    assert len(finished) > len(responses) / 2
    assert all("</think>" in one.text for one in finished)


def test_it_was_killed_in_mid_run(ended: Ended) -> None:
    """The server is killed in mid-run, and the samples stored by then are not asked for again."""
    assert N_STORED_AT_KILL <= ended.n_before < N_SAMPLES
    assert 0 < ended.n_answered_after <= N_SAMPLES - ended.n_before


def test_the_fingerprint_names_the_server(ended: Ended) -> None:
    """Both halves of the run have one harness, which names the server's version and what only the server knows."""
    with closing(Store.open(ended.run)) as store:
        (harness,) = RunReader(store).harnesses
    assert re.fullmatch(r"vllm [0-9.]+\S*", harness.engine)
    assert (harness.dtype, harness.quantization, harness.device) == ("server", "server", "server")


def test_another_model_is_refused_before_any_sample(ended: Ended) -> None:
    """A server with another model is refused before any sample."""
    assert ended.other_code == 1
    assert f"serves {str(GOOD)!r}; expected {str(REGRESSED)!r}" in ended.other_output
    assert "Traceback" not in ended.other_output


def test_the_example_of_python_gives_the_verdict(ended: Ended) -> None:
    """The example of Python, with no argument, passes the shipped checkpoint and prints its hardest problem."""
    assert ended.example_code == 0, ended.example_output
    assert ended.example_output.startswith("smoke: PASS. pass@1 is ")
    assert re.search(r"^  hardest problem: \w+, \d+ of 16 correct$", ended.example_output, re.MULTILINE)


def test_the_key_is_nowhere(ended: Ended) -> None:
    """The server's key is neither printed, even with all locals shown, nor stored."""
    assert KEY not in ended.output + ended.other_output + ended.example_output
    files = [path for path in ended.run.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
