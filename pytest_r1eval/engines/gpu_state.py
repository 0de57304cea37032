"""
Whether the GPUs can take an engine now: their driver, and the memory that other processes hold.

vLLM finds out after a minute of imports, in its own words. nvidia-smi knows it in a second.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_r1eval.config.installation import Package, installed
from pytest_r1eval.engines.devices import nvidia_smi
from pytest_r1eval.engines.placement import Machine
from pytest_r1eval.errors import EngineError, InstallationError

MIB_PER_GIB = 1024
OLDEST_DRIVER: Mapping[int, int] = {11: 450, 12: 525, 13: 580}
"""For any minor version of a CUDA release; NVIDIA, "CUDA Compatibility", minor version compatibility."""
RELEASE_TIMEOUT_S = 20
"""An engine that was just ended gives its memory back within seconds; another process keeps it."""
_LOOK_INTERVAL_S = 1
_HEAD = re.compile(r"Driver Version:\s*(?P<driver>[\d.]+).*?CUDA (?:UMD )?Version:\s*(?P<cuda>\d+)\.")
_MEMORY = "--query-gpu=index,uuid,memory.total,memory.used"
_HOLDERS = "--query-compute-apps=gpu_uuid,pid,process_name,used_memory"
_CSV = "--format=csv,noheader,nounits"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProblem:
    """
    Why an engine cannot start.

    Attributes:
        found: What is there and what is expected.
        remedy: What to do.
    """

    found: str
    remedy: str


def driver_problem(head: str, torch: Package | None) -> GpuProblem | None:
    """
    Compare the driver with the CUDA release that torch was built for.

    Args:
        head: What ``nvidia-smi`` prints; nothing where there is none.
        torch: The installed torch.
    """
    seen = _HEAD.search(head)
    if seen is None or torch is None or torch.cuda is None or int(seen["cuda"]) >= torch.cuda:
        return None
    asked, known = torch.cuda, OLDEST_DRIVER.get(torch.cuda)
    newer = f"driver {known} or newer" if known else f"a driver for CUDA {asked}"
    return GpuProblem(
        found=f"NVIDIA driver {seen['driver']} supports CUDA {seen['cuda']}, and torch {torch} needs CUDA {asked}",
        remedy=f"install {newer}, or a torch and a vLLM that are built for CUDA {seen['cuda']}",
    )


def check_driver(machine: Machine) -> None:
    """
    Refuse a driver that is too old for the installed torch; a machine without GPUs needs none.

    Raises:
        InstallationError: If it is.
    """
    if not machine.gpus:
        return
    problem = driver_problem(nvidia_smi(), installed().get("torch"))
    if problem is not None:
        raise InstallationError(f"{problem.found}; {problem.remedy}")


def busy_problem(gpus: Sequence[str], *, table: str, holders: str, fraction: float) -> GpuProblem | None:
    """
    Find the first GPU with less free memory than an engine takes, as vLLM counts it: a fraction of all.

    Args:
        gpus: Indices or UUIDs; MIG slices are left out, because nvidia-smi reports whole GPUs.
        table: What nvidia-smi prints of index, uuid, memory.total and memory.used, MiB.
        holders: What nvidia-smi prints of gpu_uuid, pid, process_name and used_memory, MiB.
        fraction: What one engine takes of each GPU, (0, 1].
    """
    for index, uuid, *memory in _cells(table, n=4):
        is_asked = index in gpus or any(uuid.startswith(gpu) for gpu in gpus if gpu.startswith("GPU-"))
        if not is_asked or not all(cell.isdecimal() for cell in memory):
            continue
        total, free = int(memory[0]), int(memory[0]) - int(memory[1])
        if free < fraction * total:
            return GpuProblem(
                found=f"GPU {index} is busy: {_gib(free)} of {_gib(total)} GiB are free, and an engine takes "
                f"{_gib(fraction * total)} ({fraction:g} of all){_held_by(holders, uuid)}",
                remedy="end what holds it, choose another GPU (CUDA_VISIBLE_DEVICES), or lower "
                "--r1-gpu-memory-utilization",
            )
    return None


def busy_now(gpus: Sequence[str], *, fraction: float) -> GpuProblem | None:
    """Ask nvidia-smi for the memory of these GPUs, and for the processes that hold it."""
    table = nvidia_smi(_MEMORY, _CSV)
    problem = busy_problem(gpus, table=table, holders="", fraction=fraction)
    if problem is None:
        return None
    return busy_problem(gpus, table=table, holders=nvidia_smi(_HOLDERS, _CSV), fraction=fraction)


def check_free(gpus: Sequence[str], *, fraction: float, timeout_s: float = RELEASE_TIMEOUT_S) -> None:
    """
    Wait a short while for memory that is being given back, then refuse a GPU that others use.

    Args:
        gpus: Indices or UUIDs.
        fraction: What one engine takes of each GPU, (0, 1].
        timeout_s: How long.

    Raises:
        EngineError: If one has less free memory than an engine takes.
    """
    deadline = time.monotonic() + timeout_s
    while (problem := busy_now(gpus, fraction=fraction)) is not None:
        if time.monotonic() > deadline:
            raise EngineError(f"{problem.found}; {problem.remedy}")
        time.sleep(_LOOK_INTERVAL_S)


def _held_by(holders: str, uuid: str) -> str:
    found = [
        f"{name.rsplit('/', 1)[-1]} (process {pid}{f', {_gib(int(used))} GiB' if used.isdecimal() else ''})"
        for gpu, pid, name, used in _cells(holders, n=4)
        if gpu == uuid
    ]
    return f"; it is held by {', '.join(found)}" if found else ""


def _cells(table: str, *, n: int) -> list[list[str]]:
    rows = [[cell.strip() for cell in line.split(",")] for line in table.splitlines()]
    return [row for row in rows if len(row) == n]


def _gib(mib: float) -> str:
    return f"{mib / MIB_PER_GIB:.1f}"
