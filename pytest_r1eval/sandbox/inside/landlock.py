"""
Which files a solution may open: a Landlock rule set.

Decisions:

- By system call numbers, through ctypes: Python has no binding, and the three calls have the same numbers on every
  machine.
- Everything that the running kernel's version can restrict is restricted; what may be read is listed, and nothing may
  be written but `/dev/null`. From version 4 TCP is refused here too, from 6 signals and abstract sockets that leave
  the sandbox. The seccomp filter refuses all of those by itself, so an older version loses depth, not the border.
- The rule set is made once, by the fork server; each child only puts it on, which costs a few microseconds. Put on in
  the child, it also is a border between the child and the fork server.

Known trade-off (accepted): Landlock guards the opening of files, not their metadata. Without bubblewrap a solution can
learn whether a path exists and how large it is.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_CREATE_RULESET = 444
_ADD_RULE = 445
_RESTRICT_SELF = 446
_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

_WRITE_FILE = 1 << 1
_READ_FILE = 1 << 2
_READ_DIR = 1 << 3
_NEWEST_FILE_RIGHT = {1: 12, 2: 13, 3: 14, 4: 14}
"""Highest bit of the file rights by version: REFER came with 2, TRUNCATE with 3, IOCTL_DEV with 5."""
_TCP_BIND_AND_CONNECT = 0b11
_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11

_READABLE_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
_TRUNCATE = 1 << 14


def version() -> int:
    """Tell the kernel's version of Landlock, 0 where there is none."""
    found: int = _libc().syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    return max(0, found)


def ruleset(readable: Iterable[str]) -> int:
    """
    Make a rule set under which these folders can be read, `/dev/null` be written, and nothing else.

    Returns:
        A file descriptor.

    Raises:
        OSError: If the kernel refuses it.
    """
    abi = version()
    file_rights = (1 << (_NEWEST_FILE_RIGHT.get(abi, 15) + 1)) - 1
    attributes = struct.pack(
        "=QQQ",
        file_rights,
        _TCP_BIND_AND_CONNECT if abi >= 4 else 0,
        _ABSTRACT_SOCKETS_AND_SIGNALS if abi >= 6 else 0,
    )
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    rules = _checked(_libc().syscall(_CREATE_RULESET, attributes, size, 0))
    for folder in readable:
        _allow(rules, folder, _READ_FILE | _READ_DIR)
    for device in _READABLE_DEVICES:
        _allow(rules, device, _READ_FILE)
    _allow(rules, "/dev/null", _READ_FILE | _WRITE_FILE | (_TRUNCATE & file_rights))
    return rules


def put_on(rules: int) -> None:
    """
    Confine this process to a rule set, for good; it must have one thread.

    Raises:
        OSError: If the kernel refuses it.
    """
    libc = _libc()
    _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _checked(libc.syscall(_RESTRICT_SELF, rules, 0))


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        beneath = struct.pack("=Qi", rights if os.path.isdir(path) else rights & ~_READ_DIR, place)  # noqa: PTH112
        _checked(_libc().syscall(_ADD_RULE, rules, _RULE_PATH_BENEATH, beneath, 0))
    finally:
        os.close(place)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return result


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
