"""The GitHub files: safe for forks by their structure, and the action's step run for real."""

from __future__ import annotations

import re
import subprocess
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.ci_files import loaded, ran, steps_of
from tests.documents import OWNER, ROOT
from tests.recordings import record_run

FOLDERS = (".github/workflows", "examples/github", "examples/release")
WORKFLOWS = [path for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.yml"))]
KEYS_OF_TRACKERS = (
    "WANDB_API_KEY", "TRACKIO_WRITE_TOKEN", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD", "DATABRICKS_TOKEN",
    "DATABRICKS_CLIENT_SECRET",
)  # fmt: skip
POLICY = """
max-new-tokens = 64
samples = 16
baseline = "local/base"
[benchmarks.smoke]
tier = "critical"
"""
EVERYTHING = [*WORKFLOWS, ROOT / "action.yml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
class TestWorkflows:
    """What GitHub would let slip."""

    def test_nobody_elses_code_meets_a_writing_token(self, path: Path) -> None:
        """Workflows have no pull_request_target, only read contents, and run once at a time."""
        content = loaded(path)
        events = content[True]
        assert "pull_request_target" not in events
        assert content["permissions"] == {"contents": "read"}
        assert content["concurrency"]["group"]

    def test_a_pull_request_gets_no_secret(self, path: Path) -> None:
        """A workflow that pull requests start uses no secrets."""
        if "pull_request" in loaded(path)[True]:
            assert "secrets." not in path.read_text(encoding="utf-8")

    def test_checkouts_leave_no_token_behind(self, path: Path) -> None:
        """A checkout keeps no token for the steps after it, which run a model's programs."""
        for step in steps_of(path):
            if str(step.get("uses", "")).startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False

    def test_a_red_gates_run_is_kept(self, path: Path) -> None:
        """A workflow keeps the run of a red gate, whose samples cost GPU hours."""
        kept = [step for step in steps_of(path) if "upload-artifact" in str(step.get("uses", ""))]
        if path.name not in {"ci.yml", "image.yml", "release.yml"}:
            assert kept
            assert all(str(step["if"]).startswith("always()") for step in kept)
            assert all(step["with"]["overwrite"] is True for step in kept), "a second attempt could not keep its own"


def test_ci_runs_what_a_reader_is_told_of() -> None:
    """`.ci/run` consists of make's targets, each with its help and its place in README or CONTRIBUTING."""
    told = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md"))
    helped = re.findall(r"^([a-z-]+):.* ## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    lines = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    commands = [line.partition(" #")[0] for line in lines[lines.index('cd "$(dirname "$0")/.."') + 1 :]]
    matches = [
        re.fullmatch(r"(?:mkdir -p data && )?make ([a-z-]+)(?: \| tee data/demo\.txt)?", line) for line in commands
    ]
    targets = [match[1] for match in matches if match is not None]
    assert len(targets) == len(commands) >= 5
    assert all(target in helped and f"`make {target}`" in told for target in targets if target != "demo")
    assert "\nmake demo\n" in told


def test_ci_runs_on_every_python_that_the_package_names() -> None:
    """CI checks every Python of the classifiers, and runs the whole suite on 3.11 and 3.12."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    versions = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    jobs = loaded(ROOT / ".github/workflows/ci.yml")["jobs"]
    pythons = {name: job["strategy"]["matrix"]["python"] for name, job in jobs.items() if "strategy" in job}
    assert pythons == {"check": versions, "test": ["3.11", "3.12"]}
    assert project["requires-python"] == f">={versions[0]}"


class TestRelease:
    """What a tag starts."""

    JOBS: ClassVar[dict[str, Any]] = loaded(ROOT / ".github/workflows/release.yml")["jobs"]

    def test_what_may_write_runs_no_code_of_the_repository(self) -> None:
        """A job with more than a reading token takes the built files, and runs pinned actions, or git, alone."""
        writing = {name: job for name, job in self.JOBS.items() if "permissions" in job}
        assert {name: job["permissions"] for name, job in writing.items()} == {
            "attest": {"id-token": "write", "attestations": "write"},
            "publish": {"id-token": "write"},
            "documentation": {"contents": "write"},
        }
        for name, job in writing.items():
            commands = [line for step in job["steps"] for line in step.get("run", "").splitlines()]
            assert all(line.startswith("git ") for line in commands)
            assert (name == "documentation") == bool(commands)

    def test_what_is_published_was_checked_and_attested(self) -> None:
        """A release is built and checked, then attested, then published."""
        assert [self.JOBS[name].get("needs") for name in ("build", "attest", "publish")] == [None, "build", "attest"]
        assert [step["run"] for step in self.JOBS["build"]["steps"] if "run" in step][:2] == [
            "make check",
            "make wheel-test",
        ]

    def test_no_token_is_stored(self) -> None:
        """The release uses no stored token and publishes from the environment `pypi`."""
        assert "secrets." not in (ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8")
        assert self.JOBS["publish"]["environment"] == "pypi"

    def test_the_version_is_written_once(self) -> None:
        """The version is written in pyproject.toml and not in the code; citation and changelog repeat it."""
        version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
        assert loaded(ROOT / "CITATION.cff")["version"] == version
        headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
        assert headings[:2] == ["Unreleased", version]
        assert f"pytest-r1eval@v{version}" in (ROOT / "examples/github/nightly.yml").read_text(encoding="utf-8")
        sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "pytest_r1eval").rglob("*.py"))
        assert f'"{version}"' not in sources

    def test_the_changelog_keeps_its_headings(self) -> None:
        """The changelog has only the headings of Keep a Changelog."""
        kinds = re.findall(r"^### (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
        assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_commits_are_checked_as_make_check_checks() -> None:
    """Each hook of pre-commit is a command of `make check`."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (repository,) = loaded(ROOT / ".pre-commit-config.yaml")["repos"]
    commands = [str(hook["entry"]).removeprefix(".venv-check/bin/") for hook in repository["hooks"]]
    assert len(commands) == 5
    assert all(f"$(1)/{command}" in makefile for command in commands)


def test_another_label_cancels_no_gate() -> None:
    """A gate is cancelled only by a newer one of its own label."""
    content = loaded(ROOT / ".github/workflows/gate.yml")
    assert content["concurrency"]["cancel-in-progress"] is True
    assert "github.event.label.name" in content["concurrency"]["group"]


def test_a_slice_is_of_this_run_alone() -> None:
    """A slice is written to the runner's temporary folder, so that an older one is not merged with it."""
    steps = loaded(ROOT / "examples/github/slices.yml")["jobs"]["draw"]["steps"]
    assert steps[0]["env"]["R1_OUTPUT_DIR"] == steps[1]["with"]["path"] == "${{ runner.temp }}/slice"


@pytest.mark.parametrize("path", EVERYTHING, ids=lambda path: path.name)
def test_others_actions_are_pinned_to_a_commit(path: Path) -> None:
    """Actions of others are pinned to a commit, because a tag can be moved."""
    for step in steps_of(path):
        uses = step.get("uses")
        if uses is not None and uses != "./" and not uses.startswith(f"{OWNER}/"):
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", uses), uses


@pytest.mark.parametrize("path", EVERYTHING, ids=lambda path: path.name)
def test_no_input_is_pasted_into_a_script(path: Path) -> None:
    """No workflow or action pastes an expression into a script."""
    for step in steps_of(path):
        assert "${{" not in str(step.get("run", "")), step


@pytest.mark.parametrize("path", EVERYTHING, ids=lambda path: path.name)
def test_no_step_that_draws_or_grades_sees_a_token(path: Path) -> None:
    """A step that runs pytest or merges slices has no token in its environment."""
    for step in steps_of(path):
        if re.search(r"^\s*(pytest|r1eval merge)", str(step.get("run", "")), re.MULTILINE):
            assert "secrets." not in str(step.get("env", {}))
            assert "inputs.token" not in str(step.get("env", {}))


class TestAction:
    """The gate's step as the runner would start it."""

    @staticmethod
    def run(tmp_path: Path, model: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
        """Run the step's script; return its exit code, its output and what it hands on."""
        (gate, _, _) = steps_of(ROOT / "action.yml")
        outputs = tmp_path / "outputs"
        outputs.touch()
        environ = {
            "R1_MODEL": str(model),
            "R1_BASELINE": "",
            "R1_GATE": "fixed",
            "R1_OUTPUT_DIR": "data/evals",
            "BENCHMARKS": "smoke",
            "WORKERS": "2",
            "ARGUMENTS": " ".join(["--r1-engine replay", *arguments]),
            "GITHUB_OUTPUT": str(outputs),
            **variables,
        }
        done = ran(gate["run"], environ, folder=tmp_path)
        return done.returncode, done.stdout + done.stderr, outputs.read_text()

    def test_the_exit_code_is_the_gates_and_the_run_is_handed_on(self, tmp_path: Path) -> None:
        """The action ends with the gate's exit code and hands the run on."""
        base = record_run(tmp_path / "base", seed=1)
        code, printed, outputs = self.run(tmp_path, base, "--r1-save-baseline local/base")
        assert code == 0, printed
        assert re.fullmatch(r"run=data/evals/local/toy/\S+\n", outputs)
        fallen = record_run(tmp_path / "fallen", seed=2, weights="w2", solve_rate=0.05)
        code, printed, outputs = self.run(tmp_path, fallen, "--r1-baseline local/base")
        assert code == 1, printed
        assert "FAIL_REGRESSED" in printed
        assert outputs.count("run=data/evals/local/toy/") == 2

    def test_a_policy_has_its_own_gates(self, tmp_path: Path) -> None:
        """By default the gate is sequential, and that of the release policy where there is one."""
        assert loaded(ROOT / "action.yml")["inputs"]["gate"]["default"] == "auto"
        base = record_run(tmp_path / "base", seed=1, n_samples=16)
        code, printed, _ = self.run(tmp_path, base, "--r1-save-baseline local/base")
        assert code == 0, printed
        same = record_run(tmp_path / "same", seed=2, n_samples=16)
        code, printed, _ = self.run(tmp_path, same, "--r1-baseline local/base", R1_GATE="auto")
        assert (code, "sequential" in printed) == (0, True), printed
        (tmp_path / "policy.toml").write_text(POLICY, encoding="utf-8")
        given = {"R1_GATE": "auto", "BENCHMARKS": "release"}
        for arguments, policy in (("--r1-policy policy.toml", ""), ("", "policy.toml")):
            code, printed, _ = self.run(tmp_path, same, arguments, R1_POLICY=policy, **given)
            assert (code, "release: SHIP" in printed) == (0, True), printed

    def test_arguments_may_stand_on_several_lines(self, tmp_path: Path) -> None:
        """The action passes arguments on from every line."""
        base = record_run(tmp_path / "base", seed=1)
        code, printed, _ = self.run(tmp_path, base, "--r1-save-baseline\n  local/base\n--no-such-option\n")
        assert (code, "--no-such-option" in printed) == (4, True), printed

    def test_a_run_from_before_is_not_this_ones(self, tmp_path: Path) -> None:
        """The action hands on no earlier run where nothing was drawn."""
        self.run(tmp_path, record_run(tmp_path / "base", seed=1), "--r1-save-baseline local/base")
        (tmp_path / "outputs").unlink()
        code, _, outputs = self.run(tmp_path, tmp_path / "nowhere")
        assert (code, outputs) == (4, "run=\n")

    def test_an_input_is_data(self, tmp_path: Path) -> None:
        """A benchmark's name that is a command selects nothing and runs nothing."""
        code, _, outputs = self.run(tmp_path, tmp_path / "$(touch run)")
        assert (code, outputs, (tmp_path / "run").exists()) == (4, "run=\n", False)


class TestComment:
    """The action's step that may write."""

    def test_the_writing_token_is_in_its_step_alone(self) -> None:
        """The comment's token is in the environment of the step that comments, and that step runs after a red gate."""
        steps = steps_of(ROOT / "action.yml")
        with_token = [step for step in steps if "inputs.comment-token" in str(step.get("env", {}))]
        (comment,) = with_token
        assert comment["name"] == "Comment on the pull request"
        assert comment["if"].startswith("always() && inputs.comment-token != ''")
        assert not re.search(r"\bpytest\b", comment["run"])

    def test_by_default_nothing_is_written(self) -> None:
        """Without its token there is no comment, so that a workflow with a reading token needs no change."""
        assert loaded(ROOT / "action.yml")["inputs"]["comment-token"]["default"] == ""


class TestGitLab:
    """The template of GitLab CI, its script run as a runner does."""

    JOB: ClassVar[dict[str, Any]] = loaded(ROOT / "examples/gitlab/r1eval.yml")[".r1eval"]

    def run(self, folder: Path, model: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the job's script with its variables."""
        own = {name: str(value) for name, value in self.JOB["variables"].items()}
        given = {"R1_MODEL": str(model), "R1_ENGINE": "replay", "HF_TOKEN": "hf_secret", "R1_GATE": "fixed"}
        return ran("\n".join(self.JOB["script"]), own | given | variables, folder=folder)

    def test_a_job_ends_as_its_gate_and_leaves_its_reports(self, tmp_path: Path) -> None:
        """The job has the gate's exit code, and JUnit and metrics where the template says that they are."""
        base = record_run(tmp_path / "base", seed=1)
        first = self.run(tmp_path, base, R1EVAL_ARGUMENTS="--r1-save-baseline local/base")
        assert first.returncode == 0, first.stdout
        fallen = record_run(tmp_path / "fallen", seed=2, weights="w2", solve_rate=0.05)
        red = self.run(tmp_path, fallen, R1_BASELINE="local/base")
        assert red.returncode == 1
        reports = self.JOB["artifacts"]["reports"]
        suites = ET.parse(tmp_path / reports["junit"]).getroot()  # noqa: S314 - our own file
        (failure,) = suites.iter("failure")
        assert str(failure.get("message")).startswith("smoke: FAIL_REGRESSED. pass@1 is ")
        metrics = (tmp_path / reports["metrics"]).read_text()
        assert 'r1eval_passes{benchmark="smoke",model="local/toy"} 0.0' in metrics
        assert all((tmp_path / path).exists() for path in self.JOB["artifacts"]["paths"])

    def test_a_policy_has_its_own_gates(self, tmp_path: Path) -> None:
        """By default the gate is sequential, and that of the release policy where there is one."""
        base = record_run(tmp_path / "base", seed=1, n_samples=16)
        self.run(tmp_path, base, R1EVAL_ARGUMENTS="--r1-save-baseline local/base")
        same = record_run(tmp_path / "same", seed=2, n_samples=16)
        auto = {"R1_GATE": self.JOB["variables"]["R1_GATE"]}
        done = self.run(tmp_path, same, R1_BASELINE="local/base", **auto)
        assert (done.returncode, "sequential" in done.stdout) == (0, True), done.stdout
        (tmp_path / "policy.toml").write_text(POLICY, encoding="utf-8")
        done = self.run(tmp_path, same, R1EVAL_BENCHMARKS="release", R1_POLICY="policy.toml", **auto)
        assert (done.returncode, "release: SHIP" in done.stdout) == (0, True), done.stdout + done.stderr

    def test_the_run_is_kept_whatever_the_verdict(self) -> None:
        """The run of a red gate is an artifact, and the ledger is cached."""
        assert self.JOB["artifacts"]["when"] == self.JOB["cache"]["when"] == "always"
        assert self.JOB["variables"]["R1_OUTPUT_DIR"] in self.JOB["artifacts"]["paths"]
        assert self.JOB["cache"]["paths"] == [self.JOB["variables"]["R1_OUTPUT_DIR"]]

    def test_no_secret_of_the_project_meets_a_models_programs(self, tmp_path: Path) -> None:
        """The gate's script drops secrets, which GitLab puts before a job's own variables."""
        (tmp_path / "seen.py").write_text(
            "import os\n\ndef pytest_report_header():\n"
            "    seen = [name for name, value in os.environ.items() if value == 'a-secret']\n"
            "    return f'sees {seen or None}'\n"
        )
        secrets = dict.fromkeys(("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", *KEYS_OF_TRACKERS), "a-secret")
        given = {**secrets, "PYTHONPATH": str(tmp_path), "R1EVAL_ARGUMENTS": "-p seen"}
        done = self.run(tmp_path, record_run(tmp_path / "base", seed=1), **given)
        assert "sees None" in done.stdout, done.stdout
