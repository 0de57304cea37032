"""Two models' log-probabilities are bitwise equal, equal within rounding, or different at a named place."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_r1eval.stats.sameness import Gap, RoundingBounds, Sameness, compared_scores

BF16 = RoundingBounds.of("bfloat16")
VALUES = [[-0.5, -1.5, -2.5], [-0.25]]


class TestBounds:
    """What rounding explains follows from the number format alone."""

    @pytest.mark.parametrize(
        ("dtypes", "largest", "root_mean_square"),
        [
            (("bfloat16",), 0.5, 0.109375),
            (("float16",), 0.0625, 0.013671875),
            (("float32",), 64 * 128 * 2**-24, 64 * 28 * 2**-24),
            (("float32", "bfloat16"), 0.5, 0.109375),
            (("float16", "float32"), 0.0625, 0.013671875),
            (("server",), 0.5, 0.109375),
        ],
    )
    def test_of_each_format(self, dtypes: tuple[str, ...], largest: float, root_mean_square: float) -> None:
        """The coarser of two formats decides, and one that is not told counts as bfloat16."""
        bounds = RoundingBounds.of(*dtypes)
        assert (bounds.largest, bounds.root_mean_square) == (largest, root_mean_square)

    def test_rounded_logits_stay_within(self) -> None:
        """Logits that are rounded to bfloat16 twice, each way, move no log-probability beyond the bounds."""
        rng = np.random.default_rng(7)
        logits = np.clip(rng.normal(0, 6, (400, 500)), -32, 32)

        def scores(seed: int) -> list[list[float]]:
            unit = np.random.default_rng(seed).uniform(-1, 1, logits.shape) * 2.0**-8
            rounded = logits * (1 + unit)
            return [(rounded[:, 0] - np.log(np.exp(rounded).sum(axis=1))).tolist()]

        found = compared_scores(scores(1), scores(2), bounds=BF16)
        assert found.sameness is Sameness.ROUNDING
        assert found.root_mean_square > BF16.root_mean_square / 4


class TestComparison:
    """What is found in two lists of scores."""

    def test_the_same_numbers(self) -> None:
        """Equal numbers are bitwise equal, and have no gap."""
        found = compared_scores(VALUES, VALUES, bounds=BF16)
        assert (found.sameness, found.n_tokens, found.n_unequal) == (Sameness.BITWISE, 4, 0)
        assert found.largest is None
        assert found.root_mean_square == 0

    def test_the_last_bit(self) -> None:
        """A difference in the last bit is rounding, and no longer bitwise."""
        other = [[-0.5, math.nextafter(-1.5, 0), -2.5], [-0.25]]
        found = compared_scores(VALUES, other, bounds=BF16)
        assert found.sameness is Sameness.ROUNDING
        assert found.largest == Gap(prompt=1, position=2, a=-1.5, b=math.nextafter(-1.5, 0))

    def test_one_large_gap(self) -> None:
        """One gap beyond the bound makes two models different, and its place and values are named."""
        many, other = [[-1.0] * 999, [-1.0] * 5], [[-1.0] * 999, [-1.0, -1.0, -1.0, -1.6, -1.0]]
        found = compared_scores(many, other, bounds=BF16)
        assert found.sameness is Sameness.DIFFERENT
        assert found.largest == Gap(prompt=2, position=4, a=-1.0, b=-1.6)
        assert found.root_mean_square < BF16.root_mean_square

    def test_many_small_gaps(self) -> None:
        """A shift of all tokens that is too small for the largest gap's bound is found by the root mean square."""
        found = compared_scores([[-1.0] * 50], [[-1.2] * 50], bounds=BF16)
        assert found.sameness is Sameness.DIFFERENT
        assert found.largest is not None
        assert found.largest.size < BF16.largest
        assert found.root_mean_square == pytest.approx(0.2)

    def test_the_common_part_of_a_cut_prompt(self) -> None:
        """A prompt that one model's context cuts is compared as far as both have scored it."""
        found = compared_scores(VALUES, [[-0.5, -1.5], [-0.25]], bounds=BF16)
        assert (found.sameness, found.n_tokens) == (Sameness.BITWISE, 3)

    @pytest.mark.parametrize("values", [[[], []], [[math.nan, -1.5, -2.5], [-0.25]], [[-math.inf] * 3, [-0.25]]])
    def test_nothing_to_compare(self, values: list[list[float]]) -> None:
        """No scores, or one that is not finite, is an error and never the same."""
        with pytest.raises(ValueError, match="missing or not finite"):
            compared_scores(VALUES, values, bounds=BF16)
