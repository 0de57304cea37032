"""MMLU-Pro and MMLU-Redux as tasks of our own: each option's letter is asked for, once, and read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_r1eval.core.records import Outcome
from pytest_r1eval.errors import ExamError
from pytest_r1eval.scoring import strict
from pytest_r1eval.scoring.pool import GradingPool
from tests.exams.builder import Builder, write_rows
from tests.scoring.grades import grades_of
from tests.toys import BUILT_IN_BY_NAME, said

pytest_plugins = ["tests.scoring_fixtures"]

PRO, REDUX = BUILT_IN_BY_NAME["mmlu_pro"], BUILT_IN_BY_NAME["mmlu_redux"]
TEN = {
    "question_id": 1, "question": "Which is the ninth digit?", "options": [str(number) for number in range(10)],
    "answer": "J", "answer_index": 9, "cot_content": "", "category": "other", "src": "ours",
}  # fmt: skip
FOUR = {**TEN, "question_id": 2, "question": "Which is two?", "options": ["0", "1", "2", "3"], "answer_index": 2}
SUBJECTS = 57
FORMS = ("Answer: {}", "**Answer: {}**", "ANSWER: {}", "so \\boxed{{{}}}", "The answer is $\\boxed{{\\text{{{}}}}}$.")


def redux(question: str, answer: int, *, error_type: str = "ok") -> dict[str, Any]:
    """Make a row with the columns of MMLU-Redux."""
    return {
        "question": question, "choices": ["w", "x", "y", "z"], "answer": answer, "error_type": error_type,
        "source": None, "correct_answer": None, "potential_reason": None,
    }  # fmt: skip


def write_snapshot(folder: Path, subjects: list[str]) -> Path:
    """Move each subject's rows into a file beside a README that names it, as a repository of the Hub may."""
    place = folder / "mmlu-redux-2.0"
    files = [f"- config_name: {name}\n  data_files: [{{split: test, path: {name}.jsonl}}]\n" for name in subjects]
    for name in subjects:
        (place / name / "test.jsonl").rename(place / f"{name}.jsonl")
        (place / name).rmdir()
    (place / "README.md").write_text(f"---\nconfigs:\n{''.join(files)}---\n")
    return place


@pytest.fixture
def subjects(pool: GradingPool, tmp_path: Path) -> list[str]:
    """Write a row for each of MMLU-Redux's subsets, and return their names in the task's order."""
    assert pool is not None
    from pytest_r1eval.exams import tasks  # noqa: PLC0415 - only where LightEval is

    names: list[str] = list(tasks.task_config(REDUX).hf_subsets)
    for number, name in enumerate(names):
        write_rows(tmp_path / "mmlu-redux-2.0" / name / "test.jsonl", [redux(f"Question {number}?", number % 4)])
    return names


class TestPrompts:
    """What a model is asked."""

    @pytest.mark.parametrize(("row", "letters"), [(TEN, "ABCDEFGHIJ"), (FOUR, "ABCD")])
    def test_each_options_letter_is_asked_for(
        self, builder: Builder, tmp_path: Path, row: dict[str, Any], letters: str
    ) -> None:
        """A question of MMLU-Pro asks for one of as many letters as it has options."""
        write_rows(tmp_path / "MMLU-Pro" / "test.jsonl", [row])
        (problem,) = builder.exam(PRO, data_dir=tmp_path).problems
        assert f"LETTER is one of {letters}." in problem.query
        assert problem.choices == tuple(letters)
        assert problem.gold_index == row["answer_index"]
        assert f"\n{letters[-1]}) {row['options'][-1]}" in problem.query

    def test_a_question_is_put_once(self, builder: Builder, tmp_path: Path) -> None:
        """The prompt holds question and options once, where LightEval's task sends them twice."""
        write_rows(tmp_path / "MMLU-Pro" / "test.jsonl", [TEN])
        built = builder.build(PRO, data_dir=tmp_path)
        (problem,) = built.exam.problems
        assert problem.instruction is None
        assert len(built.prompts[0]) < len(problem.query) + 40
        assert problem.query.count(TEN["question"]) == 1  # type: ignore[arg-type]


class TestRedux:
    """MMLU-Redux is one exam of 57 subsets."""

    def test_all_subjects_are_asked_in_order(self, builder: Builder, tmp_path: Path, subjects: list[str]) -> None:
        """The rows of all 57 subsets make one exam, in the order of the subjects."""
        problems = builder.exam(REDUX, data_dir=tmp_path).problems
        assert len(subjects) == len(set(subjects)) == SUBJECTS
        assert [problem.gold_index for problem in problems] == [number % 4 for number in range(SUBJECTS)]

    def test_questions_with_errors_are_left_out(self, builder: Builder, tmp_path: Path, subjects: list[str]) -> None:
        """A question that the authors found wrong, as one without a right option, is not asked."""
        rows = [redux("Sound?", 1), redux("Unsound?", 0, error_type="no_correct_answer")]
        write_rows(tmp_path / "mmlu-redux-2.0" / subjects[0] / "test.jsonl", rows)
        first, second, *_ = builder.exam(REDUX, data_dir=tmp_path).problems
        assert "Sound?" in first.query
        assert "Question 1?" in second.query

    def test_a_copy_without_a_subject_is_refused(self, builder: Builder, tmp_path: Path, subjects: list[str]) -> None:
        """A local copy that lacks a subject is refused by the subject's name, and so is one file for all of them."""
        missing = tmp_path / "mmlu-redux-2.0" / subjects[-1] / "test.jsonl"
        missing.unlink()
        missing.parent.rmdir()
        write_rows(tmp_path / "mmlu-redux-2.0" / "test.jsonl", [redux("All?", 0)])
        with pytest.raises(ExamError, match=rf"found no folder {subjects[-1]}; expected one for each of the 57"):
            builder.exam(REDUX, data_dir=tmp_path)

    @pytest.mark.parametrize("card", ["# MMLU-Redux", "---\nlicense: mit\n---\n"], ids=["without", "with"])
    def test_one_file_is_not_read_for_each_subject(self, builder: Builder, tmp_path: Path, card: str) -> None:
        """One file beside a README that names no subset is refused, instead of read once for each subject."""
        folder = tmp_path / "mmlu-redux-2.0"
        write_rows(folder / "test.jsonl", [redux("All?", 0)])
        (folder / "README.md").write_text(card)
        with pytest.raises(ExamError, match=r"found no folder abstract_algebra; expected one for each of the 57"):
            builder.exam(REDUX, data_dir=tmp_path)

    def test_a_snapshot_without_the_file_of_a_subject_is_refused(
        self, builder: Builder, tmp_path: Path, subjects: list[str]
    ) -> None:
        """A snapshot whose README names a file for each subject is refused where one lacks, beside a file of all."""
        folder = write_snapshot(tmp_path, subjects)
        write_rows(folder / "test.jsonl", [redux("All?", 0)])
        (folder / f"{subjects[0]}.jsonl").unlink()
        with pytest.raises(ExamError, match=r"split 'test' cannot be read"):
            builder.exam(REDUX, data_dir=tmp_path)

    def test_a_snapshot_is_read_by_its_readme(self, builder: Builder, tmp_path: Path, subjects: list[str]) -> None:
        """A snapshot of the Hub's repository gives the rows of each subject from the file that its README names."""
        write_snapshot(tmp_path, subjects)
        problems = builder.exam(REDUX, data_dir=tmp_path).problems
        assert [problem.gold_index for problem in problems] == [number % 4 for number in range(SUBJECTS)]

    @pytest.mark.parametrize("content", ["", "\n"])
    def test_an_empty_subject_is_refused(
        self, builder: Builder, tmp_path: Path, subjects: list[str], content: str
    ) -> None:
        """A subject without a row is refused by its name: the copy is not whole."""
        (tmp_path / "mmlu-redux-2.0" / subjects[3] / "test.jsonl").write_text(content)
        with pytest.raises(ExamError, match=rf"{subjects[3]}: split 'test' holds no row; expected at least one"):
            builder.exam(REDUX, data_dir=tmp_path)


class TestGrades:
    """Letters up to J."""

    def test_lightevals_metric_reads_each_form(self, pool: GradingPool, builder: Builder, tmp_path: Path) -> None:
        """GPQA's metric accepts the right letter of ten in each form, boxes included, and no other letter."""
        write_rows(tmp_path / "MMLU-Pro" / "test.jsonl", [TEN])
        (problem,) = builder.exam(PRO, data_dir=tmp_path).problems
        answers = [(problem, said(f"<think>B? C?</think>{form.format(letter)}")) for form in FORMS for letter in "JDA"]
        outcomes = [grade.outcome is Outcome.CORRECT for grade in grades_of(pool, PRO, answers)]
        assert outcomes == [True, False, False] * len(FORMS)

    def test_the_strict_rule_reads_each_form(self, builder: Builder, tmp_path: Path) -> None:
        """The strict rule accepts the right letter of ten in each form, also a small one, and no other letter."""
        write_rows(tmp_path / "MMLU-Pro" / "test.jsonl", [TEN])
        (problem,) = builder.exam(PRO, data_dir=tmp_path).problems
        texts = [form.format(letter) for form in (*FORMS[:-1], "Answer: \\boxed{{{}}}") for letter in "JDj"]
        outcomes = [strict.grade(PRO, problem, said(text), cpu_s=10).outcome is Outcome.CORRECT for text in texts]
        assert outcomes == [True, False, True] * 5
