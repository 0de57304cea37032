"""The specifications: DeepSeek's numbers, and nothing that cannot be asked."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import pytest

from pytest_r1eval.core.benchmarks import Benchmark, Exam, Problem, Sampling

BENCHMARK = Benchmark(name="custom", mark="custom", task="custom", task_module="tasks.py", samples_per_problem=4)
PROBLEM = Problem(id="p1", query="1+1?", instruction=None, choices=("2",), gold_index=0)
EXAM = Exam(benchmark="sums", problems=(PROBLEM, replace(PROBLEM, id="p2")), dataset="here")


def test_sampling_is_deepseeks() -> None:
    """The default sampling is DeepSeek's, so that a number can be compared with the paper's."""
    expected = Sampling(
        temperature=0.6, top_p=0.95, top_k=0, min_p=0.0, repetition_penalty=1.0, presence_penalty=0.0,
        thinking_budget=None,
        max_new_tokens=32768, max_model_length=32768,
    )  # fmt: skip
    assert expected == Sampling()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "temperature 0.6, top-p 0.95"),
        ({"temperature": 0.0, "top_p": 1.0}, "temperature 0, top-p 1"),
        ({"thinking_budget": 512}, "temperature 0.6, top-p 0.95, thinking budget 512"),
        ({"top_k": 20, "min_p": 0.05}, "temperature 0.6, top-p 0.95, top-k 20, min-p 0.05"),
        (
            {"repetition_penalty": 1.05, "presence_penalty": -0.5},
            "temperature 0.6, top-p 0.95, repetition penalty 1.05, presence penalty -0.5",
        ),
    ],
)
def test_a_sampling_is_summarised_by_what_it_changes(changed: dict[str, Any], expected: str) -> None:
    """A sampling's summary has temperature and top-p, and the other values where they change something."""
    assert expected == replace(Sampling(), **changed).summary


def test_exams_without_programs_keep_their_digest() -> None:
    """Exams without programs keep the digest that stored baselines hold."""
    problem = Problem(id="p", query="q", instruction=None, choices=("1",), gold_index=0)
    digests = {
        Exam(benchmark="b", problems=(each,), dataset="d").digest
        for each in (problem, replace(problem, tests="1"), replace(problem, tests="2"))
    }
    assert len(digests) == 3
    assert "e67d89800cc7ba3069b365c629fa401952b5d6c83a255731fd4efc0f69455c0a" in digests  # before there were tests


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"temperature": -0.1}, "temperature is -0.1; expected a number of 0 or more"),
        ({"temperature": math.nan}, "temperature is nan; expected a number of 0 or more"),
        ({"temperature": math.inf}, "temperature is inf; expected a number of 0 or more"),
        ({"top_p": 0.0}, "top_p is 0.0; expected a number above 0 and at most 1"),
        ({"top_p": 1.1}, "top_p is 1.1; expected a number above 0 and at most 1"),
        ({"top_p": math.nan}, "top_p is nan; expected a number above 0 and at most 1"),
        ({"top_k": -1}, "top_k is -1; expected a whole number of 0 or more"),
        ({"min_p": 1.5}, "min_p is 1.5; expected a number from 0 to 1"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0; expected a number above 0"),
        ({"presence_penalty": 2.5}, "presence_penalty is 2.5; expected a number from -2 to 2"),
        ({"thinking_budget": 0}, "thinking_budget is 0; expected a whole number of 1 or more"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0; expected a whole number of 1 or more"),
        ({"max_model_length": 0}, "max_model_length is 0; expected a whole number of 1 or more"),
    ],
)
def test_impossible_sampling_is_refused(changed: dict[str, float], expected: str) -> None:
    """An impossible sampling value is refused with its name, what was found and what was expected."""
    with pytest.raises(ValueError, match="expected") as caught:
        replace(Sampling(), **changed)  # type: ignore[arg-type]

    assert expected == str(caught.value)


def test_ends_of_the_ranges_are_allowed() -> None:
    """A sampling may have the ends of its ranges, such as temperature 0 and top-p 1."""
    assert replace(Sampling(), temperature=0.0, top_p=1.0, max_new_tokens=1, max_model_length=1) != Sampling()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"samples_per_problem": 0}, "custom: 0 samples per problem; expected 1 or more"),
        ({"max_new_tokens": 0}, "custom: 0 max new tokens; expected 1 or more"),
        ({"mark": "my-mark"}, "custom: mark 'my-mark' is not a Python identifier, so -m could not select it"),
        ({"mark": ""}, "custom: mark '' is not a Python identifier, so -m could not select it"),
    ],
)
def test_impossible_benchmark_is_refused(changed: dict[str, object], expected: str) -> None:
    """An impossible benchmark is refused by its name."""
    with pytest.raises(ValueError, match="custom: ") as caught:
        replace(BENCHMARK, **changed)  # type: ignore[arg-type]

    assert expected == str(caught.value)


@pytest.mark.parametrize(
    "changed",
    [
        {"id": "other"},
        {"query": "1+1? "},
        {"instruction": ""},
        {"choices": ("2", "3")},
        {"gold_index": 1},
        {"tests": "digest"},
        {"specific": "{}"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_exam_digest_covers_every_field_of_a_problem(changed: dict[str, object]) -> None:
    """Each field of a problem but its label changes the exam's digest."""
    other = replace(EXAM, problems=(EXAM.problems[0], replace(EXAM.problems[1], **changed)))  # type: ignore[arg-type]

    assert len({field.name for field in fields(Problem)} - {"label"}) == 7  # all of them are in the list above
    assert EXAM.digest != other.digest


def test_exam_digest_covers_order_and_number() -> None:
    """Another order of an exam's problems, or fewer of them, changes the exam's digest."""
    assert EXAM.digest != replace(EXAM, problems=EXAM.problems[::-1]).digest
    assert EXAM.digest != replace(EXAM, problems=EXAM.problems[:1]).digest


def test_exam_digest_leaves_out_where_the_problems_lay() -> None:
    """A local copy is the same exam as the Hub's, under whatever name it is registered."""
    expected = EXAM.digest
    assert expected == replace(EXAM, dataset="elsewhere", benchmark="other").digest


def test_exam_digest_is_what_it_was() -> None:
    """The exam's digest does not change, because stored baselines would become INVALID."""
    expected = "cd081e70"
    assert expected == EXAM.digest[:8]


class TestTitle:
    def test_own_id_first_words_and_hash(self) -> None:
        """A problem's title is one line with its label, its first words and its id, all escaped."""
        query = "Let \x1b[2J $ABC$ be a triangle with\nsides 3, 4 and 5. ::error::"
        problem = Problem(id="0c31", query=query, instruction=None, choices=("6",), gold_index=0, label="2024-II-4\n")
        assert problem.title == r'2024-II-4\n "Let \x1b[2J $ABC$ be a triangle with sides 3,..." (0c31)'

    def test_a_label_is_no_part_of_the_exam(self) -> None:
        """A problem's label is not part of the exam's digest."""
        problems = [
            Problem(id="a", query="1+1?", instruction=None, choices=("2",), gold_index=0, label=label)
            for label in (None, "row 1")
        ]
        one, other = (Exam(benchmark="b", problems=(problem,), dataset="d").digest for problem in problems)
        assert one == other
