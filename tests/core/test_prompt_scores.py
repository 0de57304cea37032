"""Scores are read as they were written, and what makes two models' prompts differ is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from pytest_r1eval.core.codec import from_json, to_json
from pytest_r1eval.core.prompt_scores import PROMPT_SCORES, AskedPrompts
from pytest_r1eval.errors import RunError
from tests.score_files import ASKED, moved


def test_a_file_keeps_every_bit() -> None:
    """A float that is written to a file is read as the same float."""
    scores = moved(lambda number, place: (1 + number) / 3 + place / 7)
    assert from_json(PROMPT_SCORES, to_json(PROMPT_SCORES, scores)) == scores


def test_another_file_is_refused() -> None:
    """A file that holds no scores is refused with what was expected."""
    with pytest.raises(RunError, match=r"^x\.json: .*save the scores again with r1eval same$"):
        from_json(PROMPT_SCORES, '{"schema_version": 1, "gates": []}', name="x.json")


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (ASKED, ()),
        (replace(ASKED, ids=((5, 6), (5, 9, 9))), ()),
        (replace(ASKED, n_vocabulary=270, vocabulary="o" * 64),
         ("vocabulary: 265 tokens in A, 270 in B, of other texts or ids",)),
        (replace(ASKED, texts="o" * 64, ids=((5, 6, 7, 8), (5, 9, 1))),
         ("chat template: it makes other texts of the prompts", "prompts: prompt 2 has other tokens from position 2")),
        (replace(ASKED, ids=((5, 1, 7, 8), (5, 9, 9))), ("tokenizer: prompt 1 has other tokens from position 1",)),
    ],
)  # fmt: skip
def test_what_differs_is_named(other: AskedPrompts, expected: tuple[str, ...]) -> None:
    """Vocabulary, chat template and tokenizer are named; a prompt that is cut is no difference."""
    assert ASKED.differences(other) == expected


@pytest.mark.parametrize(
    "cut", [lambda rows: [row[:1] for row in rows], lambda rows: rows[:1]], ids=["of tokens", "of prompts"]
)
def test_a_file_that_is_cut_is_refused(cut: Callable[[list[list[float]]], list[list[float]]]) -> None:
    """A file without the score of every token is refused, not taken for equal in what is left of it."""
    content = json.loads(to_json(PROMPT_SCORES, moved(lambda *_: 0.0)))
    content["logprobs"] = cut(content["logprobs"])
    with pytest.raises(RunError, match="log-probabilities are missing; expected one for each token after the first"):
        from_json(PROMPT_SCORES, json.dumps(content), name="x.json")


def test_prompts_that_are_missing() -> None:
    """Scores of fewer prompts of the same list are refused, not compared."""
    with pytest.raises(RunError, match="the scores are of 2 and 1 prompts of one list; expected all of it"):
        ASKED.differences(replace(ASKED, ids=ASKED.ids[:1]))


def test_another_list_of_prompts() -> None:
    """Scores of another version's prompts are refused, not compared."""
    with pytest.raises(RunError, match="expected those of one version"):
        ASKED.differences(replace(ASKED, prompts="q" * 64))
