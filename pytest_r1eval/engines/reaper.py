"""
Ends an engine's processes when the process that started them is gone.

vLLM's engine core is a child in its own process, and outlives a parent that was
killed: it would hold the GPU until somebody looks. A reaper is a small program
that waits for the end of its standard input, which the kernel closes when the
parent dies in whatever way, and then kills every process that carries the
engine's marker in its environment.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

MARKER = "R1EVAL_ENGINE"
"""The environment variable that an engine's processes inherit."""
_PROGRAM = "from pytest_r1eval.engines.reaper import main; main()"
_END_TIMEOUT_S = 10


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


def main() -> None:
    """Wait for the parent's end, then kill the engine's processes."""
    sys.stdin.buffer.read()
    for pid in marked_processes(sys.argv[1]):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def marked_processes(engine: str) -> tuple[int, ...]:
    """Return the processes that started with an engine's marker in their environment."""
    entry = f"{MARKER}={engine}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # ended meanwhile, or somebody else's
            continue
        if entry in variables:
            found.append(int(folder.name))
    return tuple(found)
