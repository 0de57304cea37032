"""What a sandbox runs, and what comes back."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pytest_r1eval.sandbox.limits import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """
    A program run as `__main__`.

    Attributes:
        source: Its Python text.
        stdin: All of its standard input, a real file at its descriptor 0.
        limits: Its limits, where they are not the sandbox's.
    """

    source: str
    stdin: bytes = b""
    limits: Limits | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """
    A function of a preloaded module, applied to JSON values; its result must be one too.

    Attributes:
        module: A name from the sandbox's `preloaded`.
        function: The function's name.
        arguments: Its positional arguments.
        limits: Its limits, where they are not the sandbox's.
    """

    module: str
    function: str
    arguments: Sequence[object]
    limits: Limits | None = None


Program = Script | Call


class Ending(StrEnum):
    """Why a program ended."""

    EXITED = "exited"
    SIGNALLED = "signalled"
    TIMED_OUT = "timed out"
    CPU_LIMIT = "processor time used up"
    MEMORY_LIMIT = "memory used up"
    OUTPUT_LIMIT = "output too long"
    THREAD_LIMIT = "too many threads"


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """
    How a program ended and what it left.

    Attributes:
        ending: Why it ended.
        exit_code: Its exit status; minus the signal's number where a signal ended it.
        stdout: Its standard output, up to the limit; empty memory is never invented for what it did not write.
        stderr: The end of its standard error.
        returned: For a `Call`, its result as JSON text; empty where it did not return.
        wall_s: Seconds from its beginning to its end.
        cpu_s: Processor seconds.
        peak_memory_bytes: Its largest resident size, the warm interpreter's shared pages included.
    """

    ending: Ending
    exit_code: int
    stdout: bytes
    stderr: bytes
    returned: bytes
    wall_s: float
    cpu_s: float
    peak_memory_bytes: int
