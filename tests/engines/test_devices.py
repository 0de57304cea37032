"""Devices are divided among workers: by position in the caller's list, never by number."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_r1eval.engines.devices import (
    Places,
    WorkerDevices,
    gpu_memory,
    this_machine,
    usable_cpus,
    visible_gpus,
    worker_devices,
)
from pytest_r1eval.engines.placement import GIB, Gpu
from pytest_r1eval.errors import PlanError
from tests.nvidia_smi import install_nvidia_smi

EIGHT = tuple(map(str, range(8)))
MIG = ("MIG-1c1a2d6c-8f1e-5d3f-9b2c-0a1b2c3d4e5f", "MIG-2c1a2d6c-8f1e-5d3f-9b2c-0a1b2c3d4e5f")


def shares(
    n_workers: int, *, gpus: tuple[str, ...], tensor_parallel_size: int = 1, cpus: tuple[int, ...] = ()
) -> list[WorkerDevices]:
    """Return every worker's share."""
    return [
        worker_devices(
            worker=worker, n_workers=n_workers, tensor_parallel_size=tensor_parallel_size, gpus=gpus, cpus=cpus
        )
        for worker in range(n_workers)
    ]


class TestGpus:
    """Worker w owns GPUs [w*T, (w+1)*T) of the caller's list."""

    @pytest.mark.parametrize(
        ("n_workers", "tensor_parallel_size", "gpus", "expected"),
        [
            (1, 1, ("0",), [("0",)]),
            (1, 1, EIGHT, [("0",)]),
            (8, 1, EIGHT, [(gpu,) for gpu in EIGHT]),
            (4, 2, EIGHT, [("0", "1"), ("2", "3"), ("4", "5"), ("6", "7")]),
            (2, 4, EIGHT, [EIGHT[:4], EIGHT[4:]]),
            (1, 8, EIGHT, [EIGHT]),
            (3, 2, ("4", "5", "6", "7", "3"), [("4", "5"), ("6", "7"), ("4", "5")]),
            (2, 1, ("7", "5"), [("7",), ("5",)]),
            (2, 1, MIG, [(MIG[0],), (MIG[1],)]),
            (1, 2, ("GPU-1c1a", "GPU-2c1a"), [("GPU-1c1a", "GPU-2c1a")]),
        ],
    )
    def test_position_in_the_callers_list(
        self, n_workers: int, tensor_parallel_size: int, gpus: tuple[str, ...], expected: list[tuple[str, ...]]
    ) -> None:
        """Workers get their GPUs by position in the caller's list, as numbers, UUIDs or MIG names."""
        found = shares(n_workers, gpus=gpus, tensor_parallel_size=tensor_parallel_size)

        assert expected == [share.gpus for share in found]

    @pytest.mark.parametrize(
        ("n_workers", "n_gpus", "tensor_parallel_size", "expected"),
        [
            (8, 8, 1, [1] * 8),
            (4, 1, 1, [4] * 4),
            (8, 4, 1, [2] * 8),
            (8, 4, 2, [4] * 8),
            (3, 2, 1, [2, 1, 2]),
            (5, 4, 2, [3, 2, 3, 2, 3]),
            (2, 8, 1, [1, 1]),
        ],
    )
    def test_more_workers_than_places_share(
        self, n_workers: int, n_gpus: int, tensor_parallel_size: int, expected: list[int]
    ) -> None:
        """Workers that share a GPU know by how many to divide its memory."""
        found = shares(n_workers, gpus=EIGHT[:n_gpus], tensor_parallel_size=tensor_parallel_size)

        assert expected == [share.n_sharing for share in found]

    @given(st.integers(1, 20), st.integers(1, 8), st.sampled_from([1, 2, 4]))
    def test_sharing_is_even_and_counted_right(self, n_workers: int, n_gpus: int, tensor_parallel_size: int) -> None:
        """Workers are spread evenly over places that never overlap in part, and each knows how many share its own."""
        if tensor_parallel_size > n_gpus:
            return
        found = shares(n_workers, gpus=EIGHT[:n_gpus], tensor_parallel_size=tensor_parallel_size)

        n_by_place = Counter(share.gpus for share in found)
        assert all(n_by_place[share.gpus] == share.n_sharing for share in found)
        assert max(n_by_place.values()) - min(n_by_place.values()) <= 1
        assert len(n_by_place) == min(n_workers, n_gpus // tensor_parallel_size)
        n_by_gpu = Counter(gpu for place in n_by_place for gpu in place)
        assert set(n_by_gpu.values()) == {1}

    @pytest.mark.parametrize(("n_gpus", "tensor_parallel_size"), [(0, 2), (1, 2), (3, 4)])
    def test_too_few_gpus_are_refused(self, n_gpus: int, tensor_parallel_size: int) -> None:
        """Too few GPUs for the tensor-parallel size are refused with both numbers and what to change."""
        with pytest.raises(PlanError) as caught:
            shares(1, gpus=EIGHT[:n_gpus], tensor_parallel_size=tensor_parallel_size)

        expected = (
            f"tensor parallel {tensor_parallel_size} needs as many GPUs, and {n_gpus} are visible; "
            "lower --r1-tp or make more visible (CUDA_VISIBLE_DEVICES)"
        )
        assert expected == str(caught.value)


class TestPlaces:
    """A worker that replaces a dead one takes its devices over."""

    def test_replaced_worker(self) -> None:
        """A worker that replaces a crashed one takes its place, not the first GPU."""
        places = Places()
        assert [places.take(f"gw{number}") for number in range(8)] == list(range(8))

        places.leave("gw5")

        expected = 5
        assert expected == places.take("gw8")

    def test_leaving_twice(self) -> None:
        """A worker that leaves a second time changes nothing."""
        places = Places()
        places.leave("gw0")

        assert places.take("gw0") == 0


class TestCpus:
    """Without a GPU the CPUs are divided."""

    @given(st.integers(1, 20), st.integers(0, 40))
    def test_every_cpu_belongs_to_one_worker(self, n_workers: int, n_cpus: int) -> None:
        """Each CPU belongs to one worker, and the workers' numbers of CPUs differ by one at most."""
        cpus = tuple(range(100, 100 + n_cpus))
        found = shares(n_workers, gpus=(), cpus=cpus)

        assert cpus == tuple(cpu for share in found for cpu in share.cpus)
        sizes = [len(share.cpus) for share in found]
        assert max(sizes) - min(sizes) <= 1
        assert all(share.gpus == () and share.n_sharing == 1 for share in found)

    def test_gpu_workers_divide_the_cpus_too(self) -> None:
        """Workers with a GPU each divide the CPUs as well, because graders run there."""
        found = shares(2, gpus=("0",), cpus=(0, 1, 2, 3))

        assert [share.cpus for share in found] == [(0, 1), (2, 3)]

    def test_usable_cpus_are_this_process_s(self) -> None:
        """The usable CPUs are those that the process may run on, within a container's or a job's limit."""
        expected = os.sched_getaffinity(0)
        assert tuple(sorted(expected)) == usable_cpus()


class TestEnvironment:
    """What is set before torch is imported."""

    def test_gpu_worker(self) -> None:
        """A GPU's worker gets its GPUs in their order and the start method `spawn`."""
        (share,) = shares(1, gpus=MIG, tensor_parallel_size=2, cpus=(0, 1))

        assert share.environment() == {
            "CUDA_VISIBLE_DEVICES": ",".join(MIG),
            "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        }

    def test_cpu_worker(self) -> None:
        """Workers on a CPU are bound to their own cores."""
        assert [share.environment() for share in shares(2, gpus=(), cpus=(4, 5, 6, 7))] == [
            {"VLLM_CPU_OMP_THREADS_BIND": "4,5"},
            {"VLLM_CPU_OMP_THREADS_BIND": "6,7"},
        ]

    def test_more_workers_than_cpus(self) -> None:
        """A worker without a core of its own binds nothing."""
        assert [share.environment() for share in shares(2, gpus=(), cpus=(4,))] == [
            {},
            {"VLLM_CPU_OMP_THREADS_BIND": "4"},
        ]


class TestVisibleGpus:
    """The caller's list, else the driver's."""

    @pytest.mark.parametrize(
        ("listed", "expected"),
        [
            ("0", ("0",)),
            ("4,5,6,7", ("4", "5", "6", "7")),
            (" 1 , 0 ,", ("1", "0")),
            (",".join(MIG), MIG),
            ("", ()),
            (" ", ()),
            ("-1", ()),
            ("0,-1,1", ("0",)),
        ],
    )
    def test_callers_list(self, listed: str, expected: tuple[str, ...]) -> None:
        """An empty list and -1 mean none; like CUDA, reading stops at the first -1."""
        assert expected == visible_gpus({"CUDA_VISIBLE_DEVICES": listed})

    def test_restricted_list_is_indexed_into(self) -> None:
        """A job that is given GPUs 4 to 7 uses those numbers."""
        gpus = visible_gpus({"CUDA_VISIBLE_DEVICES": "4,5,6,7"})

        assert [share.gpus for share in shares(2, gpus=gpus, tensor_parallel_size=2)] == [("4", "5"), ("6", "7")]

    def test_all_that_the_driver_names(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a list all GPUs are visible; their MIG slices below them are not counted."""
        install_nvidia_smi(
            tmp_path,
            monkeypatch,
            "echo 'GPU 0: NVIDIA H100 (UUID: GPU-1)'\n"
            "echo '  MIG 1g.10gb Device 0: (UUID: MIG-1)'\n"
            "echo 'GPU 1: NVIDIA H100 (UUID: GPU-2)'",
        )

        assert visible_gpus({}) == ("0", "1")
        assert visible_gpus({"CUDA_VISIBLE_DEVICES": ""}) == ()

    def test_broken_driver_is_no_gpu(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A container with the program and without a GPU runs on the CPU."""
        install_nvidia_smi(tmp_path, monkeypatch, "echo 'GPU access blocked'; exit 9")

        assert visible_gpus({}) == ()

    def test_no_driver_is_no_gpu(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A machine without nvidia-smi has no GPUs."""
        monkeypatch.setenv("PATH", str(tmp_path))

        assert visible_gpus({}) == ()


LISTING = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1c1a)
  MIG 3g.40gb     Device  0: (UUID: MIG-aaaa)
  MIG 1g.10gb+me  Device  1: (UUID: MIG-bbbb)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-2c1a)
"""
TABLE = "0, GPU-1c1a, 81559\n1, GPU-2c1a, 81559\n"


class TestMemory:
    """What the driver reports for each device."""

    def test_whole_gpus_and_slices(self) -> None:
        """GPUs are named by index and by UUID; a sliced GPU's index means its first slice, as it does to CUDA."""
        whole, large, small = 81559 * 2**20, int(40 * GIB * 0.95), int(10 * GIB * 0.95)
        assert gpu_memory(LISTING, TABLE) == {
            "0": large,
            "GPU-1c1a": whole,
            "MIG-aaaa": large,
            "MIG-bbbb": small,
            "1": whole,
            "GPU-2c1a": whole,
        }

    @pytest.mark.parametrize("table", ["", "0, GPU-1, [N/A]\n", "Failed to initialize NVML\n"])
    def test_what_is_not_said_is_not_known(self, table: str) -> None:
        """A GPU whose memory nvidia-smi does not report has an unknown memory."""
        assert gpu_memory("GPU 0: NVIDIA GB10 (UUID: GPU-1)\n", table) == {}

    @pytest.mark.parametrize(
        ("listed", "expected"),
        [
            ("1", [81559]),
            ("GPU-2c1a,GPU-1c1a", [81559, 81559]),
            ("GPU-2", [81559]),
            ("GPU", [None]),
            ("MIG-bbbb", [9728]),
            ("MIG-GPU-1c1a/1/0", [None]),
            ("7", [None]),
            ("", []),
            (None, [38912, 81559]),
        ],
    )
    def test_this_machine(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str | None, expected: list[int | None]
    ) -> None:
        """The GPUs are those that CUDA_VISIBLE_DEVICES lists, each with its memory where one device is meant."""
        (tmp_path / "listing").write_text(LISTING)
        (tmp_path / "table").write_text(TABLE)
        install_nvidia_smi(
            tmp_path, monkeypatch, f'if [ "$1" = -L ]; then cat {tmp_path}/listing; else cat {tmp_path}/table; fi'
        )

        machine = this_machine({} if listed is None else {"CUDA_VISIBLE_DEVICES": listed})

        assert [gpu.n_bytes and gpu.n_bytes // 2**20 for gpu in machine.gpus] == expected
        assert machine.cpus == usable_cpus()

    def test_the_driver_is_asked_two_questions(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A machine of any number of GPUs is described by one listing and one table of the driver."""
        install_nvidia_smi(tmp_path, monkeypatch, f'echo "$1" >> {tmp_path}/asked; echo "GPU 0: H100 (UUID: GPU-1)"')
        assert this_machine({}).gpus == (Gpu(name="0"),)
        asked = (tmp_path / "asked").read_text().splitlines()
        assert asked == ["-L", "--query-gpu=index,uuid,memory.total"]

    def test_machine_without_a_driver(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A machine without a driver has main memory, and GPUs only where CUDA_VISIBLE_DEVICES lists them."""
        expected = (Gpu(name="0"),)
        monkeypatch.setenv("PATH", str(tmp_path))

        assert this_machine({}).gpus == ()
        assert (this_machine({}).n_bytes or 0) > GIB
        assert expected == this_machine({"CUDA_VISIBLE_DEVICES": "0"}).gpus
