"""Why a program ended, from what the fork server saw."""

from __future__ import annotations

import os
import signal

from pytest_r1eval.errors import SandboxError
from pytest_r1eval.sandbox.inside.child import OUT_OF_MEMORY_STATUS
from pytest_r1eval.sandbox.inside.wire import Cause, Report
from pytest_r1eval.sandbox.limits import Limits
from pytest_r1eval.sandbox.programs import Ending

_SUSPECT_FRACTION = 0.5
"""A program that held this much of its memory limit when the kernel ran out of memory is taken for the reason."""


def ending(report: Report, limits: Limits, *, n_bytes_out: int) -> Ending:
    """
    Say why a program ended.

    Args:
        report: What the fork server saw.
        limits: What the program was allowed.
        n_bytes_out: The length of its longer output.

    Raises:
        SandboxError: If something outside ended it: the kernel, short of memory that others hold.
    """
    code = os.waitstatus_to_exitcode(report.status)
    if report.cause is Cause.WALL_TIME:
        return Ending.TIMED_OUT
    if report.cause is Cause.THREADS:
        return Ending.THREAD_LIMIT
    if n_bytes_out >= limits.output_bytes or code == -signal.SIGXFSZ:
        return Ending.OUTPUT_LIMIT
    if code == -signal.SIGXCPU or (code == -signal.SIGKILL and report.cpu_s >= limits.cpu_s):
        return Ending.CPU_LIMIT
    if code == OUT_OF_MEMORY_STATUS:
        return Ending.MEMORY_LIMIT
    if code == -signal.SIGKILL:
        # Neither the fork server nor the program itself can have sent it, so the kernel's out-of-memory killer did.
        if report.peak_memory_bytes >= _SUSPECT_FRACTION * limits.memory_bytes:
            return Ending.MEMORY_LIMIT
        raise SandboxError(
            f"the kernel killed a program that held {report.peak_memory_bytes >> 20} MiB of the"
            f" {limits.memory_bytes >> 20} MiB it may have: the machine is out of memory. Run fewer programs at once."
        )
    return Ending.EXITED if code >= 0 else Ending.SIGNALLED
