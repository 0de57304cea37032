"""
Compute with what a model wrote, exactly and never for long.

A power, factorial or binomial that would be too large stays as it is written (`as_written`): equal to itself, and to
nothing else. Sympy is not asked to simplify.
"""

import math
from collections.abc import Callable
from typing import Any

import sympy
from sympy import Expr, Integer, Rational, S, Symbol

from pytest_r1eval.scoring.notation import UnreadableError
from pytest_r1eval.scoring.values import COMMON_LOGARITHM, DEGREE, Based, Matrix, Value

MAX_BITS = 32_768
"""Of a whole number that is evaluated: ten thousand digits. 2006! has 19,000 bits."""
MAX_BITS_SHOWN = 10_000
"""Of the numbers in an expression that is not evaluated: Python writes down no more digits."""
_MAX_BITS_IN_TOWER = 16
"""Of the numbers in an exponent that is a power of letters itself."""
_MAX_FACTORIAL = 3_000
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sin": sympy.sin, "cos": sympy.cos, "tan": sympy.tan, "cot": sympy.cot, "sec": sympy.sec, "csc": sympy.csc,
    "arcsin": sympy.asin, "arccos": sympy.acos, "arctan": sympy.atan, "sinh": sympy.sinh, "cosh": sympy.cosh,
    "tanh": sympy.tanh, "ln": sympy.log, "exp": sympy.exp,
}  # fmt: skip
INVERSES = {"sin": "arcsin", "cos": "arccos", "tan": "arctan"}
"""What a function to the power of -1 is."""


def without_units(value: Expr) -> Expr:
    """Leave a degree sign out."""
    return value.subs(DEGREE, 1) if value.has(DEGREE) else value


def number_of(value: Value) -> Expr:
    """Take a value that can be computed with."""
    if not isinstance(value, Expr):
        raise UnreadableError("it computes with something that is not a number")
    return value


def defined(value: Expr) -> Expr:
    """Refuse what has no value."""
    if value.has(S.ComplexInfinity, S.NaN):
        raise UnreadableError("it is not defined")
    return value


def check_size(value: Expr) -> None:
    """Refuse a number that has grown too large."""
    if isinstance(value, Rational) and max(abs(value.p), value.q).bit_length() > 2 * MAX_BITS:
        raise UnreadableError("it is too large")


def product_of(left: Value, right: Value) -> Value:
    """Multiply numbers, or a matrix by one."""
    if isinstance(right, Matrix):
        factor = number_of(left)
        return Matrix(rows=tuple(tuple(defined(factor * entry) for entry in row) for row in right.rows))
    if left == 1:
        return right
    value = defined(number_of(left) * number_of(right))
    check_size(value)
    return value


def quotient_of(left: Value, right: Value) -> Value:
    """Divide a number or a matrix by a number."""
    if isinstance(left, Matrix):
        return product_of(1 / divisor_of(right), left)
    value = defined(number_of(left) / divisor_of(right))
    check_size(value)
    return value


def divisor_of(value: Value) -> Expr:
    """Take a number that can be divided by."""
    number = number_of(value)
    if number.is_zero:
        raise UnreadableError("it divides by zero")
    return number


def based(digits: str, base: Expr) -> Based:
    """Make a number with a base."""
    if not isinstance(base, Integer) or not 2 <= base <= 36:
        raise UnreadableError("its base is not a whole number from 2 to 36")
    if not digits.isdigit() or any(int(digit) >= base for digit in digits):
        raise UnreadableError(f"{digits} is not a number in base {base}")
    return Based(digits=digits, base=int(base))


def as_written(form: str, *parts: Expr) -> Symbol:
    """Stand in for what is too large to evaluate: equal to itself as it is written, and to nothing else."""
    if any(_bits(part) > MAX_BITS_SHOWN for part in parts):
        raise UnreadableError("it is too large")
    return Symbol(form.format(*parts))


def factorial_of(value: Expr) -> Expr:
    """Multiply the numbers up to a whole one, where that stays small."""
    if isinstance(value, Integer) and 0 <= value <= _MAX_FACTORIAL:
        return Integer(math.factorial(int(value)))
    return as_written("({})!", value)


def binomial_of(above: Expr, below: Expr) -> Expr:
    """Count choices, where that stays small."""
    if isinstance(above, Integer) and isinstance(below, Integer) and 0 <= above <= _MAX_FACTORIAL and below >= 0:
        return Integer(math.comb(int(above), int(below)))
    return as_written("({} over {})", above, below)


def power_of(base: Expr, exponent: Expr) -> Expr:
    """Raise to a power, where that stays small."""
    if base.is_zero and exponent.is_nonpositive:
        raise UnreadableError("it is not defined")
    if isinstance(exponent, Rational) and _bits(base) * abs(exponent.p) > MAX_BITS * exponent.q:
        return as_written("({})^({})", base, exponent)
    if not isinstance(exponent, Rational) and _is_tower(base, exponent):
        return as_written("({})^({})", base, exponent)
    return defined(base**exponent)


def _is_tower(base: Expr, exponent: Expr) -> bool:
    """Tell whether a power with such an exponent takes long to compute: of a large number, or of powers of powers."""
    if exponent.is_number:
        return _magnitude(exponent) * _bits(base) > MAX_BITS
    inner = [power for power in exponent.atoms(sympy.Pow, sympy.exp) if not power.as_base_exp()[1].is_number]
    return bool(inner) and (
        _bits(exponent) > _MAX_BITS_IN_TOWER
        or any(power.as_base_exp()[1].atoms(sympy.Pow, sympy.exp) for power in inner)
    )


def _magnitude(value: Expr) -> float:
    try:
        return abs(complex(value.evalf(15)))
    except (OverflowError, TypeError, ValueError):
        return math.inf


def _bits(value: Expr) -> int:
    """Bound the size of the numbers in an expression."""
    return 1 + sum(int(max(abs(atom.p), atom.q)).bit_length() for atom in value.atoms(Rational))


def function_of(name: str, argument: Expr, *, base: Expr | None) -> Expr:
    """Apply a function; a degree sign in its argument counts."""
    if name in {"max", "min", "gcd", "lcm"}:
        raise UnreadableError(f"{name} is not evaluated")
    if name in {"log", "lg"}:
        logarithm = sympy.log(argument)
        return logarithm / (COMMON_LOGARITHM if base is None and name == "log" else sympy.log(base or 10))
    if not argument.has(S.Infinity):
        argument = argument.subs(DEGREE, S.Pi / 180)
    if name in {"sinh", "cosh", "tanh", "exp"}:
        exponential = power_of(S.Exp1, argument)
        if name == "exp" or isinstance(exponential, Symbol):
            return exponential if name == "exp" else as_written(f"{name}({{}})", argument)
    return defined(_FUNCTIONS[name](argument))
