"""
One judge per run: a lock on the run's folder, held for as long as the judging process lives.

It is the operating system's record lock. The kernel drops it with the process that took it, however that ended. No
heartbeat can be late, no stale lock has to be broken, and no clock is read. Workers need none: they join the run of
their judge.
"""

import fcntl
import os
import socket
from pathlib import Path
from typing import Self

from pytest_r1eval.errors import StoreError

LOCK_NAME = "run.lock"


class RunLock:
    """
    The lock of one run, taken by `take`.

    Known trade-off (accepted): record locks are a process's, not a file's. Two runs
    of one process do not exclude each other, and a forked engine does not inherit it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, run: Path) -> Self:
        """
        Lock a run's folder for this process; a link in the lock's place is refused, as signing would empty its target.

        Raises:
            StoreError: If another process holds it, or the folder cannot be written.
        """
        path = run / LOCK_NAME
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise StoreError(
                f"cannot write to the run's folder {run}: {error.strerror}; expected a writable folder on a local "
                "disk. What is stored is kept: repair the cause, or copy the run to where it can be written"
            ) from error
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 256).decode(errors="replace").strip()
            os.close(descriptor)
            raise StoreError(
                f"the run {run} is in use by {holder or 'another process'}; wait until that one ends, or stop it. "
                "Two runs in one folder would judge each other's halves"
            ) from error
        _sign(descriptor)
        return cls(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let others have the run; safe to call twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _sign(descriptor: int) -> None:
    """Name the holder of the lock, for the process that is refused; on a full disk the lock holds unsigned."""
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    except OSError:
        return
