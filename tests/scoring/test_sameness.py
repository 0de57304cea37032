r"""Two values are the same exactly, or not at all: no decimal approximation stands in for a number."""

from __future__ import annotations

import pytest

from pytest_r1eval.scoring.mathematics import readings_of
from pytest_r1eval.scoring.sameness import is_same


def same(gold: str, found: str) -> bool:
    """Compare two answers that have one reading each."""
    ((ours,), (theirs,)) = readings_of(gold), readings_of(found)
    return is_same(ours, theirs)


@pytest.mark.parametrize(
    ("gold", "found"),
    [
        (r"\sqrt{3+2\sqrt{2}}", r"1+\sqrt{2}"),
        (r"\cos\frac{\pi}{7}\cos\frac{2\pi}{7}\cos\frac{3\pi}{7}", r"\frac{1}{8}"),
        (r"\arctan\frac12+\arctan\frac13", r"\frac{\pi}{4}"),
        (r"\frac{x^2-1}{x-1}", "x+1"),
        (r"\sin^2 x + \cos^2 x", "1"),
        (r"e^{x+y}", r"e^x e^y"),
        (r"\sqrt{xy}", r"\sqrt{x}\sqrt{y}"),
        (r"e^{-1000}", r"\frac{1}{e^{1000}}"),
        ("(1+x)^{30}", "(x+1)^{10}(x+1)^{20}"),
    ],
)
def test_equal_values_are_found_without_simplifying(gold: str, found: str) -> None:
    """Two expressions are the same where their digits agree for every choice of the letters."""
    assert same(gold, found)


@pytest.mark.parametrize(
    ("gold", "found"),
    [
        (r"\sqrt{2}", r"\sqrt{2}+10^{-300}"),
        (r"\sqrt{2}", r"\sqrt{2+10^{-300}}"),
        (r"e^{\pi\sqrt{163}}", "262537412640768744"),
        (r"e^{-1000}", r"e^{-1001}"),
        (r"\sqrt{x^2}", "x"),
        (r"|x|", "x"),
        (r"\ln x^2", r"2\ln x"),
        (r"\sin x", "x"),
        (r"\frac{\sqrt{2}}{2004!}", "0"),
        ("x", "y"),
        ("2^{100000}", "2^{100001}"),
    ],
)
def test_values_that_nearly_agree_differ(gold: str, found: str) -> None:
    """Values that differ beyond hundreds of digits, or for negative letters, are not the same."""
    assert not same(gold, found)


def test_a_comma_may_divide_thousands_or_values() -> None:
    """A comma is read as dividing thousands and values, and in brackets as dividing values."""
    assert len(readings_of("58,500")) == 2
    assert len(readings_of("(58,500)")) == 1
    assert len(readings_of(r"58,\!500")) == 1
