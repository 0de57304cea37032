"""
The whole way of a program: from a recorded answer through the real scoring processes and sandbox to the verdict.

The shipped checkpoint cannot program, so the answers are written here and replayed; what comes after them is real.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from pytest_r1eval.core.benchmarks import Exam, Sampling
from pytest_r1eval.core.plans import Plan, sample_seed
from pytest_r1eval.core.records import FinishReason, Grade, Outcome, Response, Sample
from pytest_r1eval.exams.catalog import SMOKE_CODE
from pytest_r1eval.reports.markdown import markdown
from pytest_r1eval.reports.run_report import read_report
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import Store
from pytest_r1eval.runs.work_queue import WorkQueue
from pytest_r1eval.sandbox import Limits
from pytest_r1eval.scoring.pool import GradingPool
from tests.recordings import HARNESS, add_sample, next_unit, record_run
from tests.scoring.answers import ANSWERS, SLOW
from tests.toys import DATE

pytest_plugins = ["tests.scoring_fixtures"]
pytestmark = pytest.mark.usefixtures("warm_graders")

N_SAMPLES = 2
DATA = Path(str(SMOKE_CODE.task_module)).parent / "code" / "test.jsonl"
TITLES = [json.loads(line)["question_title"] for line in DATA.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def exam(pool: GradingPool, tokenizer: str) -> Exam:
    """Build the exam as a run does."""
    building = pool.build_exam(
        SMOKE_CODE,
        data_dir=None,
        model=tokenizer,
        revision=None,
        system_prompt=None,
        template_date=DATE,
    )
    return building.result(timeout=120).exam


@pytest.fixture
def record(exam: Exam, pytester: pytest.Pytester) -> Callable[..., Path]:
    """Record a run whose answers are these programs; what graded them is left open."""

    def recorded(name: str, programs: Mapping[str, str] = ANSWERS, grade: Outcome = Outcome.NO_ANSWER) -> Path:
        with closing(Store.open(record_run(pytester.path / f"{name}-header", weights=name))) as other:
            header = other.header
        plan = Plan(
            benchmark="smoke_code",
            exam=exam.digest,
            problem_ids=tuple(problem.id for problem in exam.problems),
            rounds=(N_SAMPLES,),
            seed=1,
            sampling=Sampling(max_new_tokens=1024, max_model_length=4096),
            template_date="2025-01-01",
            prompts="p",
        )
        with closing(Store.create(pytester.path / name, header)) as store:
            WorkQueue(store).select(("smoke_code",))
            store.add_worker("recorder", replace(HARNESS, grader=f"lighteval {metadata.version('lighteval')}"))
            WorkQueue(store).write_plan(exam, tuple((1, 2, 3) for _ in exam.problems), plan)
            answers = {problem.id: programs[title] for problem, title in zip(exam.problems, TITLES, strict=True)}
            while (claimed := next_unit(store, owner="recorder")) is not None:
                for index in claimed.missing:
                    text = f"<think>{index}</think>\n```python\n{answers[claimed.unit.problem_id]}\n```"
                    sample = Sample(
                        problem_id=claimed.unit.problem_id,
                        index=index,
                        seed=sample_seed(1, claimed.unit.problem_id, index),
                        response=Response(text=text, n_tokens=9, finish_reason=FinishReason.STOP),
                        grade=Grade(outcome=grade),
                    )
                    add_sample(store, claimed, sample)
        return pytester.path / name

    return recorded


def outcomes(run: Path) -> dict[Outcome, int]:
    """Count a run's outcomes."""
    with closing(Store.open(run)) as store:
        found = [sample.grade.outcome for sample in RunReader(store).samples("smoke_code")]
    return {outcome: found.count(outcome) for outcome in dict.fromkeys(found)}


@pytest.fixture
def judge(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, code_tests: Path
) -> Callable[..., pytest.RunResult]:
    """Judge a recorded run, its programs graded again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path / "cache"))
    cache = pytester.path / "cache" / "pytest-r1eval" / "code-tests"
    cache.parent.mkdir(parents=True)
    cache.symlink_to(code_tests)

    def judged(run: Path, *options: str) -> pytest.RunResult:
        replayed = ("--r1-model", str(run), "--r1-engine", "replay", "--r1-engine-arg", "regrade=true")
        return pytester.runpytest_subprocess("-p", "no:randomly", "-m", "smoke_code", *replayed, *options)

    return judged


def newest_run(folder: Path) -> Path:
    """Find the run that a judgement left."""
    return max((folder / "data" / "evals").glob("*/*/*"))


class TestVerdict:
    """Programs are run, and the gate says what they were run by and in."""

    @pytest.mark.parametrize("grader", ["lighteval", "strict"])
    def test_right_programs_pass_and_a_slow_one_turns_it_red(
        self,
        record: Callable[..., Path],
        judge: Callable[..., pytest.RunResult],
        pytester: pytest.Pytester,
        grader: str,
    ) -> None:
        """Right programs pass and become the baseline; wrong and slow ones turn the gate red, with either grader."""
        options = ("--r1-grader", grader, "--r1-sandbox-limit", "cpu_s=2")
        first = judge(record("good"), *options, "--r1-save-baseline", "local/code")
        assert first.ret == 0, first.stdout.str()
        assert outcomes(newest_run(pytester.path)) == {Outcome.CORRECT: len(TITLES) * N_SAMPLES}
        first.stdout.re_match_lines([rf"\s+programs: graded by {grader}[ -].*, in (bubblewrap|Landlock).*"])
        run = newest_run(pytester.path)
        (gate,) = read_report(run).gates
        reports = {
            "terminal": first.stdout.str(),
            "page": (run / "report.html").read_text(encoding="utf-8"),
            "JSON": (run / "verdicts.json").read_text(encoding="utf-8"),
            "Markdown": markdown([gate.result], title="programs"),
        }
        said = {name: "a program that tries can make it say" in text for name, text in reports.items()}
        assert said == dict.fromkeys(reports, grader == "lighteval")

        wrong = dict.fromkeys(TITLES[:7], "print(1)") | dict.fromkeys(TITLES[7:], "class Solution: pass")
        second = judge(record("bad", wrong | SLOW), *options, "--r1-baseline", "local/code")
        assert second.ret == 1, second.stdout.str()
        second.stdout.fnmatch_lines(["smoke_code: FAIL_REGRESSED*"])
        assert outcomes(newest_run(pytester.path)) == {Outcome.WRONG: len(TITLES) * N_SAMPLES}

    def test_baselines_of_the_two_graders_are_never_mixed(
        self, record: Callable[..., Path], judge: Callable[..., pytest.RunResult]
    ) -> None:
        """A baseline of one grader makes a run of the other INVALID, with what to do."""
        run = record("good")
        assert judge(run, "--r1-grader", "strict", "--r1-save-baseline", "local/code").ret == 0
        mixed = judge(run, "--r1-baseline", "local/code")
        assert mixed.ret == 1
        mixed.stdout.fnmatch_lines(
            ["*was asked something else: harness.grader: strict 3 in the baseline, lighteval-run_test*Ask the same*"]
        )


def test_resuming_grades_again_what_the_grader_failed_on(
    record: Callable[..., Path], judge: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    """
    Resuming grades the stored responses on which the grader failed and asks the engine for nothing.

    The run then records what programs run in, although it was planned where none ran.
    """
    broken = record("broken", grade=Outcome.ERROR)
    first = judge(broken, "--r1-engine-arg", "regrade=false")
    first.stdout.fnmatch_lines(["smoke_code: INVALID. The grader failed on 24 of 24 samples*"])
    run = newest_run(pytester.path)
    with closing(Store.open(run)) as store:
        texts = [sample.response.text for sample in RunReader(store).samples("smoke_code")]
    with sqlite3.connect(broken / "run.sqlite") as recording:
        recording.execute("DELETE FROM sample")
    recording.close()
    second = judge(broken, "--r1-resume", str(run))
    with closing(Store.open(run)) as store:
        assert texts == [sample.response.text for sample in RunReader(store).samples("smoke_code")]
        assert [words.split()[0] for words in RunReader(store).sandboxes] in (["bubblewrap"], ["Landlock"]), (
            second.stdout.str()
        )
    assert outcomes(run) == {Outcome.CORRECT: len(TITLES) * N_SAMPLES}, second.stdout.str()


def test_a_stored_run_is_graded_again(
    record: Callable[..., Path], judge: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    """`--r1-judge-only RUN --r1-grader strict` runs the stored programs; the first grades stay beside the new ones."""
    del judge  # its cache of tests alone
    run = record("good")
    again = ("--r1-judge-only", "good", "--r1-grader", "strict", "-p", "no:randomly", "-p", "no:cacheprovider")
    first = pytester.runpytest_subprocess(*again, "--r1-save-baseline", "local/code")
    n_samples = len(TITLES) * N_SAMPLES
    assert outcomes(run) == {Outcome.CORRECT: n_samples}, first.stdout.str()
    first.stdout.fnmatch_lines(
        [
            "r1eval: nothing is drawn; responses are graded again by --r1-grader strict",
            f"smoke_code: {n_samples} programs are graded by strict 3, {n_samples} of them otherwise than by *",
        ]
    )
    with closing(sqlite3.connect(run / "run.sqlite")) as store:
        kept = "SELECT grader, outcome, count(*) FROM grade GROUP BY grader, outcome ORDER BY grader"
        assert store.execute(kept).fetchall() == [
            ("recorded", "no_answer", n_samples),
            ("strict 3", "correct", n_samples),
        ]
    second = pytester.runpytest_subprocess(*again, "-n2")
    second.stdout.fnmatch_lines(["smoke_code: the programs had been graded by strict 3 already; *"])
    assert outcomes(run) == {Outcome.CORRECT: n_samples}


def test_limits_that_no_program_fits_in_are_refused(
    record: Callable[..., Path],
    judge: Callable[..., pytest.RunResult],
    pytester: pytest.Pytester,
) -> None:
    """Limits in which no program fits are refused in one line before the first token."""
    refused = judge(record("good"), "--r1-sandbox-limit", "memory_mib=1")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines([f"*--r1-sandbox-limit: memory_bytes is {1 << 20}; a program needs at least*"])
    assert not (pytester.path / "data").exists()


def test_limits_have_room_for_every_shipped_answer() -> None:
    """The default limits of a program are 6 s of CPU, 18 s in all and 4 GiB."""
    assert (Limits().cpu_s, Limits().wall_s, Limits().memory_bytes) == (6.0, 18.0, 4 << 30)
