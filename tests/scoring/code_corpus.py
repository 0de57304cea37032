"""
Programs, and what each grader must say of them.

Every program comes with what it shows. Where the graders differ, each is right by its own rule: LightEval's is what the
published numbers were made with, the strict one asks whether the program does what the problem says.
"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_r1eval.core.code_tests import CodeTests

DOUBLE = CodeTests(inputs=("3\n", "5\n"), outputs=("6\n", "10\n"))
HALVES = CodeTests(inputs=("1\n", "3\n"), outputs=("0.5\n", "1.5\n"))
CALL = CodeTests(inputs=("[3]\n1", "[5, 6]\n2"), outputs=("[4]", "[7, 8]"), function="shift")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One program: what it shows, its text, and whether each grader must call it right."""

    shows: str
    program: str
    tests: CodeTests = DOUBLE
    by_lighteval: bool
    by_strict: bool


def _both(shows: str, program: str, *, right: bool, tests: CodeTests = DOUBLE) -> Entry:
    return Entry(shows=shows, program=program, tests=tests, by_lighteval=right, by_strict=right)


def _only_strict(shows: str, program: str, *, tests: CodeTests = DOUBLE) -> Entry:
    return Entry(shows=shows, program=program, tests=tests, by_lighteval=False, by_strict=True)


def _only_lighteval(shows: str, program: str, *, tests: CodeTests = DOUBLE) -> Entry:
    return Entry(shows=shows, program=program, tests=tests, by_lighteval=True, by_strict=False)


_WALK = """
import sys
def answer():
    frame = sys._getframe()
    while frame is not None:
        found = frame.f_locals.get("gt_out")
        if found is not None:
            return found
        frame = frame.f_back
"""
"""Looks for the expected output in the frames that called the program."""

CORPUS = (
    _both("input and print", "print(2 * int(input()))", right=True),
    _both(
        "a main guard", "def main():\n    print(2 * int(input()))\nif __name__ == '__main__':\n    main()", right=True
    ),
    _both("sys.stdin.read", "import sys\nprint(2 * int(sys.stdin.read()))", right=True),
    _both("a name of the prelude", "print(reduce(lambda a, b: a * b, [2, int(input())]))", right=True),
    _both("sys.exit() at the end", "import sys\nprint(2 * int(input()))\nsys.exit()", right=True),
    _both("a wrong answer", "print(3 * int(input()))", right=False),
    _both("right once", "print(6)", right=False),
    _both("no output", "int(input())", right=False),
    _both("one line too many", "print(2 * int(input()))\nprint()\nprint(1)", right=False),
    _both("a syntax error", "print(", right=False),
    _both("an exception", "print(2 * int(input()))\nraise ValueError", right=False),
    _both("blanks around the answer", "print(' ', 2 * int(input()), ' ')", right=True),
    _both("another spelling of a number", "print(f'{int(input()) / 2:.6f}')", right=True, tests=HALVES),
    _both("an exponent", "print(f'{int(input()) * 5}e-1')", right=True, tests=HALVES),
    _both("a number that is near", "print(int(input()) / 2 + 1e-9)", right=False, tests=HALVES),
    _both("an allocation of 64 GiB", "x = bytearray(64 << 30)\nprint(2 * int(input()))", right=False),
    _only_strict("sys.stdin.buffer", "import sys\nprint(2 * int(sys.stdin.buffer.read()))"),
    _only_strict("open(0)", "print(2 * int(open(0).read()))"),
    _only_strict("os.write", "import os\nos.write(1, b'%d\\n' % (2 * int(input())))"),
    _only_strict("os._exit(0) after the answer", "import os\nprint(2 * int(input()), flush=True)\nos._exit(0)"),
    _only_strict("from __future__ first", "from __future__ import annotations\nprint(2 * int(input()))"),
    _only_strict("quit() at the end", "print(2 * int(input()))\nquit()"),
    _only_strict("sys.__stdout__", "import sys\nsys.__stdout__.write(f'{2 * int(input())}\\n')"),
    _only_lighteval("frame walking to the expected output", f"{_WALK}\nprint(answer())"),
    _only_lighteval("an exit status that says it failed", "import sys\nprint(2 * int(input()))\nsys.exit(1)"),
    _both("a function", "def shift(xs, by):\n    return [x + by for x in xs]", right=True, tests=CALL),
    _both(
        "a class Solution",
        "class Solution:\n    def shift(self, xs: List[int], by: int):\n        return [x + by for x in xs]",
        right=True,
        tests=CALL,
    ),
    _both("a tuple for a list", "def shift(xs, by):\n    return tuple(x + by for x in xs)", right=True, tests=CALL),
    _both(
        "a float for a whole number",
        "def shift(xs, by):\n    return [float(x + by) for x in xs]",
        right=True,
        tests=CALL,
    ),
    _both(
        "prints beside the result",
        "def shift(xs, by):\n    print(xs)\n    return [x + by for x in xs]",
        right=True,
        tests=CALL,
    ),
    _both("a missing function", "def shifted(xs, by):\n    return xs", right=False, tests=CALL),
    _both("a wrong result", "def shift(xs, by):\n    return xs", right=False, tests=CALL),
    _both("a result that is no JSON", "def shift(xs, by):\n    return {x + by for x in xs}", right=False, tests=CALL),
    _only_lighteval(
        "an __eq__ that says yes",
        "class Yes(list):\n    def __eq__(self, other):\n        return True\ndef shift(xs, by):\n    return Yes()",
        tests=CALL,
    ),
    _only_lighteval("frame walking of a function", f"{_WALK}\ndef shift(xs, by):\n    return answer()", tests=CALL),
)
"""Endless programs stand elsewhere: they cost seconds each."""
FORGERIES = {
    "numpy's verdict": "import numpy as np\nnp.all = lambda *a, **k: True\nprint('wrong')",
    "the result as JSON": "import json\njson.dumps.__code__ = (lambda *a, **k: 'true').__code__\nprint('wrong')",
    "the place of the result": "import os\nos.write(3, b'true')\nos._exit(0)",
}
"""Programs that compute nothing and have LightEval's scorer say "right", by what they take over."""
