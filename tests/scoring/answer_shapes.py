"""
Shapes of answers, and the program that the strict grader must find in each.

`PROGRAM` and `FUNCTION` are right. What else is in an answer is an example, a draft, prose, or a fence too many or too
few; where an answer has no right program, `outcome` says what the grade must be.
"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_r1eval.core.code_tests import CodeTests
from pytest_r1eval.core.records import Outcome
from tests.scoring.code_corpus import CALL, DOUBLE

PROGRAM = "n = int(input())\nprint(2 * n)"
FUNCTION = "def shift(xs, by):\n    return [x + by for x in xs]"
SOLUTION = "class Solution:\n    def shift(self, xs, by):\n        return [x + by for x in xs]"
QUOTING = f'"""\nUse it so:\n```\nprint(input())\n```\n"""\n{PROGRAM}'
DRAFT = "print(3 * int(input()))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """
    One answer.

    Attributes:
        shows: Its shape.
        text: Its text.
        program: What must be found; None where there is no program.
        outcome: The grade's.
        tests: The problem's.
    """

    shows: str
    text: str
    program: str | None
    outcome: Outcome = Outcome.CORRECT
    tests: CodeTests = DOUBLE


def _run(shows: str, text: str, *, program: str | None = PROGRAM, outcome: Outcome = Outcome.CORRECT) -> Shape:
    return Shape(shows=shows, text=text, program=program, outcome=outcome)


def _called(shows: str, text: str, *, program: str = FUNCTION, outcome: Outcome = Outcome.CORRECT) -> Shape:
    return Shape(shows=shows, text=text, program=program, outcome=outcome, tests=CALL)


def _indented(text: str, blanks: str) -> str:
    return "\n".join(blanks + line for line in text.split("\n"))


SHAPES = (
    _run("one block", f"Here:\n```python\n{PROGRAM}\n```\n"),
    _run("a block without a language", f"```\n{PROGRAM}\n```"),
    _run("a block of py", f"```py\n{PROGRAM}\n```"),
    _run("a block of Python 3", f"```python3\n{PROGRAM}\n```\nDone."),
    _run("attributes behind the language", f'```python {{title="a.py"}}\n{PROGRAM}\n```'),
    _run("a draft before it", f"```python\n{DRAFT}\n```\nNo, twice:\n```python\n{PROGRAM}\n```"),
    _run("an input behind it", f"```python\n{PROGRAM}\n```\nFor example:\n```\n3\n```"),
    _run("an input and an output behind it", f"```python\n{PROGRAM}\n```\nInput:\n```\n3\n```\nOutput:\n```\n6\n```"),
    _run("a session behind it", f"```python\n{PROGRAM}\n```\n```console\n$ echo 3 | python a.py\n6\n```"),
    _run("a use of a part behind it", f"```python\n{PROGRAM}\n```\nTry it:\n```python\nprint(double(3))\n```"),
    _run("prose in a block behind it", f"```python\n{PROGRAM}\n```\n```text\nIt is fast\n```"),
    _run("JSON behind it", f'```python\n{PROGRAM}\n```\n```json\n{{"n": 3}}\n```'),
    _run("an example before it", f"```\n3\n```\nSo:\n```python\n{PROGRAM}\n```"),
    _run("another language behind it", f"```python\n{PROGRAM}\n```\nIn C:\n```c\nint main() {{ return 0; }}\n```"),
    _run("no closing fence", f"Here:\n```python\n{PROGRAM}\n"),
    _run("no closing fence behind a draft", f"```python\n{DRAFT}\n```\nNo:\n```python\n{PROGRAM}"),
    _run("no closing fence before an example", f"```python\n{PROGRAM}\n```text\n3\n```"),
    _run("a stray fence at the end", f"```python\n{PROGRAM}\n```\nThat is it.\n```"),
    _run("two stray fences at the end", f"```python\n{PROGRAM}\n```\n```\n```\n"),
    _run("a stray fence at the beginning", f"```\n\n```python\n{PROGRAM}\n```"),
    _run("no opening fence", f"{PROGRAM}\n```\n"),
    _run("tildes", f"~~~python\n{PROGRAM}\n~~~"),
    _run("tildes, with an example of backticks", f"~~~\n{PROGRAM}\n~~~\n```\n3\n```"),
    _run("four backticks", f"````python\n{PROGRAM}\n````"),
    _run("an indented fence", f"1. So:\n   ```python\n{_indented(PROGRAM, '   ')}\n   ```"),
    _run("an indented fence, by a tab", f"- So:\n\t```python\n{_indented(PROGRAM, chr(9))}\n\t```"),
    _run("an indented block in fences that are not", f"```python\n{_indented(PROGRAM, '    ')}\n```"),
    _run("a byte order mark", f"\ufeff```python\n\ufeff{PROGRAM}\n```"),
    _run("lines that end as on Windows", f"```python\n{PROGRAM}\n```\n".replace("\n", "\r\n")),
    _run("blanks behind the fences", f"```python  \n{PROGRAM}\n```  \n"),
    _run("an opening fence behind words", f"Here it is: ```python\n{PROGRAM}\n```"),
    _run("a closing fence behind code", f"```python\n{PROGRAM}```\n"),
    _run("an inline fence in the prose", f"Use ```print``` twice.\n```python\n{PROGRAM}\n```\nSee ```print```."),
    _run("a docstring with fences", f"```python\n{QUOTING}\n```", program=QUOTING),
    _run("a program in the reasoning alone", f"<think>\n```python\n{PROGRAM}\n```\n</think>\nDone.", program=None,
         outcome=Outcome.NO_ANSWER),
    _run("no fence", f"So:\n{PROGRAM}\n", program=None, outcome=Outcome.NO_ANSWER),
    _run("a block that is cut off", "```python\nprint(2 * int(", program=None, outcome=Outcome.NO_ANSWER),
    _run("a block that does not parse", "```python\nprint(2 *\n```", program="print(2 *", outcome=Outcome.WRONG),
    _run("a thousand fences", "```\nx\n" * 1000 + f"```python\n{PROGRAM}\n```"),
    _run("a parser's nightmare behind it", f"```python\n{PROGRAM}\n```\n```\n{'(' * 50_000}\n```"),
    _called("a function", f"```python\n{FUNCTION}\n```"),
    _called("a use of a function behind it", f"```python\n{FUNCTION}\n```\n```python\nprint(shift([3], 1))\n```"),
    _called("a test of a function behind it", f"```python\n{FUNCTION}\n```\n```python\nassert shift([3], 1)\n```"),
    _called("another function behind it", f"```python\n{FUNCTION}\n```\n```python\ndef test():\n    shift([], 1)\n```"),
    _called("a class Solution", f"```python\n{SOLUTION}\n```\n```\n[3]\n1\n```", program=SOLUTION),
    _called("a use of a class", f"```python\n{SOLUTION}\n```\n```\nSolution().shift([], 1)\n```", program=SOLUTION),
    _called("a function by assignment", "```python\nshift = lambda xs, by: [x + by for x in xs]\n```\n```\n[4]\n```",
            program="shift = lambda xs, by: [x + by for x in xs]"),
    _called("another name", "```python\ndef move(xs, by):\n    return xs\n```\n```\n[4]\n```",
            program="def move(xs, by):\n    return xs", outcome=Outcome.WRONG),
)  # fmt: skip
