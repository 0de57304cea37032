"""
Whether two models gave a text the same log-probabilities: bitwise, within rounding, or not.

A log-probability is l = z - logsumexp(z') of the logits z'. An engine keeps a logit in the computation's number format.
With u the unit roundoff, rounding moves z by up to u |z|, and logsumexp by up to u max |z'|. Logits are up to Z = 32
in size here. One evaluation is then off by up to 2 Z u, and the gap of two by up to 4 Z u = 128 u. That is the bound on
the largest gap.

The bound on the root mean square, 28 u, finds a small change of all weights. A rounding error is spread evenly over
+-u |z|, so its SD is u |z| / sqrt(3). Take a logit of 10 for the token, and one of 20 for the likeliest token, which
rules logsumexp. Two evaluations then give u sqrt(2 / 3) sqrt(10^2 + 20^2) = 18 u. The
roundings of the layers before come on top: a real model in bfloat16, and in float16, is 21 u from itself in float32.

bfloat16 and float16 are summed in float32, so nothing is added there. A computation in float32 sums in its own format:
K products are off by about sqrt(K) roundings, 64 for K = 4,096. Both bounds grow by that.

docs/how-to/same.md has what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

UNIT_ROUNDOFF = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "float32": 2.0**-24}
"""Half the distance from 1 to the next number."""
LARGEST = 128
ROOT_MEAN_SQUARE = 28
SUMMED = 64
"""sqrt(4,096), the roundings in a sum of that many products in float32."""


class Sameness(StrEnum):
    """What two models' scores say."""

    BITWISE = "bitwise equal"
    ROUNDING = "equal within rounding"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundingBounds:
    """
    What rounding explains, nats.

    Attributes:
        dtype: The coarser number format of the two.
        largest: The largest gap.
        root_mean_square: The root mean square of all gaps.
    """

    dtype: str
    largest: float
    root_mean_square: float

    @classmethod
    def of(cls, *dtypes: str) -> RoundingBounds:
        """Return the bounds of the coarsest format; one that is not known counts as bfloat16."""
        units = [(UNIT_ROUNDOFF.get(dtype, UNIT_ROUNDOFF["bfloat16"]), dtype) for dtype in dtypes]
        unit, dtype = max(units)
        scale = unit * (SUMMED if unit == UNIT_ROUNDOFF["float32"] else 1)
        return cls(dtype=dtype, largest=LARGEST * scale, root_mean_square=ROOT_MEAN_SQUARE * scale)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """
    The two values of one token.

    Attributes:
        prompt: Which prompt, from 1.
        position: The token's position in it, from 0.
        a: Its log-probability by A, nats.
        b: That by B.
    """

    prompt: int
    position: int
    a: float
    b: float

    @property
    def size(self) -> float:
        """How far the two are apart, nats."""
        return abs(self.a - self.b)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreComparison:
    """
    Two models' scores compared.

    Attributes:
        sameness: What they say.
        n_tokens: Tokens that both have scored.
        n_unequal: Of these, with two values.
        root_mean_square: Of the gaps, nats.
        largest: The largest gap; None where there is none.
        bounds: What rounding explains.
    """

    sameness: Sameness
    n_tokens: int
    n_unequal: int
    root_mean_square: float
    largest: Gap | None
    bounds: RoundingBounds


def compared_scores(
    a: Sequence[Sequence[float]], b: Sequence[Sequence[float]], *, bounds: RoundingBounds
) -> ScoreComparison:
    """
    Compare two models' log-probabilities of the same tokens.

    Args:
        a: For each prompt those of its tokens after the first, finite.
        b: The same by the other model; of a prompt that one of them cuts the common part counts.
        bounds: What rounding explains.

    Raises:
        ValueError: If there is nothing to compare, or a value is not finite.
    """
    gaps = [
        Gap(prompt=number, position=position, a=ours, b=theirs)
        for number, pair in enumerate(zip(a, b, strict=True), start=1)
        for position, (ours, theirs) in enumerate(zip(*pair, strict=False), start=1)
    ]
    if not gaps or not all(math.isfinite(gap.a) and math.isfinite(gap.b) for gap in gaps):
        raise ValueError("log-probabilities are missing or not finite; expected a number for each token")
    unequal = [gap for gap in gaps if gap.a != gap.b]
    largest = max(unequal, key=lambda gap: gap.size, default=None)
    root_mean_square = math.sqrt(math.fsum(gap.size**2 for gap in unequal) / len(gaps))
    sameness = Sameness.BITWISE
    if largest is not None:
        within = largest.size <= bounds.largest and root_mean_square <= bounds.root_mean_square
        sameness = Sameness.ROUNDING if within else Sameness.DIFFERENT
    return ScoreComparison(
        sameness=sameness,
        n_tokens=len(gaps),
        n_unequal=len(unequal),
        root_mean_square=root_mean_square,
        largest=largest,
        bounds=bounds,
    )
