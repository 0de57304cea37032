"""
A program that ends when the process that started it does, in whatever way that was.

A training that torchrun or an operator kills runs no handler. An evaluation in a session of its own would keep the GPUs
that the next start needs. So the kernel is asked to kill it (prctl(2), PR_SET_PDEATHSIG) before the program takes this
one's place. What the program started ends with it: xdist's workers lose their controller, and a reaper waits for the
engine. What was drawn is stored.

Known trade-off (accepted): the kernel goes by the thread that started the program, which has to live as long.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def tied(command: Sequence[str]) -> list[str]:
    """Return the command that runs another one, a path and its arguments, for as long as this process lives."""
    return [sys.executable, "-m", "pytest_r1eval.evaluation.die_with_parent", str(os.getpid()), *command]


def main() -> None:
    """Become the program that the arguments name, after the number of the process that it ends with."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):
        raise SystemExit(f"process {parent}, which started this one, has ended")
    # A training behind nohup or a shell's & ignores Ctrl-C, and so would what it starts: nothing could stop it in time.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv(command[0], command)  # noqa: S606 - no shell: the caller's own command


if __name__ == "__main__":
    main()
