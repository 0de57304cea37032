"""Bodies and headers of a server, taken apart without one."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from pytest_r1eval.engines.server.wire import SetbackError, completion_in, message_in, retry_after_s
from pytest_r1eval.errors import EngineError


def completion(**usage: object) -> bytes:
    """Write a completion that counts its tokens so."""
    return json.dumps({"choices": [{"text": "4", "finish_reason": "stop"}], "usage": usage}).encode()


def test_a_completion_is_its_only_choice_with_its_counts() -> None:
    """A completion is its only choice, and its count of prompt tokens may be missing."""
    found = completion_in(completion(completion_tokens=1))

    assert (found.text, found.finish_reason, found.n_tokens, found.n_prompt_tokens) == ("4", "stop", 1, None)


@pytest.mark.parametrize("usage", [{}, {"completion_tokens": True}, {"completion_tokens": -1}])
def test_tokens_that_nobody_counted_are_an_error(usage: dict[str, object]) -> None:
    """A completion without a valid number of tokens is an error, so that none is made up."""
    with pytest.raises(EngineError, match=r"expected usage\.completion_tokens"):
        completion_in(completion(**usage))


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"choices": []}', b'{"choices": [{"text": 1}]}'])
def test_what_is_no_completion_is_a_setback(body: bytes) -> None:
    """A body that is not a completion is a setback, because an answer may follow."""
    with pytest.raises(SetbackError):
        completion_in(body)


def test_a_pause_is_read_in_seconds_and_as_a_date() -> None:
    """Retry-After is read as seconds and as a date, and anything else asks for no pause."""
    soon = retry_after_s(format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True))

    assert soon is not None
    assert 80 < soon <= 90
    assert (retry_after_s("7"), retry_after_s("later"), retry_after_s(None)) == (7.0, None, None)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"error": {"message": "too long"}}', "too long"),
        (b'{"message": "too long"}', "too long"),
        (b'{"error": "too long"}', "too long"),
        (b"Bad Gateway", "Bad Gateway"),
        (b"", "nothing more"),
    ],
)
def test_the_sentence_in_an_errors_body_is_found(body: bytes, expected: str) -> None:
    """The message is found in OpenAI's and vLLM's error bodies and in plain text."""
    assert message_in(body) == expected


@pytest.mark.parametrize(
    "scores",
    [
        None,
        "many",
        [None, {"5": {"logprob": -1.0}}],
        [None, {"5": {"logprob": -1.0}}, None],
        [None, {"5": {"logprob": -1.0}}, {"7": {"logprob": -1.0}}],
        [None, {"5": {"logprob": -1.0}}, {"6": {"logprob": "low"}}],
        [None, {"5": {"logprob": -1.0}}, {"6": -1.0}],
    ],
)
def test_scores_of_other_tokens_are_none(scores: object) -> None:
    """Log-probabilities that are missing, of another token or no numbers are none at all."""
    choice = {"text": "", "finish_reason": "length", "prompt_logprobs": scores}
    body = json.dumps({"choices": [choice], "usage": {"completion_tokens": 1}}).encode()
    assert completion_in(body).logprobs_of((4, 5, 6)) is None
