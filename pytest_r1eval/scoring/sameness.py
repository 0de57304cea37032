r"""
Tell whether two values of mathematics are the same: exactly, in bounded time, and alike on every machine.

- Rational numbers are compared as they are.
- Other numbers are computed to as many digits as their sizes could ask for, `_N_DIGITS` and more. Two that agree in all
  of them are equal. So `\sqrt{8}` is `2\sqrt{2}`, and a decimal approximation is neither.
- Expressions with letters are computed for `_N_POINTS` fixed choices of the letters, positive and negative ones. Two
  that agree in all of them are equal, so that nothing has to be simplified.
"""

from collections.abc import Iterator, Sequence

import sympy
from mpmath import mp, mpc, mpf
from sympy import Abs, Expr, Float, Integer, Number, Rational, Symbol
from sympy.core.evalf import PrecisionExhausted

from pytest_r1eval.scoring.values import PERCENT, Based, Bracketed, Label, Matrix, Relation, Several, Value

_N_DIGITS = 60
_MAX_DIGITS = 25_000
_N_POINTS = 4
_MAX_VALUES = 40
"""Of a list; each is compared with each."""


def is_same(gold: Value, found: Value) -> bool:  # noqa: PLR0911 - one for each pair of kinds
    """Tell whether an answer has the value of the right one."""
    gold, found = _alone(gold), _alone(found)
    match gold, found:
        case Relation(), _:
            return _is_same_relation(gold, found)
        case _, Relation():
            value = _value_of(found)
            return value is not None and is_same(gold, value)
        case Several(items=ours), Several(items=theirs):
            return _are_same_in_any_order(ours, theirs)
        case Bracketed(), Bracketed():
            return (gold.opening, gold.closing) == (found.opening, found.closing) and _are_same(gold.items, found.items)
        case Matrix(), Matrix():
            return len(gold.rows) == len(found.rows) and all(
                _are_same(ours, theirs) for ours, theirs in zip(gold.rows, found.rows, strict=True)
            )
        case (Matrix(rows=rows), Bracketed() as point) | (Bracketed() as point, Matrix(rows=rows)):
            is_column = all(len(row) == 1 for row in rows) and (point.opening, point.closing) == ("(", ")")
            return is_column and _are_same([row[0] for row in rows], point.items)
        case Based() | Expr(), Based() | Expr():
            return _is_same_number(gold, found)
        case _:
            return False


def _alone(value: Value) -> Value:
    """Take a value out of a list of one, or of one that says it twice."""
    if not isinstance(value, Several):
        return value
    items = _distinct(value.items)
    return _alone(items[0]) if len(items) == 1 else Several(items=tuple(items))


def _are_same(ours: Sequence[Value], theirs: Sequence[Value]) -> bool:
    return len(ours) == len(theirs) and all(is_same(mine, other) for mine, other in zip(ours, theirs, strict=True))


def _are_same_in_any_order(ours: Sequence[Value], theirs: Sequence[Value]) -> bool:
    if len(ours) != len(theirs):
        return False
    return all(any(is_same(mine, other) for other in theirs) for mine in ours)


def _distinct(values: Sequence[Value]) -> list[Value]:
    """Drop repeated values; leave a list that is too long unchanged."""
    if len(values) > _MAX_VALUES:
        return list(values)
    found: list[Value] = []
    for value in values:
        if not any(is_same(earlier, value) for earlier in found):
            found.append(value)
    return found


def _is_same_number(gold: Based | Expr, found: Based | Expr) -> bool:
    """Compare numbers; a base that the right answer has may be left out, as the problem says it."""
    if isinstance(gold, Based):
        return gold == found or (isinstance(found, Integer) and gold.digits == str(found))
    if isinstance(found, Based):
        return bool(gold == found.value)
    if gold.has(PERCENT) and found.has(PERCENT):
        return _is_same_expression(gold, found)
    return any(_is_same_expression(ours, theirs) for ours in _percents(gold) for theirs in _percents(found))


def _percents(value: Expr) -> Iterator[Expr]:
    """Read a percent sign as a unit, and as a hundredth."""
    if not value.has(PERCENT):
        yield value
        return
    yield value.subs(PERCENT, 1)
    yield value.subs(PERCENT, Rational(1, 100))


def _is_same_relation(gold: Relation, found: Value) -> bool:
    """Compare an equation with one, or with its right side where the left one is a letter."""
    if isinstance(found, Relation):
        return len(gold.parts) == len(found.parts) == 2 and _is_multiple(gold, found)
    value = _assigned(gold)
    return value is not None and is_same(value, found)


def _assigned(relation: Relation) -> Value | None:
    """Return what a letter or a label is set equal to; None where nothing is."""
    match relation:
        case Relation(parts=(Symbol() | Label(), value), signs=("=",)) if not isinstance(value, Label):
            return value
        case _:
            return None


def _value_of(relation: Relation) -> Value | None:
    """
    Return what a chain of equations ends with, where all before it is equal to it or its name.

    A name is a letter, a label, or made of letters alone, as `m + n`; `2x` is not a name. A letter at
    the end is the name of what is before it: `7 = x`.
    """
    if set(relation.signs) != {"="}:
        return None
    parts = relation.parts
    if isinstance(parts[-1], Symbol) and len(parts) == 2 and isinstance(parts[0], Expr) and parts[0].is_number:
        parts = parts[::-1]
    value = parts[-1]
    if isinstance(value, Label):
        return None
    return value if all(_is_name(part) or is_same(part, value) for part in parts[:-1]) else None


def _is_name(part: Value | Label) -> bool:
    if isinstance(part, Label):
        return True
    if isinstance(part, Bracketed):
        return all(isinstance(item, Symbol) for item in part.items)
    if not isinstance(part, Expr) or part.is_number or part.has(Abs):
        return False
    return bool(part.atoms(Number) <= {Integer(-1)})


def _is_multiple(gold: Relation, found: Relation) -> bool:
    """Tell whether two equations or inequalities differ by a factor: positive where there is an order."""
    ours, theirs = _difference(gold), _difference(found)
    if ours is None or theirs is None or ours[1] != theirs[1]:
        value = _assigned(gold), _assigned(found)
        return value[0] is not None and value[1] is not None and gold.parts[0] == found.parts[0] and is_same(*value)
    names = sorted({symbol.name for side in (ours[0], theirs[0]) for symbol in side.free_symbols})
    n_digits = _n_digits(ours[0], theirs[0])
    if n_digits > _MAX_DIGITS:
        return False
    ratios = []
    for point in _points(names):
        mine, other = (_computed(side, point, n_digits) for side in (ours[0], theirs[0]))
        if mine is None or other is None or mine == 0 or other == 0:
            return False
        ratios.append(other / mine)
    with mp.workdps(n_digits):
        is_one_factor = all(_agree(ratio, ratios[0], n_digits) for ratio in ratios)
        return is_one_factor and (ours[1] in "=≠" or (ratios[0].imag == 0 and ratios[0].real > 0))


def _difference(relation: Relation) -> tuple[Expr, str] | None:
    left, right = relation.parts
    if not isinstance(left, Expr) or not isinstance(right, Expr):
        return None
    [sign] = relation.signs
    if sign in ">≥":
        left, right, sign = right, left, {">": "<", "≥": "≤"}[sign]
    return left - right, sign


def _is_same_expression(gold: Expr, found: Expr) -> bool:
    if gold == found:
        return True
    if isinstance(gold, Rational) and isinstance(found, Rational):
        return False
    if gold.is_infinite or found.is_infinite:
        return False
    n_digits = _n_digits(gold, found)
    if n_digits > _MAX_DIGITS:
        return False
    names = sorted({symbol.name for side in (gold, found) for symbol in side.free_symbols})
    n_compared = 0
    for point in _points(names) if names else [{}]:
        ours, theirs = _computed(gold, point, n_digits), _computed(found, point, n_digits)
        if ours is None and theirs is None:
            continue
        with mp.workdps(n_digits):
            if ours is None or theirs is None or not _agree(ours, theirs, n_digits):
                return False
        n_compared += 1
    return n_compared > len(names[:1])


def _n_digits(*sides: Expr) -> int:
    """Say how many digits tell two numbers apart that are made of numbers of such a size."""
    n_bits = sum(max(abs(atom.p), atom.q).bit_length() for side in sides for atom in side.atoms(Rational))
    return _N_DIGITS + 2 * int(0.302 * n_bits)


def _points(names: Sequence[str]) -> Iterator[dict[Symbol, Rational]]:
    """Choose values for letters: all positive, then of changing signs; primes, so that few accidents happen."""
    for number in range(_N_POINTS):
        yield {
            Symbol(name): Rational(
                sympy.prime(11 + 5 * at + 3 * number) * (-1 if number % 2 and (at + number // 2) % 2 == 0 else 1),
                sympy.prime(7 + 4 * at + 2 * number),
            )
            for at, name in enumerate(names)
        }


def _computed(value: Expr, point: dict[Symbol, Rational], n_digits: int) -> mpc | None:
    """Compute a value; None where it has none there."""
    found = value.subs(point) if point else value
    try:
        found = found.evalf(n_digits, maxn=2 * n_digits)
    except PrecisionExhausted:
        return None
    real, imaginary = found.as_real_imag()
    if not all(isinstance(part, (Float, Rational)) for part in (real, imaginary)):
        return None
    with mp.workdps(n_digits):
        return mpc(*(_as_mpf(part, n_digits) for part in (real, imaginary)))


def _as_mpf(part: Float | Rational, n_digits: int) -> mpf:
    """Take a number of sympy's; one that lost its digits because what it is made of cancels is 0."""
    if isinstance(part, Rational):
        return mpf(part.p) / part.q
    has_digits = part._prec > n_digits  # noqa: SLF001 - what sympy knows of a number's accuracy has no other name
    return mp.make_mpf(part._mpf_) if has_digits else mpf(0)


def _agree(ours: mpc, theirs: mpc, n_digits: int) -> bool:
    """Tell whether two numbers agree in all digits but the last ten, which rounding may change."""
    tolerance = mpf(10) ** (10 - n_digits)
    return bool(abs(ours - theirs) <= tolerance * max(abs(ours), abs(theirs)))
