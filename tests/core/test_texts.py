"""Text from elsewhere: halves of a pair, control characters, commands, loops."""

from __future__ import annotations

import pytest

from pytest_r1eval.core.texts import escaped, hidden_in, is_loop, quoted, whole


@pytest.mark.parametrize(
    ("text", "expected"),
    [("plain", "plain"), ("\ud800", "\ufffd"), ("a\udfffb\ud83d", "a\ufffdb\ufffd"), ("\U0001f600", "\U0001f600")],
)
def test_half_a_pair_is_replaced(text: str, expected: str) -> None:
    """A lone surrogate becomes the replacement character; a whole character outside the plane stays."""
    assert whole(text) == expected
    whole(text).encode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("two\nlines\r", r"two\nlines\r"),
        ("\x1b[2Jgone\x00\x9b", r"\x1b[2Jgone\x00\x9b"),
        ("\u202etxt.exe\u2066", r"\u202etxt.exe\u2066"),
        ("\u2028\u0085", r"\u2028\x85"),
        ("half \ud800", r"half \ud800"),
        ("::error::no", ": :error: :no"),
        ("##[group]", "# #[group]"),
        ("##VSO[task.setvariable]", "# #VSO[task.setvariable]"),
        ("x := 1, # a [list], naïve 数学 😀", "x := 1, # a [list], naïve 数学 😀"),
    ],
)
def test_escaped_is_one_line_that_commands_nothing(text: str, expected: str) -> None:
    """Control characters, bidi overrides and commands to a CI's runner are shown; other text stays as it is."""
    assert escaped(text) == expected
    assert hidden_in(escaped(text)) is None


def test_hidden_characters_are_named() -> None:
    """The first one is named as Python writes it."""
    assert hidden_in("name\nname\x1b") == r"'\n'"
    assert hidden_in("ordinary/näme-1.5_x 数学") is None


def test_a_quote_shows_the_start() -> None:
    """A quote is one line of bounded length, and says where it was cut."""
    assert quoted("  first\n second ") == '"first second"'
    assert quoted("x" * 100, max_chars=10) == '"xxxxxxx..."'


@pytest.mark.parametrize("text", ["a" * 300, "\n" * 300, "Wait, let me check that again. " * 40, "\ud800" * 400])
def test_a_loop_is_known(text: str) -> None:
    """One token or one sentence again and again is a loop."""
    assert is_loop(text)


@pytest.mark.parametrize("text", ["", "again", "".join(f"{n} times {n} is {n * n}. " for n in range(80)), "ab" * 9])
def test_text_that_says_something_is_no_loop(text: str) -> None:
    """Sums of one form differ in their numbers; a short text is no loop."""
    assert not is_loop(text)
