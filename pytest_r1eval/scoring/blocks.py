"""
The blocks of an answer that may be its program, for the strict grader.

The rule. A fence is a run of three or more backticks, with nothing but words beside it in its line. A line that begins
with three or more tildes is one too. A block begins behind a fence. It ends at the next one, at the second or third
next (a program may quote fences), or with the answer. The text before the first fence is a block too, as its opening
may be missing. Blocks are dedented and lose a byte order mark. The program is the block that ends last, of these the
longest, that parses as Python and

1. defines the function that the tests call, or a class `Solution` that has it; of a program that is run, reads input
   and writes output; or, where there is none,
2. does or defines anything at all; or, where there is none,
3. is between the last two fences, as LightEval takes it, whether it parses or not.

So an example of input, output or use behind the program does not replace it. Neither does a fence too many or too few.
Whether a block parses is found out in the sandbox (`inside/solution.py`): Python's parser can be made to use up its
process.
"""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

_FENCE = re.compile(r"(?P<before>[^`\n]*)(?P<mark>`{3,})(?P<after>[^`\n]*)|[^\S\n]*(?P<tildes>~{3,})(?P<info>[^\n]*)")
_LANGUAGE = re.compile(r"\s*+[\w+.#-]*+\s*+(?:\{.*\}\s*+)?")
"""What may follow an opening fence and is not code. What it takes it keeps: three ways to share out a row of blanks are
the cube of its length, and no limit of time is around this process."""
_N_FENCES = 12
"""The last ones of an answer that are looked at; a looping model writes thousands."""
_N_SPANNED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """
    The blocks of an answer.

    Attributes:
        candidates: All, the most likely program first: by their ends from the last, then by length from the longest.
        last_fenced: The one between the last two fences; empty where there are no two.
    """

    candidates: tuple[str, ...]
    last_fenced: str

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to choose from: no block, or two fences with the program between them."""
        return not self.candidates or self.candidates == (self.last_fenced,)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fence:
    """A line with a fence: the words before it, which end one block, and code behind it, which begins the next."""

    line: int
    before: str
    after: str


def blocks_of(answer: str) -> Blocks:
    """List the blocks of an answer."""
    lines = answer.replace("\r\n", "\n").replace("\r", "\n").replace("\ufeff", "").split("\n")
    fences = list(_fences(lines))
    if not fences:
        return Blocks(candidates=(), last_fenced="")
    last_fenced = _text(lines, fences[-2], fences[-1]) if len(fences) > 1 else ""
    if len(fences) == 2 and last_fenced:
        return Blocks(candidates=(last_fenced,), last_fenced=last_fenced)
    n_fences = len(fences)
    found = [
        _text(lines, fences[begin], fences[end] if end < n_fences else None)  # beyond the last one is the answer's end
        for end in range(n_fences, max(0, n_fences - _N_FENCES), -1)
        for begin in range(max(0, end - _N_SPANNED), end)
    ]
    found.append(_text(lines, None, fences[0]))
    return Blocks(candidates=tuple(dict.fromkeys(filter(str.strip, found))), last_fenced=last_fenced)


def _fences(lines: list[str]) -> Iterator[_Fence]:
    for number, line in enumerate(lines):
        match = _FENCE.fullmatch(line)
        if match is None:
            continue
        after = match["after"] or ""
        code = "" if _LANGUAGE.fullmatch(after) else after
        yield _Fence(line=number, before=(match["before"] or "").rstrip(), after=code)


def _text(lines: list[str], begin: _Fence | None, end: _Fence | None) -> str:
    inner = lines[begin.line + 1 if begin else 0 : end.line if end else len(lines)]
    if begin and begin.after:
        inner = [begin.after, *inner]
    if end and end.before:
        inner = [*inner, end.before]
    return textwrap.dedent("\n".join(inner)).strip("\n")
