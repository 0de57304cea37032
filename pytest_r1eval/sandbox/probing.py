"""
The start-up self-probe, seen from the parent: lay out what must not be reached, run the probe, believe only it.

What a kernel offers and what holds are two things: a container may refuse a system call silently, a security module may
forbid a namespace, a file system may be mounted in. So a level is chosen by what a program in it could not do: read,
write, truncate, open or chmod a canary file and folder; read an environment; reach a TCP, UDP, local or abstract
socket; signal or limit the fork server or the parent; raise a limit; enter a namespace; fork. The environment it saw
must be, name for name, the one that was written for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_r1eval.errors import SandboxError
from pytest_r1eval.sandbox.interior import environment
from pytest_r1eval.sandbox.limits import Limits
from pytest_r1eval.sandbox.programs import Completion, Ending, Script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_PROBE = Path(__file__).parent / "inside" / "probe.py"
_LIMITS = Limits(cpu_s=20, wall_s=40)
"""A probe that a loaded machine cuts short says nothing."""
_CANARY = "the probe must not read this"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What the probe found: what it got away with, in words, and the environment that it saw."""

    leaks: tuple[str, ...]
    environment: Mapping[str, str]


def leaks_found(run: Callable[[Script], Completion]) -> tuple[str, ...]:
    """
    Probe a sandbox for programs, which must see the environment that was written for them.

    Args:
        run: Runs a program in it.

    Returns:
        What the probe got away with, in words.

    Raises:
        SandboxError: If the probe could not finish.
    """
    found = probed(run)
    if found.environment == environment():
        return found.leaks
    strange = sorted(set(found.environment) ^ set(environment()))
    return (*found.leaks, f"saw another environment than it was given: {', '.join(strange)}")


def probed(run: Callable[[Script], Completion]) -> Probed:
    """
    Probe a place where a program runs.

    Raises:
        SandboxError: If the probe could not finish.
    """
    with _laid_out() as places:
        program = Script(source=_PROBE.read_text("utf-8"), stdin=json.dumps(places).encode(), limits=_LIMITS)
        completion = run(program)
    if completion.ending is not Ending.EXITED or completion.exit_code != 0:
        words = completion.stderr.decode(errors="replace")
        raise SandboxError(f"the sandbox's self-probe did not finish ({completion.ending}): {words}")
    found = json.loads(completion.stdout)
    return Probed(leaks=tuple(map(str, found["leaks"])), environment=found["environment"])


@contextlib.contextmanager
def _laid_out() -> Iterator[dict[str, str | int]]:
    """Make what must not be reached, open to every user of this machine."""
    abstract = f"r1eval-probe-{secrets.token_hex(8)}"
    with (
        tempfile.TemporaryDirectory(prefix="r1eval-probe-") as folder,
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as local,
        socket.socket(socket.AF_UNIX) as nameless,
    ):
        canary = Path(folder) / "canary"
        canary.write_text(_CANARY, "utf-8")
        local.bind(str(Path(folder) / "socket"))
        nameless.bind(f"\0{abstract}")
        for listener in (local, nameless):
            listener.listen()
        for place, mode in ((Path(folder), 0o777), (canary, 0o666), (Path(folder) / "socket", 0o777)):
            place.chmod(mode)
        yield {
            "canary": str(canary),
            "socket": str(Path(folder) / "socket"),
            "abstract": abstract,
            "port": tcp.getsockname()[1],
            "parent_pid": os.getpid(),
        }
