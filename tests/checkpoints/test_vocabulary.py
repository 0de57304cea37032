"""The tokens that were added to a tokenizer, read from whichever file lists them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_r1eval.checkpoints.vocabulary import added_tokens

FILES: dict[str, object] = {
    "tokenizer.json": {
        "added_tokens": [
            {"id": 0, "content": "<think>", "special": False},
            {"id": 1, "content": "<|channel|>", "special": True},
        ]
    },
    "tokenizer_config.json": {
        "added_tokens_decoder": {
            "0": {"content": "<think>", "special": False},
            "1": {"content": "<|channel|>", "special": True},
        }
    },
    "tekken.json": {
        "special_tokens": [
            {"rank": 0, "token_str": "<think>", "is_control": False},
            {"rank": 1, "token_str": "<|channel|>", "is_control": True},
        ]
    },
}


@pytest.mark.parametrize("name", FILES)
def test_each_files_form_is_known(tmp_path: Path, name: str) -> None:
    """The added tokens of each file's form are read, with whether they are special."""
    (tmp_path / name).write_text(json.dumps(FILES[name]))
    assert added_tokens(tmp_path) == {"<think>": False, "<|channel|>": True}


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"added_tokens": 1}', '{"added_tokens": [1, {"content": 2}]}'])
def test_a_file_that_lists_nothing_adds_nothing(tmp_path: Path, text: str) -> None:
    """A tokenizer.json that lists no tokens adds none, and reading it raises no error."""
    (tmp_path / "tokenizer.json").write_text(text)
    assert added_tokens(tmp_path) == {}
