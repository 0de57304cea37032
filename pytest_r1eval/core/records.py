"""
What a run observes: samples, their outcomes, and the counts a gate is computed from.

Truncation is a property of the response (its finish reason), correctness one of
the answer, and the two overlap: LightEval accepts a right answer in a response
that was truncated afterwards. So `Outcome.TRUNCATED` means "truncated *and* not
correct", while the truncation rate counts finish reasons.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pytest_r1eval.core.thinking import ThoughtCounts

RUN_FILE = "run.sqlite"
"""The file that makes a folder a run's."""


class Outcome(StrEnum):
    """How one sample was graded; ERROR says that it was not."""

    CORRECT = "correct"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"
    TRUNCATED = "truncated"
    ERROR = "error"


class FinishReason(StrEnum):
    """Why the engine stopped: by itself, or at the token limit."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """
    What an engine returned for one sample.

    Attributes:
        text: The response without the prompt.
        n_tokens: Generated tokens, the end-of-sequence token included.
        finish_reason: Why it ended.
        n_thought_tokens: Of these, the thought's, tags included: all where it ends within one; None if unknown.
    """

    text: str
    n_tokens: int
    finish_reason: FinishReason
    n_thought_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """
    What a grader made of one response.

    Attributes:
        outcome: The classification.
        answer: The answer that was extracted; None where there was none.
        detail: For ERROR, what failed, in a sentence; else why the answer is not correct, where the grader says why.
    """

    outcome: Outcome
    answer: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GraderDifference:
    """
    How often another grader finds a stored response right that the one that counts finds wrong, or the reverse.

    Attributes:
        grader: The other grader, name and version.
        n_samples: Responses that both have graded.
        n_right_here_alone: Of these, right by the grader that counts alone.
        n_right_there_alone: Of these, right by the other one alone.
    """

    grader: str
    n_samples: int
    n_right_here_alone: int
    n_right_there_alone: int

    @property
    def line(self) -> str:
        """Return it in a line."""
        n_differ = self.n_right_here_alone + self.n_right_there_alone
        return (
            f"graders differ on {n_differ:,} of {self.n_samples:,} responses: {self.n_right_here_alone:,} are right by "
            f"this one alone, {self.n_right_there_alone:,} by {self.grader} alone"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One stored response to one problem, with its grade."""

    problem_id: str
    index: int
    seed: int
    response: Response
    grade: Grade


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemTally:
    """
    What is known of one problem's samples, failures of the grader included.

    Attributes:
        problem_id: The problem.
        n_samples: Stored samples.
        n_correct: Of these, correct.
        n_no_answer: Of these, ended by themselves without an answer.
        n_error: Of these, not graded because the grader failed.
        n_truncated: Of these, truncated at the token limit, correct or not.
        n_truncated_correct: Of those, correct: a grader finds a number in an unfinished thought, too.
        n_tokens: Generated tokens over all of them.
        thoughts: What of it thinking took; None where that is not known of each.
    """

    problem_id: str
    n_samples: int
    n_correct: int
    n_no_answer: int
    n_error: int
    n_truncated: int
    n_truncated_correct: int
    n_tokens: int
    thoughts: ThoughtCounts | None = None

    @property
    def n_graded(self) -> int:
        """Samples that the grader did not fail on."""
        return self.n_samples - self.n_error


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes:
    """
    How the responses to one problem voted.

    Attributes:
        n_correct: Responses that the grader found correct: they are equal to the right answer, and so to each other.
        wrong: Responses for each wrong answer, told apart by the extracted answer's text.
        n_abstained: Responses without an answer.

    Raises:
        ValueError: If there is no response.
    """

    n_correct: int
    wrong: tuple[int, ...] = ()
    n_abstained: int = 0

    def __post_init__(self) -> None:
        if self.n_responses < 1:
            raise ValueError("no responses: a majority of none does not exist")

    @property
    def n_responses(self) -> int:
        """All responses, those without an answer included."""
        return self.n_correct + sum(self.wrong) + self.n_abstained


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemCounts:
    """
    How many samples of one problem were correct.

    Raises:
        ValueError: If the counts are impossible.
    """

    problem_id: str
    n_correct: int
    n_samples: int

    def __post_init__(self) -> None:
        if self.n_samples < 1:
            raise ValueError(f"problem {self.problem_id!r} has {self.n_samples} samples; at least 1 is needed")
        if not 0 <= self.n_correct <= self.n_samples:
            raise ValueError(f"problem {self.problem_id!r}: {self.n_correct} correct of {self.n_samples} samples")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """
    Correct samples per problem, in the exam's order: everything pass@1 is computed from.

    Raises:
        ValueError: If there is no problem, or one appears twice.
    """

    problems: tuple[ProblemCounts, ...]

    def __post_init__(self) -> None:
        if not self.problems:
            raise ValueError("no problems: pass@1 of an empty exam does not exist")
        ids = [problem.problem_id for problem in self.problems]
        if len(set(ids)) != len(ids):
            repeated = sorted({id_ for id_ in ids if ids.count(id_) > 1})
            raise ValueError(f"problems counted twice: {', '.join(repeated)}")

    @classmethod
    def from_mapping(cls, counts: Mapping[str, tuple[int, int]]) -> Counts:
        """Build from problem id -> (correct, samples), keeping the mapping's order."""
        return cls.from_rows((id_, correct, samples) for id_, (correct, samples) in counts.items())

    @classmethod
    def graded(cls, tallies: Iterable[ProblemTally]) -> Counts:
        """Count the graded samples of every problem that has one."""
        return cls.from_rows((one.problem_id, one.n_correct, one.n_graded) for one in tallies if one.n_graded)

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[str, int, int]]) -> Counts:
        """Build from (problem id, correct, samples) rows, keeping their order."""
        return cls(
            problems=tuple(
                ProblemCounts(problem_id=id_, n_correct=correct, n_samples=samples) for id_, correct, samples in rows
            )
        )

    def in_order(self, problem_ids: Sequence[str]) -> Counts:
        """Return the counts in another order of the problems; as they are where the problems are others."""
        by_id = {problem.problem_id: problem for problem in self.problems}
        if by_id.keys() != set(problem_ids):
            return self
        return Counts(problems=tuple(by_id[id_] for id_ in problem_ids))

    @property
    def n_problems(self) -> int:
        """Number of problems."""
        return len(self.problems)

    @property
    def n_samples(self) -> int:
        """Number of samples over all problems."""
        return sum(problem.n_samples for problem in self.problems)

    @property
    def ids(self) -> tuple[str, ...]:
        """Problem ids in the exam's order."""
        return tuple(problem.problem_id for problem in self.problems)
