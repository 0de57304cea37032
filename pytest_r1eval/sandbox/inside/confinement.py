"""
What a child puts on before it runs a solution, once and for good.

In this order: the parent's death kills it, its resources are limited, Landlock closes the files, seccomp closes the
kernel. `no_new_privs` comes with both. Capabilities were given up by the fork server before it forked the first
child, so a root user's children have none either.

`RLIMIT_NPROC` is not used. It counts the tasks of a user, and root is exempt from it. Without a user namespace, the
thousand threads of that user's engine would count against a solution's second one. seccomp lets no process be made;
threads are counted by the fork server and bounded by the address space.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import resource
import signal
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import landlock, seccomp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .wire import Job

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_THP_DISABLE = 41
_CAPABILITIES_V3 = 0x20080522
_N_CAPABILITIES = 64
_PENDING_SIGNALS = 1024
"""Counted per user: a program must not use up the signals and timers of the user's other processes."""

_NOT_NEEDED = {
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_MEMLOCK: 0,
    resource.RLIMIT_MSGQUEUE: 0,
    resource.RLIMIT_NICE: 0,
    resource.RLIMIT_RTPRIO: 0,
    resource.RLIMIT_SIGPENDING: _PENDING_SIGNALS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What this kernel offers: a Landlock rule set, and an assembled seccomp filter; None where it has none."""

    rules: int | None
    filter: bytes | None

    def put_on(self, job: Job, *, parent_pid: int) -> None:
        """
        Confine this process.

        Raises:
            OSError: If the kernel refuses any part.
        """
        _die_with_parent(parent_pid)
        limit_resources(
            {
                resource.RLIMIT_AS: job.memory_bytes,
                resource.RLIMIT_FSIZE: job.output_bytes,
                resource.RLIMIT_NOFILE: job.n_open_files,
                resource.RLIMIT_STACK: job.stack_bytes,
            }
        )
        cpu_s = math.ceil(job.cpu_s)
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
        self.close()

    def close(self) -> None:
        """
        Close the files and the kernel to this process, for good; it must have one thread.

        Raises:
            OSError: If the kernel refuses either.
        """
        if self.rules is not None:
            landlock.put_on(self.rules)
        if self.filter is not None:
            seccomp.install(self.filter, own_pid=os.getpid())


def prepare_server() -> None:
    """
    Make this process a fork server that keeps no power and loses no descendant.

    It gives up its capabilities, cannot be traced, and adopts orphans instead of letting them escape. When memory runs
    out, the kernel kills it and its children before an engine.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    # A courtesy to the engine, not a border; a container may forbid it.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:  # noqa: PTH123 - few imports
        score.write("1000")
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for capability in range(_N_CAPABILITIES):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    if libc.capset(struct.pack("=Ii", _CAPABILITIES_V3, 0), bytes(24)) != 0:
        raise OSError(ctypes.get_errno(), "capset: the fork server could not give up its capabilities")
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def available(readable: list[str]) -> Confinement:
    """Prepare what this kernel offers."""
    machine = seccomp.this_machine() if seccomp.is_available() else None
    return Confinement(
        rules=landlock.ruleset(readable) if landlock.version() else None,
        filter=None if machine is None else seccomp.assembled(machine),
    )


def _die_with_parent(parent_pid: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before the line above
        os.kill(os.getpid(), signal.SIGKILL)


def limit_resources(limits: Mapping[int, int]) -> None:
    """
    Lower limits of this process, for good: those that are given, and all that nothing in a sandbox needs.

    Huge pages are one of these: a page that is unmapped but for 4 KiB keeps its 2 MiB, and the limit counts 4 KiB.

    Args:
        limits: Number of a resource to its limit.
    """
    ctypes.CDLL(None).prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)
    for limit, wanted in {**_NOT_NEEDED, **limits}.items():
        _, most = resource.getrlimit(limit)
        value = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(limit, (value, value))
