"""
Start a sandbox on a kernel that lacks something: `python -m tests.sandbox.crippled landlock namespaces seccomp`.

A filter takes the named features away from this process and all it starts, as an old kernel, a container or a security
module would; `unsafe` goes on where nothing holds. Prints the level that the sandbox reached, or why it refused.
"""

from __future__ import annotations

import ctypes
import errno
import struct
import sys

from pytest_r1eval.errors import SandboxError
from pytest_r1eval.sandbox import Sandbox, Script
from pytest_r1eval.sandbox.inside import seccomp

LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, ABSENT, DENIED = 0x7FFF0000, 0x00050000 | errno.ENOSYS, 0x00050000 | errno.EPERM
NUMBER_AT, FIRST_ARGUMENT_AT = 0, 16
NEW_USER_NAMESPACE = 0x10000000
SET_SECCOMP = 22


def taken_away(features: set[str]) -> bytes:
    """Assemble the filter."""
    machine = seccomp.this_machine()
    assert machine is not None
    number = {name: row[machine.column] or 0 for name, row in (seccomp.DENIED | seccomp.GUARDED).items()}
    steps = [(LOAD, 0, 0, NUMBER_AT)]
    if "landlock" in features:
        steps += [(EQUAL, 0, 1, 444), (RETURN, 0, 0, ABSENT)]
    if "namespaces" in features:
        steps += [
            *((EQUAL, 0, 1, number["unshare"]), (RETURN, 0, 0, DENIED)),
            *((EQUAL, 0, 1, number["clone3"]), (RETURN, 0, 0, ABSENT)),
            *((EQUAL, 0, 3, number["clone"]), (LOAD, 0, 0, FIRST_ARGUMENT_AT)),
            *((ANY_BIT, 0, 1, NEW_USER_NAMESPACE), (RETURN, 0, 0, DENIED), (LOAD, 0, 0, NUMBER_AT)),
        ]
    if "seccomp" in features:
        steps += [
            *((EQUAL, 0, 3, number["prctl"]), (LOAD, 0, 0, FIRST_ARGUMENT_AT)),
            *((EQUAL, 0, 1, SET_SECCOMP), (RETURN, 0, 0, ABSENT)),
        ]
    steps.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("=HBBI", code, yes, no, operand) for code, yes, no, operand in steps)


def install(instructions: bytes) -> None:
    """Put the filter on this process."""
    kept = ctypes.create_string_buffer(instructions)
    program = struct.pack("HxxxxxxP", len(instructions) // 8, ctypes.addressof(kept))
    libc = ctypes.CDLL(None)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(SET_SECCOMP, 2, program) == 0


def main() -> None:
    """Cripple this process, then try."""
    features = set(sys.argv[1:])
    install(taken_away(features - {"unsafe"}))
    try:
        with Sandbox(n_parallel=1, allow_unsafe="unsafe" in features) as sandbox:
            assert sandbox.run(Script(source="print(input())", stdin=b"held\n")).stdout == b"held\n"
            print(sandbox.confirmation.words)  # noqa: T201 - this is its answer
    except SandboxError as error:
        print(f"refused: {error}")  # noqa: T201 - this is its answer


if __name__ == "__main__":
    main()
