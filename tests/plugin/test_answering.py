"""A question that has its verdict is not drawn again: the ledger as a user meets it, on recorded runs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from pytest_r1eval import evaluate
from pytest_r1eval.commands.cli import main
from pytest_r1eval.errors import StoreError
from pytest_r1eval.ledger.book import LEDGER_NAME
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import FILE_NAME
from tests.judged_runs import judged
from tests.plugin_runs import N_OTHERS

Record = Callable[..., Path]
REPLAY = ("--r1-engine", "replay", "--r1-engine-arg", "ledger=true", "-m", "smoke", "-p", "no:cacheprovider")


def judge(pytester: pytest.Pytester, run: str, *arguments: str) -> pytest.RunResult:
    """Judge a recorded run as if its responses were drawn now, against the baseline of the base."""
    return pytester.runpytest_subprocess(*REPLAY, "--r1-model", run, "--r1-baseline", "local/base", *arguments)


def runs_of(pytester: pytest.Pytester) -> list[Path]:
    """Return the folders of all runs, oldest first."""
    found = (path.parent for path in pytester.path.glob(f"data/evals/*/*/*/{FILE_NAME}"))
    return sorted(found, key=lambda folder: (folder / FILE_NAME).stat().st_mtime_ns)


def gate_of(run: Path) -> dict[str, object]:
    """Return the verdict in a run's JSON file."""
    (gate,) = json.loads((run / "verdicts.json").read_text())["gates"]
    assert isinstance(gate, dict)
    return gate


@pytest.fixture(autouse=True)
def _baseline(pytester: pytest.Pytester, recorded: Record) -> None:
    """Record the baseline, and two draws of a checkpoint below it."""
    base = recorded("base", seed=9, weights="w0", solve_rate=0.8, n_samples=40)
    judged(base, root=pytester.path, save_as="local/base")
    recorded("red", seed=1, weights="w1", solve_rate=0.66, n_samples=40)
    recorded("again", seed=2, weights="w1", solve_rate=0.66, n_samples=40)


class TestAskedAgain:
    def test_the_stored_verdict_is_the_answer(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A stored verdict answers without a run, with the same exit code and the name of its run."""
        assert judge(pytester, "red").ret == 1
        (run,) = runs_of(pytester)
        again = judge(pytester, "again")  # the same weights and question; other samples
        assert again.ret == 1
        again.stdout.fnmatch_lines(
            [
                "r1eval: judged before, nothing is drawn",
                "smoke: FAIL_REGRESSED. *",
                f"  ledger: stored: judged before, in run {run} (*",
            ]
        )
        again.assert_outcomes(failed=1, passed=2, deselected=N_OTHERS)
        assert runs_of(pytester) == [run]
        recorded("good", seed=3, weights="w3", solve_rate=0.8, n_samples=40)
        assert [judge(pytester, "good").ret for _ in range(2)] == [0, 0]

    def test_workers_start_no_engine_either(self, pytester: pytest.Pytester) -> None:
        """A stored verdict also answers under xdist, where no worker starts an engine."""
        judge(pytester, "red", "-n2")
        (run,) = runs_of(pytester)
        again = judge(pytester, "again", "-n2")
        assert again.ret == 1
        again.stdout.fnmatch_lines([f"  ledger: stored: judged before, in run {run} (*"])
        assert runs_of(pytester) == [run]

    def test_a_stored_verdict_answers_for_its_own_rule(self, pytester: pytest.Pytester) -> None:
        """A stored verdict answers for another `--r1-inconclusive`, not for other sigmas or samples."""
        judge(pytester, "red")
        assert judge(pytester, "red", "--r1-inconclusive", "pass").ret == 1
        assert len(runs_of(pytester)) == 1
        judge(pytester, "red", "--r1-sigmas", "4")
        judge(pytester, "red", "--r1-samples", "smoke=16")
        assert len(runs_of(pytester)) == 3

    def test_a_deleted_run_hides_no_verdict(self, pytester: pytest.Pytester) -> None:
        """A deleted run's verdict stays in the ledger, so deleting it gives no second chance."""
        judge(pytester, "red")
        shutil.rmtree(runs_of(pytester)[0])
        again = judge(pytester, "again")
        assert again.ret == 1
        again.stdout.fnmatch_lines(
            ["smoke: FAIL_REGRESSED. *", "the samples of *are gone; its verdict is in the ledger"]
        )
        assert runs_of(pytester) == []

    def test_reports_are_written_of_the_stored_run(self, pytester: pytest.Pytester) -> None:
        """A script that reads the report, as `evaluate()` does, gets the run that was judged."""
        judge(pytester, "red")
        (run,) = runs_of(pytester)
        judge(pytester, "again", "--r1-report", "report.json")
        assert json.loads((pytester.path / "report.json").read_text())["run"] == str(run)

    def test_a_baseline_is_recorded_from_the_stored_run(self, pytester: pytest.Pytester) -> None:
        """--r1-save-baseline draws nothing for a stored verdict and prints the command that records the run."""
        judge(pytester, "red")
        (run,) = runs_of(pytester)
        again = judge(pytester, "again", "--r1-save-baseline", "local/new")
        again.stdout.fnmatch_lines([f"not recorded, *: r1eval baseline record {run} local/new"])

    def test_what_let_inconclusive_through_once_decides_once(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A stored INCONCLUSIVE is green only for a command that lets it through itself."""
        recorded("near", seed=6, weights="w4", solve_rate=0.73, n_samples=40)
        asked = ("near", "--r1-margin", "5")
        assert judge(pytester, *asked, "--r1-inconclusive", "pass").ret == 0
        again = judge(pytester, *asked)
        assert again.ret == 1
        again.stdout.fnmatch_lines(["smoke: INCONCLUSIVE. *", "  ledger: stored: *"])
        assert judge(pytester, *asked, "--r1-inconclusive", "pass").ret == 0
        assert len(runs_of(pytester)) == 1

    def test_what_was_recorded_once_is_compared_with_nothing(self, pytester: pytest.Pytester) -> None:
        """A run that is green because it was recorded is red for a command that records nothing."""
        alone = (*REPLAY, "--r1-model", "red")
        saved = (*alone, "--r1-save-baseline", "local/new")
        assert [pytester.runpytest_subprocess(*one).ret for one in (saved, alone, saved)] == [0, 1, 0]
        assert len(runs_of(pytester)) == 1

    def test_only_what_has_no_verdict_is_drawn(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """Only the benchmark without a verdict is drawn, and both gates are reported."""
        recorded("both", seed=1, weights="w1", solve_rate=0.66, n_samples=40, benchmarks=("aime24", "smoke"))
        judge(pytester, "both")
        (first,) = runs_of(pytester)
        result = judge(pytester, "both", "-m", "smoke or aime")
        _, second = runs_of(pytester)
        with closing(RunReader.open(second)) as store:
            assert store.selected == ("aime24",)
        result.stdout.fnmatch_lines(["aime24 * INCONCLUSIVE", "smoke * FAIL_REGRESSED"])
        result.stdout.fnmatch_lines([f"  ledger: stored: judged before, in run {first} (*"])
        assert [gate_of(run)["benchmark"] for run in (first, second)] == ["smoke", "aime24"]

    def test_a_family_is_asked_as_a_whole(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A stored verdict under Holm answers only for the same family of gates."""
        recorded("both", seed=1, weights="w1", solve_rate=0.66, n_samples=40, benchmarks=("aime24", "smoke"))
        for marks in ("smoke", "smoke or aime", "smoke or aime"):
            judge(pytester, "both", "--r1-family", "holm", "-m", marks)
        assert len(runs_of(pytester)) == 2

    def test_from_python_too(self, pytester: pytest.Pytester) -> None:
        """`evaluate()` returns the report of the run that holds the verdict."""
        found = [
            evaluate(model, ["smoke"], engine="replay", engine_arg={"ledger": True}, baseline="local/base")
            for model in ("red", "again")
        ]
        assert found[0].run == found[1].run
        assert [report.exit_code for report in found] == [1, 1]
        assert runs_of(pytester) == [found[0].run]


class TestFresh:
    def test_a_second_attempt_is_judged_on_all_samples(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A lucky second attempt is judged on all samples and stays red, and every report names the first verdict."""
        recorded("lucky", seed=3, weights="w1", solve_rate=0.68, n_samples=40)
        judge(pytester, "red")
        alone = pytester.runpytest_subprocess(
            *REPLAY, "--r1-model", "lucky", "--r1-baseline", "local/base", "--r1-output-dir", "elsewhere"
        )
        assert alone.ret == 0
        second = judge(pytester, "lucky", "--r1-fresh", "--junitxml=gate.xml")
        first_run, run = runs_of(pytester)
        assert second.ret == 1
        second.stdout.fnmatch_lines(["smoke: FAIL_REGRESSED. *"])
        attempt = "  ledger: attempt 2 on these weights, judged on the 960 samples of all 2 attempts"
        second.stdout.fnmatch_lines([f"{attempt}; the first verdict was FAIL_REGRESSED (run {first_run})"])
        attempts = gate_of(run)["attempts"]
        assert isinstance(attempts, dict)
        assert (attempts["number"], attempts["earlier"][0]["verdict"]) == (2, "FAIL_REGRESSED")
        suite = ET.parse(pytester.path / "gate.xml").getroot()[0]  # noqa: S314 - our own file
        found = {one.get("name"): one.get("value") for one in suite.iter("property")}
        assert (found["r1eval.attempt"], found["r1eval.first_verdict"]) == ("2", "FAIL_REGRESSED")
        results = json.loads(next(run.glob("results/*/*/results_*.json")).read_text())["r1eval"]["benchmarks"]
        assert (results["smoke"]["attempt"], results["smoke"]["first_verdict"]) == (2, "FAIL_REGRESSED")
        third = judge(pytester, "again")  # the newest verdict is the answer from then on
        third.stdout.fnmatch_lines([f"  ledger: stored: judged before, in run {run} (*", "  ledger: attempt 2 on *"])

    def test_the_same_evidence_twice_is_not_added_up(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """Samples that the baseline holds count in no later verdict, so that fresh ones may check the harness."""
        recorded("same", seed=5, weights="w0", solve_rate=0.8, n_samples=40)
        first = judge(pytester, "base")
        first.stdout.fnmatch_lines(["smoke: INCONCLUSIVE. *the same evidence twice*", "  next: *--r1-fresh*"])
        second = judge(pytester, "same", "--r1-fresh")
        assert second.ret == 0
        second.stdout.fnmatch_lines(["smoke: PASS. *", "*checks the harness*", "*judged on its own samples alone*"])

    def test_a_seed_of_the_same_weights_beside_another_file_is_left_alone(
        self, pytester: pytest.Pytester, recorded: Record
    ) -> None:
        """A fresh attempt with the baseline's weights and seed beside another file is refused."""
        recorded("edited", seed=9, weights="w0", config="c2", solve_rate=0.8, n_samples=40)
        refused = judge(pytester, "edited", "--r1-fresh")  # a new attempt of a recording has the recorded seed
        assert refused.ret == pytest.ExitCode.USAGE_ERROR
        refused.stderr.fnmatch_lines(["*--r1-fresh: the seed 9 was drawn with before*"])

    def test_the_same_seed_again_is_refused(self, pytester: pytest.Pytester) -> None:
        """A fresh attempt with a seed that was drawn before is refused."""
        judge(pytester, "red")
        again = judge(pytester, "red", "--r1-fresh")
        assert again.ret == pytest.ExitCode.USAGE_ERROR
        again.stderr.fnmatch_lines(["*--r1-fresh: the seed 1 was drawn with before*"])

    def test_attempts_that_disagree_are_no_verdict(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """Two attempts that disagree by more than sampling are INVALID, and are not added up."""
        recorded("other", seed=3, weights="w1", solve_rate=0.95, n_samples=40)
        judge(pytester, "red")
        again = judge(pytester, "other", "--r1-fresh")
        assert again.ret == 1
        again.stdout.fnmatch_lines(["smoke: INVALID. The 2 attempts on these weights disagree by more than sampling*"])

    def test_after_a_sequential_run_it_is_drawn_in_full(self, pytester: pytest.Pytester) -> None:
        """A second attempt after a sequential run is drawn in full and judged with the samples of the first."""
        judge(pytester, "red", "--r1-gate", "sequential")
        at_stop = gate_of(runs_of(pytester)[0])
        assert at_stop["is_at_stop"]
        second = judge(pytester, "again", "--r1-gate", "sequential", "--r1-fresh")
        assert second.ret == 1
        total = 480 + int(str(at_stop["n_samples"]))
        second.stdout.fnmatch_lines(["*samples: 480 of 480*", f"*judged on the {total} samples of all 2 attempts*"])


class TestSameSeed:
    """Samples that share a seed are one attempt, whichever folder holds them."""

    def test_a_copy_of_an_attempt_is_judged_on_all_samples(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A lucky second attempt that is copied and judged alone does not turn the gate green."""
        recorded("lucky", seed=3, weights="w1", solve_rate=0.68, n_samples=40)
        judge(pytester, "red")
        judge(pytester, "lucky", "--r1-fresh")
        shutil.copytree(runs_of(pytester)[1], "copy")
        copied = pytester.runpytest_subprocess("--r1-judge-only", "copy", "--r1-baseline", "local/base")
        assert copied.ret == 1
        copied.stdout.fnmatch_lines(["smoke: FAIL_REGRESSED. *", "*judged on the 960 samples of 2 attempts; *"])

    def test_a_run_counts_once_by_whatever_path(self, pytester: pytest.Pytester) -> None:
        """An output folder behind a link is the same folder, and its runs are the same runs."""
        judge(pytester, "red")
        (run,) = runs_of(pytester)
        link = pytester.path / "link"
        link.symlink_to(pytester.path / "data" / "evals")
        for folder in (run, link / run.relative_to(link.resolve())):
            again = pytester.runpytest_subprocess(
                "--r1-judge-only", str(folder), "--r1-baseline", "local/base", "--r1-output-dir", str(link)
            )
            again.stdout.fnmatch_lines(["  ledger: attempt 1; no earlier verdict *"])
        judge(pytester, "again", "--r1-fresh").stdout.fnmatch_lines(["*judged on the 960 samples of all 2 attempts*"])

    def test_a_seed_that_failed_does_not_pass_when_drawn_again(
        self, pytester: pytest.Pytester, recorded: Record
    ) -> None:
        """Slices drawn under the seed of a red run are INCONCLUSIVE, so a GPU's other samples are no second chance."""
        recorded("rounded", seed=1, weights="w1", solve_rate=0.8, n_samples=40)
        for number in (1, 2):
            assert judge(pytester, "rounded", "--r1-slice", f"{number}/2").ret == 0
        slices = runs_of(pytester)
        judge(pytester, "red")
        (red,) = set(runs_of(pytester)) - set(slices)
        refused = judge(pytester, "rounded", "--r1-slice", "1/2")
        assert refused.ret == pytest.ExitCode.USAGE_ERROR
        refused.stderr.fnmatch_lines([f"*--r1-slice 1/2: *seed 1 * in run {red} (FAIL_REGRESSED)*--r1-seed*"])
        merged = pytester.path / "data/evals/local/toy/merged"
        assert main(["merge", *map(str, slices), "--out", str(merged)]) == 0
        judged = pytester.runpytest_subprocess("--r1-judge-only", str(merged), "--r1-baseline", "local/base")
        assert judged.ret == 1
        judged.stdout.fnmatch_lines(
            [f"smoke: INCONCLUSIVE. *same seed in run {red}, and the verdict was FAIL_REGRESSED*"]
        )
        assert judge(pytester, "again").ret == 1


class TestAnotherRule:
    @pytest.mark.parametrize(
        "rule",
        [
            ("--r1-sigmas", "3.0001"),
            ("--r1-exact",),
            ("--r1-family", "holm"),
            ("--r1-anchor", "local/base"),
            ("--r1-subset", "12"),
            ("--r1-samples", "smoke=39"),
            ("--r1-gate", "sequential"),
        ],
        ids=lambda rule: rule[0],
    )
    def test_a_rule_by_a_hair_is_no_second_chance(
        self, pytester: pytest.Pytester, recorded: Record, rule: tuple[str, ...]
    ) -> None:
        """A lucky draw after a red gate is judged on the samples of both, whatever was asked of them."""
        recorded("lucky", seed=3, weights="w1", solve_rate=0.68, n_samples=40)
        assert judge(pytester, "red").ret == 1
        second = judge(pytester, "lucky", *rule)
        first_run, _ = runs_of(pytester)
        assert second.ret == 1
        second.stdout.fnmatch_lines(["smoke: FAIL_REGRESSED. *"])
        second.stdout.fnmatch_lines(
            [f"  ledger: attempt 2 on these weights, *; the first verdict was FAIL_REGRESSED (run {first_run})"]
        )
        n_drawn = 12 * 39 if "smoke=39" in rule else 12 * 40
        assert f"judged on the {480 + n_drawn} samples of all 2 attempts" in second.stdout.str()


class TestUnfinished:
    def test_an_invalid_run_is_gone_on_with(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """Repeating the command continues an INVALID run in its folder and draws what is missing."""
        recorded("holes", seed=1, weights="w1", solve_rate=0.66, n_samples=40, skip=frozenset({("p003", 5)}))
        judge(pytester, "holes").stdout.fnmatch_lines(["smoke: INVALID. * of 480 planned samples are missing."])
        (run,) = runs_of(pytester)
        again = judge(pytester, "red")
        again.stdout.fnmatch_lines([f"r1eval: run {run}", "r1eval: it goes on from what is stored", "smoke: FAIL_*"])
        again.stdout.fnmatch_lines(
            ["  ledger: attempt 1; no earlier verdict on this checkpoint and question is visible*"]
        )
        assert runs_of(pytester) == [run]

    def test_a_killed_run_is_gone_on_with(self, pytester: pytest.Pytester) -> None:
        """A run that kill -9 ended goes on: it is in the ledger before its first sample."""
        slowly = ("--r1-engine-arg", "delay_s=0.05", "--r1-engine-arg", "n_concurrent=1")
        command = [sys.executable, "-m", "pytest", *REPLAY, "--r1-model", "red", "--r1-baseline", "local/base", *slowly]
        with subprocess.Popen(command, cwd=pytester.path, stdout=subprocess.DEVNULL) as process:
            while not any(pytester.path.glob(f"data/evals/{LEDGER_NAME}")) or not _has_samples(pytester):
                assert process.poll() is None
            process.kill()
        (run,) = runs_of(pytester)
        again = judge(pytester, "red")
        assert again.ret == 1
        again.stdout.fnmatch_lines([f"r1eval: run {run}", "r1eval: it goes on from what is stored"])
        assert runs_of(pytester) == [run]

    def test_the_same_question_at_the_same_time_is_refused(self, pytester: pytest.Pytester) -> None:
        """A question that another run is drawing is refused, with the run that draws it."""
        slowly = ("--r1-engine-arg", "delay_s=1", "--r1-engine-arg", "n_concurrent=1")
        command = [sys.executable, "-m", "pytest", *REPLAY, "--r1-model", "red", "--r1-baseline", "local/base", *slowly]
        with subprocess.Popen(command, cwd=pytester.path, stdout=subprocess.DEVNULL) as process:
            while not _has_samples(pytester):
                assert process.poll() is None
            second = judge(pytester, "again")
            process.kill()
        assert second.ret == pytest.ExitCode.USAGE_ERROR
        second.stderr.fnmatch_lines([f"*is in use by process {process.pid} on *"])

    def test_a_run_that_was_cut_short_is_not_dropped_for_a_further_attempt(
        self, pytester: pytest.Pytester, recorded: Record
    ) -> None:
        """Samples that look bad cannot be left behind by --r1-timeout and --r1-fresh."""
        recorded("holes", seed=1, weights="w1", solve_rate=0.66, n_samples=40, skip=frozenset({("p003", 5)}))
        judge(pytester, "holes")
        (run,) = runs_of(pytester)
        again = judge(pytester, "red", "--r1-fresh")
        again.stdout.fnmatch_lines([f"r1eval: run {run}", "r1eval: it goes on from what is stored", "smoke: FAIL_*"])
        assert runs_of(pytester) == [run]

    def test_it_is_gone_on_with_before_a_further_attempt(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """An interrupted attempt is continued before --r1-fresh begins another one."""
        recorded("part", seed=2, weights="w1", solve_rate=0.66, n_samples=40, skip=frozenset({("p000", 0)}))
        judge(pytester, "red")
        judge(pytester, "part", "--r1-fresh")
        _, second = runs_of(pytester)
        ledger = pytester.path / "data" / "evals" / LEDGER_NAME
        lines = ledger.read_text().splitlines()  # as if the second had been killed before its verdict
        ledger.write_text("".join(f"{line}\n" for line in lines[:-1]))
        again = judge(pytester, "again", "--r1-fresh")
        again.stdout.fnmatch_lines([f"r1eval: run {second}", "*ledger: attempt 2 on these weights, judged on the 960*"])


class TestWhatAsksNothing:
    def test_a_plain_replay(self, pytester: pytest.Pytester) -> None:
        """A plain replay is judged each time by itself, without the ledger."""
        for _ in range(2):
            pytester.runpytest_subprocess("--r1-engine", "replay", "-m", "smoke", "--r1-model", "red")
        assert len(runs_of(pytester)) == 2
        assert not (pytester.path / "data" / "evals" / LEDGER_NAME).exists()

    def test_judge_only_is_told_of_and_not_refused(self, pytester: pytest.Pytester) -> None:
        """A run that is judged again is the same attempt, and its new verdict replaces the old one."""
        judge(pytester, "red")
        (run,) = runs_of(pytester)
        judged = pytester.runpytest_subprocess("--r1-judge-only", str(run), "--r1-baseline", "local/base")
        assert judged.ret == 1
        judged.stdout.fnmatch_lines(["smoke: FAIL_REGRESSED. *", "  ledger: attempt 1; no earlier verdict *"])

    def test_slices_are_judged_where_they_are_merged(self, pytester: pytest.Pytester) -> None:
        """Slices are judged where they are merged, and the merged run answers for a whole run of its weights."""
        for number in (1, 2):
            assert judge(pytester, "red", "--r1-slice", f"{number}/2").ret == 0
        assert (
            main(["merge", *map(str, runs_of(pytester)), "--out", str(pytester.path / "data/evals/local/toy/m")]) == 0
        )
        merged = pytester.runpytest_subprocess(
            "--r1-judge-only", "data/evals/local/toy/m", "--r1-baseline", "local/base"
        )
        assert merged.ret == 1
        again = judge(pytester, "again")
        again.stdout.fnmatch_lines(["  ledger: stored: judged before, in run */local/toy/m (*"])

    def test_fresh_slices_are_refused(self, pytester: pytest.Pytester) -> None:
        """--r1-fresh is refused for a slice, because machines would not agree on the seed."""
        refused = judge(pytester, "again", "--r1-slice", "1/2", "--r1-fresh")
        assert refused.ret == pytest.ExitCode.USAGE_ERROR
        refused.stderr.fnmatch_lines(["*--r1-slice 1/2 with --r1-fresh: *draw all slices with one new --r1-seed*"])


def _has_samples(pytester: pytest.Pytester) -> bool:
    for run in runs_of(pytester):
        with suppress(StoreError), closing(RunReader.open(run)) as store:  # one that is being made has no tables yet
            if store.plan("smoke") is not None and store.progress("smoke").n_stored > 3:
                return True
    time.sleep(0.1)
    return False
