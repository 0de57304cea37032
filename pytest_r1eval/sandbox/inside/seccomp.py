"""
Which system calls a solution may not make: a classic-BPF filter, assembled here.

Decisions:

- Written by hand, without libseccomp. The filter is four hundred instructions that do one thing. A library would be one
  more shared object to install, find and load inside the sandbox, and a `pyseccomp` older than a system call cannot
  name it. The numbers below were taken from the kernel's headers; a test compares them with libseccomp's.
- A list of what is denied, not of what is allowed. CPython, numpy and the C library call different things on every
  version and machine. A solution killed by a list that is too short would look like a wrong answer. What bounds the
  list is its ceiling: every call newer than the newest one known here does not exist (ENOSYS), which is what the C
  library expects of an old kernel. So a new kernel adds no hole.
- Denied calls return EPERM: a program sees an ordinary error and can go on; nothing is killed by mistake.
- Threads are allowed, because deep recursion in a thread with a large stack is a habit of contest solutions. A new
  process is not: `clone` must carry CLONE_THREAD (and CLONE_FILES). The flags of `clone3` are in memory, where a filter
  cannot read them, so `clone3` does not exist here and the C library falls back to `clone`.
- A program may signal itself, because `abort` does, and nothing else.

A comment beside each special rule names its answer. Other machines than x86_64 and aarch64 have no filter here; the
probe then finds `fork` and sockets open, and the level is not used.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from dataclasses import dataclass

_LD_WORD_ABSOLUTE = 0x20
_JUMP_IF_EQUAL = 0x15
_JUMP_IF_GREATER = 0x25
_JUMP_IF_ANY_BIT = 0x45
_AND = 0x54
_RETURN = 0x06

_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_DENY = 0x00050000 | errno.EPERM
_ABSENT = 0x00050000 | errno.ENOSYS

_NUMBER_AT = 0
_ARCHITECTURE_AT = 4
_ARGUMENTS_AT = 16
"""Offsets in `struct seccomp_data`; an argument is eight bytes, its low word first on both machines."""

_CLONE_THREAD = 0x00010000
_CLONE_FILES = 0x00000400
_CLONE_NEW_ANYTHING = 0x7E020080
_CLOSE_RANGE_UNSHARE = 0x2
_BUFFER_SIZES = (7, 8, 32, 33)
"""SO_SNDBUF, SO_RCVBUF and their FORCE: kernel memory that no limit of the program's counts."""
_IOCTL_TYPE = 0xFF00
_IOCTL_OF_NETWORKS = (0x8900, 0x8B00)
"""SIOC*, old and new: any socket answers for all network cards of the machine, and takes an owner to be signalled."""
_AF_UNIX = 1
_SOCK_STREAM = 1
_SOCK_TYPE_MASK = 0xF
_O_ACCMODE = 0o3
_O_ACCMODE_AND_TRUNC = 0o1003
_O_TRUNC = 0o1000
_FCNTL_DENIED = (8, 10, 15, 1024, 1026)
"""F_SETOWN, F_SETSIG, F_SETOWN_EX: have the kernel send any signal to any process, past every rule on `kill`.
F_SETLEASE, F_NOTIFY: hold up the writer of a file that a program may only read; news of a folder."""
_IOCTL_DENIED = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX, which type into a terminal."""
_PRCTL_DENIED = (1, 4, 41, 0x59616D61)
"""PR_SET_PDEATHSIG, to outlive the fork server; PR_SET_DUMPABLE, to be traced, or to have the machine's crash handler
write out all its memory, which RLIMIT_CORE does not forbid; PR_SET_THP_DISABLE, to have huge pages after all;
PR_SET_PTRACER."""
_MAP_TYPE_AND_ANONYMOUS = 0x2F
_MAP_SHARED_ANONYMOUS = 0x21
"""A mapping of it keeps all its pages while one of them is mapped, and the limit counts that one alone."""

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2

_OWN_PID = 0x7EADBEEF
"""Represents the process that will install a filter while it is assembled; no process has this number."""
_NEWEST_KNOWN = 451
"""cachestat (Linux 6.5). What came later, fchmodat2 and setxattrat among it, does not exist in here."""


@dataclass(frozen=True, slots=True)
class Machine:
    """How the kernel names a machine, and which column of the tables is its own."""

    audit_architecture: int
    column: int


MACHINES = {
    "x86_64": Machine(audit_architecture=0xC000003E, column=0),
    "aarch64": Machine(audit_architecture=0xC00000B7, column=1),
}

DENIED: dict[str, tuple[int | None, int | None]] = {
    # another process: to see it, to change it, to signal it
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "get_robust_list": (274, 100),
    # another program or process
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    # namespaces and mounts
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    # wide kernel surface that no solution needs
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_setup": (206, 0),
    "io_submit": (209, 2),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "personality": (135, 92),
    "modify_ldt": (154, None),
    "lookup_dcookie": (212, 18),
    "uselib": (134, None),
    "ustat": (136, None),
    "nfsservctl": (180, 42),
    "_sysctl": (156, None),
    # memory and messages that outlive a process or belong to none
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    # memory that no limit of the program's counts: pages that a pipe keeps, rules of a set that is never put on
    "splice": (275, 76),
    "tee": (276, 77),
    "vmsplice": (278, 75),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "semget": (64, 190),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "semctl": (66, 191),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "mq_notify": (244, 184),
    # the network, and local sockets with a name
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    # other people's folders and files, which Landlock does not cover either: news, attributes, forced writing
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "inotify_add_watch": (254, 27),
    "getxattr": (191, 8),
    "lgetxattr": (192, 9),
    "fgetxattr": (193, 10),
    "listxattr": (194, 11),
    "llistxattr": (195, 12),
    "flistxattr": (196, 13),
    "sync": (162, 81),
    "syncfs": (306, 267),
    # what Landlock does not cover: modes, owners, times and attributes of files
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "utime": (132, None),
    "utimes": (235, None),
    "utimensat": (280, 88),
    "futimesat": (261, None),
    # what older versions of Landlock do not cover, or only in part
    "truncate": (76, 45),
    "link": (86, None),
    "linkat": (265, 37),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "rmdir": (84, None),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "creat": (85, None),
    # the machine
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "iopl": (172, None),
    "ioperm": (173, None),
    # other identities
    "setuid": (105, 146),
    "setgid": (106, 144),
    "setreuid": (113, 145),
    "setregid": (114, 143),
    "setresuid": (117, 147),
    "setresgid": (119, 149),
    "setgroups": (116, 159),
    "setfsuid": (122, 151),
    "setfsgid": (123, 152),
    "capset": (126, 91),
}
"""System calls that are denied whatever their arguments; numbers on x86_64 and on aarch64, None where it has none."""

GUARDED: dict[str, tuple[int | None, int | None]] = {
    "clone": (56, 220),
    "clone3": (435, 435),
    "close_range": (436, 436),
    "openat2": (437, 437),
    "kill": (62, 129),
    "tgkill": (234, 131),
    "prlimit64": (302, 261),
    "socketpair": (53, 199),
    "setsockopt": (54, 208),
    "fcntl": (72, 25),
    "ioctl": (16, 29),
    "mmap": (9, 222),
    "prctl": (157, 167),
    "open": (2, None),
    "openat": (257, 56),
}
"""System calls whose arguments decide."""


@dataclass(frozen=True, slots=True)
class _Instruction:
    code: int
    operand: int
    if_true: int = 0
    if_false: int = 0

    def packed(self) -> bytes:
        return struct.pack("=HBBI", self.code, self.if_true, self.if_false, self.operand)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _load(offset: int) -> _Instruction:
    return _Instruction(_LD_WORD_ABSOLUTE, offset)


def _argument(index: int) -> _Instruction:
    return _load(_ARGUMENTS_AT + 8 * index)


def _finish(action: int) -> _Instruction:
    return _Instruction(_RETURN, action)


def _deny_if_equal(values: tuple[int, ...]) -> list[_Instruction]:
    """Compare what is loaded with each value."""
    return [step for value in values for step in (_Instruction(_JUMP_IF_EQUAL, value, if_false=1), _finish(_DENY))]


def _deny_unless_equal(*values: int) -> list[_Instruction]:
    """Go on behind these instructions only if what is loaded is one of the values."""
    n = len(values)
    jumps = [_Instruction(_JUMP_IF_EQUAL, value, if_true=n - i) for i, value in enumerate(values)]
    return [*jumps, _finish(_DENY)]


def _rules() -> dict[str, list[_Instruction]]:
    """Instructions for each guarded call, from its arguments to an action."""
    own_signal = [_argument(0), *_deny_unless_equal(_OWN_PID), _finish(_ALLOW)]
    return {
        "clone": [
            _argument(0),
            _Instruction(_JUMP_IF_ANY_BIT, _CLONE_NEW_ANYTHING, if_true=2),
            _Instruction(_JUMP_IF_ANY_BIT, _CLONE_THREAD, if_false=1),
            # A thread with descriptors of its own has a limit of its own: many would have many times as many.
            _Instruction(_JUMP_IF_ANY_BIT, _CLONE_FILES, if_true=1),
            _finish(_DENY),
            _finish(_ALLOW),
        ],
        "close_range": [  # the other way to descriptors of one's own
            _argument(2),
            _Instruction(_JUMP_IF_ANY_BIT, _CLOSE_RANGE_UNSHARE, if_false=1),
            _finish(_DENY),
            _finish(_ALLOW),
        ],
        "clone3": [_finish(_ABSENT)],
        "openat2": [_finish(_ABSENT)],
        "kill": own_signal,
        "tgkill": own_signal,
        # The limits of another process of the same user, the fork server's first of all, are as open as one's own.
        "prlimit64": [_argument(0), *_deny_unless_equal(0, _OWN_PID), _finish(_ALLOW)],
        # asyncio wakes itself through one. A datagram socket could be sent from to any name; a stream cannot.
        "socketpair": [
            _argument(0),
            *_deny_unless_equal(_AF_UNIX),
            _argument(1),
            _Instruction(_AND, _SOCK_TYPE_MASK),
            *_deny_unless_equal(_SOCK_STREAM),
            _finish(_ALLOW),
        ],
        "fcntl": [_argument(1), *_deny_if_equal(_FCNTL_DENIED), _finish(_ALLOW)],
        "setsockopt": [_argument(2), *_deny_if_equal(_BUFFER_SIZES), _finish(_ALLOW)],
        "ioctl": [
            _argument(1),
            *_deny_if_equal(_IOCTL_DENIED),
            _Instruction(_AND, _IOCTL_TYPE),
            *_deny_if_equal(_IOCTL_OF_NETWORKS),
            _finish(_ALLOW),
        ],
        "mmap": [
            _argument(3),
            _Instruction(_AND, _MAP_TYPE_AND_ANONYMOUS),
            *_deny_if_equal((_MAP_SHARED_ANONYMOUS,)),
            _finish(_ALLOW),
        ],
        "prctl": [_argument(0), *_deny_if_equal(_PRCTL_DENIED), _finish(_ALLOW)],
        "open": _deny_unseen_opening(1),
        "openat": _deny_unseen_opening(2),
    }


def _deny_unseen_opening(flags_index: int) -> list[_Instruction]:
    """
    Deny what Landlock does not see, or only from some version on.

    Access mode 3 opens for neither reading nor writing, so Landlock has nothing to check; but it empties a file with
    O_TRUNC, and on a device it is enough for `ioctl`, which Landlock knows from version 5. O_RDONLY | O_TRUNC empties
    a file too, and before version 3 Landlock sees only the reading.
    """
    return [
        _argument(flags_index),
        _Instruction(_AND, _O_ACCMODE),
        *_deny_if_equal((_O_ACCMODE,)),
        _argument(flags_index),
        _Instruction(_AND, _O_ACCMODE_AND_TRUNC),
        *_deny_if_equal((_O_TRUNC,)),
        _finish(_ALLOW),
    ]


def assembled(machine: Machine) -> bytes:
    """Assemble the filter of every process, which takes half a millisecond: once in the fork server, not in each."""
    steps = [
        _load(_ARCHITECTURE_AT),
        _Instruction(_JUMP_IF_EQUAL, machine.audit_architecture, if_true=1),
        _finish(_KILL_PROCESS),
        _load(_NUMBER_AT),
        _Instruction(_JUMP_IF_GREATER, _NEWEST_KNOWN, if_false=1),
        _finish(_ABSENT),
    ]
    rules = _rules()
    for name, numbers in GUARDED.items():
        number = numbers[machine.column]
        if number is not None:
            rule = rules[name]
            steps += [_Instruction(_JUMP_IF_EQUAL, number, if_false=len(rule)), *rule]
    for numbers in DENIED.values():
        number = numbers[machine.column]
        if number is not None:
            steps += _deny_if_equal((number,))
    steps.append(_finish(_ALLOW))
    return b"".join(step.packed() for step in steps)


def filter_program(template: bytes, *, own_pid: int) -> bytes:
    """
    Make the filter of one process.

    Args:
        template: What `assembled` returned.
        own_pid: The process that will install it, in its own PID namespace; the one process it may signal.

    Returns:
        An array of `struct sock_filter`.
    """
    return template.replace(struct.pack("=I", _OWN_PID), struct.pack("=I", own_pid))


def this_machine() -> Machine | None:
    """Name the machine this runs on, None if there is no table for it."""
    return MACHINES.get(platform.machine())


def is_available() -> bool:
    """Tell whether the kernel takes filters: it then looks for this one, at an address where there is none."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, None)
    return ctypes.get_errno() == errno.EFAULT


def install(template: bytes, *, own_pid: int) -> None:
    """
    Confine this process, for good; it must have one thread.

    Args:
        template: What `assembled` returned.
        own_pid: This process, in its own PID namespace.

    Raises:
        OSError: If the kernel takes no filter.
    """
    packed = filter_program(template, own_pid=own_pid)
    program = _Program(len(packed) // 8, packed)
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in (
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program)),
    ):
        if libc.prctl(*arguments) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"the kernel took no seccomp filter: {os.strerror(number)}")
