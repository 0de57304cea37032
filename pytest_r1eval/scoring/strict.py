r"""
Grade an answer by a written rule: what `--r1-grader strict` is for mathematics and letters.

The rule. A response's answer is what follows its thought in the form that the prompt asked for: the last box or answer
line (`scoring.final_answer`). There is one answer: "16 or 204" is right only where the right answer is these two.

- Mathematics: both are read as values (`scoring.mathematics`) and must be the same ones, exactly (`scoring.sameness`).
  A right answer in words (`\text{east}`) has to be written in the same words.
- Letters: one letter, in any case (`scoring.letters`).

A response without such an answer is `no_answer`. One that the token limit ended is `truncated` unless it is right.

The rule decides by the text alone, so that a response is graded alike on every machine and after every resume. What it
evaluates is bounded by size; the processor time of a grade is the backstop, as it is for LightEval's grader.

LightEval's grader differs. It takes any number of a response where it finds no box, joins what "or" divides, and
compares to six decimals. It finds answers in unfinished thoughts. It does not read answers without dollar signs: of
MATH-500's 500 right answers, in the form that its prompt asks for, it accepts 391. No LightEval is imported here.
"""

from __future__ import annotations

import contextlib
import re
from functools import lru_cache
from string import ascii_uppercase
from typing import TYPE_CHECKING, assert_never

from pytest_r1eval.core.benchmarks import AnswerForm
from pytest_r1eval.errors import ScoringError
from pytest_r1eval.scoring.final_answer import UNFINISHED, FinalAnswer, after_thought, final_answer
from pytest_r1eval.scoring.letters import SeveralLettersError, letter_of
from pytest_r1eval.scoring.mathematics import readings_of
from pytest_r1eval.scoring.notation import UnreadableError, unwrapped
from pytest_r1eval.scoring.sameness import is_same
from pytest_r1eval.scoring.scored import Scored, control_failure, grade_of, guarded
from pytest_r1eval.scoring.values import Several, Value, letters_of
from pytest_r1eval.scoring.walls import put_up

if TYPE_CHECKING:
    from pytest_r1eval.core.benchmarks import Benchmark, Problem
    from pytest_r1eval.core.records import Grade, Response
    from pytest_r1eval.core.thinking import ThinkTags

_N_GOLDS_KEPT = 1024
"""Right answers that stay read; the samples of one problem are graded near each other."""
_LONGEST_SHOWN = 500
"""Characters of an answer that are stored with its grade."""
_COMMANDS = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:bf|rm|it|sf)|mbox|boxed|fbox|left|right|bf|rm|displaystyle)(?![A-Za-z])"
    r"|\\[()\[\],;:! ]|[${}()\"'*]"
)


def grade(
    benchmark: Benchmark, problem: Problem, response: Response, *, cpu_s: float, think_tags: ThinkTags | None = None
) -> Grade:
    """
    Grade one response.

    Args:
        benchmark: Says what its answers are.
        problem: The problem that the response answers.
        response: The response.
        cpu_s: Seconds of processor time that the grade may take.
        think_tags: What encloses its thought; None where the model has no such tags.

    Raises:
        ScoringError: If the rule has no words for such answers.
    """
    form = _form(benchmark)
    answer = after_thought(response, think_tags)
    scored = guarded(lambda: _scored(form, problem, answer), cpu_s=cpu_s)
    return grade_of(scored, response, control=lambda: _control(form, problem, cpu_s=cpu_s))


def failure_at_control(benchmark: Benchmark, problem: Problem, *, cpu_s: float) -> str | None:
    """Grade the problem's own answer, and say how the grader failed at it; None where it did not."""
    return control_failure(_control(_form(benchmark), problem, cpu_s=cpu_s))


def confine(benchmark: Benchmark, problem: Problem, *, cpu_s: float) -> None:
    """Put up the walls around this process, once it has all that it needs."""
    failure_at_control(benchmark, problem, cpu_s=cpu_s)
    put_up([])


def _form(benchmark: Benchmark) -> AnswerForm:
    if benchmark.answers is None:
        raise ScoringError(f"{benchmark.name} does not say what its answers are; expected mathematics or letters")
    return benchmark.answers


def _control(form: AnswerForm, problem: Problem, *, cpu_s: float) -> Scored:
    gold = problem.choices[problem.gold_index]
    text = gold if final_answer(gold) is not None else f"\\boxed{{{gold}}}"
    return guarded(lambda: _scored(form, problem, text), cpu_s=cpu_s)


def _scored(form: AnswerForm, problem: Problem, rest: str | None) -> Scored:
    if rest is None:
        return Scored(answers=(), reason=UNFINISHED)
    answer = final_answer(rest)
    if answer is None:
        return Scored(answers=())
    match form:
        case AnswerForm.MATHEMATICS:
            return _scored_value(_gold(problem.choices[problem.gold_index]), answer)
        case AnswerForm.LETTERS:
            return _scored_letter(problem, answer)
    assert_never(form)


def _scored_letter(problem: Problem, answer: FinalAnswer) -> Scored:
    letters = ascii_uppercase[: len(problem.choices)]
    try:
        letter = letter_of(answer.text, letters)
        if letter is None and answer.box is not None:
            letter = letter_of(answer.box, letters)
    except SeveralLettersError as error:
        return Scored(answers=(_shown(answer.text),), reason=f"it is not one answer: {error}")
    if letter is None:
        return Scored(answers=(), reason="it names no option")
    return Scored(is_correct=letter == letters[problem.gold_index], answers=(letter,))


class _Gold:
    """A right answer: its values, or its words where it cannot be read as mathematics."""

    def __init__(self, text: str) -> None:
        self.words = _words(text)
        self.is_words = re.fullmatch(r"[a-z]{2}[a-z ]*", self.words) is not None  # "yes" may be a product, too
        self.values: tuple[Value, ...] = ()
        with contextlib.suppress(UnreadableError):
            self.values = readings_of(text)
        self.letters = frozenset().union(*map(letters_of, self.values))


@lru_cache(_N_GOLDS_KEPT)
def _gold(text: str) -> _Gold:
    """Read a problem's own answer: MATH-500 gives a whole solution with its answer in a box."""
    answer = final_answer(text)
    if answer is None:
        return _Gold(text)
    return _Gold(answer.text if answer.box is None else answer.box)


def _scored_value(gold: _Gold, answer: FinalAnswer) -> Scored:
    reason = None
    for text in filter(None, (answer.text, answer.box)):
        if (gold.is_words or not gold.values) and _words(text) == gold.words:
            return Scored(is_correct=True, answers=(_shown(text),))
        if not gold.values:
            continue
        try:
            found = readings_of(text, letters=gold.letters)
        except UnreadableError as error:
            reason = reason or f"it cannot be read as mathematics: {error}"
            continue
        is_correct = any(is_same(right, one) for right in gold.values for one in found)
        return Scored(is_correct=is_correct, answers=(_shown(text),), reason=_reason(gold, found[0], is_correct))
    return Scored(answers=(_shown(answer.text),), reason=reason)


def _reason(gold: _Gold, found: Value, is_correct: bool) -> str | None:  # noqa: FBT001 - its only call is above
    if is_correct or not isinstance(found, Several) or isinstance(gold.values[0], Several):
        return None
    return f"it is not one answer: it has {len(found.items)} values"


def _shown(text: str) -> str:
    """Return an answer as it is stored: out of what is around all of it."""
    return unwrapped(text)[:_LONGEST_SHOWN]


def _words(text: str) -> str:
    """Return the words of an answer, without what is markup; blanks count between words alone."""
    words = " ".join(_COMMANDS.sub(" ", unwrapped(text)).split()).casefold()
    return re.sub(r" ?([^\w ]) ?", r"\1", words)
