"""
The parent's side: start the best sandbox that holds, run programs in it, several at once.

Layers, and what each answers (tests/sandbox/ attacks all of them):

1. bubblewrap, once per sandbox: a file system of nothing but the interpreter and the named modules, read-only; its own
   PID, network, IPC, UTS and user namespaces; no capabilities; no way into another user namespace. Answers reading
   home and secrets, writing, the network, processes of others.
2. The fork server (`inside.fork_server`): starts every program in a fresh fork of a warm interpreter, kills it at its
   deadline, counts its threads, ends what it leaves. Answers programs that never end and bombs of threads.
3. Each child confines itself before it touches the program (`inside.confinement`): resource limits, death with the
   parent, no new privileges, Landlock for files, seccomp for system calls. Answers bombs of memory, output and
   processes, tracing, signals, sockets, namespaces, chmod of the user's files. Without user namespaces (some CI
   runners) this layer is the sandbox, level LANDLOCK, and holds by itself.
4. What a program should have answered is not in here at all: a strict grader compares outside.

A start-up probe (`probing`) decides which level is used; with none, `start` refuses unless told `allow_unsafe`.

Known trade-offs (accepted):

- The kernel's own bugs are reachable. Run hostile code, unlike a model's, in a virtual machine.
- Programs of one sandbox run as one user. They cannot signal, trace or read each other; but memory is limited for each
  of them, not for all, so `n_parallel` times the memory limit should fit the machine. If it does not, the kernel
  kills children before engines, and a victim raises `SandboxError` rather than fail.
- Time can be read as finely as the processor allows, and processor caches are shared.
- A `Call` shares its process with the program that it grades: that is the parity grader's nature, not the sandbox's.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Self, TypeVar, overload

from pytest_r1eval.errors import SandboxError
from pytest_r1eval.sandbox.endings import MemoryKills, ending_of
from pytest_r1eval.sandbox.files import JobFiles
from pytest_r1eval.sandbox.inside.wire import Cause, Job, Kind, Ready
from pytest_r1eval.sandbox.interior import Imports, Interior, interior
from pytest_r1eval.sandbox.levels import Attempt, Confirmation, SandboxLevel, attempts
from pytest_r1eval.sandbox.limits import Limits
from pytest_r1eval.sandbox.probing import leaks_found
from pytest_r1eval.sandbox.programs import Call, Completion, Program, Script
from pytest_r1eval.sandbox.server import Server, ServerLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

T = TypeVar("T")

_LEVELS = (SandboxLevel.BUBBLEWRAP, SandboxLevel.LANDLOCK)


class Sandbox:
    """
    A place where programs of unknown intent run; usable from several threads at once.

    Args:
        limits: What a program may use, unless it brings its own limits.
        n_parallel: Programs that run at the same time; None takes one for each processor this process may use.
        imports: What programs can import beyond the standard library, and the modules whose functions can be called.
        allow_unsafe: Whether `start` goes on where nothing holds.
        levels: Which levels to try, best first.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        n_parallel: int | None = None,
        imports: Imports | None = None,
        allow_unsafe: bool = False,
        levels: Iterable[SandboxLevel] = _LEVELS,
    ) -> None:
        self._limits = limits or Limits()
        self._n_parallel = n_parallel or len(os.sched_getaffinity(0))
        self._imports = imports or Imports()
        self._allow_unsafe = allow_unsafe
        self._levels = tuple(levels)
        self._slots = threading.BoundedSemaphore(self._n_parallel)
        self._restart_lock = threading.Lock()
        self._memory_kills = MemoryKills()
        self._threads: ThreadPoolExecutor | None = None
        self._server: Server | None = None
        self._room: Interior | None = None
        self._attempt: Attempt | None = None
        self._confirmation: Confirmation | None = None

    @property
    def confirmation(self) -> Confirmation:
        """
        What the start found out.

        Raises:
            SandboxError: If it was not started.
        """
        if self._confirmation is None:
            raise SandboxError("the sandbox was not started: call start() first")
        return self._confirmation

    @property
    def modules(self) -> tuple[str, ...]:
        """Import names that programs find beyond the standard library; a score may depend on them."""
        return tuple(self._room.modules) if self._room is not None else ()

    @property
    def server_pid(self) -> int | None:
        """The process under which everything of this sandbox runs."""
        return self._server.pid if self._server is not None else None

    def start(self) -> SandboxLevel:
        """
        Start at the best level that holds.

        Raises:
            SandboxError: If none does, with the reason for each.
        """
        if sys.platform != "linux":
            raise SandboxError(
                f"this is {sys.platform}; programs that a model writes run on Linux only,"
                " whose Landlock, seccomp and namespaces confine them"
            )
        self._room = interior(self._imports)
        self._threads = ThreadPoolExecutor(self._n_parallel, thread_name_prefix="r1eval-sandbox-run")
        refused: dict[SandboxLevel, str] = {}
        for attempt in attempts(is_root=os.geteuid() == 0, levels=self._levels):
            try:
                self._confirmation = self._confirmed(attempt, refused)
            except SandboxError as error:
                refused[attempt.level] = str(error)  # the last attempt at a level has the last word
            else:
                return attempt.level
        if self._allow_unsafe:
            self._confirmation = self._confirmed(Attempt(level=SandboxLevel.NONE, as_nobody=False), refused)
            return SandboxLevel.NONE
        self.close()
        raise SandboxError(
            f"nothing on this machine confines the programs that a model writes. {'; '.join(refused.values())}."
            " Install bubblewrap, or use a kernel with Landlock (5.13 or later) and seccomp."
        )

    def run(self, program: Program) -> Completion:
        """
        Run one program to its end.

        Raises:
            SandboxError: If the sandbox failed, twice; never for anything that the program did within it.
        """
        with self._slots:
            server = self._live_server()
            try:
                return self._run_on(server, program)
            except ServerLostError:
                return self._run_on(self._restarted(server), program)

    @overload
    def submit(self, program: Program) -> Future[Completion]: ...

    @overload
    def submit(self, program: Program, read: Callable[[Completion], T]) -> Future[T]: ...

    def submit(self, program: Program, read: Callable[[Completion], T] | None = None) -> Future[Completion] | Future[T]:
        """
        Run one program when a slot is free; the future raises what `run` raises.

        Args:
            program: The program.
            read: What to make of its end at once, so that its outputs need not be kept; None keeps all of it.
        """
        if self._threads is None:
            raise SandboxError("the sandbox was not started, or was closed: call start() first")
        if read is None:
            return self._threads.submit(self.run, program)
        return self._threads.submit(lambda: read(self.run(program)))

    def close(self) -> None:
        """End every program and the fork server; each caller that waits for a program gets an error."""
        with self._restart_lock:
            server, self._server = self._server, None
            threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)
        if server is not None:
            server.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _confirmed(self, attempt: Attempt, refused: Mapping[SandboxLevel, str]) -> Confirmation:
        """Start, probe, and use what was started if it holds or need not."""
        server, ready = self._started(attempt)
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(server.close)
            leaks = leaks_found(lambda script: self._run_on(server, script))
            if leaks and attempt.level is not SandboxLevel.NONE:
                raise SandboxError(f"{attempt.words}: a program in it {', '.join(leaks)}")
            on_failure.pop_all()
        self._server, self._attempt = server, attempt
        return Confirmation(
            level=attempt.level,
            landlock_version=ready.landlock_version,
            has_seccomp=ready.has_seccomp,
            runs_as_root=os.geteuid() == 0 and not attempt.as_nobody,
            refused=tuple(refused.values()),
            leaks=leaks,
        )

    def _started(self, attempt: Attempt) -> tuple[Server, Ready]:
        if self._room is None:
            raise SandboxError("the sandbox was not started: call start() first")
        server = Server(self._room, attempt=attempt)
        return server, server.start()

    def _live_server(self) -> Server:
        if self._server is None:
            raise SandboxError("the sandbox was not started, or was closed: call start() first")
        return self._server

    def _restarted(self, lost: Server) -> Server:
        """Start another server in place of one that was lost, once for all who lost it."""
        with self._restart_lock:
            current = self._live_server()
            if current is not lost or self._attempt is None:
                return current
            lost.close()
            self._server, _ = self._started(self._attempt)
            return self._server

    def _run_on(self, server: Server, program: Program) -> Completion:
        limits = program.limits or self._limits
        with JobFiles(program) as files:
            report = server.run(_job(program, limits), files.descriptors)
            if report.cause is Cause.SETUP:
                raise SandboxError(f"a program could not be confined and was not run: {report.error}")
            ending = ending_of(report, limits, n_bytes_out=files.n_bytes_out, memory_kills=self._memory_kills)
            return Completion(
                ending=ending,
                exit_code=os.waitstatus_to_exitcode(report.status),
                stdout=files.stdout(limits.output_bytes),
                stderr=files.stderr_tail(),
                returned=files.returned(limits.output_bytes),
                wall_s=report.wall_s,
                cpu_s=report.cpu_s,
                peak_memory_bytes=report.peak_memory_bytes,
            )


def _job(program: Program, limits: Limits) -> Job:
    match program:
        case Script():
            kind, module, function = Kind.SCRIPT, "", ""
        case Call(module=module, function=function):
            kind = Kind.CALL
    return Job(id=-1, kind=kind, module=module, function=function, **asdict(limits))
