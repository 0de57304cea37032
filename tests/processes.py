"""Runs of pytest as processes that can be killed, interrupted and starved."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from pytest_r1eval.errors import StoreError
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import FILE_NAME

T = TypeVar("T")
TIMEOUT_S = 60.0
SLOW = ("--r1-engine-arg", "delay_s=0.1", "--r1-engine-arg", "n_concurrent=4")
"""Forty samples a second and worker: long enough to be killed in."""
EAGER = "--r1-engine-arg=enforce_eager=true"
"""Compiling a model takes vLLM longer than the samples of a short run."""
PIDS = """
import os
def pytest_sessionstart():
    with open("pids", "a") as file:
        print(os.getpid(), file=file)
"""
"""A conftest.py that notes the process of each session, workers included."""


def arguments_of(model: str, *arguments: str) -> list[str]:
    """Return the command line that judges a recorded run."""
    return [
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "smoke"),
        *("--r1-model", model, "--r1-engine", "replay", *arguments),
    ]


@contextmanager
def started(
    folder: Path, model: str, *arguments: str, before: Callable[[], None] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Start a run in a process group of its own, and leave nothing of it behind; what runs `before` starts it cold."""
    process = subprocess.Popen(
        arguments_of(model, *arguments),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=before,  # noqa: PLW1509 - the tests start no threads of their own
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def ended(process: subprocess.Popen[str]) -> str:
    """Wait for a run's end and return what it printed."""
    output, _ = process.communicate(timeout=TIMEOUT_S)
    return output


def run_of(folder: Path) -> Path:
    """Wait for the only run that is kept in a folder."""
    return waited(lambda: next(folder.glob(f"data/evals/*/*/*/{FILE_NAME}")).parent, StopIteration)


def n_stored(run: Path) -> int:
    """Count a run's samples of smoke; 0 while there is no store yet."""
    try:
        with closing(RunReader.open(run)) as store:
            return store.progress("smoke").n_stored
    except StoreError:
        return 0


def wait_for_samples(run: Path, n_samples: int) -> None:
    """Wait until a run has stored some samples."""

    def enough() -> bool:
        if n_stored(run) < n_samples:
            raise LookupError
        return True

    waited(enough, LookupError)


def waited(read: Callable[[], T], error: type[Exception] | tuple[type[Exception], ...]) -> T:
    """Try until it works."""
    end = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return read()
        except error:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)  # a look at a store, or at every process, takes milliseconds itself


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """List the process ids of a run's xdist workers."""
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("ascii").split()]


def joined(process: subprocess.Popen[str], run: Path) -> list[int]:
    """
    Wait until a run has living workers that work, and list their process ids.

    One that dies before it said hello ends pytest with xdist's own internal error,
    exit code 3, which is no verdict either.
    """

    def read() -> list[int]:
        known = {int(owner.split("-")[1]) for owner in owners_of(run)}
        found = [pid for pid in workers_of(process) if pid in known and is_alive(pid)]
        if not found:
            raise LookupError
        return found

    return waited(read, LookupError)


def owners_of(run: Path) -> list[str]:
    """List the workers whose engines were ever ready for a run."""
    with closing(sqlite3.connect(run / FILE_NAME, timeout=TIMEOUT_S)) as db:
        return [owner for (owner,) in db.execute("SELECT owner FROM worker")]


def wait_until_gone(pids: list[int]) -> None:
    """Wait until processes that lost their controller have noticed it."""

    def gone() -> bool:
        if any(is_alive(pid) for pid in pids):
            raise LookupError
        return True

    waited(gone, LookupError)


def wait_for_none_with(variable: str, value: str) -> None:
    """Wait until no process has a variable of the environment, which everything inherits that one started."""
    entry = f"{variable}={value}".encode()

    def gone() -> bool:
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):  # ended meanwhile, or another user's
                if entry in path.read_bytes().split(b"\0") and is_alive(int(path.parent.name)):
                    raise LookupError((path.parent / "cmdline").read_text())
        return True

    waited(gone, LookupError)


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def free_ports(n_ports: int) -> list[int]:
    """Return ports of this host on which nothing listens."""
    sockets = [socket.socket() for _ in range(n_ports)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
