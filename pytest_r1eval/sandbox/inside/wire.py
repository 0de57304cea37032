"""
What crosses the border between the parent and the fork server.

Each message is one JSON text in one packet. A program's source, its input and its outputs never do: they lie in
memory files whose descriptors travel beside the message, and only the child that is forked for them opens them. So
the fork server never holds a program's text, and a later child cannot find it in the memory that it inherits.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum

MESSAGE_BYTES = 1 << 17
"""Room for one message; ours are a few kilobytes."""


class Kind(StrEnum):
    """What a job runs."""

    SCRIPT = "script"
    CALL = "call"


class Cause(StrEnum):
    """Why a child ended, as the fork server knows it."""

    OWN = "own"
    WALL_TIME = "wall_time"
    THREADS = "threads"
    SETUP = "setup"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """
    The first message: what the fork server prepares.

    Attributes:
        readable: Folders and files that a program may read.
        modules: Import name to folder (a package) or file, beyond the standard library.
        preloaded: Import name to file of the modules whose functions can be called; imported in this order.
    """

    readable: list[str]
    modules: dict[str, str]
    preloaded: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The answer to `Setup`; `error` is empty if all went well."""

    landlock_version: int
    has_seccomp: bool
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """
    Run one program; its limits are those of `pytest_r1eval.sandbox.limits.Limits`.

    Four descriptors come beside it: source, standard input, output and error; a fifth takes the value of a call.
    """

    id: int
    kind: Kind
    module: str
    function: str
    wall_s: float
    cpu_s: float
    memory_bytes: int
    n_threads: int
    output_bytes: int
    n_open_files: int
    stack_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a job's child ended: `status` as `os.wait4` gives it."""

    id: int
    cause: Cause
    status: int
    wall_s: float
    cpu_s: float
    peak_memory_bytes: int
    error: str


Message = Setup | Ready | Job | Report


def dumps(message: Message) -> bytes:
    """Write a message as JSON."""
    return json.dumps(asdict(message)).encode()


def setup_from(text: bytes) -> Setup:
    """Read a `Setup`."""
    return Setup(**json.loads(text))


def ready_from(text: bytes) -> Ready:
    """Read a `Ready`."""
    return Ready(**json.loads(text))


def job_from(text: bytes) -> Job:
    """Read a `Job`."""
    fields = json.loads(text)
    return Job(**{**fields, "kind": Kind(fields["kind"])})


def report_from(text: bytes) -> Report:
    """Read a `Report`."""
    fields = json.loads(text)
    return Report(**{**fields, "cause": Cause(fields["cause"])})
