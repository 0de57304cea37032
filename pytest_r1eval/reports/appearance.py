"""
How a verdict looks: one row each, which the terminal, the page, Markdown, GitHub, JUnit and the card read.

A new verdict is a member of `Verdict`, in its place by severity, and a row here. What a gate shows follows from the
row and from whether it lets the checkpoint through, its health included.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pytest_r1eval.judging.result import GateResult
from pytest_r1eval.stats.verdicts import Judgement, Verdict

RED_SIGN = "🔴"
RED = "red"
HEALTHY, UNHEALTHY = "health PASS", "health FAIL"
"""What is written of the responses; the second also beside a verdict on pass@1."""


class Annotation(StrEnum):
    """GitHub's workflow commands that annotate a job."""

    WARNING = "warning"
    ERROR = "error"


class JUnit(StrEnum):
    """What a test case without a pass is called in JUnit's XML."""

    FAILURE = "failure"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Appearance:
    """
    How one verdict looks.

    Attributes:
        word: Its name, for people, cards and properties.
        finding: What it finds, in words that follow the benchmark's name; None for nothing to say.
        sign: In Markdown, where the gate is green.
        red_sign: In Markdown, where it is red.
        colour: pytest's markup where the gate is green; a red gate is red.
        style: Its class in page.css.
        annotation: GitHub's, where the rule lets it through; None for none. A red gate has an error.
        junit: What the test case of a red gate is.
        is_answer: Whether it says anything about the checkpoint.
    """

    word: str
    finding: str | None
    sign: str
    red_sign: str = RED_SIGN
    colour: str
    style: str
    annotation: Annotation | None = Annotation.WARNING
    junit: JUnit = JUnit.FAILURE
    is_answer: bool = True


APPEARANCES: Mapping[Verdict, Appearance] = {
    Verdict.PASS: Appearance(
        word="PASS", finding=None, sign="🟢", colour="green", style="pass", annotation=None
    ),
    Verdict.SUSPICIOUS_IMPROVED: Appearance(
        word="SUSPICIOUS_IMPROVED", finding="is suspiciously good", sign="🟡", colour="yellow",
        style="suspicious_improved",
    ),
    Verdict.INCONCLUSIVE: Appearance(
        word="INCONCLUSIVE", finding="is inconclusive", sign="🟡", colour="yellow", style="inconclusive",
        is_answer=False,
    ),
    Verdict.FAIL_REGRESSED: Appearance(
        word="FAIL_REGRESSED", finding="regressed", sign="🔴", colour=RED, style="fail_regressed"
    ),
    Verdict.INVALID: Appearance(
        word="INVALID", finding="cannot be judged", sign="⛔", red_sign="⛔", colour=RED, style="invalid",
        junit=JUnit.ERROR, is_answer=False,
    ),
}  # fmt: skip


def appearance_of(verdict: Verdict) -> Appearance:
    """Return how a verdict looks."""
    return APPEARANCES[verdict]


def word_of(result: GateResult) -> str:
    """Name the verdict; a score in bounds is not green where the responses are unhealthy."""
    stopped = " (at stop)" if result.is_at_stop else ""
    unhealthy = "" if result.is_healthy else f", {UNHEALTHY}"
    return f"{appearance_of(result.judgement.verdict).word}{stopped}{unhealthy}"


def sign_of(result: GateResult) -> str:
    """Return Markdown's sign: red stops the checkpoint, health included; yellow needs a look."""
    look = appearance_of(result.judgement.verdict)
    return look.sign if result.passes else look.red_sign


def colour_of(result: GateResult) -> dict[str, bool]:
    """Return pytest's markup; pytest decides whether to use colours."""
    return {appearance_of(result.judgement.verdict).colour if result.passes else RED: True}


def style_of(result: GateResult) -> str:
    """Return the class in page.css; a score in bounds is not green where the responses are unhealthy."""
    is_unhealthy = result.judgement.passes and not result.is_healthy
    return appearance_of(Verdict.FAIL_REGRESSED if is_unhealthy else result.judgement.verdict).style


def annotation_of(judgement: Judgement) -> Annotation | None:
    """Return GitHub's annotation of a verdict on pass@1; None where there is nothing to look at."""
    return appearance_of(judgement.verdict).annotation if judgement.passes else Annotation.ERROR
