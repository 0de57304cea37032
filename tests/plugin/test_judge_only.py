"""A stored run is judged by options about judging; what decided its drawing is refused or has no effect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.config.option import Option
from pytest_r1eval.config.options import OPTIONS
from pytest_r1eval.config.settings import settings_from
from pytest_r1eval.core.benchmarks import Problem
from pytest_r1eval.core.choices import CodeGrader
from pytest_r1eval.core.plans import Plan
from pytest_r1eval.core.records import Grade, Outcome
from pytest_r1eval.errors import PlanError
from pytest_r1eval.exams.catalog import SMOKE_CODE
from pytest_r1eval.judging.regrade import regrade
from pytest_r1eval.plugin.startup import register
from pytest_r1eval.runs.other_grades import OtherGrades
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import Store
from pytest_r1eval.runs.work_queue import WorkQueue
from pytest_r1eval.sandbox import Limits
from pytest_r1eval.scoring.grading import CodeGrading
from pytest_r1eval.stats.looks import Look
from pytest_r1eval.stats.verdicts import invalid
from tests.recordings import record_run
from tests.requirements import LIGHTEVAL

VALUES = {
    "chat-template-kwargs": "a=1",
    "data": ".",
    "engine-arg": "a=1",
    "gate": "fixed",
    "lineage": "step=1",
    "samples": "smoke=1",
    "sandbox-limit": "cpu_s=2",
    "server-url": "http://localhost:1",
    "slice": "1/2",
    "think-tags": "a,b",
}
"""What an option takes where its first choice, its default or 1 is nothing."""


def given(option: Option) -> str:
    """Write an option with a value that it takes."""
    value = VALUES.get(option.name, option.default or "1")
    return option.flag if option.is_flag else f"{option.flag}={value}"


@contextmanager
def judged(pytester: pytest.Pytester, *arguments: str) -> Iterator[pytest.Config]:
    """Configure a pytest that judges the stored run."""
    config = pytester.parseconfig("--r1-judge-only=run", *arguments)
    register(config)
    yield config


@pytest.fixture(autouse=True)
def run(pytester: pytest.Pytester) -> Path:
    """Record a run of sums."""
    return record_run(pytester.path / "run", n_problems=2, n_samples=2)


class TestRefusals:
    @pytest.mark.parametrize(
        "option",
        [option for option in OPTIONS if option.phase in {"draw", "grade"} and option.name != "grader"],
        ids=lambda option: option.name,
    )
    def test_what_the_stored_run_decided_is_refused(self, pytester: pytest.Pytester, option: Option) -> None:
        """Every option about drawing or grading but --r1-grader is refused by name on the command line."""
        with (
            pytest.raises(pytest.UsageError, match=f"{option.flag}.* with --r1-judge-only"),
            judged(pytester, given(option)),
        ):
            pass

    @pytest.mark.parametrize("text", ["r1_temperature=0.1", "r1_tp = 2", "r1_unsafe_code=true"])
    def test_an_ini_key_on_the_command_line_is_an_option(self, pytester: pytest.Pytester, text: str) -> None:
        """`-o r1_temperature=0.1` is refused as `--r1-temperature 0.1` is."""
        flag = f"--{text.partition('=')[0].strip().replace('_', '-')}"
        with pytest.raises(pytest.UsageError, match=f"{flag} with --r1-judge-only"), judged(pytester, "-o", text):
            pass

    @pytest.mark.parametrize(
        "option", [option for option in OPTIONS if option.phase in {"judge", "both"}], ids=lambda option: option.name
    )
    def test_what_judging_needs_is_taken(self, pytester: pytest.Pytester, option: Option) -> None:
        """Options about gates, reports and places are accepted beside a stored run."""
        (pytester.path / "tasks.py").write_text("TASKS_TABLE = []", encoding="utf-8")
        (pytester.path / "policy.toml").write_text('[benchmarks.smoke]\ntier = "critical"', encoding="utf-8")
        values = {"judge-only": "run", "tasks": "tasks.py", "report": "report.md", "save-baseline": "a/b"}
        values["policy"] = "policy.toml"
        word = f"{option.flag}={values[option.name]}" if option.name in values else given(option)
        with judged(pytester, word) as config:
            assert settings_from(config).judge_only == pytester.path / "run"

    def test_ini_file_and_environment_are_for_all_runs(
        self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Options of drawing and grading in the ini file and the environment do not change a stored run."""
        pytester.makeini("[pytest]\nr1_temperature = 0.1\nr1_grader = strict\nr1_tp = 2")
        monkeypatch.setenv("R1_SEED", "5")
        with judged(pytester) as config:
            assert not settings_from(config).regrades

    @LIGHTEVAL.mark
    @pytest.mark.parametrize("rule", CodeGrader)
    def test_answers_may_be_graded_again(self, pytester: pytest.Pytester, rule: CodeGrader) -> None:
        """Stored sums are graded again by either rule."""
        with judged(pytester, f"--r1-grader={rule}") as config:
            assert settings_from(config).regrades

    def test_limits_of_programs_belong_to_programs(self, pytester: pytest.Pytester) -> None:
        """Limits of programs are refused for a stored run of answers."""
        with (
            pytest.raises(pytest.UsageError, match=r"--r1-sandbox-limit.*: the run holds smoke, and no programs; drop"),
            judged(pytester, "--r1-grader=strict", "--r1-sandbox-limit=cpu_s=2"),
        ):
            pass

    def test_a_second_grading_needs_a_second_rule(self, pytester: pytest.Pytester) -> None:
        """Answers that no strict rule reads, and no program, are graded by their task's metric alone."""
        pytester.makepyprojecttoml('[[tool.r1eval.benchmark]]\nname = "essay"\ntask_module = "essays"')
        record_run(pytester.path / "essays", benchmarks=("essay",), n_problems=2, n_samples=2)
        with (
            pytest.raises(pytest.UsageError, match=r"the run holds essay, which their tasks' own metrics grade"),
            judged(pytester, "--r1-judge-only=essays", "--r1-grader=strict"),
        ):
            pass


def hedged(problem: Problem, is_right: bool) -> str:  # noqa: FBT001 - as the recorder calls it
    """Write an answer without dollar signs; of one problem in ten, two answers, of which LightEval takes one."""
    gold = problem.choices[0] if is_right else "12345"
    return f"ANSWER: {gold} or 1" if problem.id.endswith("3") else f"ANSWER: {gold}"


@LIGHTEVAL.mark
class TestAnswers:
    """Stored answers are graded again by the strict rule: nothing is drawn, and LightEval is not needed."""

    def again(self, pytester: pytest.Pytester, run: str, *options: str) -> pytest.RunResult:
        """Judge a stored run."""
        return pytester.runpytest_subprocess("--r1-judge-only", run, "-p", "no:randomly", *options)

    def test_the_report_says_how_often_the_two_graders_differ(self, pytester: pytest.Pytester) -> None:
        """The report counts the stored responses on which two graders differ, and the run keeps both grades."""
        run = record_run(
            pytester.path / "answers", n_problems=20, n_samples=4, solve_rate=1.0, solution=hedged, answer="recorded"
        )
        first = self.again(pytester, "answers", "--r1-grader", "strict", "--r1-save-baseline", "local/strict")
        first.stdout.fnmatch_lines(
            [
                "r1eval: nothing is drawn; responses are graded again by --r1-grader strict",
                "smoke: 80 answers are graded by strict-mathematics 2, 8 of them otherwise than by lighteval 0.0.test*",
                "  answers: graded by strict-mathematics 2, in *",
                "  graders differ on 8 of 80 responses: 0 are right by this one alone, 8 by lighteval 0.0.test alone",
            ]
        )
        with closing(Store.open(run)) as store:
            assert _plan(store).grader == "strict-mathematics 2"
            hedges = [one.grade for one in RunReader(store).samples("smoke") if one.grade.outcome is Outcome.WRONG]
        assert {grade.detail for grade in hedges} == {"it is not one answer: it has 2 values"}
        second = self.again(pytester, "answers", "--r1-grader", "strict")
        second.stdout.fnmatch_lines(["smoke: the answers had been graded by strict-mathematics 2 already; *"])

    def test_a_baseline_of_another_grader_is_refused(self, pytester: pytest.Pytester) -> None:
        """A baseline of another grader is refused, because the comparison would measure the graders."""
        record_run(pytester.path / "answers", n_problems=20, n_samples=4, solve_rate=1.0, solution=hedged)
        record_run(pytester.path / "others", n_problems=20, n_samples=4, solve_rate=1.0, solution=hedged, weights="w2")
        self.again(pytester, "answers", "--r1-grader", "strict", "--r1-save-baseline", "local/strict")
        refused = "*something else: harness.grader: strict-mathematics 2 in the baseline, lighteval 0.0.test here*"
        judged = self.again(pytester, "others", "--r1-baseline", "local/strict")
        judged.stdout.fnmatch_lines([refused])
        assert judged.ret == pytest.ExitCode.TESTS_FAILED
        replayed = ("--r1-model", "others", "--r1-engine", "replay", "-m", "smoke", "--r1-baseline", "local/strict")
        drawn = pytester.runpytest_subprocess(*replayed, "-p", "no:randomly")
        drawn.stdout.fnmatch_lines([refused])


_LOOK = Look(
    number=1,
    samples_per_problem=2,
    early=True,
    fail_bound=-3.0,
    pass_bound=3.0,
    comparison=None,
    judgement=invalid("Made up.", "Nothing."),
)


class TestStore:
    """Grades of two graders in one run."""

    CODE = replace(SMOKE_CODE, name="smoke")
    STRICT = CodeGrading(grader=CodeGrader.STRICT, limits=Limits(), tests=Path())

    def test_another_graders_grades_count_and_the_first_ones_stay(self, run: Path) -> None:
        """The plan names the grader that counts; choosing the first one again restores its grades."""
        with closing(Store.open(run)) as store:
            first = [sample.grade for sample in RunReader(store).samples("smoke")]
            waiting = OtherGrades(store).missing("smoke", grader="strict 3")
            OtherGrades(store).add("smoke", dict.fromkeys(waiting, Grade(outcome=Outcome.WRONG)), grader="strict 3")
            OtherGrades(store).choose("smoke", grader="strict 3", before="recorded")
            assert {sample.grade for sample in RunReader(store).samples("smoke")} == {Grade(outcome=Outcome.WRONG)}
            assert _plan(store).grader == "strict 3"
            assert OtherGrades(store).missing("smoke", grader="recorded") == ()
            OtherGrades(store).choose("smoke", grader="recorded", before="strict 3")
            assert [sample.grade for sample in RunReader(store).samples("smoke")] == first

    def test_what_a_grader_failed_on_waits_again(self, run: Path) -> None:
        """A response on which a grader failed is missing a grade again."""
        with closing(Store.open(run)) as store:
            (key, *_) = OtherGrades(store).missing("smoke", grader="strict 3")
            OtherGrades(store).add("smoke", {key: Grade(outcome=Outcome.ERROR, detail="lost")}, grader="strict 3")
            assert len(OtherGrades(store).missing("smoke", grader="strict 3")) == 4

    def test_looks_are_not_graded_again(self, run: Path) -> None:
        """A run that stopped at a look is not graded again, because the first grades decided where it ended."""
        with closing(Store.open(run)) as store:
            WorkQueue(store).add_look("smoke", _LOOK)
            with pytest.raises(PlanError, match="smoke was sampled until a look decided by the first grades"):
                regrade(store, [self.CODE], code=self.STRICT, n_processes=1)


def _plan(store: Store) -> Plan:
    plan = RunReader(store).plan("smoke")
    assert plan is not None
    return plan
