"""
Text from elsewhere, made fit for what reads it: one rule for halves of a pair, one for control characters.

Decisions:

- A run's store keeps what an engine answered as it came, half a surrogate pair included (a server's JSON can hold
  one). Parquet, UTF-8 files and terminals cannot hold it, so everything that leaves the store is `whole`.
- What a user, a plugin or a file names is refused where it holds a control character (`hidden_in`): a newline in a
  name is a line of a batch script, of ``GITHUB_OUTPUT`` or of a CI's log.
- What a model or a data set says cannot be refused. It is `escaped` where people and CI runners read it.
"""

import re
import zlib
from collections.abc import Sequence
from itertools import pairwise

REPLACEMENT = "\ufffd"
"""Unicode's sign for what cannot be read."""

_HALF_PAIR = re.compile("[\ud800-\udfff]")
_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_HIDDEN = re.compile(f"[\x00-\x1f\x7f-\x9f\u2028\u2029{_BIDI}\ud800-\udfff]")
"""C0 and C1 control characters, both line separators, what turns text around, and halves of a pair."""
_COMMAND = re.compile(r"##(?=(?:vso)?\[)|::", re.IGNORECASE)
_COMMAND_OF_LINE = re.compile(r"##(?=(?:vso)?\[)|^\s*::", re.IGNORECASE)
"""
How text becomes a command to a CI's runner: Azure's ``##vso[`` and ``##[group]`` anywhere in a line, GitHub's
``::error`` at its beginning.
"""
_PROMPT_FLAG = "--r1-system-prompt"
_LINES = str.maketrans("", "", "\n\r\t")

_MIN_LOOP_RATIO = 8
"""zlib leaves 0.44 of reasoning text and 0.3 of code; of one phrase repeated again and again less than an eighth."""


def has_half_pair(text: str) -> bool:
    """Whether a text holds half a surrogate pair, which UTF-8 cannot."""
    return _HALF_PAIR.search(text) is not None


def whole(text: str) -> str:
    """Return a text with the replacement character for each half of a pair."""
    return _HALF_PAIR.sub(REPLACEMENT, text)


def hidden_in(text: str) -> str | None:
    """Return the first character of a text that no printed name may hold, as Python writes it; None without one."""
    found = _HIDDEN.search(text)
    return None if found is None else ascii(found[0])


def hidden_argument(words: Sequence[str]) -> str | None:
    """
    Return what is wrong with the arguments of a command, in words; None where none holds a hidden character.

    A system prompt alone may have lines and tabs: it is put to a model, and printed nowhere as it is.
    """
    for before, word in pairwise(["", *words]):
        is_prompt = before == _PROMPT_FLAG or word.startswith(f"{_PROMPT_FLAG}=")
        if (found := hidden_in(word.translate(_LINES) if is_prompt else word)) is not None:
            return f"{word!a} holds the character {found}; expected text that can be printed on one line"
    return None


def without_lines(text: str) -> str:
    """Return a text without its line ends and tabs, the only hidden characters that a system prompt may have."""
    return text.translate(_LINES)


def escaped(text: str) -> str:
    r"""
    Return what a model, a data set or a file says as one line that commands neither a terminal nor a CI's runner.

    A control character becomes its escape, such as ``\n`` or ``\x1b``. A space parts what a runner would take for
    a command.
    """
    return _COMMAND.sub(_parted, _visible(text))


def printable(line: str) -> str:
    """Return a line of ours, such as a node id is part of, so that nothing in it is a command; see `escaped`."""
    return _COMMAND_OF_LINE.sub(_parted, _visible(line))


def _visible(text: str) -> str:
    return _HIDDEN.sub(lambda found: ascii(found[0])[1:-1], text)


def _parted(found: re.Match[str]) -> str:
    return found[0].replace("::", ": :").replace("##", "# #")


def counted(n: int, noun: str) -> str:
    """Count by a noun whose plural ends in s: "1 sample", "1,200 samples"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def quoted(text: str, *, max_chars: int = 60) -> str:
    """Return the start of a text in quotes, escaped, on one line."""
    start = escaped(" ".join(text.split()))
    return f'"{start}"' if len(start) <= max_chars else f'"{start[: max_chars - 3]}..."'


def is_loop(text: str) -> bool:
    """Whether a text says one short piece again and again, so that two draws of it agree by themselves."""
    raw = text.encode("utf-8", "surrogatepass")
    return len(zlib.compress(raw)) * _MIN_LOOP_RATIO < len(raw)
