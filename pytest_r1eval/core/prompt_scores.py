"""What a model thinks of the fixed prompts: log-probabilities of their tokens, and what they depend on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_r1eval.core.codec import Kind
from pytest_r1eval.core.fingerprints import Harness, ModelIdentity
from pytest_r1eval.errors import RunError


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedPrompts:
    """
    The fixed prompts as one model is asked them.

    Attributes:
        prompts: Digest of the list itself.
        texts: Digest of the texts that the chat template made of it.
        n_vocabulary: Tokens that the tokenizer has.
        vocabulary: Digest of these and their ids.
        ids: The prompts' token ids, cut to what the model takes.
    """

    prompts: str
    texts: str
    n_vocabulary: int
    vocabulary: str
    ids: tuple[tuple[int, ...], ...]

    def differences(self, other: AskedPrompts) -> tuple[str, ...]:
        """
        Say in words why two models are not asked the same, nothing where they are.

        Of two models with other contexts the common part of a prompt counts.

        Raises:
            RunError: If the lists differ: they are of two versions of this package.
        """
        if self.prompts != other.prompts:
            raise RunError(
                f"the scores are of other prompts ({self.prompts[:12]} and {other.prompts[:12]}); expected those of "
                "one version of pytest-r1eval: save the scores again with this one"
            )
        if len(self.ids) != len(other.ids):
            raise RunError(
                f"the scores are of {len(self.ids)} and {len(other.ids)} prompts of one list; expected all of it: "
                "save the scores again"
            )
        return tuple(self._differences(other))

    def _differences(self, other: AskedPrompts) -> Iterator[str]:
        if self.vocabulary != other.vocabulary:
            yield f"vocabulary: {self.n_vocabulary:,} tokens in A, {other.n_vocabulary:,} in B, of other texts or ids"
        if self.texts != other.texts:
            yield "chat template: it makes other texts of the prompts"
        place = self._first_other_token(other)
        if place is not None:
            name = "tokenizer" if self.texts == other.texts else "prompts"
            yield f"{name}: prompt {place[0] + 1} has other tokens from position {place[1]}"

    def _first_other_token(self, other: AskedPrompts) -> tuple[int, int] | None:
        for number, (ours, theirs) in enumerate(zip(self.ids, other.ids, strict=True)):
            for position, (one, two) in enumerate(zip(ours, theirs, strict=False)):
                if one != two:
                    return number, position
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptScores:
    """
    One model's scores.

    Attributes:
        model: The folder or Hub id.
        identity: Digests of the checkpoint.
        harness: What answered; nothing was graded.
        asked: The prompts.
        logprobs: For each prompt, the log-probability of each token after the first, nats.

    Raises:
        RunError: If one is missing.
    """

    model: str
    identity: ModelIdentity
    harness: Harness
    asked: AskedPrompts
    logprobs: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if [len(row) + 1 for row in self.logprobs] != [len(ids) for ids in self.asked.ids]:
            raise RunError(
                f"{self.model}: log-probabilities are missing; expected one for each token after the first of "
                f"{len(self.asked.ids)} prompts. Score it again: r1eval same MODEL --save FILE"
            )


PROMPT_SCORES = Kind(of=PromptScores, version=1, error=RunError, advice="; save the scores again with r1eval same")
"""A file of scores; a float's text is read as the same float."""
