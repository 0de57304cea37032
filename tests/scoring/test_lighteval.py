"""Grades: LightEval's judgement of one answer, and nothing of how it counts them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest

from pytest_r1eval.core.benchmarks import Problem
from pytest_r1eval.core.records import FinishReason, Grade, Outcome
from pytest_r1eval.core.thinking import ThinkTags
from pytest_r1eval.errors import ScoringError
from pytest_r1eval.scoring.pool import GradingPool
from tests.scoring.grades import SPIDERS, grade_of, grades_of
from tests.toys import BUILT_IN_BY_NAME, DATA, DATE, PROBE, said, toy

pytest_plugins = ["tests.scoring_fixtures"]


@pytest.mark.parametrize("task", ["toy:pass", "toy:pass64", "toy:avg"])
class TestEachSampleByItself:
    """LightEval's n, k and averages do not reach a grade (lighteval#771, #1335)."""

    def test_eight_of_eight_right_are_eight(self, pool: GradingPool, task: str) -> None:
        """Eight right answers of eight are all CORRECT, where PassAtK with n=64 would give .125."""
        grades = grades_of(pool, toy(task), [(SPIDERS, said("so \\boxed{16}"))] * 8)
        assert [grade.outcome for grade in grades] == [Outcome.CORRECT] * 8

    def test_one_of_eight_right_is_one(self, pool: GradingPool, task: str) -> None:
        """One right answer of eight is CORRECT and the others are WRONG."""
        texts = ["so \\boxed{16}", *(f"so \\boxed{{{wrong}}}" for wrong in range(7))]
        grades = grades_of(pool, toy(task), [(SPIDERS, said(text)) for text in texts])
        assert [grade.outcome for grade in grades] == [Outcome.CORRECT, *[Outcome.WRONG] * 7]

    def test_reasoning_does_not_make_a_right_answer_wrong(self, pool: GradingPool, task: str) -> None:
        """A right answer behind its reasoning is CORRECT, where AvgAtN would give 0."""
        grade = grade_of(pool, task, said("<think>two times eight</think> so \\boxed{16}"))
        assert (grade.outcome, grade.answer) == (Outcome.CORRECT, "16")


class TestReasoning:
    """What stands in tags is removed as LightEval's pipeline removes it."""

    @pytest.mark.parametrize(
        ("text", "outcome"),
        [
            ("<think>is it \\boxed{9}?</think> No: \\boxed{16}", Outcome.CORRECT),
            ("<think>is it \\boxed{16}?</think> No: \\boxed{9}", Outcome.WRONG),
            ("is it \\boxed{9}?</think> No: \\boxed{16}", Outcome.CORRECT),
            ("is it \\boxed{16}?</think> No: \\boxed{9}", Outcome.WRONG),
            ("<think>a</think><think>b \\boxed{9}</think> \\boxed{16}", Outcome.CORRECT),
            ("<think>is it \\boxed{16}?</think> I do not know.", Outcome.NO_ANSWER),
        ],
    )
    def test_the_answer_after_the_reasoning_counts(self, pool: GradingPool, text: str, outcome: Outcome) -> None:
        """LightEval's grader reads the answer after the reasoning, also where only the closing tag is there."""
        assert grade_of(pool, "toy:pass", said(text)).outcome is outcome

    @pytest.mark.parametrize(
        ("text", "outcome"),
        [
            ("is it \\boxed{16}?</think> I do not know.", Outcome.CORRECT),
            ("Perhaps the final answer is $9$. No.</think> So it is $\\boxed{16}$.", Outcome.WRONG),
        ],
    )
    def test_known_limit_reasoning_before_a_lone_closing_tag_is_graded_too(
        self, pool: GradingPool, text: str, outcome: Outcome
    ) -> None:
        """Reasoning before a lone closing tag is graded as LightEval grades it, which removes pairs of tags only."""
        assert grade_of(pool, "toy:pass", said(text)).outcome is outcome


class TestSpecialTags:
    """Tags that are special tokens are kept in a response's text, where LightEval's decoder leaves them out."""

    TAGS = ThinkTags(opening="[THINK]", closing="[/THINK]", special=("[/THINK]", "[THINK]"))

    @pytest.mark.parametrize(
        "text",
        [
            "[THINK]is it \\boxed{9}?[/THINK] No: \\boxed{16}",
            "[THINK]is it \\boxed{16}?[/THINK] I do not know.",
            "[THINK]\\boxed{16}",
            "\\boxed{1[THINK]6}",
        ],
    )
    def test_a_grade_is_that_of_the_text_without_them(self, pool: GradingPool, text: str) -> None:
        """LightEval's grade of a response with special tags is that of its text without them."""
        kept = asyncio.run(pool.grade(toy("toy:pass"), SPIDERS, said(text), think_tags=self.TAGS))
        plain = text.replace("[THINK]", "").replace("[/THINK]", "")
        assert kept == grade_of(pool, "toy:pass", said(plain))


class TestOutcomes:
    """One response, one of five outcomes."""

    @pytest.mark.parametrize(
        ("text", "finish_reason", "expected"),
        [
            ("\\boxed{16}", FinishReason.STOP, Grade(outcome=Outcome.CORRECT, answer="16")),
            ("\\boxed{17}", FinishReason.STOP, Grade(outcome=Outcome.WRONG, answer="17")),
            ("I do not know.", FinishReason.STOP, Grade(outcome=Outcome.NO_ANSWER)),
            ("", FinishReason.STOP, Grade(outcome=Outcome.NO_ANSWER)),
            ("I think that", FinishReason.LENGTH, Grade(outcome=Outcome.TRUNCATED)),
            ("\\boxed{17} but", FinishReason.LENGTH, Grade(outcome=Outcome.TRUNCATED, answer="17")),
            ("\\boxed{16} and so", FinishReason.LENGTH, Grade(outcome=Outcome.CORRECT, answer="16")),
        ],
    )
    def test_the_outcome_follows_the_answer_then_the_finish_reason(
        self, pool: GradingPool, text: str, finish_reason: FinishReason, expected: Grade
    ) -> None:
        """A truncated response with a right answer is CORRECT, and without one TRUNCATED."""
        assert expected == grade_of(pool, "toy:pass", said(text, finish_reason=finish_reason))

    def test_a_metric_that_extracts_nothing_leaves_wrong_answers_wrong(self, pool: GradingPool) -> None:
        """A metric without extraction grades a wrong answer WRONG and stores no answer."""
        assert grade_of(pool, "toy:exact", said("16")) == Grade(outcome=Outcome.CORRECT)
        assert grade_of(pool, "toy:exact", said("17")) == Grade(outcome=Outcome.WRONG)

    def test_an_answer_over_which_the_grader_raises_is_wrong(self, pool: GradingPool) -> None:
        """An answer on which the grader raises is WRONG, with the reason in one line."""
        expected = Grade(outcome=Outcome.WRONG, detail="grading it raised ArithmeticError: no luck")
        assert expected == grade_of(pool, "toy:probe", said("fail no luck"), problem=PROBE)

    def test_an_answer_over_which_the_grader_raises_is_truncated(self, pool: GradingPool) -> None:
        """A truncated answer on which the grader raises is TRUNCATED, with the reason."""
        found = grade_of(pool, "toy:probe", said("fail no luck", finish_reason=FinishReason.LENGTH), problem=PROBE)
        assert found == Grade(outcome=Outcome.TRUNCATED, detail="grading it raised ArithmeticError: no luck")

    def test_a_grader_that_raises_on_the_problems_own_answer_too_is_an_error(self, pool: GradingPool) -> None:
        """A grader that raises on the problem's own answer is an error: it tells nothing about any answer."""
        found = grade_of(pool, "toy:broken", said("so 1"), problem=PROBE)
        failure = "grading it raised ArithmeticError: out of order"
        detail = f"{failure}; the grader fails on the problem's own answer too: {failure}"
        assert found == Grade(outcome=Outcome.ERROR, detail=detail)

    @pytest.mark.parametrize("value", ["0.5", "nan", "2"])
    def test_a_score_that_is_neither_right_nor_wrong_is_refused(self, pool: GradingPool, value: str) -> None:
        """A task's score that is neither 0 nor 1 is refused, because rounding would invent a number."""
        with pytest.raises(ScoringError, match=r"metric of task 'toy:probe' gave .*; expected 0 or 1"):
            grade_of(pool, "toy:probe", said(f"value {value}"), problem=PROBE)


@pytest.fixture(scope="module")
def aime(pool: GradingPool, tokenizer: str, real_data: Path) -> tuple[Problem, ...]:
    """Build AIME 2024."""
    future = pool.build_exam(
        BUILT_IN_BY_NAME["aime24"],
        data_dir=real_data,
        model=tokenizer,
        revision=None,
        system_prompt=None,
        template_date=DATE,
    )
    return future.result().exam.problems


class TestRealGolds:
    """LightEval accepts the published answers, as far as it does."""

    def test_every_gold_of_aime_2024_is_right_when_a_model_says_it(
        self, pool: GradingPool, aime: tuple[Problem, ...]
    ) -> None:
        """Every gold of AIME 2024 counts as right, one with leading zeros (073) as well."""
        answers = [(problem, said(f"<think>hm</think>It is $\\boxed{{{problem.choices[0]}}}$.")) for problem in aime]
        assert Counter(grade.outcome for grade in grades_of(pool, BUILT_IN_BY_NAME["aime24"], answers)) == {
            Outcome.CORRECT: 30
        }

    def test_the_neighbour_of_a_gold_is_wrong(self, pool: GradingPool, aime: tuple[Problem, ...]) -> None:
        """The number after each AIME answer is WRONG, so a grader that accepts everything fails."""
        answers = [(problem, said(f"It is $\\boxed{{{int(problem.choices[0]) + 1}}}$.")) for problem in aime]
        assert Counter(grade.outcome for grade in grades_of(pool, BUILT_IN_BY_NAME["aime24"], answers)) == {
            Outcome.WRONG: 30
        }

    def test_golds_of_math_500_are_right_when_a_model_says_them(
        self, pool: GradingPool, tokenizer: str, real_data: Path
    ) -> None:
        """The reference answers of MATH-500 are CORRECT with LightEval 0.13.0; every fifth is graded here."""
        benchmark = BUILT_IN_BY_NAME["math500"]
        problems = (
            pool.build_exam(
                benchmark,
                data_dir=real_data,
                model=tokenizer,
                revision=None,
                system_prompt=None,
                template_date=DATE,
            )
            .result()
            .exam.problems
        )
        lines = (real_data / "MATH-500" / "test.jsonl").read_text().splitlines()
        golds = [json.loads(line)["answer"] for line in lines]
        answers = [
            (problem, said(f"ANSWER: $\\boxed{{{gold}}}$")) for problem, gold in zip(problems, golds, strict=True)
        ]
        assert Counter(grade.outcome for grade in grades_of(pool, benchmark, answers[::5])) == {Outcome.CORRECT: 100}


def test_letters_of_multiple_choice_are_graded(pool: GradingPool, tokenizer: str) -> None:
    """GPQA's metric grades the letters of multiple choice."""
    benchmark = BUILT_IN_BY_NAME["gpqa"]
    problem = (
        pool.build_exam(
            benchmark,
            data_dir=DATA,
            model=tokenizer,
            revision=None,
            system_prompt=None,
            template_date=DATE,
        )
        .result()
        .exam.problems[0]
    )
    answers = [(problem, said(f"<think>B? C?</think>Let me see.\nAnswer: {letter}")) for letter in "ABCD"]
    grades = grades_of(pool, benchmark, answers)
    assert [grade.outcome is Outcome.CORRECT for grade in grades] == [index == problem.gold_index for index in range(4)]
    assert [grade.answer for grade in grades] == list("ABCD")
