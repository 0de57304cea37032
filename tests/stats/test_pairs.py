"""The exact test of two runs whose numbers of samples differ from problem to problem."""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings

from pytest_r1eval.core.records import Counts
from pytest_r1eval.stats.pairs import PairedCounts, exact_p, is_skewed, lattice
from tests.stats.examples import counts, pairs


def unequal(x: tuple[int, ...], y: tuple[int, ...]) -> PairedCounts:
    """Three problems of 1, 2 and 4 samples against 2, 2 and 3 of the baseline."""
    ours = Counts.from_rows(zip("abc", x, (1, 2, 4), strict=True))
    return PairedCounts.of(ours, Counts.from_rows(zip("abc", y, (2, 2, 3), strict=True)))


def enumerated(pair: PairedCounts) -> float:
    """P(the candidate's weighted total is the observed one or less), by counting every table, in whole numbers."""
    k, m, t = (values.astype(int).tolist() for values in (pair.k, pair.k + pair.k_b, pair.x + pair.y))
    weights = lattice(pair).tolist()
    observed = sum(weight * x for weight, x in zip(weights, pair.x.astype(int).tolist(), strict=True))
    below = total = 0
    for deal in itertools.product(*(range(each + 1) for each in k)):
        ways = 1
        for correct, samples, all_samples, right in zip(deal, k, m, t, strict=True):
            ways *= comb(right, correct) * comb(all_samples - right, samples - correct)
        total += ways
        below += ways * (sum(weight * x for weight, x in zip(weights, deal, strict=True)) <= observed)
    return float(Fraction(below, total))


class TestLattice:
    """Whole weights of the problems' correct samples."""

    def test_equal_numbers_of_samples_weigh_one(self) -> None:
        """Problems with equally many samples weigh one each, so the statistic is the plain total."""
        assert lattice(PairedCounts.of(counts(1, 2, of=4), counts(3, 5, of=8))).tolist() == [1, 1]

    def test_golden_weights(self) -> None:
        """The weights of A14 are 165, 110 and 64."""
        assert lattice(unequal((1, 0, 2), (2, 2, 2))).tolist() == [165, 110, 64]

    @settings(max_examples=50)
    @given(pair=pairs())
    def test_rounding_is_below_a_percent(self, pair: tuple[Counts, Counts]) -> None:
        """No weight is rounded by more than .8 percent of itself."""
        each = PairedCounts.of(*pair)
        exact = 1 / each.k + 1 / each.k_b
        ratio = lattice(each) / exact
        assert np.all(np.abs(ratio / ratio[np.argmax(exact)] - 1) < 0.012)


class TestExact:
    """The weighted total against its conditional distribution."""

    def test_golden_p(self) -> None:
        """The exact p of A14 comes out."""
        assert exact_p(unequal((1, 0, 2), (2, 2, 2)), 0.0)[0] == pytest.approx(0.1047619047619, abs=1e-13)

    def test_equals_the_enumeration(self) -> None:
        """The exact p equals that of counting every table, for all results of three unequal problems."""
        for x in itertools.product(range(2), range(3), range(5)):
            for y in itertools.product(range(3), range(3), range(4)):
                pair = unequal(x, y)
                assert exact_p(pair, 0.0)[0] == pytest.approx(enumerated(pair), rel=1e-11)

    def test_a_tiny_tau_counts_the_observed_total_in_full(self) -> None:
        """Harness noise that tends to zero leaves the p-value as it is, for unequal numbers of samples too."""
        pair = unequal((1, 0, 2), (2, 2, 2))

        assert exact_p(pair, 1e-9) == pytest.approx(exact_p(pair, 0.0))

    def test_skewness_weighs_the_problems(self) -> None:
        """Whether a distribution is skewed does not depend on how often a problem's samples are counted."""
        saturated = counts(*[63] * 30, of=64)

        assert is_skewed(PairedCounts.of(saturated, counts(*[254] * 30, of=256)))
        assert not is_skewed(PairedCounts.of(counts(*[32] * 30, of=64), counts(*[128] * 30, of=256)))
