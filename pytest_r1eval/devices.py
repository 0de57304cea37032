"""
Which devices a worker owns.

Workers index *into* the caller's list: a job that was given GPUs 4 to 7 sees four
GPUs and must not touch number 0. The environment is set before anything imports
torch, which reads it once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from pytest_r1eval.errors import PlanError


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceShare:
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


def device_share(
    *, worker: int, n_workers: int, tensor_parallel_size: int, gpus: Sequence[str], cpus: Sequence[int]
) -> DeviceShare:
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
        return DeviceShare(gpus=(), cpus=own_cpus, n_sharing=1)
    n_places = len(gpus) // tensor_parallel_size
    if n_places == 0:
        raise PlanError(
            f"tensor parallel {tensor_parallel_size} needs as many GPUs, and {len(gpus)} are visible; "
            "lower --r1-tp or make more visible (CUDA_VISIBLE_DEVICES)"
        )
    place = worker % n_places
    first = place * tensor_parallel_size
    return DeviceShare(
        gpus=tuple(gpus[first : first + tensor_parallel_size]),
        cpus=own_cpus,
        n_sharing=len(range(place, n_workers, n_places)),
    )


def visible_gpus(environment: Mapping[str, str]) -> tuple[str, ...]:
    """List the GPUs this process may use: the caller's list, else all that the driver names."""
    listed = environment.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        names = (name.strip() for name in listed.split(","))
        return tuple(takewhile(lambda name: name not in {"", "-1"}, names))  # CUDA stops there too
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    found = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - fixed
    lines = found.stdout.splitlines() if found.returncode == 0 else []
    return tuple(str(index) for index, _ in enumerate(line for line in lines if line.startswith("GPU ")))


def usable_cpus() -> tuple[int, ...]:
    """List the CPUs this process may use."""
    return tuple(sorted(os.sched_getaffinity(0)))
