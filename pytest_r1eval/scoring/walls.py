"""
What bounds a scoring process: walls around it before it reads the first answer, and a processor time for each answer.

sympy and the parser of LaTeX evaluate what a model wrote. So a scoring process imports its task's metric and grades one
problem's own answer, which imports everything else. Then it confines itself as a program's child does
(`sandbox.inside`): no network, no files but code, which it may only read, no other process, bounded memory. It stays so
for all its answers, which costs a grade nothing. A probe in a process of the same kind tells what holds.

Known trade-offs (accepted):

- Answers of one benchmark share a process. An answer that found a way to run code could change the next grades in it.
  It could also write on the pipe that the processes of a pool share. Answers are parsed, not run; programs have a
  process each.
- There is no file system of their own around these processes, as bubblewrap makes for programs: a path can be seen to
  exist.
- An exam is built outside of the walls, in a process that grades nothing, because it needs the network and the caches.
"""

import contextlib
import io
import math
import os
import resource
import signal
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

from pytest_r1eval.sandbox import Completion, Confirmation, Ending, SandboxLevel, Script
from pytest_r1eval.sandbox.inside import confinement, landlock, seccomp
from pytest_r1eval.sandbox.interior import LIBRARIES
from pytest_r1eval.sandbox.probing import probed

_PACKAGE = Path(__file__).parents[1]
_MEMORY_BYTES = 1 << 30
"""Beyond what a process has mapped when it begins; a grade takes a few megabytes, a tower of powers all there is."""
_N_OPEN_FILES = 256
"""A module that is imported late needs one."""
_GRACE_S = 2
"""After its processor time an answer is stopped by an exception, which code outside of the interpreter does not hear;
so much later the kernel ends the process."""


class ProcessorTimeUsedUpError(BaseException):
    """An answer took more than its processor time; no `Exception`, so that a metric does not take it for its own."""


def put_up(code: Iterable[Path]) -> None:
    """
    Confine this process as far as the kernel offers it, for good; whether that holds is for the probe to say.

    Args:
        code: Files and folders that it may read, beyond the interpreter, what is installed, and this package.
    """
    if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208 - names alone; the rules would bind this thread only
        return
    with contextlib.suppress(OSError):
        confinement.prepare_server()
    offered = confinement.available([str(place) for place in (*_installed(), *code)])
    confinement.limit_resources(
        {
            resource.RLIMIT_AS: _mapped_bytes() + _MEMORY_BYTES,
            resource.RLIMIT_FSIZE: 0,
            resource.RLIMIT_NOFILE: _N_OPEN_FILES,
        }
    )
    with contextlib.suppress(OSError):
        offered.close()


def output_of(source: str, stdin: str) -> str:
    """Run a program of ours in this process, between an input and an output of text."""
    streams = sys.stdin, sys.stdout
    sys.stdin, sys.stdout = io.StringIO(stdin), io.StringIO()
    try:
        exec(compile(source, "probe.py", "exec", dont_inherit=True), {"__name__": "__main__"})  # noqa: S102 - the probe
        return sys.stdout.getvalue()
    finally:
        sys.stdin, sys.stdout = streams


def confirmed(run: Callable[[str, str], str]) -> Confirmation:
    """
    Say what holds around scoring processes.

    Args:
        run: Calls `output_of` in a process that is confined as they are.

    Raises:
        SandboxError: If the probe could not finish.
    """

    def completion(script: Script) -> Completion:
        output = run(script.source, script.stdin.decode())
        return Completion(
            ending=Ending.EXITED,
            exit_code=0,
            stdout=output.encode(),
            stderr=b"",
            returned=b"",
            wall_s=0.0,
            cpu_s=0.0,
            peak_memory_bytes=0,
        )

    leaks = probed(completion).leaks
    return Confirmation(
        level=SandboxLevel.NONE if leaks else SandboxLevel.LANDLOCK,
        landlock_version=landlock.version(),
        has_seccomp=seccomp.this_machine() is not None and seccomp.is_available(),
        runs_as_root=os.geteuid() == 0,
        refused=(),
        leaks=leaks,
    )


def unconfirmed(reason: str) -> Confirmation:
    """Say that nothing is known to hold, and why."""
    return Confirmation(
        level=SandboxLevel.NONE,
        landlock_version=0,
        has_seccomp=False,
        runs_as_root=os.geteuid() == 0,
        refused=(),
        leaks=(reason,),
    )


def _installed() -> Iterator[Path]:
    """Name the folders of code: the interpreter's, its shared libraries', what is installed, this package."""
    places = [Path(sys.base_prefix) / "lib", Path(sys.base_prefix) / "lib64", _PACKAGE, *map(Path, LIBRARIES)]
    places += [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    places += [Path(folder) for folder in sys.path if Path(folder).name in {"site-packages", "dist-packages"}]
    yield from dict.fromkeys(place for place in places if place.exists())


def _mapped_bytes() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()


@contextlib.contextmanager
def processor_time(limit_s: float) -> Iterator[None]:
    """
    Limit the processor time of the block; in a main thread only.

    Raises:
        ProcessorTimeUsedUpError: In the block, if it takes longer.
    """
    before = signal.signal(signal.SIGPROF, _stop)
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + limit_s + _GRACE_S), hard))
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    try:
        yield
    finally:
        try:  # the signal may come here too; its timer is spent then
            signal.setitimer(signal.ITIMER_PROF, 0)
        finally:
            resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
            signal.signal(signal.SIGPROF, before)


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    raise ProcessorTimeUsedUpError
