"""An engine's processes end with the process that started them, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_r1eval.engines.reaper import Reaper, marked_processes

PARENT = """
import subprocess, sys, time
from pytest_r1eval.engines.reaper import Reaper
reaper = Reaper({engine!r})
reaper.start()
engine = subprocess.Popen([sys.executable, "-c", {code!r}], start_new_session=True)
print(engine.pid, flush=True)
time.sleep(600)
"""
TITLED = """
import sys, time, setproctitle
sys.stdin.readline()
time.sleep(1)
setproctitle.setproctitle("engine " + "x" * 4000)
time.sleep(600)
"""
"""What vLLM's processes do after their imports: the title is written over the environment, here after a word."""

LATE = """
import os, sys, time
from pytest_r1eval.engines.reaper import Reaper
Reaper({engine!r}).start()
pid = os.fork()
if pid == 0:
    time.sleep(1)
    os.execv(sys.executable, [sys.executable, "-c", {code!r}])
print(pid, flush=True)
time.sleep(600)
"""
"""A process shows its parent's environment until it begins its own program, which takes long on a busy machine."""

SHARING = """
import time
from multiprocessing.shared_memory import SharedMemory
segment = SharedMemory(create=True, size=4096)
print(segment.name, flush=True)
time.sleep(600)
"""
"""An engine whose processes talk through shared memory, as vLLM's scheduler and worker do."""


def comes_true(condition: Callable[[], bool], *, timeout_s: float = 20) -> bool:
    """Wait for something that happens in another process."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def pids_of(engine: str) -> set[int]:
    """Return the processes whose environment still shows the marker."""
    return {process.pid for process in marked_processes(engine, looks={})}


@pytest.mark.parametrize(
    ("program", "number"),
    [(PARENT, signal.SIGKILL), (PARENT, signal.SIGTERM), (LATE, signal.SIGKILL)],
    ids=["SIGKILL", "SIGTERM", "a process that begins its program late"],
)
def test_killed_parent_leaves_no_engine(program: str, number: signal.Signals) -> None:
    """A parent that is killed, even by SIGKILL, leaves no engine behind, also where a look fell before its program."""
    engine = f"test-{os.getpid()}-{number}"
    parent = subprocess.Popen(
        [sys.executable, "-c", program.format(engine=engine, code=TITLED)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert comes_true(lambda: pid in pids_of(engine))
    parent.stdin.write("\n")
    parent.stdin.flush()
    assert comes_true(lambda: pid not in pids_of(engine))
    assert Path(f"/proc/{pid}").exists()
    parent.send_signal(number)
    parent.wait()
    parent.stdin.close()
    parent.stdout.close()
    assert comes_true(lambda: not Path(f"/proc/{pid}").exists())


def test_killed_parent_leaves_no_shared_memory() -> None:
    """A killed engine's shared memory in /dev/shm is removed with it."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(engine=f"test-{os.getpid()}-shared", code=SHARING)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    words = sorted((parent.stdout.readline().strip(), parent.stdout.readline().strip()))
    segment = Path("/dev/shm") / words[1]  # noqa: S108 - where Linux keeps it
    assert segment.exists()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert comes_true(lambda: not Path(f"/proc/{words[0]}").exists())
    assert comes_true(lambda: not segment.exists())


def test_stopping_ends_what_is_left_and_only_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping a reaper kills the processes with its marker and no others."""
    monkeypatch.delenv("R1EVAL_ENGINE", raising=False)
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    reaper = Reaper(f"test-{os.getpid()}")
    reaper.start()
    engine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    reaper.stop()
    reaper.stop()
    assert engine.wait(timeout=20) == -signal.SIGKILL
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()
