"""A driver that is too old and a GPU that others use are named before an engine starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_r1eval.config.installation import Package
from pytest_r1eval.engines.gpu_state import busy_problem, check_driver, check_free, driver_problem
from pytest_r1eval.engines.placement import Gpu, Machine
from pytest_r1eval.errors import EngineError, InstallationError
from tests.nvidia_smi import install_nvidia_smi

H200 = """\
Mon Nov 30 00:51:40 2026
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 580.159.04             Driver Version: 580.159.04     CUDA Version: 13.0     |
+-----------------------------------------+------------------------+----------------------+
"""
OLD = "| NVIDIA-SMI 550.54.15    Driver Version: 550.54.15     CUDA Version: 12.4     |"
CU130 = Package(version="2.13.0", build="cu130")
TABLE = "0, GPU-1c1a, 143771, 62041\n1, GPU-2c1a, 143771, 0\n"
HOLDERS = "GPU-1c1a, 2364, /opt/python/bin/python3, 61924\nGPU-2c1a, 77, sleep, [N/A]\n"


class TestDriver:
    """The driver's CUDA release against the one that torch was built for."""

    def test_a_driver_that_fits(self) -> None:
        """A driver of torch's CUDA release or of a later one fits; minor versions are compatible."""
        assert driver_problem(H200, CU130) is None
        assert driver_problem(H200, Package(version="2.13.0", build="cu133")) is None
        assert driver_problem(H200, Package(version="2.11.0", build="cu128")) is None

    def test_a_driver_that_is_too_old(self) -> None:
        """A driver of an earlier CUDA release is named with the oldest driver that works."""
        problem = driver_problem(OLD, CU130)
        assert problem is not None
        assert problem.found == "NVIDIA driver 550.54.15 supports CUDA 12, and torch 2.13.0+cu130 needs CUDA 13"
        assert problem.remedy == ("install driver 580 or newer, or a torch and a vLLM that are built for CUDA 12")

    @pytest.mark.parametrize("torch", [None, Package(version="2.13.0+cpu", build="cpu"), Package(version="2.13.0")])
    def test_without_a_torch_for_gpus_nothing_is_compared(self, torch: Package | None) -> None:
        """Without a torch that is built for CUDA the driver is not compared."""
        assert driver_problem(OLD, torch) is None

    @pytest.mark.parametrize("head", ["", "NVIDIA-SMI has failed", "Driver Version: N/A  CUDA Version: N/A"])
    def test_a_driver_that_does_not_say_is_not_refused(self, head: str) -> None:
        """A driver whose CUDA release is unknown is left to vLLM."""
        assert driver_problem(head, CU130) is None

    def test_it_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A driver that is too old for the installed torch is refused, where a GPU is visible."""
        install_nvidia_smi(tmp_path, monkeypatch, f"echo '{OLD}'")
        install_torch(tmp_path, monkeypatch)
        with pytest.raises(InstallationError, match=r"driver 550\.54\.15 supports CUDA 12, .*; install driver 580"):
            check_driver(Machine(gpus=(Gpu(name="0"),)))
        check_driver(Machine())


class TestMemory:
    """What others hold of a GPU, against what an engine takes."""

    def test_a_busy_gpu_names_who_holds_it(self) -> None:
        """A GPU with less free memory than an engine takes is named, with the processes that hold it."""
        problem = busy_problem(["0", "1"], table=TABLE, holders=HOLDERS, fraction=0.8)
        assert problem is not None
        assert problem.found == (
            "GPU 0 is busy: 79.8 of 140.4 GiB are free, and an engine takes 112.3 (0.8 of all); "
            "it is held by python3 (process 2364, 60.5 GiB)"
        )
        assert problem.remedy.startswith("end what holds it, choose another GPU (CUDA_VISIBLE_DEVICES)")

    @pytest.mark.parametrize(("gpus", "fraction"), [(["1"], 0.8), (["GPU-2c"], 1.0), (["0"], 0.5), ([], 0.8)])
    def test_room_enough(self, gpus: list[str], fraction: float) -> None:
        """Another GPU, and an engine that takes less than what is free, are not refused."""
        assert busy_problem(gpus, table=TABLE, holders=HOLDERS, fraction=fraction) is None

    @pytest.mark.parametrize("gpus", [["GPU-1c"], ["GPU-1c1a"], ["1", "0"]])
    def test_a_gpu_has_several_names(self, gpus: list[str]) -> None:
        """A GPU is found by its index, its UUID and the beginning of its UUID."""
        assert busy_problem(gpus, table=TABLE, holders="", fraction=0.8) is not None

    @pytest.mark.parametrize("table", ["", "0, GPU-1c1a, [N/A], [N/A]\n", "Failed to initialize NVML\n"])
    def test_what_is_not_said_is_not_refused(self, table: str) -> None:
        """A GPU whose memory nvidia-smi does not report is left to vLLM, and so is a MIG slice."""
        assert busy_problem(["0"], table=table, holders="", fraction=0.8) is None
        assert busy_problem(["MIG-1c1a"], table=TABLE, holders="", fraction=0.8) is None

    def test_it_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A GPU that stays busy is refused in one line."""
        install_nvidia_smi(
            tmp_path,
            monkeypatch,
            f"case $1 in *apps*) printf '{HOLDERS}';; *) printf '{TABLE}';; esac".replace("\n", "\\n"),
        )
        with pytest.raises(EngineError, match=r"^GPU 0 is busy: 79\.8 of 140\.4 GiB .*python3 \(process 2364, [^\n]*$"):
            check_free(["0"], fraction=0.8, timeout_s=0)

    def test_memory_that_is_given_back_is_waited_for(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An engine that was just ended gives its memory back, and the next one starts."""
        install_nvidia_smi(
            tmp_path,
            monkeypatch,
            f'[ -e {tmp_path}/seen ] && used=0 || used=143000; echo "0, GPU-1c1a, 143771, $used"\n'
            f"case $1 in *apps*) touch {tmp_path}/seen;; esac",
        )
        check_free(["0"], fraction=0.8, timeout_s=10)
        assert (tmp_path / "seen").exists()


def install_torch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put what pip leaves of a torch for CUDA 13 first in the search path."""
    (folder / "torch").mkdir()
    (folder / "torch" / "version.py").write_text("__version__ = '2.13.0+cu130'\n")
    metadata = folder / "torch-2.13.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0\n")
    monkeypatch.syspath_prepend(folder)
