"""The system-call filter, run by an interpreter of its own: both machines are tested on either."""

from __future__ import annotations

import errno
import struct
from typing import NamedTuple

import pytest

from pytest_r1eval.sandbox.inside import seccomp
from pytest_r1eval.sandbox.inside.seccomp import DENIED, GUARDED, MACHINES, Machine, assembled, filter_program
from tests.requirements import LIBSECCOMP

PID = 4242
ALLOW = 0x7FFF0000
EPERM = 0x00050000 | errno.EPERM
ENOSYS = 0x00050000 | errno.ENOSYS
KILL = 0x80000000
ENOUGH = 10_000
THREAD = 0x003D0F00
"""What the C library's `pthread_create` asks of `clone`."""


class Instruction(NamedTuple):
    """One `struct sock_filter`."""

    code: int
    if_true: int
    if_false: int
    operand: int


def verdict(machine: Machine, number: int, *arguments: int, architecture: int | None = None) -> int:
    """Run the filter as the kernel does and return its action."""
    program = [
        Instruction(*fields) for fields in struct.iter_unpack("=HBBI", filter_program(assembled(machine), own_pid=PID))
    ]
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=IIQ6Q", number, architecture or machine.audit_architecture, 0, *padded)
    at, loaded = 0, 0
    for _ in range(ENOUGH):
        step = program[at]
        at += 1
        match step.code:
            case 0x20:
                (loaded,) = struct.unpack_from("=I", data, step.operand)
            case 0x54:
                loaded &= step.operand
            case 0x15:
                at += step.if_true if loaded == step.operand else step.if_false
            case 0x25:
                at += step.if_true if loaded > step.operand else step.if_false
            case 0x45:
                at += step.if_true if loaded & step.operand else step.if_false
            case 0x06:
                return step.operand
            case unknown:
                pytest.fail(f"no such instruction: {unknown:#x}")
    pytest.fail("the filter does not end")


@pytest.fixture(params=sorted(MACHINES))
def machine(request: pytest.FixtureRequest) -> Machine:
    """Return each machine that has a table."""
    return MACHINES[request.param]


def number_of(machine: Machine, name: str) -> int:
    """Look a system call up."""
    number = (GUARDED | DENIED)[name][machine.column]
    assert number is not None
    return number


def test_denied_calls(machine: Machine) -> None:
    """Each denied system call fails with EPERM."""
    numbers = {name: row[machine.column] for name, row in DENIED.items() if row[machine.column] is not None}
    assert {name: verdict(machine, number) for name, number in numbers.items() if number is not None} == dict.fromkeys(
        numbers, EPERM
    )


def test_calls_of_every_program(machine: Machine) -> None:
    """The filter allows system calls for reading, writing, memory, time and waiting."""
    names = {
        "read": (0, 63), "write": (1, 64), "close": (3, 57), "mmap": (9, 222), "munmap": (11, 215), "brk": (12, 214),
        "futex": (202, 98), "exit_group": (231, 94), "nanosleep": (35, 101), "getrandom": (318, 278), "poll": (7, 73),
        "rt_sigaction": (13, 134), "newfstatat": (262, 79), "setitimer": (38, 103), "getpid": (39, 172),
    }  # fmt: skip
    assert {name: verdict(machine, row[machine.column]) for name, row in names.items()} == dict.fromkeys(names, ALLOW)


def test_future_calls(machine: Machine) -> None:
    """System calls newer than the tables, and those of x32, fail with ENOSYS."""
    assert verdict(machine, 452) == ENOSYS
    assert verdict(machine, 1000) == ENOSYS
    assert verdict(machine, 0x40000000 + 1) == ENOSYS


def test_another_architecture(machine: Machine) -> None:
    """A system call under another architecture kills the process."""
    assert verdict(machine, 20, architecture=0x40000003) == KILL


@pytest.mark.parametrize(
    ("name", "arguments", "action"),
    [
        ("clone", (THREAD,), ALLOW),
        ("clone", (17,), EPERM),
        ("clone", (0x4111,), EPERM),
        ("clone", (THREAD | 0x10000000,), EPERM),
        ("clone", (THREAD & ~0x400,), EPERM),
        ("clone3", (0,), ENOSYS),
        ("close_range", (3, 9, 0), ALLOW),
        ("close_range", (3, 9, 4), ALLOW),
        ("close_range", (3, 9, 2), EPERM),
        ("close_range", (3, 9, 6), EPERM),
        ("openat2", (0,), ENOSYS),
        ("kill", (PID, 6), ALLOW),
        ("kill", (PID + 1, 6), EPERM),
        ("kill", (0, 6), EPERM),
        ("kill", (2**64 - 1, 9), EPERM),
        ("tgkill", (PID, PID + 1, 6), ALLOW),
        ("tgkill", (PID + 1, PID, 6), EPERM),
        ("prlimit64", (0, 7), ALLOW),
        ("prlimit64", (PID, 7), ALLOW),
        ("prlimit64", (1, 7), EPERM),
        ("socketpair", (1, 1), ALLOW),
        ("socketpair", (1, 1 | 0o2004000), ALLOW),
        ("socketpair", (1, 2), EPERM),
        ("socketpair", (2, 1), EPERM),
        ("setsockopt", (5, 1, 2), ALLOW),
        ("setsockopt", (5, 1, 7), EPERM),
        ("setsockopt", (5, 1, 8), EPERM),
        ("setsockopt", (5, 1, 32), EPERM),
        ("setsockopt", (5, 1, 33), EPERM),
        ("fcntl", (5, 1), ALLOW),
        ("fcntl", (5, 8), EPERM),
        ("fcntl", (5, 10), EPERM),
        ("fcntl", (5, 15), EPERM),
        ("fcntl", (5, 1024), EPERM),
        ("fcntl", (5, 1026), EPERM),
        ("ioctl", (5, 0x5401), ALLOW),
        ("ioctl", (5, 0x8901), EPERM),
        ("ioctl", (5, 0x5412), EPERM),
        ("ioctl", (5, 0x541B), ALLOW),
        ("ioctl", (5, 0x8910), EPERM),
        ("ioctl", (5, 0x8912), EPERM),
        ("ioctl", (5, 0x80108906), EPERM),
        ("ioctl", (5, 0x8B01), EPERM),
        ("prctl", (15,), ALLOW),
        ("prctl", (1,), EPERM),
        ("prctl", (4,), EPERM),
        ("prctl", (41,), EPERM),
        ("prctl", (42,), ALLOW),
        ("mmap", (0, 4096, 3, 0x22), ALLOW),
        ("mmap", (0, 4096, 3, 0x4022), ALLOW),
        ("mmap", (0, 4096, 1, 0x1), ALLOW),
        ("mmap", (0, 4096, 3, 0x21), EPERM),
        ("mmap", (0, 4096, 3, 0x8021), EPERM),
        ("openat", (0, 0, 0), ALLOW),
        ("openat", (0, 0, 0o1101), ALLOW),
        ("openat", (0, 0, 0o1000), EPERM),
        ("openat", (0, 0, 0o3), EPERM),
        ("openat", (0, 0, 0o1003), EPERM),
    ],
)
def test_arguments_decide(machine: Machine, name: str, arguments: tuple[int, ...], action: int) -> None:
    """A program may start threads but no processes, and send signals to itself alone."""
    assert verdict(machine, number_of(machine, name), *arguments) == action


def test_no_number_twice(machine: Machine) -> None:
    """No number of a system call appears twice in the tables."""
    numbers = [row[machine.column] for row in (*DENIED.values(), *GUARDED.values()) if row[machine.column] is not None]
    assert len(numbers) == len(set(numbers))
    assert set(DENIED).isdisjoint(GUARDED)


def test_numbers_are_the_kernels(machine: Machine) -> None:
    """The tables agree with libseccomp's on every call that it knows."""
    library = pytest.importorskip("pyseccomp", reason=LIBSECCOMP.reason, exc_type=ImportError)
    architecture = [library.Arch.X86_64, library.Arch.AARCH64][machine.column]
    known = {name: library.resolve_syscall(architecture, name) for name in DENIED | GUARDED}
    ours = {name: row[machine.column] for name, row in (DENIED | GUARDED).items()}
    wrong = {name: (ours[name], number) for name, number in known.items() if number >= 0 and ours[name] != number}
    assert not wrong
    assert sum(number >= 0 for number in known.values()) > 100


def test_a_filter_is_one_process_own(machine: Machine) -> None:
    """The filters of two processes differ only where they name the process."""
    mine, others = (filter_program(assembled(machine), own_pid=pid) for pid in (PID, PID + 1))
    steps = [list(struct.iter_unpack("=HBBI", packed)) for packed in (mine, others)]
    different = [(one, other) for one, other in zip(*steps, strict=True) if one != other]
    assert {(one[3], other[3]) for one, other in different} == {(PID, PID + 1)}
    assert len(different) == 3


def test_filter_fits_the_kernel(machine: Machine) -> None:
    """The filter has fewer than 500 instructions, of the 4096 that the kernel takes."""
    assert len(filter_program(assembled(machine), own_pid=PID)) // 8 < 500
    assert seccomp.this_machine() in MACHINES.values()
