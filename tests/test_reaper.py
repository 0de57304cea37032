"""An engine's processes end with the process that started them, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from pytest_r1eval.engines.reaper import Reaper, marked_processes

PARENT = """
import subprocess, sys, time
from pytest_r1eval.engines.reaper import Reaper
reaper = Reaper({engine!r})
reaper.start()
engine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(engine.pid, flush=True)
time.sleep(600)
"""


def comes_true(condition: Callable[[], bool], *, timeout_s: float = 20) -> bool:
    """Wait for something that happens in another process."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_parent_leaves_no_engine(number: signal.Signals) -> None:
    """SIGKILL runs no handler, and still nothing stays behind."""
    engine = f"test-{os.getpid()}-{number}"
    parent = subprocess.Popen([sys.executable, "-c", PARENT.format(engine=engine)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert comes_true(lambda: marked_processes(engine) == (pid,))
    parent.send_signal(number)
    parent.wait()
    parent.stdout.close()
    assert comes_true(lambda: marked_processes(engine) == ())


def test_stopping_ends_what_is_left_and_only_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without the marker is none of its business."""
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
