"""What one program may use."""

from dataclasses import dataclass

_MEBIBYTE = 1 << 20
_SMALLEST_MEMORY_BYTES = 512 * _MEBIBYTE
"""The warm interpreter with numpy has mapped this much before a program starts."""
_LARGEST_STACK_BYTES = 120 * _MEBIBYTE
"""The kernel leaves 128 MiB below a stack before other mappings begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    The limits of one program; passing one of them ends that program and nothing else.

    Attributes:
        cpu_s: Processor time, in seconds, of all threads together; the kernel counts in whole seconds, rounded up.
            LightEval gives a test 6 s of wall time on an idle machine, which is this.
        wall_s: Wall time in seconds. Three times the processor time: a scoring process shares its machine with an
            engine and its neighbours, and a program that got a third of a core must not fail for that.
        memory_bytes: Address space. LiveCodeBench's runner names 4 GiB.
        n_threads: Threads. A solution uses one or two, the second for a larger stack; numpy one per core at most.
        output_bytes: Standard output, and standard error again as much. The longest expected output of
            LiveCodeBench is a few megabytes.
        n_open_files: Open descriptors. A solution needs its three streams and a library file now and then.
        stack_bytes: The main thread's stack. Judges give a stack as large as the memory; 8 MiB, a shell's default,
            kills correct solutions that recurse through `functools.cache`.

    There is no limit for written files: nothing can be written but standard output and error.

    Raises:
        ValueError: If a limit leaves no room for any program.
    """

    cpu_s: float = 6.0
    wall_s: float = 18.0
    memory_bytes: int = 4096 * _MEBIBYTE
    n_threads: int = 64
    output_bytes: int = 16 * _MEBIBYTE
    n_open_files: int = 64
    stack_bytes: int = 64 * _MEBIBYTE

    def __post_init__(self) -> None:
        least = {
            "cpu_s": (self.cpu_s, 0.1),
            "wall_s": (self.wall_s, 0.1),
            "memory_bytes": (self.memory_bytes, _SMALLEST_MEMORY_BYTES),
            "n_threads": (self.n_threads, 1),
            "output_bytes": (self.output_bytes, 1),
            "n_open_files": (self.n_open_files, 4),
            "stack_bytes": (self.stack_bytes, _MEBIBYTE),
        }
        for name, (found, smallest) in least.items():
            if not found >= smallest:
                raise ValueError(f"{name} is {found}; a program needs at least {smallest}")
        if self.stack_bytes > _LARGEST_STACK_BYTES:
            raise ValueError(f"stack_bytes is {self.stack_bytes}; the kernel keeps room for {_LARGEST_STACK_BYTES}")
