"""Where the tests of a module are, and what they may import."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "pytest_r1eval"
MODULES = sorted(TESTS.rglob("*.py"))
SPANNING = frozenset(
    {
        "commands/test_json.py",  # --json of every command
        "exams/test_smoke_code.py",  # the benchmark from its task to its verdict
        "judging/test_anchor.py",  # a second baseline, from the option to the page
        "judging/test_ungraded.py",  # grades that failed, from the run to the verdict
        "plugin/test_faults.py",  # what a run survives
        "plugin/test_judge_only.py",  # a stored run, option by option
        "plugin/test_releases.py",  # a policy, from its file to the exit code
        "plugin/test_plugin.py",  # the main job as a user sees it
        "runs/test_foreign_runs.py",  # files from elsewhere, whatever reads them
        "sandbox/test_attacks.py",  # every level of the sandbox
        "sandbox/test_seccomp.py",  # the filter, under an interpreter of its own
        "scoring/test_hostile_answers.py",  # through the scoring processes to the verdict
        "stats/test_calibration.py",  # error rates of whole gates
        "stats/test_real_samples.py",  # error rates on samples of a real model
    }
)
"""Tests of a behaviour that several modules have a part in; every other module of tests is named after its own."""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(TESTS)))
def test_no_test_is_imported(path: Path) -> None:
    """No module of tests imports another one."""
    assert not re.findall(r"^\s*(?:from|import) tests[\w.]*\.test_\w+", path.read_text(encoding="utf-8"), re.MULTILINE)


def test_tests_mirror_the_package() -> None:
    """A folder of tests is a package's, and a module of tests is named after the module, or is listed here."""
    found = {path.relative_to(TESTS) for path in TESTS.glob("*/test_*.py")}
    of_packages = {path for path in found if path.parent.name not in {"cloud", "e2e", "plugins"}}
    mirrored = {
        path
        for path in of_packages
        for name in [PACKAGE / path.parent / path.stem.removeprefix("test_")]
        if name.is_dir() or name.with_suffix(".py").is_file()
    }
    assert {str(path) for path in of_packages - mirrored} == SPANNING
