"""Answers that cost LightEval's own patterns seconds to hours, as looping models write them, and what each one is."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_r1eval.core.records import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Hostile:
    """
    An answer to a problem whose answer is 16.

    Attributes:
        shows: What it repeats.
        text: The answer.
        outcome: What LightEval's patterns would say of it if they ended, or WRONG where a rule ends them.
        reason: The beginning of the grade's detail; None where the answer is searched to its end.
    """

    shows: str
    text: str
    outcome: Outcome
    reason: str | None = None


BY_RULE = "not graded, by a rule on its text: "
HOSTILE = (
    Hostile(shows="an open display with a box, 3 KB", text="\\[\n\\boxed{16}\n\n" * 200, outcome=Outcome.CORRECT),
    Hostile(shows="an open display with a wrong box", text="\\[\n\\boxed{42}\n\n" * 200, outcome=Outcome.WRONG),
    Hostile(shows="an open display with a box, 120 KB", text="\\[\n\\boxed{16}\n\n" * 8000, outcome=Outcome.CORRECT),
    Hostile(shows="boxes in an open display", text="\\[" + "\\boxed{1} " * 800, outcome=Outcome.WRONG),
    Hostile(shows="boxes behind two dollars", text="$$" + "\\boxed{1} " * 400, outcome=Outcome.WRONG),
    Hostile(shows="boxes behind two dollars, 120 KB", text="$$" + "\\boxed{16} " * 11_000, outcome=Outcome.CORRECT),
    Hostile(shows="open displays", text="\\[" * 50_000, outcome=Outcome.NO_ANSWER),
    Hostile(shows="open displays that end wrongly", text="\\[" * 50_000 + "x\\\\]", outcome=Outcome.NO_ANSWER),
    Hostile(shows="open parentheses", text="\\(" * 50_000, outcome=Outcome.NO_ANSWER),
    Hostile(shows="open boxes", text="\\boxed{" * 15_000, outcome=Outcome.NO_ANSWER),
    Hostile(shows="blanks behind a number", text="so 16" + "\n" * 100_000, outcome=Outcome.CORRECT),
    Hostile(
        shows="blanks behind a final answer",
        text="The final answer is $16$" + "\n" * 100_000,
        outcome=Outcome.CORRECT,
    ),
    Hostile(
        shows="an open box with fractions", text="So \\boxed{" + "\\frac{16}{1} + " * 7000, outcome=Outcome.CORRECT
    ),
    Hostile(shows="dollars and blanks", text="$ " * 50_000, outcome=Outcome.NO_ANSWER),
    Hostile(shows="digits", text="1" * 100_000, outcome=Outcome.WRONG),
    Hostile(
        shows="numbers, counted up",
        text=" ".join(map(str, range(20_000))) + " x",
        outcome=Outcome.WRONG,
        reason=BY_RULE,
    ),
    Hostile(shows="a sum without an end", text="1+" * 50_000 + "1x", outcome=Outcome.WRONG, reason=BY_RULE),
    Hostile(
        shows="a tower of powers",
        text="\\boxed{\\dfrac{4^{(4^{(4^{(4^4)})}-3)}-4}{16}}",
        outcome=Outcome.WRONG,
        reason="grading it raised OverflowError",
    ),
)
