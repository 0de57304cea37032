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

What is left out: the name of a value before an equals sign (`x`, `f(2)`, `m + n`, `\text{Area}`); units in words; a
degree sign or a currency behind or before a value; `\pmod{...}` behind it; a decimal approximation behind `\approx`. A
percent sign is left out or counts as a hundredth, whichever fits.

What is not read is an answer in words (`\text{east}`), and equal to the same words alone.

Nothing is evaluated that could take long: a power or factorial of more than `MAX_BITS` stays as it is written.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sympy
from sympy import Expr, Integer, Rational, S, Symbol

from pytest_r1eval.scoring.arithmetic import (
    INVERSES,
    based,
    binomial_of,
    check_size,
    defined,
    divisor_of,
    factorial_of,
    function_of,
    number_of,
    power_of,
    product_of,
    quotient_of,
    without_units,
)
from pytest_r1eval.scoring.cursor import NOT_A_UNIT, Cursor
from pytest_r1eval.scoring.notation import Kind, UnreadableError, tokens_of
from pytest_r1eval.scoring.relations import related
from pytest_r1eval.scoring.values import (
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
_NAMED = re.compile(r"(?P<name>[^=<>]+)(?<!\\)=(?P<value>[^=]+)")
"""A value with a name that is not read: `\\vec{AB} = 3`."""
_IN_BRACKETS = re.compile(r"\([^()]*\)")
_RELATIONS = frozenset("=<>≤≥≠∈≈")
_SEPARATORS = frozenset({",", ";", "or", "and", "∪"})  # noqa: RUF001 - a union
_CLOSING = {"(": ")]", "[": ")]", r"\{": (r"\}",), "⟨": "⟩"}
_MATRICES = frozenset({"pmatrix", "bmatrix", "matrix", "vmatrix", "Bmatrix", "smallmatrix"})


def readings_of(text: str, *, letters: AbstractSet[str] | None = None) -> tuple[Value, ...]:
    """
    Read an answer.

    Args:
        text: The answer, out of its box.
        letters: What letters the right answer has; None where this is the right answer.

    Returns:
        What it may mean: one value, or two where `58,500` may be a number or a list.

    Raises:
        UnreadableError: If it cannot be read.
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
        value = _Reader(cursor=Cursor(tokens=tokens)).answer()
        if value not in found:
            found.append(value)
    return tuple(found)


@dataclass(slots=True, kw_only=True)
class _Reader:
    """Reads tokens from left to right, each by the first rule that fits."""

    cursor: Cursor
    plus_or_minus: int = 1
    n_plus_or_minus: int = 0
    in_absolute: int = 0

    # Structure

    def answer(self) -> Value:
        value = self.items()
        if self.cursor.at < len(self.cursor.tokens):
            raise UnreadableError(f"{self.cursor.tokens[self.cursor.at].text!r} does not fit where it is")
        return value[0] if len(value) == 1 else Several(items=_flat(value))

    def items(self) -> tuple[Value, ...]:
        """Read values with separators between them."""
        found = [*self.item()]
        while self.cursor.takes(*_SEPARATORS):
            self.cursor.takes("or", "and")  # "1, 2, and 3"
            found += self.item()
        return tuple(found)

    def item(self) -> Iterator[Value]:
        """Read one value, or two where it holds a plus-or-minus."""
        start, outer = self.cursor.at, (self.plus_or_minus, self.n_plus_or_minus)
        self.plus_or_minus, self.n_plus_or_minus = 1, 0
        first = self.relation()
        n_found = self.n_plus_or_minus
        self.plus_or_minus, self.n_plus_or_minus = outer
        yield first
        if n_found:
            self.cursor.at, self.plus_or_minus = start, -1
            yield self.relation()
            self.plus_or_minus, self.n_plus_or_minus = outer

    def relation(self) -> Value:
        parts: list[Value | Label] = [self.part()]
        signs: list[str] = []
        while self.cursor.sign in _RELATIONS and self.cursor.sign:
            sign = self.cursor.take().text
            if sign == "≈":  # an approximation of what came before
                self.sum()
                continue
            signs.append(sign)
            parts.append(self.part())
        if not signs:
            [part] = parts
            if isinstance(part, Label):
                raise UnreadableError("it is words")
            return part
        return related(tuple(parts), tuple(signs))

    def part(self) -> Value | Label:
        """Read one side of a relation; words are a label where an equals sign follows."""
        if (name := self.cursor.name()) is not None:
            return name
        start = self.cursor.at
        try:
            value = self.sum()
        except UnreadableError:
            self.cursor.at = start
            label = self.cursor.label()
            if label is None:
                self.cursor.at = start
                raise
            return label
        self.remarks(value)
        return without_units(value) if isinstance(value, Expr) else value

    def remarks(self, value: Value) -> None:
        r"""Leave out units in words and `\pmod{...}` behind a value."""
        while True:
            if self.cursor.kind() is Kind.WORD:
                self.unit()
            elif self.cursor.opens_words():
                self.cursor.at += 1
                self.unit()
                while self.cursor.kind() is Kind.WORD:
                    self.unit()
                self.cursor.expect("}")
                if self.cursor.takes("^"):
                    self.argument()
            elif self.cursor.command() == "pmod" and isinstance(value, Expr):
                self.cursor.take()
                self.argument()
            elif self.cursor.sign == "(" and self.cursor.following() == "mod" and isinstance(value, Expr):
                self.cursor.at += 2
                self.sum()
                self.cursor.expect(")")
            else:
                return

    def unit(self) -> None:
        if (word := self.cursor.take().text) in NOT_A_UNIT:
            raise UnreadableError(f"it says {word!r} of a value")
        if self.cursor.takes("^"):
            self.argument()
        self.cursor.takes("/")

    # Expressions

    def sum(self) -> Value:
        value = self.product(self.leading_sign())
        while self.cursor.sign in {"+", "-", "±", "∓"} and self.cursor.sign:
            factor = self.leading_sign()
            value = defined(number_of(value) + number_of(self.product(factor)))
            check_size(value)
        return value

    def leading_sign(self) -> int:
        factor = 1
        while self.cursor.sign in {"+", "-", "±", "∓"} and self.cursor.sign:
            match self.cursor.take().text:
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
            if self.cursor.takes("*"):
                value = product_of(value, self.signed_factor())
            elif self.cursor.takes("/"):
                value = quotient_of(value, self.signed_factor())
            elif self.cursor.command() in {"bmod", "mod"}:
                self.cursor.take()
                value = number_of(value) % divisor_of(self.factor())
            elif self.begins_factor():
                if self.cursor.kind() is Kind.NUMBER:
                    raise UnreadableError(f"the number {self.cursor.tokens[self.cursor.at].text!r} follows a value")
                value = product_of(value, self.factor())
            else:
                return value if factor == 1 else product_of(Integer(factor), value)

    def signed_factor(self) -> Value:
        factor = self.leading_sign()
        return product_of(Integer(factor), self.factor()) if factor != 1 else self.factor()

    def begins_factor(self) -> bool:
        if self.cursor.sign == "{":
            return not self.cursor.opens_words()
        if self.cursor.sign == "(" and self.cursor.following() == "mod":  # a remark; "7 mod 10" is evaluated
            return False
        return (
            self.cursor.kind() in {Kind.NUMBER, Kind.LETTER, Kind.FUNCTION}
            or self.cursor.sign in {"(", "[", "⌊", "⌈", r"\{"}
            or (self.cursor.sign == "|" and not self.in_absolute)
            or self.cursor.command().split(" ")[0] in {"frac", "sqrt", "root", "binom", "infty", "pi", "begin"}
        )

    def factor(self) -> Value:
        value = self.base()
        while True:
            if self.cursor.takes("!"):
                value = factorial_of(number_of(value))
            elif self.cursor.takes("%"):
                value = number_of(value) * PERCENT
            elif self.cursor.takes("°"):
                value = number_of(value) * DEGREE
            elif self.cursor.takes("'"):
                raise UnreadableError("it holds a prime")
            elif self.cursor.takes("^"):
                value = self.powered(value)
            else:
                return value

    def powered(self, value: Value) -> Value:
        if self.cursor.takes_degree():
            return number_of(value) * DEGREE
        factor = self.leading_sign()
        exponent = self.argument(whole_number=True)
        if self.cursor.takes("^"):
            exponent = power_of(exponent, number_of(self.argument(whole_number=True)))
        return power_of(number_of(value), exponent * factor)

    def argument(self, *, whole_number: bool = False) -> Expr:
        """Read what a command takes: a group, or the next sign, which is one digit of a number as in TeX."""
        if self.cursor.takes("{"):
            value = number_of(self.sum())
            self.cursor.expect("}")
            return value
        digit = None if whole_number else self.cursor.first_digit()
        return number_of(self.base()) if digit is None else Integer(digit)

    def base(self) -> Value:
        token = self.cursor.take()
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
        if self.cursor.command() in {"overline", "bar"} and "." in text:
            self.cursor.take()
            value += self.repeating(text)
        if self.cursor.sign == "_":
            self.cursor.take()
            return based(text, self.argument(whole_number=True))
        if "." not in text and self.cursor.begins_fraction():
            value += self.proper_fraction()
        return value

    def repeating(self, text: str) -> Expr:
        self.cursor.expect("{")
        digits = self.cursor.take()
        self.cursor.expect("}")
        if digits.kind is not Kind.NUMBER or not digits.text.isdigit():
            raise UnreadableError("it repeats no digits")
        n_before = len(text.partition(".")[2])
        return Rational(int(digits.text), (10 ** len(digits.text) - 1) * 10**n_before)

    def proper_fraction(self) -> Expr:
        if self.cursor.command() == "frac":
            self.cursor.take()
            return self.argument() / divisor_of(self.argument())
        numerator = Rational(self.cursor.take().text)
        self.cursor.expect("/")
        return numerator / divisor_of(Rational(self.cursor.take().text))

    def letter(self, name: str) -> Value:
        if self.cursor.takes("_"):
            return Symbol(f"{name}_{self.cursor.subscript()}")
        match name:
            case "e":
                return S.Exp1
            case "i":
                return S.ImaginaryUnit
            case _:
                return Symbol(name)

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
        if self.cursor.takes("["):
            degree = number_of(self.sum())
            self.cursor.expect("]")
        return power_of(self.argument(), 1 / divisor_of(degree))

    def matrix(self, name: str) -> Matrix:
        rows: list[list[Expr]] = [[]]
        while self.cursor.command() != f"end {name}":
            rows[-1].append(number_of(self.sum()))
            if self.cursor.takes(r"\\"):
                rows.append([])
            elif not self.cursor.takes("&") and self.cursor.command() != f"end {name}":
                raise UnreadableError("a matrix does not end")
        self.cursor.take()
        return Matrix(rows=tuple(tuple(row) for row in rows if row))

    def enclosed(self, opening: str) -> Value:
        match opening:
            case "{":
                value = self.sum()
                self.remarks(value)
                self.cursor.expect("}")
                return value
            case "|":
                self.in_absolute += 1
                value = sympy.Abs(number_of(self.sum()))
                self.in_absolute -= 1
                self.cursor.expect("|")
                return value
            case "⌊":
                value = sympy.floor(number_of(self.sum()))
                self.cursor.expect("⌋")
                return value
            case "⌈":
                value = sympy.ceiling(number_of(self.sum()))
                self.cursor.expect("⌉")
                return value
            case "(" | "[" | r"\{" | "⟨":
                return self.bracketed(opening)
            case _:
                raise UnreadableError(f"{opening!r} does not fit where it is")

    def bracketed(self, opening: str) -> Value:
        outer, self.in_absolute = self.in_absolute, 0
        if opening == r"\{":
            items = () if self.cursor.sign == r"\}" else self.items()
            self.cursor.expect(r"\}")
            self.in_absolute = outer
            return Several(items=_flat(items))
        items = self.entries()
        closing = self.cursor.expect(*_CLOSING[opening])
        self.in_absolute = outer
        if len(items) == 1:
            if (opening, closing) not in {("(", ")"), ("[", "]")}:
                raise UnreadableError("an interval has two ends")
            [item] = items
            if self.cursor.sign == "_" and isinstance(item, Integer):
                self.cursor.take()
                return based(str(item), self.argument(whole_number=True))
            return item
        return Bracketed(opening="(" if opening == "⟨" else opening, closing=closing.replace("⟩", ")"), items=items)

    def entries(self) -> tuple[Value, ...]:
        """Read the values of a point; a plus-or-minus in it makes two of the whole."""
        found = [self.relation()]
        while self.cursor.takes(",", ";"):
            found.append(self.relation())
        return tuple(found)

    def function(self, name: str) -> Value:
        inverse = False
        power: Expr | None = None
        base: Expr | None = None
        while self.cursor.sign in {"^", "_"} and self.cursor.sign:
            if self.cursor.take().text == "_":
                base = self.argument(whole_number=True)
            else:
                factor = self.leading_sign()
                power = self.argument(whole_number=True) * factor
        if power == -1 and name in INVERSES:
            name, power = INVERSES[name], None
            inverse = True
        if base is not None and (inverse or name != "log"):
            raise UnreadableError(f"{name} has no base")
        value = function_of(name, self.function_argument(), base=base)
        return value if power is None else power_of(value, power)

    def function_argument(self) -> Expr:
        if self.cursor.sign in {"(", "{", "|", "["} and self.cursor.sign:
            return number_of(self.base())
        value = number_of(self.signed_factor())
        while self.begins_factor() and self.cursor.kind() is not Kind.FUNCTION and self.cursor.sign not in {"(", "["}:
            value *= number_of(self.factor())
        return value


def _flat(items: tuple[Value, ...]) -> tuple[Value, ...]:
    """Put the values of sets in a list among its own."""
    found: list[Value] = []
    for item in items:
        found += item.items if isinstance(item, Several) else [item]
    return tuple(found)
