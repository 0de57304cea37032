"""Competitions of MathArena: asked in AIME's words, and graded right in every form of an answer they have."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_r1eval.core.records import Outcome
from pytest_r1eval.scoring import strict
from pytest_r1eval.scoring.pool import GradingPool
from tests.exams.builder import Builder, write_rows
from tests.scoring.grades import grades_of
from tests.toys import BUILT_IN_BY_NAME, said

pytest_plugins = ["tests.scoring_fixtures"]

FOLDERS = {"aime25": "aime_2025", "aime26": "aime_2026", "hmmt_feb25": "hmmt_feb_2025", "hmmt_nov25": "hmmt_nov_2025"}
VALUES = {
    "103": "104",
    r"\frac{1}{576}": r"\frac{1}{575}",
    r"-\frac{1}{2}": r"\frac{1}{2}",
    r"\sqrt{23}-2 \sqrt{3}": r"\sqrt{23}-3 \sqrt{3}",
    r"9\sqrt{15}": "9",
    r"\frac{-1+\sqrt{17}}{2}, \frac{-1-\sqrt{17}}{2}": r"\frac{-1+\sqrt{17}}{2}",
    r"2^{25} \cdot 26!": r"2^{24} \cdot 26!",
    r"1-\frac{2}{\pi}": "1",
    "1/91": "1/19",
}
"""Forms that right answers of HMMT have, and a wrong answer beside each; the values are ours."""


def write_competition(folder: Path, name: str) -> None:
    """Write a copy with MathArena's columns: AIME 2026's answers are whole numbers, those of others text."""
    years: dict[str, list[int | str]] = {"aime25": ["277", "062", "0"], "aime26": [277, 62, 0]}
    answers = years.get(name, [*VALUES])
    rows = [
        {"problem_idx": number, "answer": answer, "problem": f"Find number {number}.", "problem_type": ["Algebra"]}
        for number, answer in enumerate(answers, 1)
    ]
    write_rows(folder / FOLDERS[name] / "train.jsonl", rows)


@pytest.mark.parametrize("name", FOLDERS)
def test_problems_are_put_as_aimes_are(builder: Builder, tmp_path: Path, name: str) -> None:
    """A competition's problems are put in AIME 2024's words, whatever else its rows hold."""
    write_competition(tmp_path, name)
    write_rows(tmp_path / "aime_2024" / "train.jsonl", [{"problem": "Find number 1.", "answer": "1"}])
    (aime,) = builder.exam(BUILT_IN_BY_NAME["aime24"], data_dir=tmp_path).problems
    first, *others = builder.exam(BUILT_IN_BY_NAME[name], data_dir=tmp_path).problems
    assert (first.query, first.instruction) == (aime.query, aime.instruction)
    assert len({first.id, *(problem.id for problem in others)}) == 1 + len(others)


@pytest.mark.parametrize("name", FOLDERS)
def test_every_form_of_an_answer_is_graded(pool: GradingPool, builder: Builder, tmp_path: Path, name: str) -> None:
    """LightEval's metric accepts each right answer, with and without dollar signs, and no wrong one."""
    write_competition(tmp_path, name)
    benchmark = BUILT_IN_BY_NAME[name]
    problems = builder.exam(benchmark, data_dir=tmp_path).problems
    golds = [problem.choices[0].strip("$") for problem in problems]
    wrongs = [VALUES.get(gold) or str(int(gold) + 1) for gold in golds]
    for form in ("Therefore, the final answer is: $\\boxed{{{}}}$.", "So it is \\boxed{{{}}}."):
        right = grades_of(
            pool, benchmark, [(one, said(form.format(gold))) for one, gold in zip(problems, golds, strict=True)]
        )
        wrong = grades_of(
            pool, benchmark, [(one, said(form.format(text))) for one, text in zip(problems, wrongs, strict=True)]
        )
        assert [grade.outcome for grade in right] == [Outcome.CORRECT] * len(problems)
        assert [grade.outcome for grade in wrong] == [Outcome.WRONG] * len(problems)


def test_the_strict_rule_reads_them_too(builder: Builder, tmp_path: Path) -> None:
    """The strict rule accepts each right answer of HMMT and no wrong one."""
    write_competition(tmp_path, "hmmt_feb25")
    benchmark = BUILT_IN_BY_NAME["hmmt_feb25"]
    for problem in builder.exam(benchmark, data_dir=tmp_path).problems:
        gold = problem.choices[0].strip("$")
        outcomes = [
            strict.grade(benchmark, problem, said(f"Answer: $\\boxed{{{text}}}$"), cpu_s=10).outcome
            for text in (gold, VALUES[gold])
        ]
        assert outcomes == [Outcome.CORRECT, Outcome.WRONG], gold
