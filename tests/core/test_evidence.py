"""Whether two numbers rest on samples of their own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_r1eval.core.evidence import Evidence
from pytest_r1eval.core.fingerprints import ModelIdentity

MODEL = ModelIdentity(weights="w", tokenizer="t", chat_template="c", checkpoint="all")
ONE = Evidence(model=MODEL, seeds=(1,))
EDITED = replace(MODEL, checkpoint="another config.json")
OTHER = replace(MODEL, weights="v", checkpoint="other weights")


@pytest.mark.parametrize(
    ("other", "overlaps", "shares_draws", "shares_weights"),
    [
        (ONE, True, True, True),
        (Evidence(model=MODEL, seeds=(2, 1)), True, True, True),
        (Evidence(model=MODEL, seeds=(2, 3)), False, False, True),
        (Evidence(model=EDITED, seeds=(1,)), False, True, True),
        (Evidence(model=OTHER, seeds=(1,)), False, False, False),
    ],
    ids=["itself", "one seed of two", "other seeds", "an edited config", "other weights"],
)
def test_the_checkpoint_and_the_seeds_decide(
    other: Evidence, *, overlaps: bool, shares_draws: bool, shares_weights: bool
) -> None:
    """Two runs overlap where checkpoint and a seed are equal, and share draws where weights and a seed are."""
    assert (ONE.overlaps(other), other.overlaps(ONE)) == (overlaps, overlaps)
    assert ONE.shares_draws(other) == shares_draws
    assert ONE.shares_weights(other) == shares_weights
