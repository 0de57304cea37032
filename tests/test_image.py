"""The container image: what its build is given is enough for its commands, and its workflow pushes on a tag alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, ClassVar
from zipfile import ZipFile

import pytest

from tests.ci_files import loaded
from tests.documents import OWNER, ROOT

LINES = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
INSTRUCTIONS = [line.split(maxsplit=1) for line in LINES if line and not line.startswith("#")]
ALLOWED = [line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").split() if line.startswith("!")]


def arguments_of(name: str) -> list[str]:
    """Return the arguments of each instruction of a name."""
    return [arguments for instruction, arguments in INSTRUCTIONS if instruction == name]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """Copy what the build is given."""
    for path in (one for pattern in ALLOWED for one in ROOT.glob(pattern)):
        copy = shutil.copytree if path.is_dir() else shutil.copy
        copy(path, tmp_path / path.name)
    return tmp_path


class TestBuild:
    """What the build is given, and its commands."""

    def test_every_file_that_is_allowed_is_there(self) -> None:
        """Each name that .dockerignore lets in is a file of the repository."""
        assert all([*ROOT.glob(pattern)] for pattern in ALLOWED)

    def test_the_wheel_is_whole(self, context: Path, tmp_path: Path) -> None:
        """The package builds from what the build is given, with the baselines that a gate reads."""
        build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path / "out")]
        done = subprocess.run(build, cwd=context, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        (wheel,) = (tmp_path / "out").glob("*.whl")
        assert "pytest_r1eval/baselines/data/r1eval/tiny-arithmetic.json" in ZipFile(wheel).namelist()

    @pytest.mark.parametrize("stack", ["cpu", "gpu"])
    def test_it_installs_the_locked_stack(self, context: Path, stack: str) -> None:
        """The build's lines of make install the stack's lock into /opt/r1eval, and then the package, not editable."""
        lines = [line for run in arguments_of("RUN") for line in re.findall(r"make [^&]+", run) if "VENV=" in line]
        assert len(lines) == 2
        printed = ""
        for line in lines:
            done = subprocess.run(
                ["/bin/bash", "-euc", line.replace("make ", "make --dry-run ", 1)], cwd=context, capture_output=True,
                text=True, check=True, env={"PATH": os.environ["PATH"], "STACK": stack},
            )  # fmt: skip
            printed += done.stdout
        assert f"requirements-{stack}.lock" in printed
        installs = [line for line in printed.splitlines() if line.endswith(" .")]
        assert set(installs) == {
            "/opt/r1eval/bin/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation  ."
        }


class TestContainer:
    """What runs in it."""

    def test_it_is_not_root(self) -> None:
        """The container's user is a number other than 0, as Kubernetes asks for with runAsNonRoot."""
        assert arguments_of("USER") == ["1000:1000"]
        assert INSTRUCTIONS.index(["USER", "1000:1000"]) > max(
            number for number, (name, _) in enumerate(INSTRUCTIONS) if name in {"RUN", "COPY"}
        )

    def test_jobs_find_their_python(self) -> None:
        """`bash`, `python` and `pytest` of rendered Jobs are on the PATH, and no entry point comes before them."""
        assert "PATH=/opt/r1eval/bin:$PATH" in " ".join(arguments_of("ENV"))
        assert arguments_of("ENTRYPOINT") == []
        assert arguments_of("CMD") == ['["r1eval", "doctor"]']


class TestWorkflow:
    """What a change and a tag start."""

    CONTENT: ClassVar[dict[Any, Any]] = loaded(ROOT / ".github/workflows/image.yml")

    def test_a_change_of_what_it_is_made_of_builds_it(self) -> None:
        """Each file of the repository's root that the build is given starts the workflow when it changes."""
        events = self.CONTENT[True]
        paths = events["push"]["paths"]
        assert events["pull_request"]["paths"] == paths
        prose = {"README.md", "LICENSE"}
        made_of = [name for name in ALLOWED if (ROOT / name).is_dir() is False and name not in prose]
        for name in [*made_of, "Dockerfile", ".dockerignore", ".github/workflows/image.yml"]:
            assert any(fnmatch(name, path) for path in paths), name

    def test_only_a_tag_s_build_that_ran_is_pushed(self) -> None:
        """The job that pushes runs on a version's tag, after the build was run."""
        publish = self.CONTENT["jobs"]["publish"]
        assert publish["if"] == "startsWith(github.ref, 'refs/tags/v')"
        assert publish["needs"] == "build"
        assert [step["run"] for step in self.CONTENT["jobs"]["build"]["steps"] if "run" in step][-1].startswith(
            "make image "
        )

    def test_what_may_write_runs_no_code_of_the_repository(self) -> None:
        """The only job with writing rights starts docker on its machine, and nothing of the repository."""
        writing = {name: job for name, job in self.CONTENT["jobs"].items() if "permissions" in job}
        assert writing["publish"]["permissions"] == {
            "contents": "read", "packages": "write", "id-token": "write", "attestations": "write",
        }  # fmt: skip
        assert set(writing) == {"publish"}
        lines = [line for step in writing["publish"]["steps"] for line in step.get("run", "").splitlines()]
        assert {re.sub(r"^\w+=(\$\()?", "", line).split()[0].strip('"') for line in lines} == {
            "docker", "echo", "sudo", "ghcr.io/${GITHUB_REPOSITORY,,}", "$name:${GITHUB_REF_NAME#v}$SUFFIX",
        }  # fmt: skip

    def test_its_tag_is_the_version(self) -> None:
        """Every image that a page or an example names has this version's tag, which the workflow pushes."""
        version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
        files = [*ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.py"), *ROOT.glob("examples/**/*.y*ml")]
        texts = "".join(path.read_text(encoding="utf-8") for path in files)
        named = re.findall(rf"ghcr\.io/{OWNER}/pytest-r1eval:([\w.-]*\w)", texts)
        assert set(named) == {version, f"{version}-cpu"}

    def test_what_is_pushed_is_attested(self) -> None:
        """The digest that was pushed is the one that is attested."""
        attest = self.CONTENT["jobs"]["publish"]["steps"][-1]
        assert attest["with"]["subject-digest"] == "${{ steps.image.outputs.digest }}"
        assert attest["with"]["push-to-registry"] is True
