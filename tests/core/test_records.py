"""Counts keep their order and refuse what cannot have been observed."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_r1eval.core.records import Counts, FinishReason, GraderDifference, Outcome, ProblemCounts, ProblemTally

ROWS = st.lists(
    st.tuples(st.integers(0, 99).map(str), st.integers(0, 8), st.integers(8, 64)),
    min_size=1,
    max_size=20,
    unique_by=lambda row: row[0],
)


@given(rows=ROWS)
def test_counts_keep_the_exams_order(rows: list[tuple[str, int, int]]) -> None:
    """Counts keep ids, numbers and order, from rows as from a mapping."""
    counts = Counts.from_rows(rows)

    assert tuple(id_ for id_, _, _ in rows) == counts.ids
    assert len(rows) == counts.n_problems
    assert sum(n_samples for _, _, n_samples in rows) == counts.n_samples
    assert counts == Counts.from_mapping({id_: (correct, n) for id_, correct, n in rows})


def test_order_is_part_of_the_counts() -> None:
    """Counts of the same problems in another order are not equal."""
    assert Counts.from_mapping({"a": (1, 2), "b": (1, 2)}) != Counts.from_mapping({"b": (1, 2), "a": (1, 2)})


@pytest.mark.parametrize(
    ("n_correct", "n_samples", "expected"),
    [
        (0, 0, "problem 'p' has 0 samples; at least 1 is needed"),
        (0, -1, "problem 'p' has -1 samples; at least 1 is needed"),
        (-1, 4, "problem 'p': -1 correct of 4 samples"),
        (5, 4, "problem 'p': 5 correct of 4 samples"),
    ],
)
def test_impossible_counts_are_refused(n_correct: int, n_samples: int, expected: str) -> None:
    """Impossible counts are refused with the problem's id."""
    with pytest.raises(ValueError, match="problem 'p'") as caught:
        ProblemCounts(problem_id="p", n_correct=n_correct, n_samples=n_samples)

    assert expected == str(caught.value)


@pytest.mark.parametrize("n_correct", [0, 4])
def test_none_and_all_are_possible(n_correct: int) -> None:
    """A problem may have none or all of its samples correct."""
    assert n_correct == ProblemCounts(problem_id="p", n_correct=n_correct, n_samples=4).n_correct


def test_empty_exam_is_refused() -> None:
    """An exam without problems is refused, because it has no pass@1."""
    with pytest.raises(ValueError, match="no problems: pass@1 of an empty exam does not exist"):
        Counts(problems=())


def test_problem_counted_twice_is_named() -> None:
    """Problems that are counted twice are refused, each named once."""
    rows = [("b", 1, 2), ("a", 1, 2), ("b", 0, 2), ("a", 0, 2), ("c", 0, 2), ("b", 2, 2)]

    with pytest.raises(ValueError, match="counted twice") as caught:
        Counts.from_rows(rows)

    expected = "problems counted twice: a, b"
    assert expected == str(caught.value)


def test_samples_that_the_grader_failed_on_do_not_count() -> None:
    """Samples on which the grader failed are not counted, and neither is a problem without other samples."""

    def tally(problem_id: str, *, n_samples: int, n_error: int) -> ProblemTally:
        return ProblemTally(
            problem_id=problem_id,
            n_samples=n_samples,
            n_correct=1 if n_samples > n_error else 0,
            n_no_answer=0,
            n_error=n_error,
            n_truncated=0,
            n_truncated_correct=0,
            n_tokens=n_samples,
        )

    counts = Counts.graded([tally("a", n_samples=4, n_error=1), tally("b", n_samples=2, n_error=2)])
    assert counts == Counts.from_rows([("a", 1, 3)])


def test_counts_are_frozen() -> None:
    """Counts cannot be changed once they are made."""
    counts = ProblemCounts(problem_id="p", n_correct=1, n_samples=2)

    with pytest.raises(FrozenInstanceError):
        counts.n_correct = 2  # type: ignore[misc]


def test_stored_words_do_not_change() -> None:
    """Stored words of outcomes and finish reasons keep their names, because existing runs hold them."""
    assert {"correct", "wrong", "no_answer", "truncated", "error"} == {str(outcome) for outcome in Outcome}
    assert {"stop", "length"} == {str(reason) for reason in FinishReason}


def test_a_difference_of_graders_is_a_line() -> None:
    """One line reports on how many responses two graders differ, and which of them finds how many right."""
    differ = GraderDifference(grader="lighteval 0.13.0", n_samples=2000, n_right_here_alone=31, n_right_there_alone=6)
    assert differ.line == (
        "graders differ on 37 of 2,000 responses: 31 are right by this one alone, 6 by lighteval 0.13.0 alone"
    )
