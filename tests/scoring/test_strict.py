"""The strict rule for answers: every form of the corpus, every published answer, and nothing of other problems."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.core.benchmarks import AnswerForm, Benchmark, Problem
from pytest_r1eval.core.records import FinishReason, Grade, Outcome
from pytest_r1eval.core.thinking import ThinkTags
from pytest_r1eval.errors import ScoringError
from pytest_r1eval.scoring import strict
from tests.documents import ROOT
from tests.scoring.answer_corpus import LETTERS, MATHEMATICS, RESPONSES, TRUNCATED
from tests.scoring.hostile_answers import HOSTILE, Hostile
from tests.toys import BUILT_IN_BY_NAME, said

CPU_S = 20.0
MATH, AIME, GPQA = (BUILT_IN_BY_NAME[name] for name in ("math500", "aime24", "gpqa"))
OPTIONS = Problem(id="carbon", query="Which one?", instruction=None, choices=tuple("ABCD"), gold_index=2)
TEN_SPELLINGS = (
    "ANSWER: {}",
    "ANSWER: ${}$",
    "<think>Is it \\boxed{{9}}?</think>\nSo $\\boxed{{{}}}$.",
    "**Answer:** \\({}\\)",
    "Therefore, the final answer is: $\\boxed{{{}}}$. I hope it is correct",
    "\\[\n\\boxed{{{}}}\n\\]",
    "\\fbox{{{}}}",
    "\\boxed{{{} ,}}",
    "\\boxed{{\\color{{red}}{{{}}}}}",
    "answer:\n\\boxed{{\\displaystyle {}.}}",
)
"""Ways in which a model says one answer; the first is MATH-500's, the fifth AIME's."""


def asked(gold: str) -> Problem:
    """Make a problem with that answer."""
    return Problem(id="p", query="How many?", instruction=None, choices=(gold,), gold_index=0)


def graded(problem: Problem, text: str, *, benchmark: Benchmark = MATH, is_truncated: bool = False) -> Grade:
    """Grade a response."""
    finish_reason = FinishReason.LENGTH if is_truncated else FinishReason.STOP
    return strict.grade(benchmark, problem, said(text, finish_reason=finish_reason), cpu_s=CPU_S)


def boxed() -> list[tuple[str, str, Outcome]]:
    """List the corpus' forms of mathematics."""
    right = [(forms.gold, text, Outcome.CORRECT) for forms in MATHEMATICS for text in forms.right]
    return right + [(forms.gold, text, Outcome.WRONG) for forms in MATHEMATICS for text in forms.wrong]


class TestCorpus:
    """Each form of an answer has the grade that the corpus names."""

    def test_the_corpus_has_300_forms(self) -> None:
        """The corpus holds more than 300 forms and none twice."""
        kinds: list[list[object]] = [[*boxed()], [*RESPONSES], [*TRUNCATED], [*LETTERS]]
        assert [len(set(forms)) for forms in kinds] == [len(forms) for forms in kinds]
        assert sum(map(len, kinds)) > 300

    @pytest.mark.parametrize(("gold", "text", "outcome"), boxed())
    def test_a_value_in_a_box(self, gold: str, text: str, outcome: Outcome) -> None:
        """A boxed answer is right only if it is one answer with the right value."""
        assert graded(asked(gold), f"So $\\boxed{{{text}}}$.").outcome is outcome

    @pytest.mark.parametrize(("text", "outcome"), RESPONSES)
    def test_a_response(self, text: str, outcome: Outcome) -> None:
        """The last box or answer line behind the thought is graded."""
        assert graded(asked("204"), text).outcome is outcome

    @pytest.mark.parametrize(("text", "outcome"), TRUNCATED)
    def test_a_truncated_response(self, text: str, outcome: Outcome) -> None:
        """A truncated response is right only where its thought ended and its answer is right."""
        assert graded(asked("204"), text, is_truncated=True).outcome is outcome

    @pytest.mark.parametrize(("text", "outcome"), LETTERS)
    def test_a_letter(self, text: str, outcome: Outcome) -> None:
        """A multiple-choice answer of one letter is graded, and one of two letters is WRONG."""
        assert graded(OPTIONS, text, benchmark=GPQA).outcome is outcome


class TestGrades:
    """A grade says what was read, and why it is not right."""

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("\\boxed{204}", Grade(outcome=Outcome.CORRECT, answer="204")),
            ("\\boxed{205}", Grade(outcome=Outcome.WRONG, answer="205")),
            (
                "ANSWER: 16 or 204",
                Grade(outcome=Outcome.WRONG, answer="16 or 204", detail="it is not one answer: it has 2 values"),
            ),
            (
                "\\boxed{204 \\ldots}",
                Grade(
                    outcome=Outcome.WRONG,
                    answer="204 \\ldots",
                    detail="it cannot be read as mathematics: it holds \\ldots, which is not read",
                ),
            ),
            ("<think>\\boxed{204}", Grade(outcome=Outcome.NO_ANSWER, detail="its thought does not end")),
            ("I do not know.", Grade(outcome=Outcome.NO_ANSWER)),
        ],
    )
    def test_the_detail_is_the_reason(self, text: str, expected: Grade) -> None:
        """A grade's detail is one line that gives the reason."""
        assert graded(asked("204"), text) == expected

    def test_two_letters_are_named(self) -> None:
        """Two letters are WRONG and named in the detail; a single letter is stored."""
        both = Grade(outcome=Outcome.WRONG, answer="A or C", detail="it is not one answer: it names A and C")
        assert graded(OPTIONS, "Answer: A or C", benchmark=GPQA) == both
        assert graded(OPTIONS, "answer: (c)", benchmark=GPQA) == Grade(outcome=Outcome.CORRECT, answer="C")

    def test_a_benchmark_of_other_answers_is_refused(self) -> None:
        """A benchmark of another form of answers is refused; no rule is guessed."""
        other = Benchmark(name="essay", mark="essay", task="essay", task_module="essay.py", samples_per_problem=1)
        with pytest.raises(
            ScoringError, match="essay does not say what its answers are; expected mathematics or letters"
        ):
            graded(asked("204"), "\\boxed{204}", benchmark=other)

    @pytest.mark.parametrize("gold", ["204", "ANSWER: It is $\\boxed{204}$ in all.", "\\text{east}"])
    def test_a_problems_own_answer_is_its_control(self, gold: str) -> None:
        """The grader never fails on a problem's own answer, so a failure is the response's fault."""
        assert strict.failure_at_control(MATH, asked(gold), cpu_s=CPU_S) is None


class TestThoughts:
    """What a model's own tags enclose is no answer."""

    TAGS = ThinkTags(opening="<|channel|>analysis<|message|>", closing="<|channel|>final<|message|>")

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("<|channel|>analysis<|message|>\\boxed{9}<|channel|>final<|message|>\\boxed{16}", Outcome.CORRECT),
            ("\\boxed{16}<|channel|>final<|message|>\\boxed{9}", Outcome.WRONG),
            ("<|channel|>analysis<|message|>\\boxed{16}", Outcome.NO_ANSWER),
        ],
    )
    def test_the_answer_follows_the_thought(self, text: str, expected: Outcome) -> None:
        """The answer behind the tag that ends the thought counts, and a thought without an end has none."""
        assert strict.grade(MATH, asked("16"), said(text), cpu_s=CPU_S, think_tags=self.TAGS).outcome is expected

    def test_a_prompt_may_have_opened_the_thought(self) -> None:
        """A prompt that opens the thought leaves a response without a closing tag unanswered."""
        opened = replace(self.TAGS, is_open=True)
        expected = Grade(outcome=Outcome.NO_ANSWER, detail="its thought does not end")
        assert expected == strict.grade(MATH, asked("16"), said("\\boxed{16}"), cpu_s=CPU_S, think_tags=opened)
        cut = said("\\boxed{16} and", finish_reason=FinishReason.LENGTH)
        assert strict.grade(MATH, asked("16"), cut, cpu_s=CPU_S, think_tags=self.TAGS).outcome is Outcome.CORRECT


class TestCost:
    """A grade takes a bounded time, whatever the answer is; a rule on the text decides, and no clock."""

    @pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.shows)
    def test_what_looping_models_write_is_graded_at_once(self, hostile: Hostile) -> None:
        """What looping models write is graded within a second, where LightEval's patterns take seconds to hours."""
        started = time.process_time()
        found = graded(asked("16"), hostile.text)
        assert time.process_time() - started < 1
        assert found.outcome is not Outcome.ERROR
        assert "took more than" not in (found.detail or "")

    @pytest.mark.parametrize(
        "text",
        [
            "9^{9^{9^{9^{9}}}}",
            "(9^{9999})!",
            "((((((99!)!)!)!)!)!)!",
            "x^{10^{100}} + (2x)^{10^{100}}",
            "\\sqrt{2^{30000}+1} \\cdot \\sqrt{3^{19000}+1}",
            "\\sin(10^{9000})",
            "\\frac{1}{" * 39 + "2" + "}" * 39,
            "(1+" * 300 + "x" + ")^9" * 300,
            "1.5e+999999999",
            "\\binom{3000}{1500}^{1000}",
            "\\{" * 30 + "1 \\pm 2" + "\\}" * 30,
            ",".join(str(number) for number in range(400)),
            ",".join(f"\\sqrt{{{number}}}" for number in range(120)),
            "\\pm" * 200 + "1",
            "{" * 900 + "1" + "}" * 900,
            "\\cos(" * 30 + "1" + ")" * 30,
            "e^{e^{e^{e^{e^{e}}}}}",
            "\\lfloor \\pi^{1000} \\rfloor",
            "2^{\\sqrt{2^{10000}}}",
            "\\log_{1}{2}",
            "0^{-1}",
            "\\tan \\frac{\\pi}{2}",
        ],
    )
    @pytest.mark.parametrize("gold", ["16", "1, 2, 3", "x^2 + 1"])
    def test_expressions_that_explode_are_not_evaluated(self, text: str, gold: str) -> None:
        """An expression that would explode is WRONG within two seconds, without an error of the grader."""
        started = time.process_time()
        found = graded(asked(gold), f"\\boxed{{{text}}}")
        assert time.process_time() - started < 2
        assert (found.outcome, "raised" in (found.detail or "")) == (Outcome.WRONG, False)

    def test_a_grade_imports_no_lighteval(self) -> None:
        """The strict grader does not import LightEval, which takes 10 s and more."""
        program = "import sys; from pytest_r1eval.scoring import strict; print('lighteval' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout == "False\n"

    def test_it_grades_behind_walls(self) -> None:
        """A process that confined itself grades by the strict rule, and reads no file that is not code."""
        program = (
            "from pathlib import Path\n"
            "from pytest_r1eval.scoring import strict\n"
            "from tests.scoring.test_strict import AIME, asked, graded\n"
            "strict.confine(AIME, asked('204'), cpu_s=20)\n"
            "print([graded(asked('204'), text).outcome.value for text in ('ANSWER: 204', 'ANSWER: 16 or 204')])\n"
            "try:\n    Path('/etc/passwd').read_text()\n"
            "except PermissionError as error:\n    print(type(error).__name__)\n"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
        assert done.stdout.splitlines() == ["['correct', 'wrong']", "PermissionError"]


@pytest.fixture(scope="module")
def math500(real_data: Path) -> list[dict[str, str]]:
    """Read MATH-500."""
    return [json.loads(line) for line in (real_data / "MATH-500" / "test.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def aime(real_data: Path) -> list[dict[str, str]]:
    """Read AIME 2024."""
    return [json.loads(line) for line in (real_data / "aime_2024" / "train.jsonl").read_text().splitlines()]


def solved(row: dict[str, str]) -> Problem:
    """Make a problem whose answer is a whole solution, as LightEval's task does of a row of MATH-500."""
    return asked(f"ANSWER: {row['solution']}")


def bare(answer: str) -> str:
    """Leave out of a published answer what the rule leaves out, by other means: units, marks of a formula, blanks."""
    answer = re.sub(r"\\(?:text|mbox)\s*\{[^{}]*\}(?:\^\d)?|\^\\circ|\\[$! ]|\\left|\\right|\s", "", answer)
    return answer.replace("\\dfrac", "\\frac")


class TestRealAnswers:
    """The published answers of MATH-500 and AIME 2024, read where the tests run."""

    @pytest.mark.parametrize("spelling", TEN_SPELLINGS)
    def test_all_answers_of_math_500_are_right(self, math500: list[dict[str, str]], spelling: str) -> None:
        """All 500 answers of MATH-500 are right in every spelling; LightEval accepts 391 in the first one."""
        answers = [(row["answer"], graded(solved(row), spelling.format(row["answer"]))) for row in math500]
        assert len(answers) == 500
        assert [answer for answer, grade in answers if grade.outcome is not Outcome.CORRECT] == []

    @pytest.mark.parametrize("spelling", TEN_SPELLINGS)
    def test_all_answers_of_aime_2024_are_right(self, aime: list[dict[str, str]], spelling: str) -> None:
        """All 30 answers of AIME 2024 are right in every spelling, with leading zeros too."""
        answers = [(row["answer"], graded(asked(row["answer"]), spelling.format(row["answer"]))) for row in aime]
        assert len(answers) == 30
        assert [answer for answer, grade in answers if grade.outcome is not Outcome.CORRECT] == []

    def test_other_problems_answers_are_wrong(self, math500: list[dict[str, str]]) -> None:
        """None of 12 other problems' answers to each of 500 problems is right, unless it is the same answer."""
        accepted = []
        for number, row in enumerate(math500):
            for step in range(1, 13):
                other = math500[(number + 37 * step) % len(math500)]
                grade = graded(solved(row), f"ANSWER: {other['answer']}")
                assert grade.outcome in {Outcome.CORRECT, Outcome.WRONG}
                if grade.outcome is Outcome.CORRECT and bare(other["answer"]) != bare(row["answer"]):
                    accepted.append((row["answer"], other["answer"]))
        assert accepted == []

    def test_the_neighbours_of_aime_answers_are_wrong(self, aime: list[dict[str, str]]) -> None:
        """For every AIME problem the next number, a hedge and both signs are wrong."""
        neighbours: tuple[Callable[[int], str], ...] = (
            lambda gold: str(gold + 1),
            lambda gold: f"{gold} or {gold + 1}",
            lambda gold: f"\\pm {gold}",
        )
        for row in aime:
            for written in neighbours:
                grade = graded(asked(row["answer"]), f"\\boxed{{{written(int(row['answer']))}}}", benchmark=AIME)
                assert grade.outcome is Outcome.WRONG


def test_built_in_exams_say_what_their_answers_are() -> None:
    """GPQA's answers are letters, LiveCodeBench's are programs, and the others are values."""
    forms = {name: BUILT_IN_BY_NAME[name].answers for name in ("aime24", "aime25", "math500", "gpqa", "lcb")}
    mathematics = AnswerForm.MATHEMATICS
    assert forms == {
        "aime24": mathematics, "aime25": mathematics, "math500": mathematics, "gpqa": AnswerForm.LETTERS, "lcb": None,
    }  # fmt: skip
