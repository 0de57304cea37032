"""The prompts of `r1eval same` are a fixed list, put to a model through its own template and tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_r1eval.exams.fixed_prompts import FIXED_PROMPTS, MAX_TOKENS, asked_prompts, digest_of_prompts
from pytest_r1eval.exams.prompts import PromptTokenizer
from tests.requirements import TRANSFORMERS, need

SHIPPED = Path(__file__).parents[2] / "examples/r1eval/tiny-arithmetic"
DIGEST = "0997619b56253db6e0055b1a34d1a2c037c7d7e6fde2313a88308de627ad5871"


@pytest.fixture(scope="module")
def tokenizer() -> PromptTokenizer:
    """Load the shipped tokenizer."""
    need(TRANSFORMERS)
    return PromptTokenizer(model=str(SHIPPED), revision=None)


def test_the_list_is_fixed() -> None:
    """The list has 64 prompts, all different, and its digest changes only on purpose."""
    assert len(set(FIXED_PROMPTS)) == len(FIXED_PROMPTS) == 64
    assert digest_of_prompts() == DIGEST


def test_each_prompt_goes_through_the_template(tokenizer: PromptTokenizer) -> None:
    """Each prompt is a user's message in the model's template, and the same model is asked the same twice."""
    asked = asked_prompts(tokenizer, max_position=4096)

    assert len(asked.ids) == 64
    assert all(2 <= len(ids) <= MAX_TOKENS for ids in asked.ids)
    assert FIXED_PROMPTS[0] in tokenizer.decode(asked.ids[0])
    assert tokenizer.decode(asked.ids[0]) != FIXED_PROMPTS[0]
    assert asked.n_vocabulary == len(tokenizer.vocabulary)
    assert asked.differences(asked_prompts(tokenizer, max_position=None)) == ()


def test_a_short_context_cuts(tokenizer: PromptTokenizer) -> None:
    """Prompts are cut so that one token can follow, and a model with more room is asked the same beginning."""
    short = asked_prompts(tokenizer, max_position=16)

    assert max(map(len, short.ids)) == 15
    assert short.differences(asked_prompts(tokenizer, max_position=4096)) == ()
