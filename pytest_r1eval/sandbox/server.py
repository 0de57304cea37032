"""
One fork server, seen from the parent: start it, hand it jobs, hear how they ended.

A thread of its own starts the process and then listens until it is gone. It must be the same thread: the kernel ties
bubblewrap's `--die-with-parent` to the thread that started it, not to the process.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import threading
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_r1eval.errors import SandboxError
from pytest_r1eval.sandbox.inside.wire import (
    MESSAGE_BYTES,
    Job,
    Ready,
    Report,
    Setup,
    dumps,
    ready_from,
    report_from,
)
from pytest_r1eval.sandbox.interior import (
    NOBODY,
    Interior,
    bubblewrap_command,
    environment,
    server_command,
)
from pytest_r1eval.sandbox.levels import Attempt, SandboxLevel

if TYPE_CHECKING:
    from collections.abc import Sequence

_START_TIMEOUT_S = 60.0
"""numpy's import takes half a second on an idle machine; a busy disk makes it tens."""
_GRACE_S = 60.0
"""How much later than its wall time a job's end may be reported before the server counts as hung; a third of it is
what the fork server allows a child to begin in."""
_WORDS_BYTES = 2000


class ServerLostError(SandboxError):
    """The fork server ended or hung with jobs unanswered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    popen: subprocess.Popen[bytes]
    errors: int

    def words(self) -> str:
        """Quote the end of what it wrote on standard error."""
        size = os.fstat(self.errors).st_size
        return os.pread(self.errors, _WORDS_BYTES, max(0, size - _WORDS_BYTES)).decode(errors="replace").strip()


class Server:
    """
    One fork server.

    Args:
        room: What programs find.
        attempt: At which level and as whom it runs.
    """

    def __init__(self, room: Interior, *, attempt: Attempt) -> None:
        self._room = room
        self._attempt = attempt
        self._control, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        self._ids = itertools.count()
        self._open: dict[int, Future[Report]] = {}
        self._ready: Future[Ready] = Future()
        self._is_lost = False
        self._pid: int | None = None
        self._keeper = threading.Thread(target=self._keep, name="r1eval-sandbox", daemon=True)

    @property
    def pid(self) -> int | None:
        """The process that was started: bubblewrap, or the fork server itself."""
        return self._pid

    def start(self) -> Ready:
        """
        Start the process and wait until it can fork.

        Raises:
            SandboxError: If it does not start.
        """
        self._keeper.start()
        try:
            ready = self._ready.result(timeout=_START_TIMEOUT_S)
        except TimeoutError:
            self.close()
            raise SandboxError(f"{self._attempt.words}: no fork server after {_START_TIMEOUT_S:.0f} s") from None
        if ready.error:
            self.close()
            raise SandboxError(f"{self._attempt.words}: {ready.error}")
        return ready

    def run(self, job: Job, descriptors: Sequence[int]) -> Report:
        """
        Run one job and wait for its end; callable from several threads at once.

        Raises:
            ServerLostError: If the server ended or hung.
        """
        future: Future[Report] = Future()
        with self._lock:
            if self._is_lost:
                raise ServerLostError("the sandbox's fork server is gone")
            numbered = replace(job, id=next(self._ids))
            self._open[numbered.id] = future
            try:
                socket.send_fds(self._control, [dumps(numbered)], list(descriptors))
            except OSError as error:
                del self._open[numbered.id]
                raise ServerLostError(f"the sandbox's fork server takes no job: {error}") from error
        try:
            return future.result(timeout=job.wall_s + _GRACE_S)
        except TimeoutError:
            self.close()
            raise ServerLostError(
                f"the sandbox's fork server did not answer for {job.wall_s + _GRACE_S:.0f} s"
            ) from None

    def close(self) -> None:
        """Hang up; the server ends its children and itself, and whatever does not is killed."""
        with self._lock:
            self._is_lost = True
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        if self._keeper.is_alive():
            self._keeper.join(timeout=_GRACE_S)

    def _keep(self) -> None:
        """Start the process, listen to it, see it off."""
        errors = os.memfd_create("r1eval-sandbox-errors")
        with self._control, contextlib.ExitStack() as stack:
            stack.callback(os.close, errors)
            try:
                with self._theirs:
                    process = _Process(popen=self._spawn(errors), errors=errors)
            except (OSError, SandboxError, subprocess.SubprocessError) as error:
                self._lose(str(error))
                return
            self._pid = process.popen.pid
            try:
                self._listen()
            finally:
                self._see_off(process)

    def _spawn(self, errors: int) -> subprocess.Popen[bytes]:
        control = self._theirs.fileno()
        command = server_command(self._room, control=control)
        if self._attempt.level is SandboxLevel.BUBBLEWRAP:
            command = bubblewrap_command(self._room, inner=command)
        identity = NOBODY if self._attempt.as_nobody else None
        return subprocess.Popen(  # noqa: S603 - our own program
            command,
            env=environment(),
            pass_fds=[control],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            cwd="/",
            start_new_session=True,
            user=identity,
            group=identity,
            extra_groups=None if identity is None else [],
        )

    def _listen(self) -> None:
        """Receive until the server hangs up."""
        setup = Setup(
            readable=[str(place) for place in self._room.readable],
            modules={name: str(place) for name, place in self._room.modules.items()},
            preloaded={name: str(place) for name, place in self._room.preloaded.items()},
        )
        try:
            self._control.send(dumps(setup))
            while message := self._control.recv(MESSAGE_BYTES):
                self._hear(message)
        except OSError:
            return  # hung up with bytes under way

    def _hear(self, message: bytes) -> None:
        if not self._ready.done():
            self._ready.set_result(ready_from(message))
            return
        report = report_from(message)
        with self._lock:
            future = self._open.pop(report.id, None)
        if future is not None:
            future.set_result(report)

    def _see_off(self, process: _Process) -> None:
        try:
            process.popen.wait(timeout=2)
        except subprocess.TimeoutExpired:
            process.popen.kill()
            process.popen.wait()
        self._lose(f"it ended with status {process.popen.returncode}: {process.words() or 'no words'}")

    def _lose(self, words: str) -> None:
        """Fail every caller that waits for the start or for a job."""
        with self._lock:
            self._is_lost = True
            open_jobs, self._open = self._open, {}
        if not self._ready.done():
            self._ready.set_exception(SandboxError(f"{self._attempt.words}: {words}"))
        for future in open_jobs.values():
            future.set_exception(ServerLostError(f"the sandbox's fork server was lost: {words}"))
