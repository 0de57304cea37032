"""A gate from Python is the gate of the command line: same run, same verdict, same refusals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

import pytest_r1eval
from pytest_r1eval.config.option import Option
from pytest_r1eval.config.options import OPTIONS
from pytest_r1eval.core.lineage import Lineage
from pytest_r1eval.errors import EvaluationError, PlanError
from pytest_r1eval.evaluation.process import arguments_of, evaluate
from pytest_r1eval.reports.run_report import RunReport
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import FILE_NAME
from pytest_r1eval.stats.verdicts import Verdict
from tests.processes import PIDS, TIMEOUT_S, n_stored, run_of, wait_for_none_with, wait_for_samples
from tests.recordings import record_run

SLOW = {"delay_s": 1.0, "n_concurrent": 1}
"""Twenty-four seconds for 96 samples, four of which are one request."""
PROBE = """
import json, os
from pathlib import Path
def pytest_sessionstart(session):
    Path("environment.json").write_text(json.dumps(dict(os.environ)))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with a recorded run, its baseline, and a worse run; stand in it."""
    monkeypatch.chdir(tmp_path)
    record_run(tmp_path / "base", seed=1)
    record_run(tmp_path / "good", seed=3)
    record_run(tmp_path / "worse", weights="w2", seed=2, solve_rate=0.1)
    return tmp_path


def judged(model: str, *, baseline: str = "base") -> RunReport:
    """Judge a recorded run against another."""
    return evaluate(model, ["smoke"], engine="replay", baseline=baseline)


CALLER = (
    "import signal, pytest_r1eval\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs ignore it
    "pytest_r1eval.evaluate('good', ['smoke'], workers=2, engine='replay', baseline='base',"
    " engine_arg={'delay_s': 1.0, 'n_concurrent': 1})\n"
)
"""A script that judges for minutes."""


class TestReport:
    def test_green(self, folder: Path) -> None:
        """`evaluate()` returns the report of a passing run, which keeps the lineage that was given."""
        report = pytest_r1eval.evaluate(
            model="good", benchmarks=["smoke"], engine="replay", baseline="base", lineage={"step": 3, "commit": "abc"}
        )
        assert isinstance(report, pytest_r1eval.RunReport)
        assert report.passes
        assert report["smoke"].verdict is Verdict.PASS
        assert report["smoke"].result.judgement.z == pytest.approx(-1.28, abs=0.005)
        assert report.run.parents[3] == folder / "data"
        assert report.header.lineage == Lineage(step=3, commit="abc")

    def test_red_is_a_report_and_no_error(self, folder: Path) -> None:
        """`evaluate()` returns a report for a run that fails, and raises nothing."""
        report = evaluate(folder / "worse", ["smoke"], workers=2, engine="replay", baseline="base")
        assert not report.passes
        assert report.exit_code == 1
        assert report["smoke"].verdict is Verdict.FAIL_REGRESSED

    def test_reports_that_were_asked_for_are_written(self, folder: Path) -> None:
        """`evaluate()` writes the reports that it is asked for."""
        evaluate("good", ["smoke"], engine="replay", baseline="base", report=[folder / "gate.md"])
        assert (folder / "gate.md").read_text().startswith("#")

    def test_nothing_is_printed(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        """`evaluate()` prints nothing, so that a notebook shows the report alone."""
        assert folder == Path.cwd()
        judged("good")
        assert capfd.readouterr() == ("", "")


class TestSeveral:
    def test_each_has_a_run_of_its_own_in_one_process(self, folder: Path) -> None:
        """Several checkpoints are judged in their order, in one process, each with its own run and its own verdict."""
        (folder / "conftest.py").write_text(PIDS)
        passed, fell = evaluate(["good", folder / "worse"], ["smoke"], engine="replay", baseline="base")
        assert (passed["smoke"].verdict, fell["smoke"].verdict) == (Verdict.PASS, Verdict.FAIL_REGRESSED)
        assert len({passed.run, fell.run, *folder.glob(f"data/evals/*/*/*/{FILE_NAME}")}) == 4
        assert passed["smoke"].result.judgement.z == pytest.approx(-1.28, abs=0.005)  # as alone, above
        pids = (folder / "pids").read_text().split()
        assert len(pids) == 2
        assert len({*pids, str(os.getpid())}) == 2

    def test_workers_are_started_for_each(self, folder: Path) -> None:
        """With `workers`, each run of several starts workers of its own, beside the process of them all."""
        (folder / "conftest.py").write_text(PIDS)
        passed, fell = evaluate(["good", "worse"], ["smoke"], workers=2, engine="replay", baseline="base")
        assert (passed.exit_code, fell.exit_code) == (0, 1)
        pids = Counter((folder / "pids").read_text().split())
        assert sorted(pids.values()) == [1, 1, 1, 1, 2]

    def test_one_without_a_verdict_leaves_the_others_theirs(self, folder: Path) -> None:
        """A checkpoint that cannot be judged is named with pytest's reason after all others are judged."""
        words = r"1 of 3 checkpoints have no verdict; nowhere: .*exit code 4\): no run at nowhere"
        with pytest.raises(EvaluationError, match=words):
            evaluate(["good", "nowhere", "worse"], ["smoke"], engine="replay", baseline="base")
        assert len([*folder.glob(f"data/evals/*/*/*/{FILE_NAME}")]) == 2

    def test_a_session_that_dies_takes_no_other_along(self, folder: Path) -> None:
        """The next checkpoint has a process of its own after one was killed."""
        (folder / "conftest.py").write_text(
            "import os, signal\n"
            "def pytest_sessionstart(session):\n"
            "    if session.config.option.r1_model.endswith('good'):\n"
            "        os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        with pytest.raises(EvaluationError, match=r"1 of 2 checkpoints have no verdict; .*good: .*exit code -9"):
            evaluate(["good", "worse"], ["smoke"], engine="replay", baseline="base")
        assert len([*folder.glob(f"data/evals/*/*/*/{FILE_NAME}")]) == 1

    def test_a_users_strict_warnings_do_not_end_it(self, folder: Path) -> None:
        """A project that turns warnings into errors gets the verdicts all the same."""
        (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
        assert [one.exit_code for one in evaluate(["good", "worse"], ["smoke"], engine="replay", baseline="base")] == [
            0,
            1,
        ]

    def test_none_is_refused(self) -> None:
        """An empty list is refused before anything is started."""
        with pytest.raises(PlanError, match="no checkpoint"):
            evaluate([], ["smoke"])

    def test_one_that_takes_too_long_is_stopped_alone(self, folder: Path) -> None:
        """A run beyond the time limit is stopped, and the next one has the same time from its own start."""
        words = r"2 of 2 checkpoints have no verdict; .*good: .* stopped after 6 s .*worse: .* stopped after 6 s "
        with pytest.raises(EvaluationError, match=words):
            evaluate(["good", "worse"], ["smoke"], timeout_s=6, engine="replay", baseline="base", engine_arg=SLOW)
        assert folder == Path.cwd()


class TestSurroundings:
    def test_no_part_of_a_training_reaches_it(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The gate's process gets neither a training's variables nor this pytest's options, and only the given GPUs."""
        (folder / "conftest.py").write_text(PROBE)
        for name in ("RANK", "WORLD_SIZE", "ACCELERATE_USE_FSDP", "DEEPSPEED_ZERO_STAGE", "SLURM_JOB_ID"):
            monkeypatch.setenv(name, "1")
        monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
        evaluate("good", ["smoke"], engine="replay", baseline="base", gpus=[6, 7])
        seen = json.loads((folder / "environment.json").read_text())
        assert not {"RANK", "WORLD_SIZE", "ACCELERATE_USE_FSDP", "DEEPSPEED_ZERO_STAGE", "SLURM_JOB_ID"} & {*seen}
        assert seen["CUDA_VISIBLE_DEVICES"] == "6,7"

    def test_own_options_of_pytest_in_an_ini_file_stay_out(self, folder: Path) -> None:
        """A project's own addopts do not reach the gate."""
        (folder / "pytest.ini").write_text("[pytest]\naddopts = --maxfail=1 --no-such-option\n")
        assert judged("good").passes


class TestOptions:
    @pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
    def test_every_option_of_a_whole_run_is_a_keyword(self, option: Option) -> None:
        """Every option of a whole run is a keyword of `evaluate()`; those of checkpoint and part are not."""
        value = True if option.is_flag else {"x": 1} if option.is_repeatable else "x"
        if option.subject in {"checkpoint", "part"}:
            with pytest.raises(TypeError, match=f"no option '{option.keyword}'"):
                arguments_of({option.keyword: value})
        else:
            (argument,) = arguments_of({option.keyword: value})
            assert argument.partition("=")[0] == option.flag

    def test_values_become_arguments(self) -> None:
        """Mappings repeat an option, True is a flag, False and None are left out, and a text of digits stays text."""
        assert arguments_of(
            {
                "samples": {"aime24": 4, "gpqa": 2},
                "engine_arg": {"max_num_seqs": 8, "name": "1"},
                "exact": True,
                "two_sided": False,
                "seed": None,
                "report": ["a.md"],
                "margin": 1.5,
            }
        ) == [
            *("--r1-samples=aime24=4", "--r1-samples=gpqa=2", "--r1-engine-arg=max_num_seqs=8"),
            *('--r1-engine-arg=name="1"', "--r1-exact", "--r1-report=a.md", "--r1-margin=1.5"),
        ]

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"sigma": 3}, r"no option 'sigma'; expected some of revision, .*, sigmas, "),
            ({"judge_only": "run"}, "no option 'judge_only'"),
            ({"exact": "yes"}, "exact is 'yes'; expected True or False"),
            ({"samples": "aime24=4"}, "samples is 'aime24=4'; expected a mapping or a list"),
        ],
    )
    def test_others_are_refused(self, options: dict[str, object], words: str) -> None:
        """A keyword of no option is refused before anything is started."""
        with pytest.raises(TypeError, match=words):
            arguments_of(options)


class TestRefusals:
    def test_unknown_benchmark(self) -> None:
        """An unknown benchmark is refused before anything is started."""
        with pytest.raises(PlanError, match="no such benchmark"):
            evaluate("org/model", ["aime2024"])

    @pytest.mark.parametrize(
        ("model", "option", "words"),
        [
            ("nowhere/to/be/found", {}, r"exit code 4\): --r1-model nowhere/to/be/found: no such folder"),
            ("good", {"engine": "vlm"}, r"exit code 4\): --r1-engine is 'vlm'; expected one of replay, server, vllm"),
            ("good", {"sigmas": 0}, r"exit code 4\): --r1-sigmas is '0'; expected a number above 0"),
        ],
    )
    def test_pytests_reason_is_the_errors(self, folder: Path, model: str, option: dict[str, str], words: str) -> None:
        """An error of `evaluate()` gives pytest's exit code and its reason."""
        assert folder == Path.cwd()
        with pytest.raises(EvaluationError, match=words):
            evaluate(model, ["smoke"], **option)  # type: ignore[call-overload]

    def test_a_policy_gives_its_answer(self, folder: Path) -> None:
        """A release from Python has the verdict and the exit code of the policy, an INVALID one too."""
        policy, terms = (
            folder / "policy.toml",
            'samples = 8\nbaseline = "base"\n[benchmarks.smoke]\ntier = "critical"\n',
        )
        policy.write_text(terms, encoding="utf-8")
        shipped = evaluate("good", ["release"], engine="replay", policy="policy.toml")
        assert shipped.release is not None
        assert (shipped.release.verdict, shipped.exit_code) == ("ship", 0)
        policy.write_text(f'{terms}[benchmarks.aime24]\ntier = "critical"\n', encoding="utf-8")
        lacking = evaluate("good", ["smoke"], engine="replay", policy="policy.toml")
        assert (lacking.exit_code, lacking.passes) == (2, False)

    def test_a_run_that_dies_has_no_verdict(self, folder: Path) -> None:
        """A run that is killed raises an error with pytest's last words, and gives no report."""
        (folder / "conftest.py").write_text(
            "import os, signal, threading\n"
            "def pytest_sessionstart():\n"
            "    threading.Timer(3, os.kill, (os.getpid(), signal.SIGKILL)).start()\n"
        )
        with pytest.raises(EvaluationError, match=r"without a verdict \(exit code -9\): pytest's last words were"):
            evaluate("good", ["smoke"], engine="replay", baseline="base", engine_arg=SLOW)


class TestStopping:
    def test_a_run_that_takes_too_long_is_stopped_and_resumed(self, folder: Path) -> None:
        """A run beyond its time limit is stopped, keeps its samples, and gives its verdict when it is resumed."""
        with pytest.raises(EvaluationError, match=r"stopped after 6 s without a verdict; what was drawn is stored"):
            evaluate("good", ["smoke"], timeout_s=6, engine="replay", baseline="base", engine_arg=SLOW)
        run = run_of(folder)
        assert n_stored(run) < 96
        assert evaluate("good", ["smoke"], engine="replay", baseline="base", resume=run).run == run
        with closing(RunReader.open(run)) as store:
            assert store.progress("smoke").n_stored == 96

    def test_ctrl_c_ends_the_run_too(self, folder: Path) -> None:
        """A notebook's interrupt reaches the run, which leaves nothing behind but its file."""
        with subprocess.Popen([sys.executable, "-c", CALLER], cwd=folder, stderr=subprocess.PIPE) as process:
            run = run_of(folder)
            wait_for_samples(run, 2)
            os.kill(process.pid, signal.SIGINT)
            _, said = process.communicate(timeout=TIMEOUT_S)
        assert said.decode().rstrip().endswith("KeyboardInterrupt")
        stored = n_stored(run)
        time.sleep(0.5)
        assert stored == n_stored(run) < 96

    def test_a_caller_that_is_killed_leaves_no_run_behind(self, folder: Path) -> None:
        """A caller killed by SIGKILL takes its run along, and the samples drawn until then stay stored."""
        environment = {**os.environ, "STARTED_IN": str(folder)}
        with subprocess.Popen([sys.executable, "-c", CALLER], cwd=folder, env=environment) as process:
            run = run_of(folder)
            wait_for_samples(run, 2)
            process.kill()
        wait_for_none_with("STARTED_IN", str(folder))
        assert 2 <= n_stored(run) < 96

    def test_two_at_once(self, folder: Path) -> None:
        """Runs of one process do not disturb each other."""
        found: list[RunReport] = []
        threads = [
            threading.Thread(target=lambda model=model: found.append(judged(model))) for model in ("good", "worse")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(report.exit_code for report in found) == [0, 1]
        assert len({report.run for report in found}) == 2
        assert folder == Path.cwd()


def test_the_example_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of examples/ runs as it is, on a recorded run."""
    monkeypatch.setenv("R1_ENGINE", "replay")
    monkeypatch.setenv("R1_BASELINE", "base")
    example = Path(__file__).parents[2] / "examples" / "evaluate_checkpoint.py"
    done = subprocess.run(
        [sys.executable, str(example), "worse", "smoke"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("smoke: FAIL_REGRESSED. ")
    assert "hardest problem: p0" in done.stdout
