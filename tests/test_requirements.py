"""A machine without a program: its tests are skipped, and the last line says which and what gets it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bare_path import bare_path
from tests.requirements import ALL, BUBBLEWRAP, CHROMIUM, LIGHTEVAL, NAMESPACES, SLURM, closing_line

ROOT = Path(__file__).parents[1]
LEVELS = "tests/sandbox/test_sandbox.py::TestLevels::test_poorer_kernels"
PAGE = "tests/reports/test_page.py::test_the_verdict_comes_first"
CLUSTER = "tests/slurm/test_jobs.py::TestArray"


class TestClosingLine:
    def test_tests_are_counted_by_what_they_lack(self) -> None:
        """Skipped tests are counted by what they lack, and requirements of one source share a command."""
        reasons = [BUBBLEWRAP.reason, SLURM.reason, f"{BUBBLEWRAP.reason} (bwrap not found)", LIGHTEVAL.reason]
        assert closing_line(reasons) == (
            "not run: 2 for want of bubblewrap, 1 for want of Slurm (sudo apt-get install -y bubblewrap slurm-wlm); "
            "1 for want of LightEval (make test)"
        )

    def test_other_skips_are_not_listed(self) -> None:
        """Skips for other reasons are not listed in the closing line."""
        assert closing_line(["this platform has no such call"]) is None

    def test_no_reason_begins_like_another(self) -> None:
        """No requirement's reason begins like another's, so that a reason finds its own."""
        for one in ALL:
            assert [each for each in ALL if one.reason.startswith(each.reason)] == [one]

    def test_bubblewrap_that_may_not_is_another_machines(self) -> None:
        """The closing line offers no package where the kernel refuses namespaces."""
        assert (
            closing_line([NAMESPACES.reason])
            == "not run: 1 for want of user namespaces for bubblewrap (another machine)"
        )


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Make a PATH without bubblewrap, Chromium and Slurm."""
    return bare_path(tmp_path_factory.mktemp("bare") / "bin", search_path=os.environ["PATH"])


def ended(path: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run tests of this suite on a PATH, outside CI unless a variable says otherwise."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "PYTEST_", "COV_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *arguments]
    environ = {**inherited, "PATH": path, **variables}
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)


class TestBareMachine:
    """The PATH holds neither bubblewrap nor Chromium nor Slurm."""

    def test_what_can_run_does_and_the_last_line_lists_the_rest(self, path: str) -> None:
        """What can run passes, and the last line counts the skipped tests beside the command that enables them."""
        done = ended(path, LEVELS, PAGE, CLUSTER)
        assert done.returncode == 0, done.stdout
        assert re.search(r"^\d+ passed, \d+ skipped", done.stdout, re.MULTILINE)
        assert re.fullmatch(
            r"not run: \d+ for want of bubblewrap, 1 for want of Chromium, \d+ for want of Slurm "
            r"\(sudo apt-get install -y bubblewrap chromium slurm-wlm\)",
            done.stdout.splitlines()[-1],
        )

    @pytest.mark.parametrize(
        ("variables", "code"), [({"CI": "true"}, 1), ({"CI": "true", "R1_INSTALL": "no"}, 0)], ids=["CI", "told"]
    )
    def test_ci_skips_in_silence_never(self, path: str, variables: dict[str, str], code: int) -> None:
        """A missing program fails the suite in CI, unless R1_INSTALL=no allows it to be missing."""
        done = ended(path, PAGE, **variables)
        assert done.returncode == code, done.stdout
        assert CHROMIUM.reason in done.stdout
        assert ("in CI nothing may be missing" in done.stdout) == (code == 1)

    def test_several_runs_close_with_one_line(self, path: str, tmp_path: Path) -> None:
        """Several runs add to one file, from which a single closing line is printed."""
        for _ in range(2):
            done = ended(path, PAGE, R1_NOT_RUN=str(tmp_path / "not-run"))
            assert "not run:" not in done.stdout
        printed = subprocess.run(
            [sys.executable, "-m", "tests.requirements", str(tmp_path / "not-run")],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert printed.stdout == "not run: 2 for want of Chromium (sudo apt-get install -y chromium)\n"


class TestInstalling:
    """`tests/programs.sh`, which `make test` calls first."""

    @pytest.fixture
    def bare(self, path: str) -> dict[str, str]:
        """Take the caller's answers and Debian's own folders of programs away."""
        return {"PATH": path, "LC_ALL": "C"}

    def installs(self, environ: dict[str, str]) -> str:
        """Return what it says."""
        script = (ROOT / "tests/programs.sh").read_text(encoding="utf-8").replace("$PATH:/usr/sbin:/sbin", "$PATH")
        done = subprocess.run(
            [str(shutil.which("bash")), "-c", script], env=environ, capture_output=True, text=True, check=True
        )
        return done.stdout

    def test_told_not_to(self, bare: dict[str, str]) -> None:
        """R1_INSTALL=no lists what is missing and installs nothing."""
        said = self.installs({**bare, "R1_INSTALL": "no"})
        assert said.startswith("== R1_INSTALL=no: bubblewrap chromium fonts-dejavu-core")
        assert "slurm-wlm not installed" in said

    def test_it_says_so_before(self, bare: dict[str, str], tmp_path: Path) -> None:
        """The script prints what it will install first, and a failing apt-get does not fail the suite."""
        for name, line in {"apt-get": "echo no network >&2; exit 100", "sudo": 'shift; exec "$@"'}.items():
            (tmp_path / name).write_text(f"#!/bin/bash\n{line}\n")
            (tmp_path / name).chmod(0o755)
        first, second = self.installs({**bare, "PATH": f"{tmp_path}:{bare['PATH']}"}).splitlines()
        assert first.startswith("== installing bubblewrap chromium fonts-dejavu-core")
        assert second.startswith("== apt-get failed: no network; ")

    def test_where_it_may_not(self, bare: dict[str, str], tmp_path: Path) -> None:
        """Without root and sudo the script reports that it may not install, and goes on."""
        for name, line in {"id": "echo 1000", "sudo": "exit 1"}.items():
            (tmp_path / name).write_text(f"#!/bin/bash\n{line}\n")
            (tmp_path / name).chmod(0o755)
        assert self.installs({**bare, "PATH": f"{tmp_path}:{bare['PATH']}"}).startswith("== may not install bubblewrap")
