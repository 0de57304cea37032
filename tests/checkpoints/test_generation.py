"""A checkpoint's own sampling, from its generation_config.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_r1eval.checkpoints.generation import recommended_sampling
from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.errors import ModelError


def recommended(folder: Path, content: object) -> Sampling:
    """Read what a checkpoint with this file recommends."""
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "generation_config.json").write_text(text, encoding="utf-8")
    return recommended_sampling(folder, model="org/m")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "eos_token_id": [1, 2]},
            Sampling(temperature=0.6, top_p=0.95, top_k=20),
        ),
        ({"temperature": 1}, Sampling(temperature=1.0, top_p=1.0)),
        ({"top_k": -1, "min_p": 0.05}, Sampling(temperature=1.0, top_p=1.0, top_k=0, min_p=0.05)),
        ({"repetition_penalty": 1.05, "top_p": None}, Sampling(temperature=1.0, top_p=1.0, repetition_penalty=1.05)),
        ({"presence_penalty": 1.5}, Sampling(temperature=1.0, top_p=1.0, presence_penalty=1.5)),
        ({"do_sample": False, "temperature": 0.7}, Sampling(temperature=0.0, top_p=1.0)),
        ({"temperature": 0.7, "max_new_tokens": 8, "max_length": 9}, Sampling(temperature=0.7, top_p=1.0)),
    ],
    ids=str,
)
def test_the_files_values_count_and_nothing_is_added(tmp_path: Path, content: object, expected: Sampling) -> None:
    """Only values in the file change the sampling, greedy decoding is temperature 0, and lengths are ignored."""
    assert expected == recommended(tmp_path, content)


def test_one_and_one_point_zero_are_one_question(tmp_path: Path) -> None:
    """A recommended temperature of 1 is stored as a float and a top-k of 5 as an integer, as the options are."""
    assert type(recommended(tmp_path, {"temperature": 1}).temperature) is float
    assert type(recommended(tmp_path, {"top_k": 5}).top_k) is int


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"eos_token_id": 1}, "recommends no sampling; expected some of temperature, top_p, top_k, "),
        ({"temperature": "hot"}, 'temperature is "hot"; expected a number'),
        ({"top_k": 2.5}, "top_k is 2.5; expected a whole number"),
        ({"top_p": True}, "top_p is true; expected a number"),
        ({"top_p": 0}, "top_p is 0.0; expected a number above 0 and at most 1"),
        ('{"temperature": NaN}', "temperature is nan; expected a number of 0 or more"),
        ([], "it holds a JSON list; expected an object"),
        ("{", "it cannot be read (JSONDecodeError); expected a JSON object"),
    ],
    ids=str,
)
def test_a_file_without_a_sampling_is_refused(tmp_path: Path, content: object, message: str) -> None:
    """An unusable recommendation is refused in one line with the file, the value and what to do."""
    with pytest.raises(ModelError) as caught:
        recommended(tmp_path, content)
    assert message in str(caught.value)
    assert str(caught.value).startswith("--r1-sampling model: generation_config.json of org/m")
    assert "drop --r1-sampling model" in str(caught.value)


def test_a_checkpoint_without_the_file_is_refused(tmp_path: Path) -> None:
    """--r1-sampling model is refused for a checkpoint without generation_config.json."""
    with pytest.raises(ModelError, match=r"^--r1-sampling model: org/m has no generation_config\.json; expected "):
        recommended_sampling(tmp_path, model="org/m")
