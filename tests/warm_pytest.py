"""
Processes of pytest that have their imports behind them: forks of one server, for the tests that start hundreds.

Importing numpy, scipy and pyarrow takes most of a short run's time. The server imports them once for all tests of a
process; each fork then becomes a run of its own, with the folder, the environment and the arguments it was given.
Nothing of pytest is started before the fork, and no plugin is imported: pytest imports and rewrites plugins itself.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeAlias

from execnet import gateway_io
from execnet.gateway_base import ExecModel, Popen2IO
from execnet.gateway_io import Popen2IOMaster

import pytest_r1eval

Stream: TypeAlias = IO[str] | IO[bytes] | int

ROOT = Path(__file__).parents[1]
OTHERS = (
    "_pytest.pytester", "execnet", "execnet.multi", "pdb", "pyarrow.parquet", "pytest", "rich.console", "rich.table",
    "scipy.optimize", "scipy.special", "sqlite3", "xdist.dsession", "xdist.looponfail",
)  # fmt: skip
"""What a run imports of others; each is imported by some run that judges."""
OURS = ("baselines", "config", "core", "judging", "ledger", "reports", "runs", "sampling", "stats", "upload")
"""The packages of ours that a run imports; `plugin` is left to pytest."""
UNTOUCHED = ("huggingface_hub", "lighteval", "pytest_r1eval.plugin", "torch", "vllm")
"""What no fork may find imported: it reads the environment when it is imported, or a run leaves it alone."""


def preload() -> None:
    """Import what a run imports, in the server, and leave the filters of warnings as they are."""
    filters = warnings.filters[:]
    for name in OTHERS:
        importlib.import_module(name)
    for package in pkgutil.iter_modules(pytest_r1eval.__path__):
        if package.name in OURS:
            folder = importlib.import_module(f"pytest_r1eval.{package.name}")
            for module in pkgutil.iter_modules(folder.__path__):
                importlib.import_module(f"{folder.__name__}.{module.name}")
    import pyarrow as pa  # noqa: PLC0415 - only in the server

    pa.array([""])  # pyarrow looks for pandas with its first array, and imports it
    warnings.filters[:] = filters  # type: ignore[index]
    del sys.modules["xdist.plugin"]  # pytest imports and rewrites it as it does every plugin
    if found := [name for name in UNTOUCHED if name in sys.modules]:
        raise RuntimeError(f"the server of runs imported {', '.join(found)}, which every run has to import by itself")


class WarmRun:
    """A run under way: as much of `subprocess.Popen` as pytester uses."""

    stdin = None

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self.pid = int(_line(channel))
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code, minus a signal's number as `subprocess` has it."""
        if self.returncode is None:
            self._channel.settimeout(timeout)
            try:
                self.returncode = int(_line(self._channel))
            except TimeoutError:
                raise subprocess.TimeoutExpired("pytest", timeout or 0.0) from None
        return self.returncode

    def kill(self) -> None:
        """Kill it."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


class WarmPytest:
    """The client of a server; the server starts with the first run, and ends with `close`."""

    def __init__(self) -> None:
        self._channel: socket.socket | None = None
        self._server: subprocess.Popen[bytes] | None = None

    def start(
        self, arguments: Sequence[str], *, folder: Path, environ: dict[str, str], stdout: Stream, stderr: Stream
    ) -> WarmRun:
        """Start `python -m pytest` with these arguments and nothing on standard input; one at a time."""
        if self._channel is None:
            self._channel = self._started()
        request = {"arguments": list(arguments), "folder": str(folder), "environ": environ}
        with Path(os.devnull).open("rb") as nothing:
            streams = [each if isinstance(each, int) else each.fileno() for each in (nothing, stdout, stderr)]
            _send(self._channel, request, streams)
        return WarmRun(self._channel)

    def close(self) -> None:
        """Let the server end."""
        if self._channel is not None and self._server is not None:
            self._channel.close()
            self._server.wait()

    def _started(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        own = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "PYTHONPATH"))}
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.warm_pytest", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                cwd=ROOT,
                env={**own, "OPENBLAS_NUM_THREADS": "1"},
            )
        return ours


def _send(channel: socket.socket, request: Mapping[str, object], streams: Sequence[int]) -> None:
    socket.send_fds(channel, [b"\n"], streams)
    channel.sendall(json.dumps(request).encode() + b"\n")


def _received(channel: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    _, streams, _, _ = socket.recv_fds(channel, 1, 3)
    return (json.loads(_line(channel)), streams) if streams else None


def _line(channel: socket.socket) -> str:
    found = bytearray()
    while not found.endswith(b"\n"):
        byte = channel.recv(1)
        if not byte:
            raise RuntimeError("the server of runs is gone; start the test again")
        found += byte
    return found.decode()


class WarmWorkers:
    """The client of a nursery: what execnet's `Popen2IOMaster` is for a run whose workers are forks, too."""

    def __init__(self, nursery: socket.socket) -> None:
        self._nursery = nursery

    def io(self, arguments: Sequence[str], execmodel: ExecModel) -> Popen2IOMaster:
        """Start a worker, with pipes in the place of its standard input and output."""
        del arguments  # sys.executable and the line that a worker reads its program with
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        request = {"arguments": [], "folder": str(Path.cwd()), "environ": dict(os.environ)}
        _send(self._nursery, request, (theirs_in, theirs_out, 2))
        worker = WarmWorker.__new__(WarmWorker)
        worker.handle = os.pidfd_open(int(_line(self._nursery)))
        for stream in (theirs_in, theirs_out):
            os.close(stream)
        Popen2IO.__init__(worker, open(ours_out, "wb"), open(ours_in, "rb"), execmodel)  # noqa: PTH123, SIM115
        return worker


class WarmWorker(Popen2IOMaster):
    """A worker of xdist that is no child of its controller."""

    handle: int

    def wait(self) -> None:
        """Wait for its end; its exit code is its parent's."""
        select.select([self.handle], [], [])

    def kill(self) -> None:
        """Kill it."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.handle, signal.SIGKILL)


def _become(request: Mapping[str, object], streams: Sequence[int]) -> None:
    """Make this fork what a fresh Python would be after its imports."""
    environ, arguments = request["environ"], request["arguments"]
    assert isinstance(environ, dict)
    assert isinstance(arguments, list)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(str(request["folder"]))
    sys.path[0:1] = [str(request["folder"]), *filter(None, environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = ["pytest", *arguments]
    if "COVERAGE_PROCESS_CONFIG" in environ:
        import coverage  # noqa: PLC0415 - only where coverage is measured

        coverage.process_startup()


def serve(channel: socket.socket) -> bool:
    """
    Fork a run for each request until the client is gone; a run that spreads has a nursery of its own.

    Returns:
        Whether this process is such a run.
    """
    while (received := _received(channel)) is not None:
        request, streams = received
        nursery = socket.socketpair() if any(str(each).startswith("-n") for each in request["arguments"]) else None
        nurse_pid = 0 if nursery is None else os.fork()
        if nursery is not None and nurse_pid == 0:
            channel.close()
            nursery[1].close()
            return nurse(nursery[0])
        pid = os.fork()
        if pid == 0:
            channel.close()
            _become(request, streams)
            if nursery is not None:
                nursery[0].close()
                gateway_io.Popen2IOMaster = WarmWorkers(nursery[1]).io  # type: ignore[misc,assignment]
            return True
        for end in nursery or ():
            end.close()
        for stream in streams:
            os.close(stream)
        channel.sendall(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        if nursery is not None:
            os.waitpid(nurse_pid, 0)
        with suppress(BrokenPipeError):
            channel.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    return False


def nurse(channel: socket.socket) -> bool:
    """
    Fork a worker for each request until the run is gone.

    Returns:
        False, always: this process and its forks are no runs.
    """
    n_workers = 0
    while (received := _received(channel)) is not None:
        request, streams = received
        pid = os.fork()
        if pid == 0:
            channel.close()
            _become(request, streams)
            sys.path[0] = ""
            sys.argv = ["-c"]
            exec(eval(sys.stdin.readline()), {"sys": sys})  # noqa: S102, S307 - execnet's own first line
            return False
        for stream in streams:
            os.close(stream)
        channel.sendall(f"{pid}\n".encode())
        n_workers += 1
    for _ in range(n_workers):
        os.wait()
    return False


def main() -> None:
    """Serve the socket whose file descriptor is on the command line."""
    preload()
    gc.collect()
    gc.freeze()
    if serve(socket.socket(fileno=int(sys.argv[1]))):
        runpy.run_module("pytest", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
