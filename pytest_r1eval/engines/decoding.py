"""
From the tokens that an engine drew to a response: its text, and how many of them are the thought's.

Special tokens are left out, as engines and LightEval do, but for those that tell the thought from the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from pytest_r1eval.core.records import FinishReason, Response
from pytest_r1eval.core.thinking import ThinkTags, n_thought_tokens
from pytest_r1eval.engines.engine import Request

if TYPE_CHECKING:
    from tokenizers import Tokenizer

N_PRIMING_TOKENS = 8
"""Of the prompt, in front of an answer that is decoded."""


def response_of(tokenizer: Tokenizer, request: Request, ids: Sequence[int], *, finish_reason: FinishReason) -> Response:
    """
    Return what was drawn as a response.

    Args:
        tokenizer: The model's.
        request: What was asked.
        ids: The tokens that were drawn, what ended them included.
        finish_reason: Why they ended.
    """
    tags = request.think_tags
    shown = ids[:-1] if finish_reason is FinishReason.STOP else ids  # what ended it, special or not, is no text
    text = decoded(tokenizer, shown, after=request.prompt[-N_PRIMING_TOKENS:], tags=tags)
    n_thought = None
    if tags is not None:
        n_thought = n_thought_tokens(
            ids, text, tags, text_of=lambda some: decoded(tokenizer, some, after=(), tags=tags)
        )
    return Response(text=text, n_tokens=len(ids), finish_reason=finish_reason, n_thought_tokens=n_thought)


def decoded(tokenizer: Tokenizer, ids: Sequence[int], *, after: Sequence[int], tags: ThinkTags | None = None) -> str:
    """
    Return the text of an answer as it reads behind its prompt.

    Args:
        tokenizer: The model's.
        ids: The answer's tokens.
        after: The prompt's last tokens; some tokenizers drop a space in front of the first token.
        tags: What encloses a thought: of special tokens, those that it is made of are kept, and no others.
    """
    is_kept = tags is not None and bool(tags.special)
    if tags is not None and is_kept:
        special = {id_ for id_, token in _special_tokens(tokenizer).items() if token not in tags.special}
        after, ids = ([id_ for id_ in each if id_ not in special] for each in (after, ids))
    prompt = tokenizer.decode(list(after), skip_special_tokens=not is_kept)
    whole = tokenizer.decode([*after, *ids], skip_special_tokens=not is_kept)
    separate = not whole.startswith(prompt)
    text = tokenizer.decode(list(ids), skip_special_tokens=not is_kept) if separate else whole[len(prompt) :]
    return text.rstrip("\ufffd")  # a character that was cut off in the middle


@cache
def _special_tokens(tokenizer: Tokenizer) -> dict[int, str]:
    """Name a tokenizer's special tokens; it makes a new list at each call, and one engine has one tokenizer."""
    added = tokenizer.get_added_tokens_decoder()
    return {id_: token.content for id_, token in added.items() if token.special}
