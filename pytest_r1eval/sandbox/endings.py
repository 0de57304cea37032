"""Why a program ended, from what the fork server saw."""

import os
import signal
import threading
from pathlib import Path

from pytest_r1eval.errors import SandboxError
from pytest_r1eval.sandbox.inside.child import OUT_OF_MEMORY_STATUS
from pytest_r1eval.sandbox.inside.wire import Cause, Report
from pytest_r1eval.sandbox.limits import Limits
from pytest_r1eval.sandbox.programs import Ending

_SUSPECT_FRACTION = 0.5
"""A program that held this much of its memory limit when the kernel ran out of memory is taken for the reason."""
_BY_SERVER = {Cause.WALL_TIME: Ending.TIMED_OUT, Cause.THREADS: Ending.THREAD_LIMIT}


class MemoryKills:
    """
    The kernel's count of processes it killed for want of memory, on the whole machine.

    A program can have itself killed too (a timer, a limit that it lowers), which is its own failure; the count tells
    the two apart. Each kill is claimed once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_claimed = _n_memory_kills()

    def claim(self) -> bool:
        """Tell whether there was an unclaimed kill, and claim it; a kernel that does not count has one."""
        with self._lock:
            n_kills = _n_memory_kills()
            if n_kills is None or self._n_claimed is None:
                return True
            if n_kills <= self._n_claimed:
                return False
            self._n_claimed += 1
            return True


def ending_of(report: Report, limits: Limits, *, n_bytes_out: int, memory_kills: MemoryKills) -> Ending:
    """
    Say why a program ended.

    Args:
        report: What the fork server saw.
        limits: What the program was allowed.
        n_bytes_out: The length of its longer output.
        memory_kills: The kernel's count.

    Raises:
        SandboxError: If something outside ended it: the kernel, short of memory that others hold.
    """
    code = os.waitstatus_to_exitcode(report.status)
    if report.cause in _BY_SERVER:
        return _BY_SERVER[report.cause]
    if n_bytes_out >= limits.output_bytes or code == -signal.SIGXFSZ:
        return Ending.OUTPUT_LIMIT
    if code == -signal.SIGXCPU or (code == -signal.SIGKILL and report.cpu_s >= limits.cpu_s):
        return Ending.CPU_LIMIT
    if code == OUT_OF_MEMORY_STATUS:
        return Ending.MEMORY_LIMIT
    if code == -signal.SIGKILL and memory_kills.claim():
        return _ending_by_kernel(report, limits)
    return Ending.EXITED if code >= 0 else Ending.SIGNALLED


def _ending_by_kernel(report: Report, limits: Limits) -> Ending:
    if report.peak_memory_bytes >= _SUSPECT_FRACTION * limits.memory_bytes:
        return Ending.MEMORY_LIMIT
    raise SandboxError(
        f"the kernel killed a program that held {report.peak_memory_bytes >> 20} MiB of the"
        f" {limits.memory_bytes >> 20} MiB it may have: the machine is out of memory. Run fewer programs at once."
    )


def _n_memory_kills() -> int | None:
    try:
        lines = Path("/proc/vmstat").read_text("ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
