"""Which rootdir and ini file count: those of the user's folder, however an option's path is spelled."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.judged_runs import judged
from tests.recordings import record_run

IDS = {"r1eval.smoke.pass@1", "r1eval.smoke.health"}


@pytest.fixture
def repo(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a repository with a baseline, and models and data beside it below ini files of their own; stand in it."""
    for place in ("models", "other"):
        _write(pytester.path / place / "pytest.ini", "[pytest]\nr1_sigmas = 30\n")
        _write(pytester.path / place / "conftest.py", "raise RuntimeError('a stranger')\n")
    (pytester.path / "other" / "data").mkdir()
    record_run(pytester.path / "models" / "base", n_problems=40, n_samples=16, seed=1)
    record_run(pytester.path / "models" / "cand", n_problems=40, n_samples=16, seed=2, weights="w2", solve_rate=0.45)
    repo = pytester.path / "repo"
    (repo / "sub").mkdir(parents=True)
    _write(repo / "conftest.py", "def pytest_report_header(): return 'the right conftest'\n")
    monkeypatch.chdir(repo)
    judged(pytester.path / "models" / "base", root=repo)
    _write(repo / "pytest.ini", "[pytest]\nr1_baseline = local/toy\n")
    return repo


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _judge(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess(
        "--r1-engine=replay", "-m", "smoke", "-p", "no:cacheprovider", "-p", "no:randomly", *arguments
    )


def _listed(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Collect alone: rootdir and ini file are in pytest's header."""
    return _judge(pytester, "--r1-model=../models/cand", "--collect-only", *arguments)


def _junit_names(path: Path) -> set[str]:
    suite = ET.parse(path).getroot()[0]  # noqa: S314 - our own file
    return {f"{case.get('classname')}.{case.get('name')}" for case in suite}


class TestIniFile:
    @pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "n2"])
    @pytest.mark.parametrize("model", [("--r1-model", "../models/cand"), ("--r1-model=../models/cand",)])
    def test_repository_is_read_in_both_spellings(
        self, pytester: pytest.Pytester, repo: Path, model: tuple[str, ...], workers: tuple[str, ...]
    ) -> None:
        """The user's repository decides about baseline and ids, in both spellings of --r1-model."""
        result = _judge(pytester, *model, *workers, "--junitxml=gate.xml", "-rA")
        assert result.ret == 1
        result.stdout.fnmatch_lines(["smoke * FAIL_REGRESSED", "FAILED r1eval::smoke::pass@1 *"])
        assert "../r1eval" not in result.stdout.str()
        assert _junit_names(repo / "gate.xml") >= IDS

    @pytest.mark.parametrize(
        "arguments",
        [
            ("--r1-data", "../other/data"),
            ("--r1-baseline", "../other/pytest.ini"),
            ("--r1-tasks", "../other/tasks.py"),
            ("-p", "pytest_cov", "--cov", "../other/data"),
        ],
    )
    @pytest.mark.usefixtures("repo")
    def test_value_of_an_option_is_no_test_path(self, pytester: pytest.Pytester, arguments: tuple[str, ...]) -> None:
        """The path behind any option moves neither rootdir nor ini file."""
        _write(pytester.path / "other" / "tasks.py", "TASKS_TABLE = []\n")
        result = _listed(pytester, *arguments)
        result.stdout.fnmatch_lines([f"rootdir: {pytester.path}/repo", "configfile: pytest.ini"])
        result.stdout.fnmatch_lines(["the right conftest"])

    def test_addopts_and_plugins_are_those_of_the_repository(self, pytester: pytest.Pytester, repo: Path) -> None:
        """The repository's addopts, plugins, python path and conftest are used, and another folder's are not."""
        _write(
            repo / "pytest.ini",
            "[pytest]\npythonpath = lib\naddopts = --r1-model ../models/cand -n2 -p the_plugin -rA\n"
            "r1_baseline = local/toy\n",
        )
        _write(repo / "lib/the_plugin.py", "def pytest_report_header(): return 'the plugin'\n")
        _write(pytester.path / "other/pytest.ini", "[pytest]\npythonpath = .\naddopts = --collect-only --tb=no -q\n")
        result = _judge(pytester, "--r1-data", "../other/data")
        assert result.ret == 1
        result.stdout.fnmatch_lines(
            ["*the plugin*", "PASSED r1eval::smoke?shard 2/2?", "FAILED r1eval::smoke::pass@1 *"]
        )

    @pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "n2"])
    @pytest.mark.parametrize(
        "named", ["r1_model = ../models/cand", "addopts = --r1-model ../models/cand"], ids=["ini", "addopts"]
    )
    def test_a_model_of_the_ini_file_alone_is_judged(
        self, pytester: pytest.Pytester, repo: Path, named: str, workers: tuple[str, ...]
    ) -> None:
        """A model that the ini file alone names is judged, even beside another plugin's option with a folder."""
        _write(repo / "pytest.ini", f"[pytest]\nr1_engine = replay\nr1_baseline = local/toy\n{named}\n")
        _write(repo / "test_mine.py", "def test_mine(): pass\n")
        result = pytester.runpytest_subprocess(
            *("-m", "smoke or not r1eval", "-p", "no:cacheprovider", "-p", "pytest_cov", "--cov", "../other/data"),
            *workers,
        )
        assert result.ret == 1
        result.stdout.fnmatch_lines(["smoke * FAIL_REGRESSED", "FAILED r1eval::smoke::pass@1 *"])

    def test_a_run_that_judges_nothing_is_left_to_pytest(self, pytester: pytest.Pytester, repo: Path) -> None:
        """A pytest run that judges nothing keeps the rootdir that pytest finds."""
        result = pytester.runpytest_subprocess("--collect-only", "-p", "pytest_cov", "--cov", "../other/data")
        result.stdout.fnmatch_lines([f"rootdir: {repo.parent}/other"])

    @pytest.mark.usefixtures("repo")
    def test_plugin_of_a_stranger_takes_no_part(self, pytester: pytest.Pytester) -> None:
        """A plugin that another folder's ini file loads takes no part in the run."""
        _write(
            pytester.path / "models/theirs.py",
            "def pytest_report_header(): raise RuntimeError('theirs')\n",
        )
        _write(pytester.path / "models/pytest.ini", "[pytest]\npythonpath = .\naddopts = -p theirs -p pytester\n")
        result = _judge(pytester, "--r1-model", "../models/cand", "--collect-only")
        assert result.ret == 0
        result.stdout.fnmatch_lines(["configfile: pytest.ini", "*ShardItem smoke*"])

    def test_repository_without_an_ini_file_has_none(self, pytester: pytest.Pytester, repo: Path) -> None:
        """A repository without an ini file does not use another folder's."""
        (repo / "pytest.ini").unlink()
        result = _judge(pytester, "--r1-model", "../models/cand", "--r1-baseline", "local/toy")
        result.stdout.fnmatch_lines([f"rootdir: {repo}", "smoke * FAIL_REGRESSED"])
        assert "configfile" not in result.stdout.str()

    def test_explicit_choices_win(self, pytester: pytest.Pytester, repo: Path) -> None:
        """`-c`, `--rootdir` and a test path decide about rootdir and ini file."""
        _write(repo / "other.ini", "[pytest]\n")
        _write(pytester.path / "third/pytest.ini", "[pytest]\n")
        _write(pytester.path / "third/test_third.py", "def test_third(): pass\n")
        model = ("--r1-model", "../models/cand", "--collect-only")
        _judge(pytester, *model, "-c", "other.ini").stdout.fnmatch_lines(["configfile: other.ini"])
        _judge(pytester, *model, "--rootdir=sub").stdout.fnmatch_lines([f"rootdir: {repo}/sub"])
        _judge(pytester, *model, "../third").stdout.fnmatch_lines([f"rootdir: {pytester.path}/third"])

    def test_environment_is_read_like_the_command_line(
        self, pytester: pytest.Pytester, repo: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """PYTEST_ADDOPTS may name the model in two words, too."""
        monkeypatch.setenv("PYTEST_ADDOPTS", "--r1-model ../models/cand")
        _judge(pytester, "--collect-only").stdout.fnmatch_lines([f"rootdir: {repo}", "configfile: pytest.ini"])


class TestIds:
    def test_ids_are_the_same_in_every_folder(
        self, pytester: pytest.Pytester, repo: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Terminal and JUnit print the same ids in a subfolder as in the repository's root."""
        monkeypatch.chdir(repo / "sub")
        result = _judge(pytester, "--r1-model", "../../models/cand", "--junitxml=gate.xml", "-rA", "-vv")
        result.stdout.fnmatch_lines(["r1eval::smoke?shard 1/1? PASSED*", "FAILED r1eval::smoke::pass@1 *"])
        assert "../r1eval" not in result.stdout.str()
        assert _junit_names(repo / "sub/gate.xml") >= IDS


class TestRefusal:
    @pytest.mark.usefixtures("repo")
    def test_blocked_plugin_of_a_stranger_is_refused(self, pytester: pytest.Pytester) -> None:
        """A foreign ini file that blocked a plugin is refused in one line with the spelling that avoids it."""
        _write(pytester.path / "models/pytest.ini", "[pytest]\naddopts = -p no:doctest\n")
        result = _judge(pytester, "--r1-model", "../models/cand")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(
            ["ERROR: *-p no:doctest of that file took effect already; write --r1-model=../models/cand, *"]
        )
        assert "Traceback" not in result.stderr.str() + result.stdout.str()

    def test_plugin_that_comes_too_late_refuses(
        self, pytester: pytest.Pytester, repo: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A plugin that a conftest loads too late for the ini file is refused, with the joined spelling to write."""
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        monkeypatch.delenv("PYTEST_PLUGINS", raising=False)
        _write(repo / "conftest.py", "pytest_plugins = ['pytest_r1eval.plugin']\n")
        _write(repo / "models/pytest.ini", "[pytest]\n")
        (pytester.path / "models/cand").rename(repo / "models/cand")
        result = pytester.runpytest_subprocess(
            *("--r1-model", "models/cand", "--r1-engine=replay", "-m", "smoke", "--confcutdir=.")
        )
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["ERROR: *too late*write --r1-model=models/cand, *"])
