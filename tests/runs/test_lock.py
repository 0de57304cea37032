"""One judge per run, for as long as it lives."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_r1eval.errors import StoreError
from pytest_r1eval.runs.lock import LOCK_NAME, RunLock

HOLD = """
import sys, time
from pathlib import Path
from pytest_r1eval.runs.lock import RunLock

lock = RunLock.take(Path(sys.argv[1]))
print("taken", flush=True)
time.sleep(600)
"""


def test_is_the_living_processs_alone(tmp_path: Path) -> None:
    """A run's lock is refused while another process holds it, and is free once that process is killed."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "taken\n"
        with pytest.raises(StoreError, match=f"is in use by process {holder.pid} on .*; wait until that one ends"):
            RunLock.take(tmp_path)
        holder.send_signal(signal.SIGKILL)
    with RunLock.take(tmp_path):
        assert (tmp_path / LOCK_NAME).is_file()


def test_release_twice(tmp_path: Path) -> None:
    """Releasing a lock twice is safe, and another process can then take it."""
    lock = RunLock.take(tmp_path)
    lock.release()
    lock.release()
    script = HOLD.replace("time.sleep(600)", "")
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, capture_output=True, text=True)
    assert done.stdout == "taken\n"


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A run's folder that cannot be written is refused with what to do."""
    with pytest.raises(StoreError, match=r"cannot write to the run's folder .*; expected a writable folder"):
        RunLock.take(tmp_path / "nowhere")
