"""Thought and answer: by which tags they are told apart, and how many tokens each has."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from pytest_r1eval.core.thinking import ThinkTags, ThoughtCounts, added_thoughts, n_thought_tokens, tags_in

THINK = ThinkTags(opening="<think>", closing="</think>")


@pytest.mark.parametrize(
    ("template", "tokens", "opening"),
    [
        ("{{ '<think>\\n' }}", (), "<think>"),
        ("{{ content.split('</think>')[-1] }}", (), "<think>"),
        ("{{ messages }}", ("<think>", "</think>"), "<think>"),
        ("{{ messages }}", ("[THINK]",), "[THINK]"),
        ("{{ messages }}", ("◁think▷",), "◁think▷"),
        ("{{ messages }}", ("<|channel|>", "<|message|>"), "<|channel|>analysis<|message|>"),
        ("{{ '[THINK]' }}", ("<think>",), "[THINK]"),
        ("{{ messages }}", ("<think_about_it>", "<s>"), None),
    ],
)
def test_tags_are_the_templates_or_the_vocabularys(template: str, tokens: Sequence[str], opening: str | None) -> None:
    """The template goes before the vocabulary, which may hold tags that the model never learnt."""
    found = tags_in(template, tokens)
    assert (None if found is None else found.opening) == opening


def test_special_tokens_of_the_tags_are_kept_apart() -> None:
    """Special tokens of the tags can be removed, as LightEval's decoder does, or replaced by words."""
    harmony = tags_in("", ["<|channel|>"])
    assert harmony is not None
    tags = harmony.of_tokenizer(["<|channel|>", "<|message|>", "<|end|>", ""])
    text = "<|channel|>analysis<|message|>so<|channel|>final<|message|>4"

    assert tags.special == ("<|channel|>", "<|message|>")
    assert tags.without_special(text) == "analysissofinal4"
    assert tags.readable(text) == "(thought) so\n\n(answer) 4"
    assert THINK.readable("<think>so</think>4") == "<think>so</think>4" == THINK.without_special("<think>so</think>4")


@pytest.mark.parametrize(
    ("prompt", "is_open"),
    [("1+1?", False), ("1+1?<think>\n", True), ("1+1?<think>\n\n</think>\n\n", False), ("a</think>b<think>", True)],
)
def test_a_prompt_may_end_within_a_thought(prompt: str, is_open: bool) -> None:  # noqa: FBT001 - a table
    """A prompt that ends within a thought leaves it open, and a switched-off thought is closed."""
    assert THINK.of_prompt(prompt).is_open is is_open


@pytest.mark.parametrize(("opening", "closing"), [("", "b"), ("a", " "), ("a", "a")])
def test_tags_are_two_texts(opening: str, closing: str) -> None:
    """One tag cannot both begin and end a thought."""
    with pytest.raises(ValueError, match="expected"):
        ThinkTags(opening=opening, closing=closing)


def characters(ids: Sequence[int]) -> str:
    """Decode tokens that are characters."""
    return "".join(map(chr, ids))


PIECES = ("<think>", "</think>", "</thi", "nk>\n\n", "a", "b ", "so")


def pieces(ids: Sequence[int]) -> str:
    """Decode tokens that are tags, parts of tags, or words."""
    return "".join(PIECES[id_] for id_ in ids)


@pytest.mark.parametrize(
    ("text", "n_thought"),
    [
        ("", 0),
        ("4", 0),
        ("<think>so</think>4", len("<think>so</think>")),
        ("so</think>4", len("so</think>")),
        ("<think>so", len("<think>so")),
        ("<think>a</think><think>b</think>4", len("<think>a</think><think>b</think>")),
        ("<think>a</think> <think>b", len("<think>a</think> <think>b")),
        ("<think>a</think>4<think>b", len("<think>a</think>") + len("b")),
        (f"<think>{'so ' * 3000}</think>{'4' * 2000}", len("<think></think>") + 9000),
    ],
)
def test_tokens_of_thought_and_answer_are_counted_apart(text: str, n_thought: int) -> None:
    """Tags are the thought's; a response that ends within its thought is all thought."""
    ids = [*map(ord, text)]
    assert n_thought_tokens(ids, text, THINK, text_of=characters) == n_thought


def test_a_prompt_that_opened_the_thought_makes_all_of_it_thought() -> None:
    """A prompt that opens the thought makes a response without a closing tag all thought."""
    is_open = THINK.of_prompt("<think>")
    assert n_thought_tokens([97, 98], "ab", is_open, text_of=characters) == 2
    assert n_thought_tokens([97, 98], "ab", THINK, text_of=characters) == 0


def test_a_tag_may_be_one_token_or_several() -> None:
    """The token that ends the tag counts as the thought's, though the answer's first line ends in it."""
    for ids, n_thought in (([0, 4, 1, 5], 3), ([0, 4, 2, 3, 5, 5], 4), ([4, 2, 3], 3)):
        assert n_thought_tokens(ids, pieces(ids), THINK, text_of=pieces) == n_thought


def test_random_responses_agree_with_a_count_by_hand() -> None:
    """The last closing tag is found wherever it is, and only the tokens behind it are the answer's."""
    chance = random.Random(0)  # noqa: S311 - a test
    for _ in range(300):
        ids = [chance.choice((1, 2, 3, 4, 5, 6)) for _ in range(chance.randrange(1, 80))]
        ends = [n for n in range(1, len(ids) + 1) if pieces(ids[:n]).count("</think>") == pieces(ids).count("</think>")]
        expected = ends[0] if "</think>" in pieces(ids) else 0
        assert n_thought_tokens(ids, pieces(ids), THINK, text_of=pieces) == expected


def test_long_thoughts_are_not_decoded_again() -> None:
    """A thought of 30,000 tokens costs no more to count than its answer: the engine's loop waits meanwhile."""
    n_decoded = 0

    def text_of(ids: Sequence[int]) -> str:
        nonlocal n_decoded
        n_decoded += len(ids)
        return characters(ids)

    text = f"{'a' * 30_000}</think>{'4' * 100}"
    assert n_thought_tokens([*map(ord, text)], text, THINK, text_of=text_of) == 30_008
    assert n_decoded < 10_000


def test_counts_add_up_where_all_are_known() -> None:
    """A part that did not tell thoughts apart leaves the sum unknown."""
    one = ThoughtCounts(n_tokens=3, n_unfinished=1)
    assert added_thoughts([one, one]) == ThoughtCounts(n_tokens=6, n_unfinished=2)
    assert added_thoughts([one, None]) is None
