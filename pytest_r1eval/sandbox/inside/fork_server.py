"""
The program inside: import what solutions import once, then fork a child for each job.

One thread, one loop. A child costs a fork of a warm interpreter instead of the start of a cold one. The loop waits for
jobs and for its children's ends at once (`pidfd`), and kills a child at its wall-time deadline. Forty times a second it
counts the threads of each: the kernel counts them per user only, so one program could take those of its neighbour.
After each child it ends whatever else it finds below itself.

It ends when the parent's end of the socket closes, however that happens.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import select
import signal
import site
import socket
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import child, landlock
from .confinement import Confinement, available, prepare_server
from .wire import MESSAGE_BYTES, Cause, Job, Ready, Report, Setup, dumps, job_from, setup_from

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WARM = """
array bisect builtins cmath collections contextlib copy dataclasses datetime decimal enum fractions functools heapq io
itertools json math numbers operator os queue random re statistics string struct sys threading time traceback types
typing
"""
"""What LiveCodeBench puts before a solution, and what solutions import besides."""
_LOOK_EVERY_S = 0.025
"""A thread bomb of Python makes a few hundred threads in that time."""
_MAX_DESCRIPTORS = 5
_BEGINNING_TIMEOUT_S = 20.0
"""Between the fork and the program; takes a millisecond or two on an idle machine."""
_UNSAID = "it was killed before it began, for want of time or of memory"


@dataclass(slots=True, kw_only=True)
class _Running:
    job: Job
    pid: int
    pidfd: int
    pipe: int
    started_s: float
    said: bytes = b""
    cause: Cause = Cause.OWN

    @property
    def is_confined(self) -> bool:
        return self.said == child.CONFINED

    @property
    def deadline_s(self) -> float:
        """A program's time begins with the program, not with the fork: a busy machine is slow at both."""
        return self.started_s + (self.job.wall_s if self.is_confined else _BEGINNING_TIMEOUT_S)


class _Folders(importlib.abc.MetaPathFinder):
    """Finds the modules that were listed, and no neighbour of theirs: no `sys.path` leads to their folders."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        place = self._places.get(fullname)
        if place is None:
            return None
        if os.path.isdir(place):  # noqa: PTH112 - this program imports little
            start = os.path.join(place, "__init__.py")  # noqa: PTH118
            return importlib.util.spec_from_file_location(fullname, start, submodule_search_locations=[place])
        return importlib.util.spec_from_file_location(fullname, place)


class ForkServer:
    """The loop; `run` returns when the parent is gone."""

    def __init__(self, control: socket.socket, confinement: Confinement) -> None:
        self._control = control
        self._confinement = confinement
        self._running: dict[int, _Running] = {}
        self._beginning: dict[int, _Running] = {}
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)

    def run(self) -> None:
        """Serve until the parent hangs up."""
        while True:
            ready = {descriptor for descriptor, _ in self._poll.poll(self._patience_ms())}
            for pipe in ready & self._beginning.keys():
                self._begin(self._beginning[pipe])
            for pidfd in ready & self._running.keys():
                self._finish(self._running[pidfd])
            if self._control.fileno() in ready and not self._take():
                return
            self._watch()

    def end(self) -> None:
        """Leave nothing behind."""
        for running in self._running.values():
            _kill(running)
            os.waitpid(running.pid, 0)
        self._running.clear()
        self._end_orphans()

    def _patience_ms(self) -> float | None:
        if not self._running:
            return None
        next_s = min(running.deadline_s for running in self._running.values()) - time.monotonic()
        return max(0.0, min(next_s, _LOOK_EVERY_S)) * 1000 + 1

    def _take(self) -> bool:
        """Take a job from the parent; False if it hung up."""
        message, descriptors, flags, _ = socket.recv_fds(self._control, MESSAGE_BYTES, _MAX_DESCRIPTORS)
        if not message:
            return False
        job = job_from(message)
        try:
            if flags & socket.MSG_CTRUNC:
                self._send(_failed(job, "the program's files did not arrive: too many are open"))
            else:
                self._start(job, descriptors)
        except OSError as error:
            self._send(_failed(job, str(error)))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _start(self, job: Job, descriptors: list[int]) -> None:
        server_pid = os.getpid()
        ours, theirs = os.pipe()
        try:
            pid = os.fork()
        except OSError:
            os.close(ours)
            os.close(theirs)
            raise
        if pid == 0:
            child.run(job, descriptors, self._confinement, pipe=theirs, parent_pid=server_pid)
        os.close(theirs)
        pidfd = os.pidfd_open(pid)
        running = _Running(job=job, pid=pid, pidfd=pidfd, pipe=ours, started_s=time.monotonic())
        self._running[pidfd] = self._beginning[ours] = running
        self._poll.register(pidfd, select.POLLIN)
        self._poll.register(ours, select.POLLIN)

    def _begin(self, running: _Running) -> None:
        """Hear what a child says before its program starts, which is when the program's time starts."""
        running.said = os.read(running.pipe, child.WORDS_BYTES)
        running.started_s = time.monotonic()
        del self._beginning[running.pipe]
        self._poll.unregister(running.pipe)
        os.close(running.pipe)

    def _finish(self, running: _Running) -> None:
        _, status, usage = os.wait4(running.pid, 0)
        if self._beginning.get(running.pipe) is running:  # a number that was closed may be another's by now
            self._begin(running)
        wall_s = time.monotonic() - running.started_s
        del self._running[running.pidfd]
        self._poll.unregister(running.pidfd)
        os.close(running.pidfd)
        self._end_orphans()
        self._send(
            Report(
                id=running.job.id,
                cause=running.cause if running.is_confined else Cause.SETUP,
                status=status,
                wall_s=wall_s,
                cpu_s=usage.ru_utime + usage.ru_stime,
                peak_memory_bytes=usage.ru_maxrss * 1024,
                error="" if running.is_confined else running.said.decode(errors="replace") or _UNSAID,
            )
        )

    def _watch(self) -> None:
        now_s = time.monotonic()
        for running in self._running.values():
            if running.cause is not Cause.OWN:
                continue
            if now_s >= running.deadline_s:
                running.cause = Cause.WALL_TIME
                _kill(running)
            elif now_s - running.started_s > _LOOK_EVERY_S and _n_threads(running.pid) > running.job.n_threads:
                running.cause = Cause.THREADS
                _kill(running)

    def _end_orphans(self) -> None:
        """End what a child left behind; nothing, where seccomp holds."""
        known = {running.pid for running in self._running.values()}
        for pid in _children() - known:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def _send(self, report: Report) -> None:
        self._control.send(dumps(report))


def main() -> None:
    """Serve the parent at the other end of the socket whose descriptor is the last argument."""
    control_fd = int(sys.argv[-1])
    os.closerange(3, control_fd)
    os.closerange(control_fd + 1, os.sysconf("SC_OPEN_MAX"))
    os.set_inheritable(control_fd, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.pop("PWD", None)  # bubblewrap's addition to the environment that was written for it
    control = socket.socket(fileno=control_fd)
    setup = setup_from(control.recv(MESSAGE_BYTES))
    confinement = Confinement(rules=None, filter=None)
    error = ""
    try:
        prepare_server()
        confinement = available(setup.readable)
        _import(setup)
    except Exception as problem:  # noqa: BLE001 - told to the parent, which raises it
        error = f"{type(problem).__name__}: {problem}"
    ready = Ready(
        landlock_version=landlock.version(),
        has_seccomp=confinement.filter is not None,
        error=error,
    )
    control.send(dumps(ready))
    if error:
        return
    gc.collect()
    gc.freeze()
    server = ForkServer(control, confinement)
    try:
        server.run()
    finally:
        server.end()


def _import(setup: Setup) -> None:
    """Import what programs will find warm; what that does to the environment is undone."""
    environment = dict(os.environ)
    sys.path[:] = [folder for folder in sys.path if folder != os.path.dirname(os.path.dirname(__file__))]  # noqa: PTH120
    sys.meta_path.append(_Folders(setup.modules | setup.preloaded))
    site.setquit()  # `exit()`, which `-S` leaves out with everything else that `site` does
    for name in _WARM.split():
        importlib.import_module(name)
    for name in ("numpy", *setup.preloaded):
        if name in setup.modules or name in setup.preloaded:
            importlib.import_module(name)
    os.environ.clear()
    os.environ.update(environment)
    for name in [name for name in sys.modules if name.partition(".")[0] == __name__.partition(".")[0]]:
        del sys.modules[name]  # they are in use; a program need not find them


def _failed(job: Job, error: str) -> Report:
    return Report(id=job.id, cause=Cause.SETUP, status=0, wall_s=0.0, cpu_s=0.0, peak_memory_bytes=0, error=error)


def _kill(running: _Running) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(running.pidfd, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(running.pid, signal.SIGKILL)


def _n_threads(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - forty times a second for each child
            return int(file.read().rpartition(b")")[2].split()[17])
    except (OSError, IndexError):
        return 0


def _children() -> set[int]:
    pid = os.getpid()
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:  # noqa: PTH123 - after each job
            return {int(word) for word in file.read().split()}
    except OSError:
        return set()
