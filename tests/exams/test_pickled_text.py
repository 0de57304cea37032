"""A pickled string is read; any other pickle is refused, and none is run."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from pytest_r1eval.exams.pickled_text import text_of
from tests.exams.pickled_attack import Attack


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("text", ["", "short", "ä\u2028", "long " * 100_000])
def test_every_protocol_gives_the_string(protocol: int, text: str) -> None:
    """A string of any pickle protocol is the one that `pickle.loads` returns."""
    assert text_of(pickle.dumps(text, protocol)) == text


def test_a_program_is_refused_and_not_run(tmp_path: Path) -> None:
    """A pickled program is refused and leaves no file, as it would if it ran."""
    pickled = pickle.dumps(Attack(tmp_path / "run"))
    with pytest.raises(ValueError, match="expected one string"):
        text_of(pickled)
    assert list(tmp_path.iterdir()) == []
    pickle.loads(pickled)  # noqa: S301 - shows that the attack is one
    assert (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [1, ["a"], ("a", "b"), {"a": "b"}, b"bytes", None])
def test_other_values_are_refused(content: object) -> None:
    """A pickle of anything but one string is refused."""
    with pytest.raises(ValueError, match="expected one string"):
        text_of(pickle.dumps(content))


@pytest.mark.parametrize("pickled", [b"", b"no pickle", pickle.dumps("a")[:-1]])
def test_what_is_no_pickle_is_refused(pickled: bytes) -> None:
    """A ValueError refuses bytes that are not a pickle."""
    with pytest.raises(ValueError, match=r".+"):
        text_of(pickled)
