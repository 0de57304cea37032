"""Programs: what each grader calls right, and that a failure of the machinery is never an answer."""
# ruff: noqa: E402 - need() skips this module where LightEval is not here

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from pytest_r1eval.core.choices import CodeGrader
from tests.requirements import LIGHTEVAL, need

need(LIGHTEVAL)

from pytest_r1eval.core import code_tests
from pytest_r1eval.core.benchmarks import Problem
from pytest_r1eval.core.code_tests import CodeTests
from pytest_r1eval.core.records import FinishReason, Grade, Outcome, Response
from pytest_r1eval.core.thinking import ThinkTags
from pytest_r1eval.errors import ScoringError
from pytest_r1eval.exams.code_test_cache import CodeTestCache
from pytest_r1eval.sandbox import Limits
from pytest_r1eval.scoring import code
from pytest_r1eval.scoring.code import ProgramScorer, is_same_output
from pytest_r1eval.scoring.grading import CodeGrading
from tests.scoring.answer_shapes import SHAPES, Shape
from tests.scoring.code_corpus import CALL, CORPUS, DOUBLE, FORGERIES, Entry
from tests.toys import BUILT_IN_BY_NAME, said

LIGHTEVALS_OWN = """
import json, sys
from lighteval.tasks.tasks.lcb.codegen_metrics import codegen_metrics
if __name__ == "__main__":
    given = json.load(sys.stdin)
    samples = [{"input_output": tests} for _, tests in given]
    _, results = codegen_metrics(samples, [[program] for program, _ in given], k_list=[1], num_process_evaluate=2)
    said = [all(result > 0 for result in results[number][0]) for number in range(len(given))]
    sys.__stdout__.write("\\n" + json.dumps(said) + "\\n")
"""
"""LightEval's scorer as it is, in a process of its own, on all programs at once."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> CodeTestCache:
    """Keep tests in a folder of the module's."""
    return CodeTestCache(folder=tmp_path_factory.mktemp("code-tests"))


@pytest.fixture(scope="module", params=CodeGrader)
def scorer(request: pytest.FixtureRequest, cache: CodeTestCache) -> Iterator[ProgramScorer]:
    """Start each grader once."""
    limits = Limits(cpu_s=2, wall_s=20, memory_bytes=1 << 30)
    started = ProgramScorer(CodeGrading(grader=request.param, limits=limits, tests=cache.folder))
    yield started
    started.close()


def grade(
    scorer: ProgramScorer, cache: CodeTestCache, text: str, *, tests: CodeTests = DOUBLE, cut: bool = False
) -> Grade:
    """Grade one response to a problem with these tests."""
    problem = Problem(id="p", query="", instruction=None, choices=("",), gold_index=0, tests=cache.write(tests))
    reason = FinishReason.LENGTH if cut else FinishReason.STOP
    return scorer.grade(problem, Response(text=text, n_tokens=9, finish_reason=reason))


def in_fences(program: str) -> str:
    """Write a program as a model does."""
    return f"<think>Which one?</think>\nHere it is.\n```python\n{program}\n```\n"


@pytest.mark.parametrize("entry", CORPUS, ids=lambda entry: entry.shows)
def test_each_grader_is_right_by_its_own_rule(
    scorer: ProgramScorer, cache: CodeTestCache, entry: Entry, request: pytest.FixtureRequest
) -> None:
    """Each grader grades every program of the corpus as its own rule demands."""
    is_lighteval = request.node.callspec.params["scorer"] is CodeGrader.LIGHTEVAL
    expected = entry.by_lighteval if is_lighteval else entry.by_strict
    found = grade(scorer, cache, in_fences(entry.program), tests=entry.tests)
    assert (found.outcome, found.detail is None) == (Outcome.CORRECT if expected else Outcome.WRONG, expected), found


@pytest.mark.usefixtures("warm_graders")
def test_in_the_sandbox_lighteval_says_what_it_says_outside() -> None:
    """The corpus records what LightEval's own scorer prints outside of the sandbox."""
    given = [(entry.program, code_tests.lighteval_json(entry.tests)) for entry in CORPUS]
    done = subprocess.run(
        [sys.executable, "-c", LIGHTEVALS_OWN], input=json.dumps(given), capture_output=True, text=True, check=True
    )
    said_by_lighteval = dict(
        zip((entry.shows for entry in CORPUS), json.loads(done.stdout.splitlines()[-1]), strict=True)
    )
    assert said_by_lighteval == {entry.shows: entry.by_lighteval for entry in CORPUS}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_program_that_tries_has_lightevals_scorer_say_right(
    scorer: ProgramScorer, cache: CodeTestCache, forgery: str, request: pytest.FixtureRequest
) -> None:
    """A program that tries gets "right" from LightEval's scorer, and not from the strict rule."""
    is_lighteval = request.node.callspec.params["scorer"] is CodeGrader.LIGHTEVAL
    found = grade(scorer, cache, in_fences(FORGERIES[forgery]))
    assert found.outcome is (Outcome.CORRECT if is_lighteval else Outcome.WRONG)


@pytest.fixture(scope="module")
def strict(cache: CodeTestCache) -> Iterator[ProgramScorer]:
    """Start the strict grader once."""
    limits = Limits(cpu_s=5, wall_s=30, memory_bytes=1 << 30)
    started = ProgramScorer(CodeGrading(grader=CodeGrader.STRICT, limits=limits, tests=cache.folder))
    yield started
    started.close()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.shows)
def test_the_strict_rule_finds_the_program_in_every_shape_of_answer(
    strict: ProgramScorer, cache: CodeTestCache, shape: Shape
) -> None:
    """The strict rule finds the program in every shape of answer, among examples, drafts and stray fences."""
    found = grade(strict, cache, shape.text, tests=shape.tests)
    assert (found.outcome, found.answer) == (shape.outcome, shape.program), found


def test_a_program_follows_the_models_own_tags(strict: ProgramScorer, cache: CodeTestCache) -> None:
    """A program in an unfinished thought is not an answer; a program behind the thought is one."""
    tags = ThinkTags(opening="◁think▷", closing="◁/think▷")
    tests = cache.write(DOUBLE)
    problem = Problem(id="p", query="", instruction=None, choices=("",), gold_index=0, tests=tests)
    program = in_fences("print(2 * int(input()))").rpartition("</think>")[2]
    found = [
        strict.grade(problem, Response(text=text, n_tokens=9, finish_reason=FinishReason.STOP), think_tags=tags)
        for text in (f"◁think▷{program}", f"◁think▷so◁/think▷{program}", f"so◁/think▷{program}")
    ]
    assert [grade.outcome for grade in found] == [Outcome.NO_ANSWER, Outcome.CORRECT, Outcome.CORRECT]
    assert found[0].detail == "its thought does not end"


def test_outputs_are_compared_as_they_come(strict: ProgramScorer, cache: CodeTestCache) -> None:
    """
    A grader keeps no outputs in memory while a slow first test runs.

    Fifty outputs of 16 MB used to take it from 56 to 867 MiB.
    """
    program = (
        "import time\nif input() == 'slow':\n    time.sleep(8)\n    print(1)\nelse:\n    print('6\\n' * 8_000_000)"
    )
    tests = CodeTests(inputs=("slow", *("fast",) * 30), outputs=("1", *("2",) * 30))
    assert grown_bytes(strict, cache, program, tests=tests) < 200 << 20


def test_a_result_that_is_much_longer_than_the_expected_one_is_not_read(
    strict: ProgramScorer, cache: CodeTestCache
) -> None:
    """
    A result that is much longer than the expected one is not read.

    Four million lists are 12 MB as JSON and 300 as objects.
    """
    program = "def shift(xs, by):\n    return [[]] * 4_000_000"
    assert grown_bytes(strict, cache, program, tests=CALL) < 100 << 20


def test_a_result_of_more_parts_than_a_long_expected_one_is_not_read(
    strict: ProgramScorer, cache: CodeTestCache
) -> None:
    """A result with more parts than a long expected one is not read, even within the limit of 12 MB."""
    tests = CodeTests(inputs=("[3]\n1",), outputs=(json.dumps(list(range(10_000))),), function="shift")
    program = "def shift(xs, by):\n    return [[]] * 4_000_000"
    assert grown_bytes(strict, cache, program, tests=tests) < 100 << 20


def grown_bytes(strict: ProgramScorer, cache: CodeTestCache, program: str, *, tests: CodeTests) -> int:
    """Grade a wrong program, and say how much more memory this process had meanwhile."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts here
    before = memory_of("VmRSS")
    found = grade(strict, cache, in_fences(program), tests=tests)
    assert found.outcome is Outcome.WRONG
    return memory_of("VmHWM") - before


def memory_of(name: str) -> int:
    """Read this process's memory, in bytes, from the kernel."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) << 10


class TestExtraction:
    """The last fenced block after the reasoning: LightEval's rule, and ours where there is nothing to choose."""

    def test_the_last_block_counts(self, scorer: ProgramScorer, cache: CodeTestCache) -> None:
        """The last code block is graded, and drafts before it are not."""
        text = "```\nprint(1)\n```\nNo:\n```python\nprint(2 * int(input()))\n```"
        found = grade(scorer, cache, text)
        assert (found.outcome, found.answer) == (Outcome.CORRECT, "print(2 * int(input()))")

    def test_reasoning_does_not_count(self, scorer: ProgramScorer, cache: CodeTestCache) -> None:
        """A program in the reasoning is not an answer."""
        found = grade(scorer, cache, "<think>```\nprint(2 * int(input()))\n```</think> I do not know.")
        assert (found.outcome, found.answer) == (Outcome.NO_ANSWER, None)

    @pytest.mark.parametrize(("cut", "outcome"), [(False, Outcome.NO_ANSWER), (True, Outcome.TRUNCATED)])
    def test_without_a_program(
        self, scorer: ProgramScorer, cache: CodeTestCache, *, cut: bool, outcome: Outcome
    ) -> None:
        """A response without a program is TRUNCATED where it was cut off, and NO_ANSWER otherwise."""
        assert grade(scorer, cache, "```python\nprint(2 * int", cut=cut).outcome is outcome

    def test_truncated_and_right(self, scorer: ProgramScorer, cache: CodeTestCache) -> None:
        """A right program counts, whatever was cut off after it."""
        assert grade(scorer, cache, in_fences("print(2 * int(input()))"), cut=True).outcome is Outcome.CORRECT


class TestMachinery:
    """An answer that holds no program."""

    def test_an_endless_program_is_wrong(self, scorer: ProgramScorer, cache: CodeTestCache) -> None:
        """Both rules end an endless program after the time of a test and grade it wrong."""
        found = grade(scorer, cache, in_fences("while True: pass"))
        assert found.outcome is Outcome.WRONG

    @pytest.mark.parametrize("written", ["b'[' * 100_000", "bytes([255])", "b'1' * 100_000", "b'[4'"])
    def test_a_forged_result_that_cannot_be_read_is_wrong(
        self, scorer: ProgramScorer, cache: CodeTestCache, written: str
    ) -> None:
        """A forged result that cannot be read is WRONG, not an error of the grader."""
        program = f"import os\ndef shift(xs, by):\n    os.write(3, {written})\n    os._exit(0)"
        assert grade(scorer, cache, in_fences(program), tests=CALL).outcome is Outcome.WRONG

    def test_lost_tests_are_an_error(self, scorer: ProgramScorer) -> None:
        """Lost tests are an error, because they prove nothing about the program."""
        problem = Problem(id="p", query="", instruction=None, choices=("",), gold_index=0, tests="0" * 64)
        with pytest.raises(ScoringError, match="start a new run"):
            scorer.grade(problem, said(in_fences("print(1)")))

    def test_a_problem_without_tests_is_refused(self, scorer: ProgramScorer) -> None:
        """A problem without tests is refused, because any program would be right."""
        problem = Problem(id="p", query="", instruction=None, choices=("",), gold_index=0)
        with pytest.raises(ScoringError, match="has no tests"):
            scorer.grade(problem, said(in_fences("print(1)")))

    def test_a_closed_sandbox_is_an_error_and_no_wrong_answer(self, cache: CodeTestCache) -> None:
        """A program that a closed sandbox never ran is an error, not a wrong answer."""
        closed = ProgramScorer(CodeGrading(grader=CodeGrader.STRICT, limits=Limits(), tests=cache.folder))
        closed.start()
        closed.close()
        found = grade(closed, cache, in_fences("print(2 * int(input()))"))
        assert (found.outcome, bool(found.detail)) == (Outcome.ERROR, True)


def test_the_prelude_is_lightevals() -> None:
    """The prelude defines the same names as LightEval's import string, for the same things."""
    program = (
        "import json, sys\nfrom lighteval.tasks.tasks.lcb.codegen_metrics import import_string\n"
        "theirs, ours = {}, {}\nexec(import_string, theirs)\nexec(open(sys.argv[1]).read(), ours)\n"
        "names = {name for name in {*theirs, *ours} if not name.startswith('__')}\n"
        "print(len(names), [name for name in names if theirs.get(name) is not ours.get(name)])"
    )
    prelude = str(Path(code.__file__).parent / "inside" / "prelude.py")
    done = subprocess.run([sys.executable, "-c", program, prelude], capture_output=True, text=True, check=True)
    n_names, _, different = done.stdout.strip().partition(" ")
    assert (int(n_names) > 300, different) == (True, "[]")


@pytest.mark.parametrize(
    ("found", "expected", "is_same"),
    [
        ("1\n2\n", "1\n2", True),
        ("1\n2\n", "1 2", False),
        ("1.50 2", "1.5 2.0", True),
        ("NaN", "nan", False),
        ("sNaN", "sNaN 1", False),
        ("50000000000000000", "50000000000000001", False),
        ("yes", "Yes", False),
        ("", "", True),
        ("1 " * 100_000, "1.0 " * 100_000, False),
    ],
)
def test_outputs_are_compared_as_lighteval_does(found: str, expected: str, *, is_same: bool) -> None:
    """Outputs are compared by stripped lines and as decimals; what is too long for numbers has to be equal."""
    assert is_same_output(found, expected) == is_same


def test_limits_and_rule_are_one_value(tmp_path: Path) -> None:
    """Rule and limits are one value of plain data, whose name the fingerprint records."""
    strict = CodeGrading(grader=CodeGrader.STRICT, limits=Limits(), tests=tmp_path)
    lighteval = CodeGrading(grader=CodeGrader.LIGHTEVAL, limits=Limits(), tests=tmp_path)
    named = BUILT_IN_BY_NAME
    assert (strict.name_for(named["lcb"]), strict.name_for(named["gpqa"])) == ("strict 3", "strict-letters 2")
    assert (lighteval.name_for(named["lcb"]), lighteval.name_for(named["gpqa"])) == ("lighteval-run_test 0.13.0", None)
    assert asdict(strict)["limits"]["cpu_s"] == 6
