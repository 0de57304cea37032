"""
From what a grader of answers found to a grade, for every such grader.

What a response does to the grader is the response's: an exception, memory or processor time used up is a wrong answer
with the reason in its detail. Only a grader that fails on a control answer (the problem's own) right afterwards is
broken: `Outcome.ERROR`. A response that ends the process is judged so by `scoring.server`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pytest_r1eval.core.records import FinishReason, Grade, Outcome, Response
from pytest_r1eval.scoring.walls import ProcessorTimeUsedUpError, processor_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """
    What a grader made of a text.

    Attributes:
        is_correct: Whether its answer is right.
        answers: What was found as its answer; empty where nothing was, None where the grader does not look for any.
        reason: Why the answer is not right, where the grader says why.
        failure: How the grader failed; None where it did not.
    """

    is_correct: bool = False
    answers: tuple[str, ...] | None = None
    reason: str | None = None
    failure: str | None = None


def guarded(score: Callable[[], Scored], *, cpu_s: float) -> Scored:
    """Score a text within its processor time; what it raises is a failure."""
    try:
        with processor_time(cpu_s):
            return score()
    except ProcessorTimeUsedUpError:
        return Scored(failure=f"grading it took more than {cpu_s:g} s of processor time and was stopped")
    except Exception as error:  # noqa: BLE001 - the grader evaluates model-written text; the grade carries the error
        return Scored(failure=f"grading it raised {_named(error)}")


def grade_of(scored: Scored, response: Response, *, control: Callable[[], Scored]) -> Grade:
    """
    Classify a response; where the grader failed on it, try it on the problem's own answer.

    Args:
        scored: What the grader made of the response.
        response: The response.
        control: Scores the problem's own answer.
    """
    is_cut = response.finish_reason is FinishReason.LENGTH
    if scored.failure is not None:
        broken = control_failure(control())
        if broken is not None:
            return Grade(outcome=Outcome.ERROR, detail=f"{scored.failure}; {broken}")
        return Grade(outcome=Outcome.TRUNCATED if is_cut else Outcome.WRONG, detail=scored.failure)
    answer = scored.answers[0] if scored.answers else None
    if scored.is_correct:
        return Grade(outcome=Outcome.CORRECT, answer=answer)
    if is_cut:
        return Grade(outcome=Outcome.TRUNCATED, answer=answer, detail=scored.reason)
    outcome = Outcome.NO_ANSWER if scored.answers == () else Outcome.WRONG
    return Grade(outcome=outcome, answer=answer, detail=scored.reason)


def control_failure(scored: Scored) -> str | None:
    """Say how the grader failed at the problem's own answer; None where it did not."""
    return None if scored.failure is None else f"the grader fails on the problem's own answer too: {scored.failure}"


def _named(error: Exception) -> str:
    first_line = str(error).strip().partition("\n")[0][:300]
    return f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__
