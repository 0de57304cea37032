"""Blocks of an answer: which they are is in `answer_shapes`; here, what it costs to list them."""

from __future__ import annotations

import time

import pytest

from pytest_r1eval.scoring.blocks import blocks_of

LOOPED = {
    "blanks behind a fence": "```" + " " * 100_000 + "!",
    "tabs and blanks behind a fence": "```" + "\t " * 50_000 + "!",
    "a language and blanks": "```py" + " " * 100_000 + "!",
    "opened attributes": "```py {" + "}" * 100_000 + "!",
    "closed attributes and blanks": "```py {}" + " " * 100_000 + "!",
    "backticks": "`" * 100_000 + "x`",
    "tildes": "~" * 100_000 + "\n" + " " * 100_000 + "~",
    "fences": "```\n" * 25_000,
    "fences with code behind": "```x=1 (\n" * 11_000,
    "indented lines": "```\n" + (" " * 1000 + "x\n") * 100 + "```",
    "blank lines": "```\n" + (" " * 1000 + "\n") * 100 + "```\n```",
}


@pytest.mark.parametrize("shows", LOOPED)
def test_a_looped_answer_costs_no_more_than_its_length(shows: str) -> None:
    """
    Finding the program in a looped answer takes less than a second.

    It happens in the process that serves all graders, which a thousand blanks behind a fence held for 8 s.
    """
    started = time.process_time()
    blocks_of(f"{LOOPED[shows]}\nprint(int(input()))\n```\n")
    assert time.process_time() - started < 1
