"""
The self-probe: a program that tries to get out, and prints as JSON what it got away with.

The parent runs this file as a solution, in the sandbox that solutions will run in. The places to try come as JSON on
standard input. It is the first program a sandbox runs and the only one that decides anything.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_CLONE_NEWUSER = 0x10000000
_PR_GET_NO_NEW_PRIVS = 39


def main() -> None:
    """Try everything."""
    places = json.load(sys.stdin)
    canary = Path(places["canary"])
    parent = int(places["parent_pid"])
    server = os.getppid()
    tries: dict[str, Callable[[], object]] = {
        "read a file outside": canary.read_bytes,
        "listed a folder outside": lambda: list(canary.parent.iterdir()),
        "wrote a file outside": lambda: canary.with_name("written").write_text("written"),
        "emptied a file outside": lambda: os.close(os.open(canary, os.O_RDONLY | os.O_TRUNC)),
        "opened a file outside for neither reading nor writing": lambda: os.close(os.open(canary, os.O_ACCMODE)),
        "changed the mode of a file outside": lambda: canary.chmod(0o600),
        "wrote below /tmp": lambda: Path(f"/tmp/{os.getpid()}").write_text("written"),  # noqa: S108 - that is the question
        "read the fork server's environment": Path(f"/proc/{server}/environ").read_bytes,
        "read the parent's environment": Path(f"/proc/{parent}/environ").read_bytes,
        "connected to a TCP port": lambda: socket.create_connection(("127.0.0.1", places["port"]), timeout=1),
        "made a UDP socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "connected to a local socket": lambda: _connect(places["socket"]),
        "connected to an abstract socket": lambda: _connect("\0" + places["abstract"]),
        "signalled the fork server": lambda: os.kill(server, 0),
        "signalled the parent": lambda: os.kill(parent, 0),
        "limited the fork server": lambda: resource.prlimit(server, resource.RLIMIT_CPU),
        "raised a limit": lambda: resource.setrlimit(resource.RLIMIT_AS, (-1, -1)),
        "entered a user namespace": lambda: _must_fail(_libc().unshare(_CLONE_NEWUSER)),
        "could gain privileges by a program": lambda: _must_fail(_libc().prctl(_PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)),
        "forked": _fork,
    }
    leaks = [name for name, attempt in tries.items() if _succeeds(attempt)]
    json.dump({"leaks": leaks, "environment": dict(os.environ)}, sys.stdout)


def _succeeds(attempt: Callable[[], object]) -> bool:
    with contextlib.suppress(OSError, ValueError):
        attempt()
        return True
    return False


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _must_fail(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), "refused")


def _connect(name: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(name)


def _fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


main()
