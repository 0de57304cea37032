"""
Where a function of one number is zero: by halving and inverse quadratic interpolation.

As scipy's ``brentq``, without ``scipy.optimize``: its import is a fifth of what a gate imports.

References:
    .. [1] T. R. Chandrupatla, "A new hybrid quadratic/bisection algorithm for finding the zero of a nonlinear function
       without using derivatives", Advances in Engineering Software 28 (1997) 145.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable


def root(function: Callable[[float], float], low: float, high: float, *, xtol: float = 2e-12) -> float:
    """
    Return where a continuous function is zero between two numbers at which it has opposite signs.

    Args:
        function: The function.
        low: One end.
        high: The other end.
        xtol: How far the found number may be from the zero.

    Raises:
        ValueError: If both ends have the same sign, or the function is not a number somewhere.
    """
    a, b, c = high, low, low
    f_a, f_b = function(a), function(b)
    f_c = f_b
    if f_a * f_b > 0:
        raise ValueError(f"the function is {f_b:g} at {low:g} and {f_a:g} at {high:g}; expected opposite signs")
    part = 0.5
    while True:
        best = a if abs(f_a) < abs(f_b) else b
        nearest = (xtol + 4 * sys.float_info.epsilon * abs(best)) / 2
        if not f_a or not f_b or abs(b - a) <= 2 * nearest:
            return best
        least = nearest / abs(b - a)
        x = a + min(max(part, least), 1 - least) * (b - a)
        if math.isnan(f_x := function(x)):
            raise ValueError(f"the function is not a number at {x:g}")
        if (f_x > 0) is (f_a > 0):
            c, f_c = a, f_a
        else:
            b, c, f_b, f_c = a, b, f_a, f_b
        a, f_a = x, f_x
        part = _part((a, f_a), (b, f_b), (c, f_c))


def _part(at_a: tuple[float, float], at_b: tuple[float, float], at_c: tuple[float, float]) -> float:
    """Return where between a and b to look next, as a fraction of the way: the middle, or where a parabola is zero."""
    (a, f_a), (b, f_b), (c, f_c) = at_a, at_b, at_c
    place, level = (a - b) / (c - b), (f_a - f_b) / (f_c - f_b)
    if not (level**2 < place and (1 - level) ** 2 < 1 - place):
        return 0.5
    return f_a / (f_b - f_a) * f_c / (f_b - f_c) + (c - a) / (b - a) * f_a / (f_c - f_a) * f_b / (f_c - f_b)
