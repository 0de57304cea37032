"""
Which devices there are, and which of them a worker owns.

Workers index *into* the caller's list: a job that was given GPUs 4 to 7 sees four
GPUs and must not touch number 0. The environment is set before anything imports
torch, which reads it once.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path

from pytest_r1eval.engines.placement import GIB, Gpu, Machine
from pytest_r1eval.errors import PlanError

_MIG_USABLE = 0.95
"""Of the gigabytes in a MIG profile's name; an A100's 1g.5gb has 4,864 MiB, an H100's 1g.10gb 9,984."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerDevices:
    """
    What one worker may use.

    Attributes:
        gpus: Entries of the caller's list: indices, UUIDs or MIG names; empty on a CPU.
        cpus: CPU numbers.
        n_sharing: Workers on each of these GPUs, this one included.
    """

    gpus: tuple[str, ...]
    cpus: tuple[int, ...]
    n_sharing: int

    def environment(self) -> dict[str, str]:
        """Variables to set before torch is imported."""
        if self.gpus:
            return {"CUDA_VISIBLE_DEVICES": ",".join(self.gpus), "VLLM_WORKER_MULTIPROC_METHOD": "spawn"}
        return {"VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, self.cpus))} if self.cpus else {}


class Places:
    """
    Which worker has which of the devices.

    xdist names the worker that replaces a dead one gw8 where there are eight; the
    devices that are free are the dead one's, not those of gw0.
    """

    def __init__(self) -> None:
        self._by_worker: dict[str, int] = {}

    def take(self, worker: str) -> int:
        """Give a worker the first free place, from 0."""
        place = next(number for number in count() if number not in self._by_worker.values())
        self._by_worker[worker] = place
        return place

    def leave(self, worker: str) -> None:
        """Free a worker's place; a worker without one may leave too."""
        self._by_worker.pop(worker, None)


def worker_devices(
    *, worker: int, n_workers: int, tensor_parallel_size: int, gpus: Sequence[str], cpus: Sequence[int]
) -> WorkerDevices:
    """
    Divide devices among workers.

    Args:
        worker: Index of the worker, from 0.
        n_workers: Workers on this machine.
        tensor_parallel_size: GPUs one engine spans.
        gpus: The caller's GPUs; empty on a CPU.
        cpus: The caller's CPUs.

    Raises:
        PlanError: If one engine needs more GPUs than there are.
    """
    own_cpus = tuple(cpus[len(cpus) * worker // n_workers : len(cpus) * (worker + 1) // n_workers])
    if not gpus and tensor_parallel_size == 1:
        return WorkerDevices(gpus=(), cpus=own_cpus, n_sharing=1)
    n_places = len(gpus) // tensor_parallel_size
    if n_places == 0:
        raise PlanError(
            f"tensor parallel {tensor_parallel_size} needs as many GPUs, and {len(gpus)} are visible; "
            "lower --r1-tp or make more visible (CUDA_VISIBLE_DEVICES)"
        )
    place = worker % n_places
    first = place * tensor_parallel_size
    return WorkerDevices(
        gpus=tuple(gpus[first : first + tensor_parallel_size]),
        cpus=own_cpus,
        n_sharing=len(range(place, n_workers, n_places)),
    )


def this_machine(environment: Mapping[str, str]) -> Machine:
    """Describe what this process may use."""
    listing = nvidia_smi("-L")
    names = _visible(environment, listing)
    memory = gpu_memory(listing, nvidia_smi("--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits"))
    return Machine(
        gpus=tuple(Gpu(name=name, n_bytes=_memory_of(name, memory)) for name in names),
        cpus=usable_cpus(),
        n_bytes=_main_memory(),
    )


def visible_gpus(environment: Mapping[str, str]) -> tuple[str, ...]:
    """List the GPUs this process may use: the caller's list, else all that the driver names."""
    return _visible(environment, "" if "CUDA_VISIBLE_DEVICES" in environment else nvidia_smi("-L"))


def _visible(environment: Mapping[str, str], listing: str) -> tuple[str, ...]:
    listed = environment.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        names = (name.strip() for name in listed.split(","))
        return tuple(takewhile(lambda name: name not in {"", "-1"}, names))  # CUDA stops there too
    return tuple(str(index) for index in range(sum(line.startswith("GPU ") for line in listing.splitlines())))


def gpu_memory(listing: str, table: str) -> dict[str, int]:
    """
    Read each GPU's memory, bytes, by index and by UUID, and each MIG slice's by UUID.

    A GPU that is sliced can be used only slice by slice: its index means its first one.

    Args:
        listing: What ``nvidia-smi -L`` says.
        table: What ``nvidia-smi --query-gpu=index,uuid,memory.total --format=csv,noheader,nounits`` says, MiB.
    """
    memory: dict[str, int] = {}
    for row in table.splitlines():
        cells = [cell.strip() for cell in row.split(",")]
        if len(cells) == 3 and cells[2].isdecimal():  # [N/A] where memory is the machine's own
            memory |= dict.fromkeys(cells[:2], int(cells[2]) * 2**20)
    index = ""
    for line in listing.splitlines():
        if found := re.match(r"GPU (\d+):", line):
            index = found[1]
        elif found := re.match(r"\s+MIG \d+\S*\.(\d+)gb\S*\s.*UUID: (MIG-[^)]+)\)", line):
            memory[found[2]] = int(int(found[1]) * GIB * _MIG_USABLE)
            if index:
                memory[index], index = memory[found[2]], ""
    return memory


def _memory_of(name: str, memory: Mapping[str, int]) -> int | None:
    """Look an entry up; CUDA takes any beginning of a UUID that only one device has."""
    if name in memory:
        return memory[name]
    found = [n_bytes for full, n_bytes in memory.items() if not name.isdecimal() and full.startswith(name)]
    return found[0] if len(found) == 1 else None


def nvidia_smi(*arguments: str) -> str:
    """Return what the driver's listing program prints; nothing where there is none, or it fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    found = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - fixed
    return found.stdout if found.returncode == 0 else ""


def _main_memory() -> int | None:
    path = Path("/proc/meminfo")
    found = (
        re.search(r"^MemTotal:\s+(\d+) kB", path.read_text(encoding="ascii"), re.MULTILINE) if path.exists() else None
    )
    return int(found[1]) * 1024 if found else None


def usable_cpus() -> tuple[int, ...]:
    """List the CPUs this process may use."""
    return tuple(sorted(os.sched_getaffinity(0)))
