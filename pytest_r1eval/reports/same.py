"""What the identity check found, as text."""

from collections.abc import Iterator

from pytest_r1eval.core.texts import counted
from pytest_r1eval.exams.fixed_prompts import FIXED_PROMPTS
from pytest_r1eval.judging.sameness import IdentityReport, Side
from pytest_r1eval.stats.sameness import Sameness, ScoreComparison


def same_text(report: IdentityReport) -> list[str]:
    """Print both models, the answer, where the largest gap is, and what to do next."""
    return [
        _side("A", report.a),
        _side("B", report.b),
        *(f"  {note}" for note in report.notes),
        "",
        *([_answer_of(report.scores)] if report.scores is not None else ["different, before anything is drawn"]),
        *(f"  {difference}" for difference in report.differences),
        *([] if report.scores is None else _gaps(report.scores, report.token)),
        f"  next: {_next_step(report)}",
    ]


def _side(name: str, side: Side) -> str:
    told = "" if side.harness is None else f", {'; '.join(side.harness.facts)}"
    return f"{name}: {side.model} (weights {side.weights[:12]}{told})"


def _answer_of(scores: ScoreComparison) -> str:
    return f"{scores.sameness.value}: log-probabilities of {scores.n_tokens:,} tokens in {len(FIXED_PROMPTS)} prompts"


def _gaps(scores: ScoreComparison, token: str | None) -> Iterator[str]:
    gap, bounds = scores.largest, scores.bounds
    if gap is None:
        return
    where = f"prompt {gap.prompt}, token {gap.position}{'' if token is None else f' ({token!r})'}"
    yield f"  largest gap: {gap.size:.4g} nats, at {where}: {gap.a:.6g} in A, {gap.b:.6g} in B"
    unequal = counted(scores.n_unequal, "token")
    yield f"  root mean square: {scores.root_mean_square:.4g} nats; {unequal} with two values"
    yield (
        f"  rounding in {bounds.dtype} explains gaps up to {bounds.largest:.4g} and a root mean square up to "
        f"{bounds.root_mean_square:.4g}"
    )


def _next_step(report: IdentityReport) -> str:
    gate = (
        "record a baseline of A, then judge B: pytest --r1-model B --r1-baseline BASELINE --r1-claim same --r1-margin 3"
    )
    match report.sameness:
        case Sameness.BITWISE:
            return "Nothing: the two answer alike, bit by bit."
        case Sameness.ROUNDING:
            return f"Nothing, unless rounding itself is the question; {gate}"
        case Sameness.DIFFERENT if report.scores is None:
            return (
                "Export the tokenizer and the chat template of one model with both; their answers cannot be compared."
            )
        case Sameness.DIFFERENT:
            return f"See whether the scores are the same all the same; {gate}"
