"""The text of an answer is made once, at its end, and reads as vLLM's own would."""

from __future__ import annotations

import random

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from pytest_r1eval.engines.vllm import decoded


def streamed(tokenizer: Tokenizer, ids: list[int], *, prompt: list[int]) -> str:
    """Make the text token by token behind a prompt, as vLLM's front end does."""
    stream = decoders.DecodeStream(ids=prompt, skip_special_tokens=True)
    return "".join(stream.step(tokenizer, id_) or "" for id_ in ids)


def byte_level() -> Tokenizer:
    """Make a tokenizer of single bytes, as Qwen's and Llama 3's fall back to, with an ending token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={byte: id_ for id_, byte in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<end>"])
    tokenizer.add_tokens(["</think>"])
    return tokenizer


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
    """The space in front of the first word of an answer is kept, though a whole text drops it."""
    tokenizer, chance = sentence_pieces(), random.Random(0)  # noqa: S311 - a test
    for _ in range(50):
        prompt, ids = [0, 1, 2], [chance.randrange(6) for _ in range(12)]
        assert streamed(tokenizer, ids, prompt=prompt) == decoded(tokenizer, ids, after=prompt)


def test_special_tokens_are_left_out() -> None:
    """What ends an answer is no part of it."""
    tokenizer = byte_level()
    end = tokenizer.token_to_id("<end>")
    assert end is not None
    assert decoded(tokenizer, [*tokenizer.encode("7").ids, end], after=[end]) == "7"


def test_character_that_was_cut_off_is_left_out() -> None:
    """An answer that ends at the token limit may end inside a character."""
    tokenizer = byte_level()
    ids = tokenizer.encode("7 π").ids[:-1]
    assert decoded(tokenizer, ids, after=()) == "7 " == streamed(tokenizer, ids, prompt=[])
