r"""
Read an answer to a mathematical problem as a value, by a rule that a user can predict.

What is read, in LaTeX or as plain text:

- Numbers: whole, decimal, repeating (`0.\overline{3}`), mixed (`1\frac{4}{5}`), with a base (`52_8`); all exact.
- Expressions of `+ - * / ^ !`, fractions, roots, binomials, absolute values, floors, powers, logarithms, trigonometric
  functions, `\pi`, `e`, `i`, and letters. `\log` without a base has one of its own: neither `\ln` nor `\log_{10}`.
- Several values: `1, -2`, `1 and -2`, `\{1, -2\}`, `1 \pm \sqrt{2}`, `(0,1) \cup (1,2)`. Their order does not matter.
- Points, vectors and intervals: `(1,2)`, `[0,\infty)`, matrices. Brackets and order matter; a column is the point of
  its entries.
- Equations and inequalities. `x > 2` is `(2,\infty)`, and `x \in` before a set is left out.

What is left out: the name of a value before an equals sign (`x`, `f(2)`, `m + n`, `\text{Area}`), units in words, a
degree sign and a currency behind or before a value, `\pmod{...}` behind it, and a decimal approximation behind
`\approx`. A percent sign is left out or counts as a hundredth, whichever fits.

What is not read is an answer in words (`\text{east}`), and equal to the same words alone.

Nothing is evaluated that could take long: a power or factorial of more than `MAX_BITS` stays as it is written.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sympy
from sympy import Expr, Integer, Rational, S, Symbol

from pytest_r1eval.scoring.arithmetic import (
    as_written,
    based,
    binomial_of,
    check_size,
    defined,
    divisor_of,
    factorial_of,
    number_of,
    power_of,
    product_of,
    quotient_of,
    without_units,
)
from pytest_r1eval.scoring.notation import Kind, Token, UnreadableError, tokens_of
from pytest_r1eval.scoring.values import (
    COMMON_LOGARITHM,
    DEGREE,
    PERCENT,
    Bracketed,
    Label,
    Matrix,
    Relation,
    Several,
    Value,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_EXPONENT = 5_000
"""Of a number like `1.5e-7`."""
_LONGEST_NAME = 12
"""Tokens of a name like `f(2)`."""
_NAMED = re.compile(r"(?P<name>[^=<>]+)(?<!\\)=(?P<value>[^=]+)")
"""A value with a name that is not read: `\\vec{AB} = 3`."""
_IN_BRACKETS = re.compile(r"\([^()]*\)")
_RELATIONS = frozenset("=<>≤≥≠∈≈")
_SEPARATORS = frozenset({",", ";", "or", "and", "∪"})  # noqa: RUF001 - a union
_CLOSING = {"(": ")]", "[": ")]", r"\{": (r"\}",), "⟨": "⟩"}
_NOT_A_UNIT = frozenset(
    ["not", "no", "none", "never", "if", "unless", "except", "but", "maybe", "possibly", "is", "are", "wrong", "false"]
)
_MATRICES = frozenset({"pmatrix", "bmatrix", "matrix", "vmatrix", "Bmatrix", "smallmatrix"})
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sin": sympy.sin, "cos": sympy.cos, "tan": sympy.tan, "cot": sympy.cot, "sec": sympy.sec, "csc": sympy.csc,
    "arcsin": sympy.asin, "arccos": sympy.acos, "arctan": sympy.atan, "sinh": sympy.sinh, "cosh": sympy.cosh,
    "tanh": sympy.tanh, "ln": sympy.log, "exp": sympy.exp,
}  # fmt: skip
_INVERSES = {"sin": "arcsin", "cos": "arccos", "tan": "arctan"}


def readings_of(text: str, *, letters: AbstractSet[str] | None = None) -> tuple[Value, ...]:
    """
    Read an answer.

    Args:
        text: The answer, out of its box.
        letters: What letters the right answer has; None where this is the right answer.

    Returns:
        What it may mean: one value, or two where `58,500` may be a number or a list.

    Raises:
        UnreadableError: If it is no mathematics.
    """
    named = _NAMED.fullmatch(text) if letters is not None else None
    if named is not None and not re.search(r"[\d,;]|\b(?:or|and|not)\b", _IN_BRACKETS.sub("", named["name"])):
        with contextlib.suppress(UnreadableError):
            return _readings(text, letters)
        values = _readings(named["value"], letters)
        return tuple(Relation(parts=(Label(words=named["name"]), value), signs=("=",)) for value in values)
    return _readings(text, letters)


def _readings(text: str, letters: AbstractSet[str] | None) -> tuple[Value, ...]:
    found: list[Value] = []
    for comma_is_thousands in (True, False):
        tokens = tokens_of(text, letters=letters, comma_is_thousands=comma_is_thousands)
        value = _Reader(tokens=tokens).answer()
        if value not in found:
            found.append(value)
    return tuple(found)


@dataclass(slots=True, kw_only=True)
class _Reader:
    """Reads tokens from left to right, each by the first rule that fits."""

    tokens: list[Token]
    at: int = 0
    plus_or_minus: int = 1
    n_plus_or_minus: int = 0
    in_absolute: int = 0
    opened: list[str] = field(default_factory=list)

    # Tokens

    @property
    def sign(self) -> str:
        """The next token, where it is a sign or a command; else nothing."""
        if self.at >= len(self.tokens):
            return ""
        token = self.tokens[self.at]
        return token.text if token.kind is Kind.SIGN else ""

    def kind(self) -> Kind | None:
        return self.tokens[self.at].kind if self.at < len(self.tokens) else None

    def command(self) -> str:
        return self.tokens[self.at].text if self.kind() is Kind.COMMAND else ""

    def take(self) -> Token:
        if self.at >= len(self.tokens):
            raise UnreadableError("it ends too early")
        self.at += 1
        return self.tokens[self.at - 1]

    def expect(self, *signs: str) -> str:
        if self.sign not in signs:
            raise UnreadableError(f"it lacks a closing {signs[0]}")
        return self.take().text

    def takes(self, *signs: str) -> bool:
        if self.sign in signs and self.sign:
            self.at += 1
            return True
        return False

    def following(self) -> str:
        return self.tokens[self.at + 1].text if self.at + 1 < len(self.tokens) else ""

    # Structure

    def answer(self) -> Value:
        value = self.items()
        if self.at < len(self.tokens):
            raise UnreadableError(f"{self.tokens[self.at].text!r} does not fit where it is")
        return value[0] if len(value) == 1 else Several(items=_flat(value))

    def items(self) -> tuple[Value, ...]:
        """Read values with separators between them, up to what is none."""
        found = [*self.item()]
        while self.takes(*_SEPARATORS):
            self.takes("or", "and")  # "1, 2, and 3"
            found += self.item()
        return tuple(found)

    def item(self) -> Iterator[Value]:
        """Read one value, or two where it holds a plus-or-minus."""
        start, outer = self.at, (self.plus_or_minus, self.n_plus_or_minus)
        self.plus_or_minus, self.n_plus_or_minus = 1, 0
        first = self.relation()
        n_found = self.n_plus_or_minus
        self.plus_or_minus, self.n_plus_or_minus = outer
        yield first
        if n_found:
            self.at, self.plus_or_minus = start, -1
            yield self.relation()
            self.plus_or_minus, self.n_plus_or_minus = outer

    def relation(self) -> Value:
        parts: list[Value | Label] = [self.part()]
        signs: list[str] = []
        while self.sign in _RELATIONS and self.sign:
            sign = self.take().text
            if sign == "≈":  # an approximation of what was said
                self.sum()
                continue
            signs.append(sign)
            parts.append(self.part())
        if not signs:
            [part] = parts
            if isinstance(part, Label):
                raise UnreadableError("it is words")
            return part
        return _related(tuple(parts), tuple(signs))

    def part(self) -> Value | Label:
        """Read one side of a relation; words are a label where an equals sign follows."""
        start = self.at
        if self.passes_name():
            return Label(words=" ".join(token.text for token in self.tokens[start : self.at]))
        try:
            value = self.sum()
        except UnreadableError:
            self.at = start
            label = self.label()
            if label is None:
                self.at = start
                raise
            return label
        self.remarks(value)
        return without_units(value) if isinstance(value, Expr) else value

    def passes_name(self) -> bool:
        """Pass `f(2)` before an equals sign, which is no product."""
        texts = [token.text for token in self.tokens[self.at : self.at + _LONGEST_NAME]]
        if self.kind() is not Kind.LETTER or texts[1:2] != ["("] or ")" not in texts:
            return False
        end = texts.index(")") + 1
        if texts[end : end + 1] != ["="]:
            return False
        self.at += end
        return True

    def label(self) -> Label | None:
        words: list[str] = []
        while self.kind() in {Kind.WORD, Kind.LETTER} or self.sign in {"{", "}", "_", "°"}:
            words.append(self.take().text)
        if _NOT_A_UNIT.intersection(words):
            return None
        return Label(words=" ".join(words)) if words and self.sign == "=" else None

    def remarks(self, value: Value) -> None:
        r"""Leave out units in words and `\pmod{...}` behind a value."""
        while True:
            if self.kind() is Kind.WORD:
                self.unit()
            elif self.sign == "{" and self.at + 1 < len(self.tokens) and self.tokens[self.at + 1].kind is Kind.WORD:
                self.at += 1
                self.unit()
                while self.kind() is Kind.WORD:
                    self.unit()
                self.expect("}")
                if self.takes("^"):
                    self.argument()
            elif self.command() == "pmod" and isinstance(value, Expr):
                self.take()
                self.argument()
            elif self.sign == "(" and self.following() == "mod" and isinstance(value, Expr):
                self.at += 2
                self.sum()
                self.expect(")")
            else:
                return

    def unit(self) -> None:
        if (word := self.take().text) in _NOT_A_UNIT:
            raise UnreadableError(f"it says {word!r} of a value")
        if self.takes("^"):
            self.argument()
        self.takes("/")

    # Expressions

    def sum(self) -> Value:
        value = self.product(self.leading_sign())
        while self.sign in {"+", "-", "±", "∓"} and self.sign:
            factor = self.leading_sign()
            value = defined(number_of(value) + number_of(self.product(factor)))
            check_size(value)
        return value

    def leading_sign(self) -> int:
        factor = 1
        while self.sign in {"+", "-", "±", "∓"} and self.sign:
            match self.take().text:
                case "-":
                    factor = -factor
                case "±":
                    factor *= self.plus_or_minus
                    self.n_plus_or_minus += 1
                case "∓":
                    factor *= -self.plus_or_minus
                    self.n_plus_or_minus += 1
                case _:
                    pass
        return factor

    def product(self, factor: int = 1) -> Value:
        value = self.factor()
        while True:
            if self.takes("*"):
                value = product_of(value, self.signed_factor())
            elif self.takes("/"):
                value = quotient_of(value, self.signed_factor())
            elif self.command() in {"bmod", "mod"}:
                self.take()
                value = number_of(value) % divisor_of(self.factor())
            elif self.begins_factor():
                if self.kind() is Kind.NUMBER:
                    raise UnreadableError(f"the number {self.tokens[self.at].text!r} follows a value")
                value = product_of(value, self.factor())
            else:
                return value if factor == 1 else product_of(Integer(factor), value)

    def signed_factor(self) -> Value:
        factor = self.leading_sign()
        return product_of(Integer(factor), self.factor()) if factor != 1 else self.factor()

    def begins_factor(self) -> bool:
        if self.sign == "{":
            following = self.tokens[self.at + 1] if self.at + 1 < len(self.tokens) else None
            return following is not None and following.kind is not Kind.WORD
        if self.sign == "(" and self.following() == "mod":  # "7 (mod 10)" is a remark, and "7 mod 10" a computation
            return False
        return (
            self.kind() in {Kind.NUMBER, Kind.LETTER, Kind.FUNCTION}
            or self.sign in {"(", "[", "⌊", "⌈", r"\{"}
            or (self.sign == "|" and not self.in_absolute)
            or self.command().split(" ")[0] in {"frac", "sqrt", "root", "binom", "infty", "pi", "begin"}
        )

    def factor(self) -> Value:
        value = self.base()
        while True:
            if self.takes("!"):
                value = factorial_of(number_of(value))
            elif self.takes("%"):
                value = number_of(value) * PERCENT
            elif self.takes("°"):
                value = number_of(value) * DEGREE
            elif self.takes("'"):
                raise UnreadableError("it holds a prime")
            elif self.takes("^"):
                value = self.powered(value)
            else:
                return value

    def powered(self, value: Value) -> Value:
        if self.takes("°"):
            return number_of(value) * DEGREE
        if self.sign == "{" and [token.text for token in self.tokens[self.at + 1 : self.at + 3]] == ["°", "}"]:
            self.at += 3
            return number_of(value) * DEGREE
        factor = self.leading_sign()
        exponent = self.argument(whole_number=True)
        if self.takes("^"):
            exponent = power_of(exponent, number_of(self.argument(whole_number=True)))
        return power_of(number_of(value), exponent * factor)

    def argument(self, *, whole_number: bool = False) -> Expr:
        """Read what a command takes: a group, or the next sign, which is one digit of a number as in TeX."""
        if self.takes("{"):
            value = number_of(self.sum())
            self.expect("}")
            return value
        if self.kind() is Kind.NUMBER and not whole_number:
            token = self.tokens[self.at]
            if len(token.text) > 1 and token.text[0] != ".":
                self.tokens[self.at] = Token(kind=Kind.NUMBER, text=token.text[1:])
                return Integer(token.text[0])
        return number_of(self.base())

    def base(self) -> Value:
        token = self.take()
        match token.kind:
            case Kind.NUMBER:
                return self.number(token.text)
            case Kind.LETTER:
                return self.letter(token.text)
            case Kind.FUNCTION:
                return self.function(token.text)
            case Kind.COMMAND:
                return self.commanded(token.text)
            case Kind.SIGN:
                return self.enclosed(token.text)
            case Kind.WORD:
                raise UnreadableError(f"it says {token.text!r}")

    def number(self, text: str) -> Value:
        exponent = re.search(r"[eE][+-](\d+)", text)
        if exponent is not None and int(exponent.group(1)) > _MAX_EXPONENT:
            raise UnreadableError("it is too large")
        value = Rational(text.removesuffix("."))
        if self.command() in {"overline", "bar"} and "." in text:
            self.take()
            value += self.repeating(text)
        if self.sign == "_":
            self.take()
            return based(text, self.argument(whole_number=True))
        if "." not in text and self.begins_fraction():
            value += self.proper_fraction()
        return value

    def repeating(self, text: str) -> Expr:
        self.expect("{")
        digits = self.take()
        self.expect("}")
        if digits.kind is not Kind.NUMBER or not digits.text.isdigit():
            raise UnreadableError("it repeats no digits")
        n_before = len(text.partition(".")[2])
        return Rational(int(digits.text), (10 ** len(digits.text) - 1) * 10**n_before)

    def begins_fraction(self) -> bool:
        r"""Tell a mixed number, `1\frac{4}{5}` or `1 4/5`, from a product."""
        ahead = [token.text for token in self.tokens[self.at : self.at + 7]]
        if ahead[:1] == ["frac"]:
            return _is_proper(ahead[1:])
        return len(ahead) > 2 and ahead[0].isdigit() and ahead[1] == "/" and ahead[2].isdigit()

    def proper_fraction(self) -> Expr:
        if self.command() == "frac":
            self.take()
            return self.argument() / divisor_of(self.argument())
        numerator = Rational(self.take().text)
        self.expect("/")
        return numerator / divisor_of(Rational(self.take().text))

    def letter(self, name: str) -> Value:
        if self.takes("_"):
            return Symbol(f"{name}_{self.subscript()}")
        match name:
            case "e":
                return S.Exp1
            case "i":
                return S.ImaginaryUnit
            case _:
                return Symbol(name)

    def subscript(self) -> str:
        if not self.takes("{"):
            return self.take().text
        words = []
        while not self.takes("}"):
            words.append(self.take().text)
        return " ".join(words)

    def commanded(self, name: str) -> Value:
        value: Value
        match name:
            case "pi":
                value = S.Pi
            case "infty":
                value = S.Infinity
            case "frac":
                value = quotient_of(self.argument(), self.argument())
            case "root":  # plain text
                value = power_of(number_of(self.base()), Rational(1, 2))
            case "sqrt":
                value = self.root()
            case "binom":
                value = binomial_of(self.argument(), self.argument())
            case _ if name.startswith("begin ") and name[6:] in _MATRICES:
                value = self.matrix(name[6:])
            case _:
                raise UnreadableError(f"\\{name} does not fit where it is")
        return value

    def root(self) -> Expr:
        degree: Expr = Integer(2)
        if self.takes("["):
            degree = number_of(self.sum())
            self.expect("]")
        return power_of(self.argument(), 1 / divisor_of(degree))

    def matrix(self, name: str) -> Matrix:
        rows: list[list[Expr]] = [[]]
        while self.command() != f"end {name}":
            rows[-1].append(number_of(self.sum()))
            if self.takes(r"\\"):
                rows.append([])
            elif not self.takes("&") and self.command() != f"end {name}":
                raise UnreadableError("a matrix does not end")
        self.take()
        return Matrix(rows=tuple(tuple(row) for row in rows if row))

    def enclosed(self, opening: str) -> Value:
        match opening:
            case "{":
                value = self.sum()
                self.remarks(value)
                self.expect("}")
                return value
            case "|":
                self.in_absolute += 1
                value = sympy.Abs(number_of(self.sum()))
                self.in_absolute -= 1
                self.expect("|")
                return value
            case "⌊":
                value = sympy.floor(number_of(self.sum()))
                self.expect("⌋")
                return value
            case "⌈":
                value = sympy.ceiling(number_of(self.sum()))
                self.expect("⌉")
                return value
            case "(" | "[" | r"\{" | "⟨":
                return self.bracketed(opening)
            case _:
                raise UnreadableError(f"{opening!r} does not fit where it is")

    def bracketed(self, opening: str) -> Value:
        outer, self.in_absolute = self.in_absolute, 0
        if opening == r"\{":
            items = () if self.sign == r"\}" else self.items()
            self.expect(r"\}")
            self.in_absolute = outer
            return Several(items=_flat(items))
        items = self.entries()
        closing = self.expect(*_CLOSING[opening])
        self.in_absolute = outer
        if len(items) == 1:
            if (opening, closing) not in {("(", ")"), ("[", "]")}:
                raise UnreadableError("an interval has two ends")
            [item] = items
            if self.sign == "_" and isinstance(item, Integer):
                self.take()
                return based(str(item), self.argument(whole_number=True))
            return item
        return Bracketed(opening="(" if opening == "⟨" else opening, closing=closing.replace("⟩", ")"), items=items)

    def entries(self) -> tuple[Value, ...]:
        """Read the values of a point; a plus-or-minus in it makes two of the whole."""
        found = [self.relation()]
        while self.takes(",", ";"):
            found.append(self.relation())
        return tuple(found)

    def function(self, name: str) -> Value:
        inverse = False
        power: Expr | None = None
        base: Expr | None = None
        while self.sign in {"^", "_"} and self.sign:
            if self.take().text == "_":
                base = self.argument(whole_number=True)
            else:
                factor = self.leading_sign()
                power = self.argument(whole_number=True) * factor
        if power == -1 and name in _INVERSES:
            name, power = _INVERSES[name], None
            inverse = True
        if base is not None and (inverse or name != "log"):
            raise UnreadableError(f"{name} has no base")
        value = self.applied(name, base)
        return value if power is None else power_of(value, power)

    def applied(self, name: str, base: Expr | None) -> Expr:
        if name in {"max", "min", "gcd", "lcm"}:
            raise UnreadableError(f"{name} is not evaluated")
        argument = self.function_argument()
        if name in {"log", "lg"}:
            logarithm = sympy.log(argument)
            return logarithm / (COMMON_LOGARITHM if base is None and name == "log" else sympy.log(base or 10))
        if not argument.has(sympy.oo):
            argument = argument.subs(DEGREE, S.Pi / 180)
        if name in {"sinh", "cosh", "tanh", "exp"}:
            exponential = power_of(S.Exp1, argument)
            if name == "exp" or isinstance(exponential, Symbol):
                return exponential if name == "exp" else as_written(f"{name}({{}})", argument)
        return defined(_FUNCTIONS[name](argument))

    def function_argument(self) -> Expr:
        if self.sign in {"(", "{", "|", "["} and self.sign:
            return number_of(self.base())
        value = number_of(self.signed_factor())
        while self.begins_factor() and self.kind() is not Kind.FUNCTION and self.sign not in {"(", "["}:
            value *= number_of(self.factor())
        return value


def _flat(items: tuple[Value, ...]) -> tuple[Value, ...]:
    """Put the values of sets in a list among its own."""
    found: list[Value] = []
    for item in items:
        found += item.items if isinstance(item, Several) else [item]
    return tuple(found)


def _related(parts: tuple[Value | Label, ...], signs: tuple[str, ...]) -> Value:
    """Make a relation, or the set that it names."""
    if signs == ("∈",):
        subject, found = parts
        if isinstance(subject, Symbol) and not isinstance(found, Label):
            return found
        raise UnreadableError("only a letter can be in a set")
    if "∈" in signs:
        raise UnreadableError("a set is not a side of an equation")
    return _interval(parts, signs) or Relation(parts=parts, signs=signs)


def _interval(parts: tuple[Value | Label, ...], signs: tuple[str, ...]) -> Bracketed | None:
    """Name the numbers for which an inequality of one letter holds; None where it is another relation."""
    if not set(signs) <= set("<>≤≥"):
        return None
    if any(sign in ">≥" for sign in signs):
        parts, signs = parts[::-1], tuple(_turned(sign) for sign in signs[::-1])
    at = [number for number, part in enumerate(parts) if isinstance(part, Symbol)]
    others = [part for part in parts if not isinstance(part, Symbol)]
    if len(at) != 1 or any(sign in ">≥" for sign in signs) or len(parts) > 3:
        return None
    if not all(isinstance(part, Expr) and not part.free_symbols for part in others):
        return None
    [where] = at
    if len(parts) == 3 and where != 1:
        return None
    lower, upper = (parts[where - 1] if where else -S.Infinity), (parts[-1] if where < len(parts) - 1 else S.Infinity)
    opening = "[" if where and signs[where - 1] == "≤" else "("
    closing = "]" if where < len(parts) - 1 and signs[where] == "≤" else ")"
    return Bracketed(opening=opening, closing=closing, items=(lower, upper))


def _turned(sign: str) -> str:
    return {"<": ">", ">": "<", "≤": "≥", "≥": "≤"}.get(sign, sign)


def _is_proper(ahead: list[str]) -> bool:
    """Tell whether the arguments of a fraction are whole numbers, the first one smaller."""
    written = " ".join(ahead)
    match = re.match(r"(?:\{ (\d+) \}|(\d)) ?(?:\{ (\d+) \}|(\d))", written)
    if match is None:
        return False
    above, below = (int(digits) for digits in match.groups() if digits is not None)
    return above < below
