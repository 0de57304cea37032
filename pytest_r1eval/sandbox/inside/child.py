"""
The life of one child: take its descriptors, confine itself, run one program, end.

A script runs as `__main__` on a real standard input and output, as `python3 solution.py` would run it: the same
encodings, the traceback on standard error, exit status 1 for an exception, threads joined and `atexit` obeyed. What it
prints goes to a memory file. So a program that reads `sys.stdin.buffer`, opens descriptor 0, writes with `os.write` or
leaves by `os._exit` behaves as it would in a shell.

Nothing in these frames is worth finding: the source, its own input, and numbers.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import io
import json
import os
import signal
import sys
import threading
import traceback
import types
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

    from .confinement import Confinement
    from .wire import Job

OUT_OF_MEMORY_STATUS = 86
"""Exit status after a MemoryError that nothing caught; a program that exits so by itself is only labelled wrongly."""
CONFINED = b"confined"
"""What a child writes on its pipe once it is confined, and before it touches the program."""
_RESULT_AT = 3
WORDS_BYTES = 2000
"""The longest thing that it writes there."""


def run(job: Job, descriptors: list[int], confinement: Confinement, *, pipe: int, parent_pid: int) -> NoReturn:
    """Be the child; never returns. What goes wrong before the program starts is written on the pipe."""
    status = 1
    try:
        source = _read_all(descriptors[0])
        function = getattr(sys.modules[job.module], job.function) if job.kind == "call" else None
        _settle(job, descriptors, confinement, pipe=pipe, parent_pid=parent_pid)
    except BaseException as error:  # noqa: BLE001 - the fork server turns it into an error of the sandbox
        os.write(pipe, f"{type(error).__name__}: {error}".encode()[:WORDS_BYTES])
        os._exit(status)
    try:
        status = _status_of_script(source) if function is None else _status_of_call(function, source)
    finally:
        os._exit(status)  # whatever the program did to the interpreter, these frames lead back into the fork server


def _settle(job: Job, descriptors: list[int], confinement: Confinement, *, pipe: int, parent_pid: int) -> None:
    """Leave everything of the fork server's behind and confine this process."""
    os.setsid()
    n_possible = os.sysconf("SC_OPEN_MAX")  # what is open above the limit that follows must be closed too
    for standard, descriptor in enumerate(descriptors[1:4]):
        os.dup2(descriptor, standard)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    atexit._clear()  # noqa: SLF001 - the fork server's own exit functions are not the child's
    confinement.put_on(job, parent_pid=parent_pid)
    _reopen_standard_streams()
    os.write(pipe, CONFINED)
    first_to_close = _RESULT_AT
    if job.kind == "call":
        os.dup2(descriptors[4], _RESULT_AT)
        first_to_close += 1
    os.closerange(first_to_close, n_possible)


def _status_of_script(source: bytes) -> int:
    main = types.ModuleType("__main__")
    main.__dict__.update({"__builtins__": builtins, "__file__": "solution.py"})
    sys.modules["__main__"] = main
    sys.argv = ["solution.py"]
    try:
        exec(compile(source, "solution.py", "exec", dont_inherit=True), main.__dict__)  # noqa: S102 - what this is for
        status = 0
    except BaseException as error:  # noqa: BLE001 - becomes the exit status, as in the interpreter
        status = _status_of(error)
    return _finished(status)


def _status_of_call(function: Callable[..., object], payload: bytes) -> int:
    try:
        result = json.dumps(function(*json.loads(payload)))
        with open(_RESULT_AT, "w", encoding="utf-8") as file:
            file.write(result)
        status = 0
    except BaseException as error:  # noqa: BLE001 - becomes the exit status, as in the interpreter
        status = _status_of(error)
    return _finished(status)


def _status_of(error: BaseException) -> int:
    match error:
        case SystemExit(code=None):
            return 0
        case SystemExit(code=int() as code):
            return code & 0xFF
        case SystemExit(code=code):
            print(code, file=sys.stderr)  # noqa: T201 - as the interpreter does
            return 1
        case MemoryError():
            return OUT_OF_MEMORY_STATUS
        case _:
            trace = error.__traceback__.tb_next if error.__traceback__ else None  # the program's frames without ours
            traceback.print_exception(error.with_traceback(trace))
            return 1


def _finished(status: int) -> int:
    """Do what the interpreter does at its end; 120 is its status if the last output cannot be written."""
    for step in (threading._shutdown, atexit._run_exitfuncs):  # type: ignore[attr-defined]  # noqa: SLF001
        with contextlib.suppress(BaseException):  # the program may have broken either; its output still counts
            step()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:
                stream.flush()
    except BaseException:  # noqa: BLE001 - the program may have replaced them
        return status or 120
    return status


def _reopen_standard_streams() -> None:
    """Give the program streams of its own; the fork server's are bound to what it inherited."""
    stdin = io.BufferedReader(io.FileIO(0, "r", closefd=False))
    stdout = io.BufferedWriter(io.FileIO(1, "w", closefd=False))
    stderr = io.BufferedWriter(io.FileIO(2, "w", closefd=False))
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(stdin, encoding="utf-8", errors="surrogateescape")  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = io.TextIOWrapper(stdout, encoding="utf-8", errors="surrogateescape")  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = io.TextIOWrapper(  # type: ignore[misc]
        stderr, encoding="utf-8", errors="backslashreplace", line_buffering=True
    )


def _read_all(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0)
