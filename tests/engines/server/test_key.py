"""The key of a server, before it is sent."""

from __future__ import annotations

import pytest

from pytest_r1eval.engines.server.key import ApiKey
from pytest_r1eval.errors import EngineError

KEY = "sk-do-not-show-0123456789"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, {}),
        ({"OPENAI_API_KEY": "b"}, {"Authorization": "Bearer b"}),
        ({"OPENAI_API_KEY": "b", "R1_SERVER_API_KEY": " a\n"}, {"Authorization": "Bearer a"}),
        ({"OPENAI_API_KEY": "b", "R1_SERVER_API_KEY": ""}, {"Authorization": "Bearer b"}),
    ],
)
def test_comes_from_the_environment(environment: dict[str, str], expected: dict[str, str]) -> None:
    """The key in R1_SERVER_API_KEY goes before the one in OPENAI_API_KEY."""
    key = ApiKey.from_environment(environment)

    assert expected == key.headers()
    assert key.is_given == bool(expected)


def test_what_cannot_be_a_header_is_refused_unseen() -> None:
    """A key of two lines is refused, and the message does not repeat it."""
    with pytest.raises(EngineError) as caught:
        ApiKey.from_environment({"R1_SERVER_API_KEY": f"{KEY}\nsecond"})

    assert KEY not in str(caught.value)
