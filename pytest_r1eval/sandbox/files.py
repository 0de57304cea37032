"""The memory files of one job: its source and input, read-only to the program, and what it writes."""

import fcntl
import json
import os
from typing import Self

from pytest_r1eval.errors import SandboxError
from pytest_r1eval.sandbox.programs import Call, Program, Script

_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
_STDERR_BYTES = 4096
"""The end of standard error: the last lines of a traceback say what happened."""


class JobFiles:
    """
    Open while the job runs; `descriptors` go to the fork server.

    A program gets memory files rather than pipes. It can be killed without a reader that drains what it wrote.
    `RLIMIT_FSIZE` bounds the files, and its input is as seekable as a file that a shell redirects.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._opened: list[int] = []
        self.descriptors: list[int] = []

    def __enter__(self) -> Self:
        try:
            self.descriptors = self._all_made()
        except OSError as error:
            self._close()
            raise SandboxError(f"a program's files could not be made, and it was not run: {error}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def n_bytes_out(self) -> int:
        """Bytes in the longer of standard output and error."""
        return max(os.fstat(descriptor).st_size for descriptor in self.descriptors[2:4])

    def stdout(self, most: int) -> bytes:
        """Read standard output, at most so many bytes of it."""
        return os.pread(self.descriptors[2], most, 0)

    def stderr_tail(self) -> bytes:
        """Read the end of standard error."""
        size = os.fstat(self.descriptors[3]).st_size
        return os.pread(self.descriptors[3], _STDERR_BYTES, max(0, size - _STDERR_BYTES))

    def returned(self, most: int) -> bytes:
        """Read what a call returned; empty for a script."""
        return os.pread(self.descriptors[4], most, 0) if len(self.descriptors) > 4 else b""

    def _all_made(self) -> list[int]:
        match self._program:
            case Script(source=source, stdin=stdin):
                given = [self._filled(source.encode("utf-8", "surrogatepass")), self._filled(stdin)]
                n_outputs = 2
            case Call(arguments=arguments):
                given = [self._filled(json.dumps(list(arguments)).encode()), self._filled(b"")]
                n_outputs = 3
        return [*given, *(self._made() for _ in range(n_outputs))]

    def _close(self) -> None:
        for descriptor in self._opened:
            os.close(descriptor)

    def _made(self) -> int:
        descriptor = os.memfd_create("r1eval")
        self._opened.append(descriptor)
        return descriptor

    def _filled(self, content: bytes) -> int:
        """
        Make a file that can only be read.

        It is sealed, because a program can open its descriptor 0 once more; and it is opened again
        itself, because before Linux 6.7 a sealed file that was opened for writing cannot be mapped.
        """
        written = os.memfd_create("r1eval", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with open(written, "wb", closefd=False) as file:
                file.write(content)
            fcntl.fcntl(written, fcntl.F_ADD_SEALS, _SEALS)
            descriptor = os.open(f"/proc/self/fd/{written}", os.O_RDONLY)
        finally:
            os.close(written)
        self._opened.append(descriptor)
        return descriptor
