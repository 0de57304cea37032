"""Zeros of functions, against scipy's."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from scipy.optimize import brentq

from pytest_r1eval.stats.roots import root

FUNCTIONS: list[tuple[Callable[[float], float], float, float]] = [
    (lambda x: math.cos(x) - x, 0.0, 1.0),
    (lambda x: x**3 - 2 * x - 5, 2.0, 3.0),
    (lambda x: math.exp(x) - 1e-5, -40.0, 40.0),
    (lambda x: math.erf(x) - 0.999999, -40.0, 40.0),
    (lambda x: math.atan(x - 3), -1000.0, 5.0),
    (lambda x: 1 - x / 2, 0.0, 10.0),
    (lambda x: -1.0 if x < 0.3 else 1.0, 0.0, 1.0),
    (lambda x: x, 0.0, 1.0),
    (lambda x: x - 1, 0.0, 1.0),
]


@pytest.mark.parametrize(("function", "low", "high"), FUNCTIONS)
def test_it_is_scipys(function: Callable[[float], float], low: float, high: float) -> None:
    """A zero is scipy's, and the same from either end."""
    expected = pytest.approx(brentq(function, low, high), rel=1e-11, abs=1e-11)
    assert root(function, low, high) == expected
    assert root(function, high, low) == expected


def test_it_looks_as_rarely_as_scipys() -> None:
    """A zero takes no more calls of the function than scipy's."""
    calls: list[float] = []

    def function(x: float) -> float:
        calls.append(x)
        return math.exp(x) - 1e-5

    root(function, -40.0, 40.0)
    n_ours = len(calls)
    brentq(function, -40.0, 40.0)
    assert n_ours <= len(calls) - n_ours


def test_it_is_as_near_as_asked() -> None:
    """A zero is found to the tolerance that is asked for."""
    assert root(lambda x: x**2 - 2, 0.0, 2.0, xtol=0.1) == pytest.approx(math.sqrt(2), abs=0.1)


def test_ends_of_one_sign_are_refused() -> None:
    """Two ends of the same sign have no zero for sure between them and are refused."""
    with pytest.raises(ValueError, match="the function is 1 at 0 and 2 at 1; expected opposite signs"):
        root(lambda x: x + 1, 0.0, 1.0)


def test_what_is_not_a_number_is_refused() -> None:
    """A function that is not a number somewhere ends the search."""
    with pytest.raises(ValueError, match=r"the function is not a number at 0\.5"):
        root(lambda x: x - 0.2 if x in {0.0, 1.0} else math.nan, 0.0, 1.0)
