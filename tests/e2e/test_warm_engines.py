"""A process of vLLM that is a fork of the server is what multiprocessing would have spawned."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import pytest

from pytest_r1eval.engines.reaper import Reaper
from tests.warm_pytest import Server, forking

SPAWNING = multiprocessing.get_context("spawn")
PROGRAM = """
# As pytest_r1eval.evaluate( does
import multiprocessing, time
process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
process.start()
print(process.pid, flush=True)
process.join()
"""


def show(shown: SimpleQueue[Mapping[str, object]]) -> None:
    """Send what a process sees of itself."""
    import torch  # noqa: PLC0415 - only in a process of vLLM

    environ = Path("/proc/self/environ").read_bytes().rstrip(b"\0").split(b"\0")
    shown.put(
        {
            "has_vllm": "vllm" in sys.modules,
            "parent": os.getppid(),
            "group": os.getpgid(0),
            "environ": dict(entry.split(b"=", 1) for entry in environ),
            "n_threads": torch.get_num_threads(),
            "processors": os.sched_getaffinity(0),
        }
    )


def seen_by(server: Server) -> Mapping[str, object]:
    """Spawn a process as vLLM does, and return what it saw."""
    shown: SimpleQueue[Mapping[str, object]] = SPAWNING.SimpleQueue()
    with forking(server):
        process = SPAWNING.Process(target=show, args=(shown,))
        process.start()
    found = shown.get()
    process.join()
    assert process.exitcode == 0
    return found


def test_a_spawned_process_is_a_fork(engines: Server) -> None:
    """A spawned process has vLLM imported before its first line, and is a child in the group of the one that asked."""
    found = seen_by(engines)
    assert (found["has_vllm"], found["parent"], found["group"]) == (True, os.getpid(), os.getpgid(0))


def test_it_shows_its_environment(engines: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel shows a spawned process's own environment, with nothing of the server's, to those who look for it."""
    monkeypatch.setenv("R1_OF_THIS_TEST", "seen")
    monkeypatch.delenv("HOME", raising=False)
    assert seen_by(engines)["environ"] == dict(os.environb)


def test_it_takes_its_threads(engines: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spawned process has the threads and the processors that vLLM names in its environment."""
    processor = max(os.sched_getaffinity(0))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("GOMP_CPU_AFFINITY", str(processor))
    found = seen_by(engines)
    assert (found["n_threads"], found["processors"]) == (3, {processor})


@pytest.mark.parametrize(
    ("end", "argument", "code"),
    [(sys.exit, 7, 7), (os._exit, 8, 8), (signal.raise_signal, signal.SIGKILL, -signal.SIGKILL)],
    ids=["exit", "at once", "signal"],
)
def test_its_end_is_reported(engines: Server, end: Callable[[int], None], argument: int, code: int) -> None:
    """Exit codes and signals of a spawned process arrive as multiprocessing gives them."""
    with forking(engines):
        process = SPAWNING.Process(target=end, args=(argument,))
        process.start()
    process.join()
    assert process.exitcode == code


def sleep(started: SimpleQueue[int]) -> None:
    """Say that this process has begun, and wait to be ended."""
    started.put(os.getpid())
    time.sleep(60)


def test_the_reaper_ends_it(engines: Server) -> None:
    """The reaper of an engine finds a spawned process by its environment, and ends it."""
    started: SimpleQueue[int] = SPAWNING.SimpleQueue()
    reaper = Reaper("engine-of-this-test")
    reaper.start()
    with forking(engines):
        process = SPAWNING.Process(target=sleep, args=(started,))
        process.start()
    assert started.get() == process.pid
    reaper.stop()
    process.join(timeout=30)
    assert process.exitcode == -signal.SIGKILL


def is_running(folder: Path) -> bool:
    """Whether a process, given by its folder in /proc, has not ended."""
    try:
        return (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_a_fork_spawns_is_a_fork(engines: Server) -> None:
    """A fork's own spawned process is a fork, too, and one signal to the group ends both."""
    with forking(engines):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
    with process:
        assert process.stdout is not None
        spawned = Path("/proc") / process.stdout.readline().strip()
        assert b"tests.warm_pytest" in (spawned / "cmdline").read_bytes()
        os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 30
    while is_running(spawned) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(spawned)
