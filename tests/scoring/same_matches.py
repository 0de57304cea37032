"""
Compare our bounded patterns with LightEval's own: `python -m tests.scoring.same_matches SEED N_TEXTS`.

A process of its own, because LightEval takes long to import. Prints as JSON how many texts and matches were compared,
the first texts in which they differ, how many matches each of our patterns gives of a loop, and what is made of long
formulas. Of LightEval's matches those that a later one repeats are left out, as it would parse them only where it could
not parse that one.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import sympy
from latex2sympy2_extended import latex2sympy2
from lighteval.metrics.utils import extractive_match_utils
from lighteval.utils.language import Language
from sympy import srepr, sympify
from sympy.parsing import sympy_parser

from pytest_r1eval.scoring import extraction

PIECES = (
    *("\\[", "\\]", "\\(", "\\)", "$", "$$", "\\$", "\\boxed{", "}", "{", "[", "]", "\\", "\\\\]", "\\boxed{4}"),
    *("x", "1", "42", "1,000", " ", "\n", "and", " or ", ",", ".", ":", "%", "\\%", " percent", " pct", "percentage"),
    *("\\frac{1}{2}", "final answer is", "The final answer is: ", "answer", "Answer: ", "I hope", "**", "\ue000"),
    *("=", " = ", "+", "-", "*", "/", "^", "(", ")", " 2 ", "3.5"),
)
WRITTEN = (
    "So $x = 2$ and the final answer is $\\boxed{\\frac{3}{4}}$. I hope it is correct.",
    "\\[\n\\boxed{42}\n\n" * 12,
    "\\[" + "\\boxed{1} " * 12,
    "$$" + "\\boxed{1} " * 12,
    "\\[ a \\] then \\[ \\boxed{7} \\], and \\( \\boxed{8} \\)",
    "We get \\(x\\), \\(y\\) and \\(z\\). Answer: $1$, $2$ and $3$",
    "Answer: 50 percent, or $50\\%$ = [ \\boxed{0.5} ] \n",
    "1 2 3 4 5 6 7 8 + 9 = 45, 12 / 4 = 3; (1 + 2) * 3.",
    "The final answer is 12 \n\n percentage points",
    "a \\\\[ b \\] c \\[ d \\\\] e \\[\\] f \\[ g",
)
LOOPS = ("$ " * 1000, "$\\$" * 1000, "so $\\frac{1}{$ then " * 1000, "$(((($ \n" * 1000, "1 + 2 = " * 1000)

FORMULAS = (
    "\\boxed{1} " * 3000 + "\\boxed{\\frac12 m}",
    "\\boxed{ \\frac{1}2}, \\boxed{0.5}" + " and so on" * 3000,
    "x = \\frac{1}{2} + " * 3000 + " = sqrt2 \\text{ cm}",
    "\\frac1{2}, \\text{ m} sqrt3",
)
"""Longer than what is parsed, but the last; a box of the first, and the end of the equation, are shorter."""
CONFIG = replace(extractive_match_utils.LatexExtractionConfig().normalization_config, boxed="last")


def patterns() -> list[tuple[str, Any]]:
    """List LightEval's patterns, with and without a priority of its own for boxes."""
    utils = extractive_match_utils
    groups = [
        utils.lazy_latex_regex(utils.LatexExtractionConfig(boxed_match_priority=0), Language.ENGLISH),
        utils.lazy_expr_regex(utils.ExprExtractionConfig(), Language.ENGLISH),
    ]
    return [
        (f"{number}/{place}", pattern)
        for number, group in enumerate(groups)
        for place, (pattern, _) in enumerate(group)
    ]


def texts(seed: int, n_texts: int) -> Iterator[str]:
    """Write texts of pieces that mean something to a pattern."""
    yield from WRITTEN
    generator = random.Random(seed)  # noqa: S311 - texts, not secrets
    for _ in range(n_texts):
        pieces = generator.sample(PIECES, generator.randint(3, len(PIECES)))
        yield "".join(generator.choices(pieces, k=generator.randint(1, 26)))


def found(matches: Iterable[Any]) -> list[tuple[int, int, dict[str, str | None]]]:
    """Say all that LightEval reads of matches."""
    return [(match.start(), match.end(), match.groupdict()) for match in matches]


def without_repeats(
    matches: list[tuple[int, int, dict[str, str | None]]],
) -> list[tuple[int, int, dict[str, str | None]]]:
    """Leave out each match whose groups a later one has."""
    return [
        match for place, match in enumerate(matches) if match[2] not in [later[2] for later in matches[place + 1 :]]
    ]


def parsed(latex: str) -> str:
    """Name the type of what LightEval's parser makes of a formula, or its error."""
    try:
        return type(extractive_match_utils.parse_latex_with_timeout(latex, timeout_seconds=5)).__name__
    except ValueError as error:
        return str(error)


EXPRESSIONS = ("1/2", "sqrt(2)*x", "max(1, x)", "E + pi + I", "S(1) + zeta(2) + y", "abs(-1)", "0.1", "3!")
"""Names of sympy's, of Python's, and new ones."""


def main() -> None:
    """Compare."""
    theirs = patterns()
    expressions = [srepr(sympy_parser.parse_expr(text, evaluate=False)) for text in EXPRESSIONS]
    normalized = [latex2sympy2.normalize_latex(text, config=CONFIG) for text in FORMULAS]
    extraction.bound()
    ours = patterns()
    assert all(isinstance(pattern, re.Pattern) for _, pattern in theirs)
    assert not any(isinstance(pattern, re.Pattern) for _, pattern in ours)
    n_texts = n_matches = 0
    different: list[str] = []
    for text in texts(int(sys.argv[1]), int(sys.argv[2])):
        n_texts += 1
        for (name, own), (_, bounded) in zip(theirs, ours, strict=True):
            expected = without_repeats(found(own.finditer(text)))
            n_matches += len(expected)
            if found(bounded.finditer(text)) != expected:
                different.append(f"{name}: {text!r}")
    n_of_loops = [len(found(pattern.finditer(loop))) for _, pattern in ours for loop in LOOPS]
    said = {"n_texts": n_texts, "n_matches": n_matches, "different": different[:3], "n_of_loops": max(n_of_loops)}
    said["normalized"] = normalized == [latex2sympy2.normalize_latex(text, config=CONFIG) for text in FORMULAS]
    parse = extractive_match_utils.parse_expr
    said["expressions"] = expressions == [srepr(parse(text, evaluate=False)) for text in EXPRESSIONS]
    sympy.later = sympy.Integer(1)  # what would be seen by an import of sympy's names for each expression
    sympy.__all__.append("later")
    said["later"] = srepr(parse("later", evaluate=False))
    said["sympified"] = str(sympify("(pi := 3) + S(1)")) + str(sympify("2*pi"))
    said |= {f"of {n} characters": parsed("7" * (n - 2) + "+x") for n in (1000, 20_001)}
    print(json.dumps(said))  # noqa: T201 - its answer


if __name__ == "__main__":
    main()
