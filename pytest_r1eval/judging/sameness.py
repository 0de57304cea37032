"""Whether two models are the same function, as far as fixed prompts show it: the identity check of `r1eval same`."""

from dataclasses import dataclass

from pytest_r1eval.core.codec import Kind, Layout
from pytest_r1eval.core.fingerprints import Harness
from pytest_r1eval.core.prompt_scores import PromptScores
from pytest_r1eval.errors import RunError
from pytest_r1eval.stats.sameness import RoundingBounds, Sameness, ScoreComparison, compared_scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """
    One of the two models.

    Attributes:
        model: The folder or Hub id.
        weights: Digest of its weights.
        harness: What answered; None where nothing was asked.
    """

    model: str
    weights: str
    harness: Harness | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityReport:
    """
    What the identity check found.

    Attributes:
        sameness: The answer.
        a: The first model.
        b: The second one.
        differences: Why the two are not asked the same tokens; nothing is drawn then.
        notes: What else differs and changes no token, and what is equal.
        scores: The comparison; None where nothing was drawn.
        token: Text of the token with the largest gap; None where there is none.
    """

    sameness: Sameness
    a: Side
    b: Side
    differences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    scores: ScoreComparison | None = None
    token: str | None = None

    @property
    def is_same(self) -> bool:
        """Whether nothing beyond rounding was found."""
        return self.sameness is not Sameness.DIFFERENT


IDENTITY_REPORT = Kind(of=IdentityReport, version=1, layout=Layout.INDENTED)
"""Log-probabilities in nats; prompts count from 1, positions in a prompt from 0."""


def asked_otherwise(a: Side, b: Side, *, differences: tuple[str, ...]) -> IdentityReport:
    """Return that two models are not asked the same tokens, before anything is drawn."""
    return IdentityReport(sameness=Sameness.DIFFERENT, a=a, b=b, differences=differences)


def identity_report(a: PromptScores, b: PromptScores) -> IdentityReport:
    """
    Compare two models' scores of the same tokens.

    A server does not tell its number format, and counts as bfloat16.

    Args:
        a: The first model's.
        b: The second one's.

    Raises:
        RunError: If a score is missing or not finite.
    """
    try:
        scores = compared_scores(a.logprobs, b.logprobs, bounds=RoundingBounds.of(a.harness.dtype, b.harness.dtype))
    except ValueError as error:
        raise RunError(f"{a.model} and {b.model}: {error}. Look for broken weights") from error
    return IdentityReport(
        sameness=scores.sameness,
        a=Side(model=a.model, weights=a.identity.weights, harness=a.harness),
        b=Side(model=b.model, weights=b.identity.weights, harness=b.harness),
        notes=_notes(a, b),
        scores=scores,
    )


def _notes(a: PromptScores, b: PromptScores) -> tuple[str, ...]:
    notes = []
    if a.identity.weights == b.identity.weights:
        notes.append("the weights are the same files")
    changed = [part for part in b.identity.changed_parts(a.identity) if part != "weights"]
    if changed:
        notes.append(f"the files of the {' and the '.join(changed)} differ, and make the same tokens of the prompts")
    differences = b.harness.differences(a.harness)
    notes += [f"{each.field.partition('.')[2]}: {each.theirs} in A, {each.ours} in B" for each in differences]
    return tuple(notes)
