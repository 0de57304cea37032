"""What an answer to a mathematical problem may be: numbers and expressions of sympy's, and what is made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from sympy import Expr, Integer, Symbol

PERCENT = Symbol("%")
"""Represents a percent sign, which is a unit or a hundredth."""
DEGREE = Symbol("°")
"""Represents a degree sign, which is a unit, or a part of pi in a function's argument."""
COMMON_LOGARITHM = Symbol("log's base")
r"""Represents the base of a `\log` without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Several:
    """Values whose order does not matter."""

    items: tuple[Value, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracketed:
    """A point, a vector, or an interval: values in order, and the brackets around them."""

    opening: str
    closing: str
    items: tuple[Value, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Rows of values."""

    rows: tuple[tuple[Expr, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Based:
    """A number that names its base: digits and base."""

    digits: str
    base: int

    @property
    def value(self) -> Integer:
        """Return the number in base ten."""
        return Integer(int(self.digits, self.base))


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """Words before an equals sign, as in `Area = 5`."""

    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """Values with signs between them: an equation, an inequality, or a chain of them."""

    parts: tuple[Value | Label, ...]
    signs: tuple[str, ...]


Value: TypeAlias = Several | Bracketed | Matrix | Based | Relation | Expr


def letters_of(value: Value) -> frozenset[str]:
    """Return the names of the letters in a value."""
    match value:
        case Several() | Bracketed():
            return frozenset().union(*map(letters_of, value.items))
        case Relation(parts=parts):
            return frozenset().union(*(letters_of(part) for part in parts if not isinstance(part, Label)))
        case Matrix(rows=rows):
            return frozenset().union(*(letters_of(entry) for row in rows for entry in row))
        case Based():
            return frozenset()
        case _:
            return frozenset(symbol.name for symbol in value.free_symbols) | {"e", "i"}
