"""
How a response tells its thought from its answer: by a pair of tags, of which templates often write the first.

The tags are the chat template's or the tokenizer's own. The plan fixes them before the first token: so each process
and each resume counts a thought's tokens and reads an answer alike.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from pytest_r1eval.core.fields import Count, Label, require


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkTags:
    """
    What encloses a thought.

    Attributes:
        opening: What begins it.
        closing: What ends it; the answer follows.
        special: Those tokens of the two that the tokenizer counts as special. They stay in a response's text, so that
            its answer is found; LightEval never sees them.
        is_open: Whether the prompts end within a thought, so that a response begins in it.

    Raises:
        ValueError: If the two are equal, or one is empty.
    """

    opening: Label
    closing: Label
    special: tuple[str, ...] = ()
    is_open: bool = False

    def __post_init__(self) -> None:
        require(self)
        if self.opening == self.closing:
            raise ValueError(f"both tags are {self.opening}; expected two")

    def __str__(self) -> str:
        return f"{self.opening},{self.closing}"

    @property
    def is_message(self) -> bool:
        """Whether a thought is a message of its own, as in harmony: its end is more than the closing tag."""
        return self == replace(_KNOWN["<|channel|>"], special=self.special, is_open=self.is_open)

    def of_tokenizer(self, special: Collection[str]) -> ThinkTags:
        """Return the tags with those of a tokenizer's special tokens that they are made of."""
        found = sorted(token for token in special if token and (token in self.opening or token in self.closing))
        return replace(self, special=tuple(found))

    def of_prompt(self, prompt: str) -> ThinkTags:
        """Return the tags as a response to a prompt begins: in a thought, or before one."""
        return replace(self, is_open=prompt.rfind(self.opening) > prompt.rfind(self.closing))

    def readable(self, text: str) -> str:
        """Return a response for people: tags of special tokens, which mean nothing to them, become words."""
        if not self.special:
            return text
        named = text.replace(self.opening, "(thought) ").replace(self.closing, "\n\n(answer) ")
        return self.without_special(named)

    def without_special(self, text: str) -> str:
        """Return a response as a decoder writes it that leaves special tokens out, as LightEval's does."""
        for token in self.special:
            text = text.replace(token, "")
        return text


_KNOWN = {
    "<think>": ThinkTags(opening="<think>", closing="</think>"),
    "[THINK]": ThinkTags(opening="[THINK]", closing="[/THINK]"),
    "<|channel|>": ThinkTags(opening="<|channel|>analysis<|message|>", closing="<|channel|>final<|message|>"),
    "◁think▷": ThinkTags(opening="◁think▷", closing="◁/think▷"),
}
"""By what a chat template or a vocabulary holds of them: R1, Qwen and most others, Mistral, harmony (gpt-oss), Kimi."""


def tags_in(template: str, tokens: Collection[str]) -> ThinkTags | None:
    """
    Find the tags of a model; None where it has none that are known.

    Args:
        template: Its chat template, which goes before the vocabulary.
        tokens: What was added to its tokenizer's vocabulary.
    """
    in_template = (tags for mark, tags in _KNOWN.items() if mark in template or tags.closing in template)
    in_tokens = (tags for mark, tags in _KNOWN.items() if mark in tokens or tags.closing in tokens)
    return next(in_template, None) or next(in_tokens, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThoughtCounts:
    """
    What some responses spent on thinking.

    Attributes:
        n_tokens: Tokens of thoughts, tags included; the others are the answers'.
        n_unfinished: Responses that end within their thought.
    """

    n_tokens: Count
    n_unfinished: Count

    def __post_init__(self) -> None:
        require(self)


def added_thoughts(parts: Iterable[ThoughtCounts | None]) -> ThoughtCounts | None:
    """Add counts up; None where those of one part are not known."""
    found = [*parts]
    known = [part for part in found if part is not None]
    if len(known) < len(found):
        return None
    return ThoughtCounts(
        n_tokens=sum(part.n_tokens for part in known), n_unfinished=sum(part.n_unfinished for part in known)
    )


def n_thought_tokens(ids: Sequence[int], text: str, tags: ThinkTags, *, text_of: Callable[[Sequence[int]], str]) -> int:
    """
    Count the tokens of a response's thoughts, tags included; all of them where it ends within one.

    A tag may be one token or several, and may share its last with what follows. So texts are compared, not ids: of the
    answer, which is short, and never of the whole thought.

    Args:
        ids: The response's tokens.
        text: Their text.
        tags: What encloses a thought.
        text_of: Returns the text of some of them.
    """
    n_closed = _end_of_last(ids, tags.closing, text_of=text_of) if tags.closing in text else 0
    if n_closed == 0 and tags.is_open:
        return len(ids)
    before, reopened, _ = text.rpartition(tags.closing)[2].partition(tags.opening)
    if not reopened:
        return n_closed
    if not before.strip():
        return len(ids)
    rest = ids[n_closed:]
    n_before = bisect_left(range(len(rest)), True, key=lambda n: tags.opening in text_of(rest[:n]))
    return n_closed + len(rest) - n_before


def _end_of_last(ids: Sequence[int], tag: str, *, text_of: Callable[[Sequence[int]], str]) -> int:
    """Return how many tokens there are up to the last occurrence of a tag, it included."""
    n_after = 16
    while n_after < len(ids) and tag not in text_of(ids[-n_after:]):
        n_after *= 2
    low = max(0, len(ids) - n_after)
    # The last token from which the tag is still whole, then the first behind it with which it is.
    first_without = bisect_left(range(low, len(ids)), True, key=lambda n: tag not in text_of(ids[n:])) + low
    start = max(0, first_without - 1)
    return next((end for end in range(start + 1, len(ids)) if tag in text_of(ids[start:end])), len(ids))
