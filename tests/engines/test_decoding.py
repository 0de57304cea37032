"""The text of an answer is made once, at its end, and reads as vLLM's own would."""

from __future__ import annotations

import random

import pytest
from tokenizers import Tokenizer, decoders, models

from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.core.records import FinishReason
from pytest_r1eval.core.thinking import ThinkTags
from pytest_r1eval.engines.decoding import decoded, response_of
from pytest_r1eval.engines.engine import Request
from tests.byte_tokenizer import byte_level


def streamed(tokenizer: Tokenizer, ids: list[int], *, prompt: list[int]) -> str:
    """Make the text token by token behind a prompt, as vLLM's front end does."""
    stream = decoders.DecodeStream(ids=prompt, skip_special_tokens=True)
    return "".join(stream.step(tokenizer, id_) or "" for id_ in ids)


def sentence_pieces() -> Tokenizer:
    """Make a tokenizer whose words carry the space in front of them, as Llama 2's and Mistral's do."""
    words = ["▁so", "▁the", "▁answer", "▁is", "4", "2", "▁", "."]
    tokenizer = Tokenizer(models.BPE(vocab={word: id_ for id_, word in enumerate(words)}, merges=[]))
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


TEXTS = ["so 4 + 3 = 7</think>\n\\boxed{7}", "Größe: ½ · π ≈ 1.57 🙂", " leading and trailing ", ""]


@pytest.mark.parametrize("text", TEXTS)
def test_bytes_read_as_streamed(text: str) -> None:
    """Characters of several bytes, added tokens and spaces come out whole."""
    tokenizer = byte_level()
    prompt, ids = tokenizer.encode("1 + 1 = <end>").ids, tokenizer.encode(text).ids
    assert text == decoded(tokenizer, ids, after=prompt) == streamed(tokenizer, ids, prompt=prompt)


def test_random_words_read_as_streamed() -> None:
    """Decoding behind a prompt gives the text that streaming gives, with the space before its first word."""
    tokenizer, chance = sentence_pieces(), random.Random(0)  # noqa: S311 - a test
    for _ in range(50):
        prompt, ids = [0, 1, 2], [chance.randrange(6) for _ in range(12)]
        assert streamed(tokenizer, ids, prompt=prompt) == decoded(tokenizer, ids, after=prompt)


def test_special_tokens_are_left_out() -> None:
    """Decoding leaves out the special token that ends an answer."""
    tokenizer = byte_level()
    end = tokenizer.token_to_id("<end>")
    assert end is not None
    assert decoded(tokenizer, [*tokenizer.encode("7").ids, end], after=[end]) == "7"


def test_character_that_was_cut_off_is_left_out() -> None:
    """A character that the token limit cut off is left out of the text."""
    tokenizer = byte_level()
    ids = tokenizer.encode("7 π").ids[:-1]
    assert decoded(tokenizer, ids, after=()) == "7 " == streamed(tokenizer, ids, prompt=[])


def harmony() -> Tokenizer:
    """Make a byte-level tokenizer with harmony's special tokens."""
    tokenizer = byte_level()
    tokenizer.add_special_tokens(["<|channel|>", "<|message|>", "<|start|>", "<|return|>"])
    return tokenizer


HARMONY = ThinkTags(
    opening="<|channel|>analysis<|message|>",
    closing="<|channel|>final<|message|>",
    special=("<|channel|>", "<|message|>"),
)
ANSWERED = "<|channel|>analysis<|message|>so<|start|>assistant<|channel|>final<|message|>4"


def asked(tags: ThinkTags | None) -> Request:
    """Ask for a sample of a model that thinks."""
    return Request(
        benchmark="smoke", problem_id="p", index=0, prompt=(1, 2), seed=0, sampling=Sampling(), max_new_tokens=9,
        think_tags=tags,
    )  # fmt: skip


def test_special_tokens_that_tell_the_answer_are_kept() -> None:
    """The tags stay in the text, and no other special token; without them all are left out."""
    tokenizer = harmony()
    ids = tokenizer.encode(f"{ANSWERED}<|return|>").ids

    kept = response_of(tokenizer, asked(HARMONY), ids, finish_reason=FinishReason.STOP)
    plain = response_of(tokenizer, asked(None), ids, finish_reason=FinishReason.STOP)

    assert kept.text == "<|channel|>analysis<|message|>soassistant<|channel|>final<|message|>4"
    assert plain.text == "analysissoassistantfinal4" == HARMONY.without_special(kept.text)
    assert (kept.n_tokens, plain.n_tokens) == (len(ids), len(ids))
    assert (kept.n_thought_tokens, plain.n_thought_tokens) == (len(ids) - len(("4", "<|return|>")), None)


def test_tags_that_are_no_special_tokens_stay_as_they_are() -> None:
    """Tags that are added tokens, as DeepSeek's and Qwen's, stay in the text and are counted."""
    tokenizer, tags = byte_level(), ThinkTags(opening="<think>", closing="</think>", is_open=True)
    for text, finish_reason, n_answer in (
        ("so</think>\n7", FinishReason.LENGTH, 2),
        ("so</think>\n7", FinishReason.STOP, 3),
        ("so 7", FinishReason.LENGTH, 0),
        ("so 7", FinishReason.STOP, 0),
    ):
        ending = "<end>" if finish_reason is FinishReason.STOP else ""
        ids = tokenizer.encode(text + ending).ids
        found = response_of(tokenizer, asked(tags), ids, finish_reason=finish_reason)
        assert (found.text, found.n_thought_tokens) == (text, len(ids) - n_answer)
