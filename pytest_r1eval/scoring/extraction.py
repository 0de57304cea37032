r"""
LightEval's search for an answer in a text, bounded: the same matches, in time that does not explode.

LightEval 0.13.0 looks for `\boxed` between `$$`, `\[`, `$`, `\(` or `[` and their ends. Its patterns try every box,
every brace behind it and every end. So a display that is never closed costs the fourth power of its length: 3 KB of
`\[\n\boxed{42}\n\n` take 36 s, and a looping model writes that. The text alone decides what bounds the search, so that
an answer is graded alike on every machine and after every resume:

- The patterns of the environments are replaced by equal ones (`environment_pattern`). The first end of an environment
  is its only possible one, so its content is taken at once and never given back; and the first box decides whether
  there is one with a closing brace.
- An opening without an end, or without a box where one is needed, is hidden from the patterns (`_hidden`). They would
  read to the end of the text for each of them.
- Of equal matches the last one alone is given to LightEval, which parses one match after another from the last until
  one can be parsed: a loop of dollars is 25,000 of them.
- A formula of more than `MAX_FORMULA` characters is not parsed, nor are its operators repaired before. LightEval gives
  up such ones after 5 s, by the clock, or takes the square of their fractions: a box that is never closed holds all
  that a looping model writes behind it.
- An expression is parsed in a copy of the names that sympy would import again for each one: half of a grade's time.
- What remains quadratic, long rows of digits and operators, is counted first in one pass. A text that needs more than
  `MAX_STEPS` is not searched (`TooManyStepsError`).

A test compares the matches with those of LightEval's own patterns. The processor time of a grade is limited as well
(`scoring.lighteval`); that is the backstop for what is not foreseen here.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, wraps
from typing import Literal

from latex2sympy2_extended import latex2sympy2
from latex2sympy2_extended.math_normalization import NormalizationConfig
from lighteval.metrics.utils import extractive_match_utils
from sympy.parsing import sympy_parser

from pytest_r1eval.errors import R1EvalError

MAX_STEPS = 100_000_000
"""Of a pattern, about a second; a text of 100 KB with prose between its numbers takes a thousandth of it."""
MAX_FORMULA = 20_000
"""Characters. LightEval parses 10 KB of LaTeX in 1 to 5 s; 20 KB end in a RecursionError or at its alarm."""
_PERCENT = r"(?:\\?%|[Pp]ercent|[Pp]ercentage|[Pp]ct)"
_NUMBER = r"-?\d+(?:[.,]\d+)?"
_BOX = re.compile(r"\\boxed{")
_SHORTEST_BOX = len(r"\boxed{x")
_PLAIN_BOX = r"(?P<first_latexBoxed>\\boxed{.+})"
"""LightEval's pattern for a box outside of any environment: from the first box to the last brace of the text."""
_BLANKS_TWICE = r"(?P<percent>\s*(?:%|[Pp]ercent|\s*[Pp]ercentage|\s*[Pp]ct))?"
_BLANKS_ONCE = r"(?P<percent>\s*+(?:%|[Pp]ercent|[Pp]ercentage|[Pp]ct))?"
"""LightEval's percent sign behind a number, which takes the square of the blanks before it, and an equal one."""
_ROW = re.compile(r"(?<![\d.\s+\-*×/^()÷])[\d.\s+\-*×/^()÷]{256,}")  # noqa: RUF001 - as LightEval has it
"""A row of digits, operators and blanks; shorter ones take no more than 256 steps a character."""
_ROW_START = re.compile(r"(?:^|[\s=])(?:\*\*)?-?\(?-?\d")
_DIGIT = re.compile(r"\d")
_UNENDED = re.compile(r"[^.)\s]+")
_OPERATOR = re.compile(r"[+\-*×/^()÷]")  # noqa: RUF001 - as LightEval has it
_ARGUMENTS_WITH_NAMES = 4
"""Arguments of sympy's parser up to its names: text, local names, transformations, global names."""
_FOLLOWS = re.compile(r"[.,:)$\s]")


class TooManyStepsError(R1EvalError):
    """LightEval's patterns would take more than `MAX_STEPS` for this text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Environment:
    """
    One way to set mathematics apart.

    Attributes:
        name: LightEval's.
        opening: Pattern.
        element: Pattern of a piece of its content, up to its first possible end.
        end: Pattern.
    """

    name: str
    opening: str
    element: str
    end: str


_ENVIRONMENTS = (
    _Environment(name="latexDisplayDollar", opening=r"(?<!\\)\$\$", element=r"(?:[^$]|\$(?!\$))", end=r"(?<!\\)\$\$"),
    _Environment(name="latexDisplayBracket", opening=r"(?<!\\)\\\[", element=r"(?:[^\\]|\\(?!\]))", end=r"(?<!\\)\\\]"),
    _Environment(name="latexInlineDollar", opening=r"(?<!\\|\d)\$", element=r"(?:\\[$]|[^\n$])", end=r"(?<!\\)\$"),
    _Environment(
        name="latexInlineParenthesis", opening=r"(?<!\\)\\\(", element=r"(?:[^\\\n]|\\(?!\)))", end=r"(?<!\\)\\\)"
    ),
    _Environment(name="latexInlineBracket", opening=r"\s\[", element=r"[^\n\]\[]", end=r"\]\s"),
)
_MARKS = re.compile(r"\\[\[\]()]|\n")
"""Where a `\\[` or `\\(` may begin or end."""


def environment_pattern(prefix: str = "", context: Literal["boxed", "plain"] = "plain") -> str:
    """
    Write the pattern of one mathematical environment; LightEval calls this in place of its `make_latex_env_pattern`.

    Args:
        prefix: Before the names of the groups.
        context: Whether the environment must contain a box.
    """
    choices = [_written(environment, prefix, is_boxed=context == "boxed") for environment in _ENVIRONMENTS]
    if context == "plain":
        choices.append(rf"(?P<{prefix}latexFraction>-?\\frac{{{_NUMBER}}}{{{_NUMBER}}})")
    # Possessive: what LightEval lets follow an environment begins with no blank that it could not do without.
    return rf"(?:(?:{'|'.join(choices)})\s*+(?P<{prefix}percent>{_PERCENT})?)"


def _written(environment: _Environment, prefix: str, *, is_boxed: bool) -> str:
    element = environment.element
    # Only the first box is tried: a brace that closes a later one closes it too.
    box = rf"(?=(?>{element}*?\\boxed{{){element}+?}})" if is_boxed else ""
    return rf"{environment.opening}(?P<{prefix}{environment.name}>{box}{element}++){environment.end}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMatch:
    """A match in a text with hidden backslashes, as LightEval reads one: with the backslashes put back."""

    match: re.Match[str]
    hidden: str

    def start(self) -> int:
        """Say where it begins."""
        return self.match.start()

    def end(self) -> int:
        """Say where it ends."""
        return self.match.end()

    def groupdict(self) -> dict[str, str | None]:
        """Return its groups by name."""
        groups = self.match.groupdict()
        return {name: text and text.replace(self.hidden, "\\") for name, text in groups.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class LatexPattern:
    """A pattern of environments, as far as LightEval uses one."""

    pattern: re.Pattern[str]
    is_boxed: bool

    def finditer(self, text: str) -> Iterator[FoundMatch]:
        """Find what LightEval's own pattern finds, and no match twice."""
        hidden, stand_in = _hidden(text, is_boxed=self.is_boxed)
        for match in _without_repeats(self.pattern.finditer(hidden)):
            yield FoundMatch(match=match, hidden=stand_in)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainBoxPattern:
    """The pattern of a box outside of any environment."""

    pattern: re.Pattern[str]

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        """Find what LightEval's own pattern finds: nothing behind the last brace, where it would look at every box."""
        return self.pattern.finditer(text, 0, text.rfind("}") + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberPattern:
    """A pattern of numbers and of expressions outside of LaTeX."""

    pattern: re.Pattern[str]

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        """
        Find what LightEval's own pattern finds, and no match twice.

        Raises:
            TooManyStepsError: If that takes too long.
        """
        if (n_steps := _n_steps(text)) > MAX_STEPS:
            raise TooManyStepsError(
                f"LightEval's search for a number takes {n_steps:.1e} steps in it; at most {MAX_STEPS:.0e} are allowed"
            )
        return _without_repeats(self.pattern.finditer(text))


def _without_repeats(matches: Iterable[re.Match[str]]) -> Iterator[re.Match[str]]:
    """Leave out a match that a later one repeats: if that one cannot be parsed, neither can this."""
    last: dict[tuple[str | None, ...], re.Match[str]] = {}
    for match in matches:
        groups = match.groups()
        last.pop(groups, None)
        last[groups] = match
    return iter(last.values())


def bound() -> None:
    """Have this process's LightEval search by bounded patterns; doing it again changes nothing."""
    module = extractive_match_utils
    if module.make_latex_env_pattern is environment_pattern:
        return
    module.make_latex_env_pattern = environment_pattern
    module.lazy_latex_regex = _wrapped(module.lazy_latex_regex, _latex_pattern)
    module.lazy_expr_regex = _wrapped(module.lazy_expr_regex, _number_pattern)
    module.parse_latex_with_timeout = _for_short_formulas(module.parse_latex_with_timeout)
    latex2sympy2.normalize_latex = _without_repairs(latex2sympy2.normalize_latex)
    # By the parser's module for `sympify`, which looks it up there; LightEval has a name of its own.
    module.parse_expr = sympy_parser.parse_expr = _with_kept_names(sympy_parser.parse_expr)


def _wrapped(patterns: Callable[..., list[tuple[re.Pattern[str], int]]], wrap: Callable[..., object]) -> object:
    """Wrap the patterns that a function of LightEval's returns, as often as it makes them."""

    @lru_cache(maxsize=8)
    def wrapped(*arguments: object) -> list[tuple[object, int]]:
        return [(wrap(pattern), priority) for pattern, priority in patterns(*arguments)]

    return wrapped


def _for_short_formulas(parse: Callable[[str, int], object]) -> Callable[[str, int], object]:
    """Have LightEval's parser fail at once where it would fail in the end."""

    def parsed(latex: str, timeout_seconds: int) -> object:
        if len(latex) > MAX_FORMULA:
            raise ValueError(f"a formula of {len(latex):,} characters; at most {MAX_FORMULA:,} are parsed")
        return parse(latex, timeout_seconds)

    return parsed


def _with_kept_names(parse: Callable[..., object]) -> Callable[..., object]:
    """Give sympy's parser the names that it makes for itself where none are given, a fresh copy for each expression."""
    names: dict[str, object] = {}

    def keep(tokens: list[object], _: dict[str, object], made: dict[str, object]) -> list[object]:
        names.update(made)
        return tokens

    parse("0", transformations=(*sympy_parser.standard_transformations, keep))

    @wraps(parse)
    def parsed(*arguments: object, **named: object) -> object:
        if len(arguments) < _ARGUMENTS_WITH_NAMES and named.get("global_dict") is None:
            named["global_dict"] = names.copy()
        return parse(*arguments, **named)

    return parsed


def _without_repairs(normalize: Callable[[str, NormalizationConfig], str]) -> Callable[[str, NormalizationConfig], str]:
    """Have a formula's operators repaired, the last step, only where it is short enough by then to be parsed."""

    def normalized(text: str, config: NormalizationConfig) -> str:
        if len(text) <= MAX_FORMULA:
            return normalize(text, config)
        unrepaired = normalize(text, replace(config, malformed_operators=False))
        return unrepaired if len(unrepaired) > MAX_FORMULA else normalize(text, config)

    return normalized


def _latex_pattern(pattern: re.Pattern[str]) -> LatexPattern | PlainBoxPattern:
    if pattern.pattern == _PLAIN_BOX:
        return PlainBoxPattern(pattern=pattern)
    return LatexPattern(pattern=pattern, is_boxed=r"\\boxed{" in pattern.pattern)


def _number_pattern(pattern: re.Pattern[str]) -> NumberPattern:
    return NumberPattern(pattern=re.compile(pattern.pattern.replace(_BLANKS_TWICE, _BLANKS_ONCE), pattern.flags))


@lru_cache(maxsize=4)
def _hidden(text: str, *, is_boxed: bool) -> tuple[str, str]:
    r"""
    Hide the backslash of each `\[` and `\(` that no match can begin with.

    Returns:
        The text with as many characters, and the character that replaces those backslashes.
    """
    if "\\[" not in text and "\\(" not in text:
        return text, "\\"
    stand_in = next(char for code in range(0xE000, 0xF900) if (char := chr(code)) not in text)
    boxes = [match.start() for match in _BOX.finditer(text)] if is_boxed else []
    characters = list(text)
    for environment in _bracketed(text):
        is_hopeless = environment.end is None or (is_boxed and not _has_box(text, boxes, environment))
        if is_hopeless:
            characters[environment.opening] = stand_in
    return "".join(characters), stand_in


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bracketed:
    r"""A `\[` or `\(`, and where its content ends; None where it never does as it should."""

    opening: int
    end: int | None


def _bracketed(text: str) -> Iterator[_Bracketed]:
    """Find all openings, the last one first."""
    ends: dict[str, int | None] = {"[": None, "(": None}
    for match in reversed(list(_MARKS.finditer(text))):
        at = match.start()
        match match.group():
            case "\n":
                ends["("] = None
            case "\\]":
                ends["["] = at
            case "\\)":
                ends["("] = at
            case opening if at == 0 or text[at - 1] != "\\":
                end = ends[opening[1]]
                is_ended = end is not None and end > at + 2 and text[end - 1] != "\\"
                yield _Bracketed(opening=at, end=end if is_ended else None)


def _has_box(text: str, boxes: list[int], environment: _Bracketed) -> bool:
    """Tell whether a box begins behind an opening, and a brace closes it before the end."""
    number = bisect_left(boxes, environment.opening + 2)
    return number < len(boxes) and text.find("}", boxes[number] + _SHORTEST_BOX, environment.end) >= 0


@lru_cache(maxsize=4)
def _n_steps(text: str) -> int:
    """Bound what LightEval's pattern of an expression takes in a text: the square of a row of digits and operators."""
    return sum(_n_steps_of_row(text, match.start(), match.end()) for match in _ROW.finditer(text))


def _n_steps_of_row(text: str, start: int, end: int) -> int:
    """
    Bound the steps in one row.

    An expression is a digit, a row up to an operator, more of it, and a character that may follow. Where there is
    such an operator, the first match takes everything up to the last such character; where there is none, every
    number of the row is tried, each to the row's end. A piece without such a character is tried from every operator.
    """
    row = text[start:end]
    digit = _DIGIT.search(row)
    if digit is None:
        return len(row)
    operator = _OPERATOR.search(row, digit.end())
    behind = end if operator is None else start + operator.end() + 1
    if behind <= end and (end == len(text) or _FOLLOWS.search(text, behind, end + 1)):
        n_starts = 1
    else:
        n_starts = 1 + sum(1 for _ in _ROW_START.finditer(row))
    longest = 0 if operator is None else max((len(match.group()) for match in _UNENDED.finditer(row)), default=0)
    return len(row) * n_starts + longest**2
