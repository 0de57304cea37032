"""Text from elsewhere: halves of a pair, control characters, commands, loops."""

from __future__ import annotations

import pytest

from pytest_r1eval.core.texts import counted, escaped, hidden_argument, hidden_in, is_loop, printable, quoted, whole


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


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("FAILED r1eval::smoke::pass@1 - red", "FAILED r1eval::smoke::pass@1 - red"),
        ("  ::error::no", "  : :error::no"),
        ("said ##[group] and ##vso[x]", "said # #[group] and # #vso[x]"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
    ],
)
def test_a_line_of_ours_commands_nothing(line: str, expected: str) -> None:
    """A node id stays as it is; a runner's command is parted where a runner would take it."""
    assert printable(line) == expected


@pytest.mark.parametrize("words", [["a\nb"], ["--x", "\x1b"], ["--r1-system-prompt", "a\x00"], ["b", "caf\udce9"]])
def test_an_argument_with_a_hidden_character_is_named(words: list[str]) -> None:
    """An argument with a hidden character is quoted in printable ASCII."""
    found = hidden_argument(words)
    assert found is not None
    assert found.isascii()
    assert found.isprintable()


@pytest.mark.parametrize("words", [["--r1-system-prompt", "two\nlines"], ["--r1-system-prompt=a\tb\r\n"], ["é 数"], []])
def test_a_system_prompt_may_have_lines(words: list[str]) -> None:
    """Line breaks in the value of a system prompt are not hidden characters."""
    assert hidden_argument(words) is None


def test_hidden_characters_are_named() -> None:
    """The first hidden character of a text is named as Python writes it."""
    assert hidden_in("name\nname\x1b") == r"'\n'"
    assert hidden_in("ordinary/näme-1.5_x 数学") is None


@pytest.mark.parametrize(("n", "expected"), [(0, "0 samples"), (1, "1 sample"), (1200, "1,200 samples")])
def test_one_is_singular(n: int, expected: str) -> None:
    """A count of one has its noun in the singular; thousands have a comma."""
    assert counted(n, "sample") == expected


def test_a_quote_shows_the_start() -> None:
    """A quote is one line of bounded length, and says where it was cut."""
    assert quoted("  first\n second ") == '"first second"'
    assert quoted("x" * 100, max_chars=10) == '"xxxxxxx..."'


@pytest.mark.parametrize("text", ["a" * 300, "\n" * 300, "Wait, let me check that again. " * 40, "\ud800" * 400])
def test_a_loop_is_known(text: str) -> None:
    """A text that repeats one token or one sentence is a loop."""
    assert is_loop(text)


@pytest.mark.parametrize("text", ["", "again", "".join(f"{n} times {n} is {n * n}. " for n in range(80)), "ab" * 9])
def test_text_that_says_something_is_no_loop(text: str) -> None:
    """Sums that differ in their numbers, and short texts, are not loops."""
    assert not is_loop(text)
