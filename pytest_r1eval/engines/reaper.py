"""
Ends an engine's processes when the process that started them is gone.

vLLM's engine core is a child in its own process, and outlives a parent that was killed: it would hold the GPU until a
person looks. A reaper is a small program that waits for the end of its standard input. The kernel closes it however the
parent dies. The reaper then kills every process that was started with the engine's marker in its environment. It looks
for them all along: a process that gives itself a title, as vLLM's do, writes over its environment.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARKER = "R1EVAL_ENGINE"
"""The environment variable that an engine's processes inherit."""
_PROGRAM = "from pytest_r1eval.engines.reaper import main; main()"
_TRACKER = b"multiprocessing.resource_tracker"
"""Python's own helper: it ends by itself when the others have, and unlinks the shared memory that they left."""
_END_TIMEOUT_S = 10
POLL_S = 0.2
"""A process is looked at this long after its start at the latest; an engine imports for seconds first."""
SETTLED_S = 3.0
"""A process is looked at again for so long: before its own program it shows its parent's environment."""


class Reaper:
    """
    One engine's reaper, seen from the process that starts the engine.

    Args:
        engine: A name that no other engine on this machine has.
    """

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start watching; processes started from now on carry the marker."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter and this module
            [sys.executable, "-c", _PROGRAM, self._engine],
            stdin=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # a Ctrl-C in the terminal is not for it
        )
        os.environ[MARKER] = self._engine

    def stop(self) -> None:
        """End what is left of the engine, and the reaper."""
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        os.environ.pop(MARKER, None)
        process.stdin.close()
        process.wait(timeout=_END_TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class Process:
    """A process, told from a later one of the same number by when it started."""

    pid: int
    started: str

    @classmethod
    def of(cls, folder: Path) -> Process:
        """
        Identify a process by its folder in /proc.

        Raises:
            OSError: If it ended meanwhile.
        """
        # The name, in brackets, may hold anything; of what follows it the start time is number 20.
        return cls(int(folder.name), (folder / "stat").read_text().rpartition(")")[2].split()[19])

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        try:
            return Process.of(Path("/proc") / str(self.pid)) == self
        except OSError:
            return False

    @property
    def is_tracker(self) -> bool:
        """Whether it is Python's helper for shared memory, as its command line says once its own program has begun."""
        try:
            return _TRACKER in Path(f"/proc/{self.pid}/cmdline").read_bytes()
        except OSError:
            return False


def main() -> None:
    """Wait for the parent's end, then kill the engine's processes."""
    engine = sys.argv[1]
    marked: set[Process] = set()
    looks: dict[str, float] = {}
    while not select.select([sys.stdin], [], [], POLL_S)[0]:
        marked |= marked_processes(engine, looks=looks)
    for process in marked | marked_processes(engine, looks={}):
        if process.is_alive and not process.is_tracker:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


def marked_processes(engine: str, *, looks: dict[str, float]) -> set[Process]:
    """
    Find processes that started with an engine's marker in their environment.

    Args:
        engine: The engine's name.
        looks: When each process number was first looked at, by the monotonic clock; brought up to date.
    """
    entry = f"{MARKER}={engine}".encode()
    found = set()
    now = time.monotonic()
    folders = {folder.name: folder for folder in Path("/proc").glob("[0-9]*")}
    for gone in looks.keys() - folders.keys():  # its number may be given to another process
        del looks[gone]
    for name, folder in folders.items():
        if now - looks.setdefault(name, now) > SETTLED_S:
            continue
        try:
            if entry in (folder / "environ").read_bytes().split(b"\0"):
                found.add(Process.of(folder))
        except OSError:  # ended meanwhile, or another user's
            continue
    return found
