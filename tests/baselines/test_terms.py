"""By what one benchmark is judged: a margin as a part of the baseline's score."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_r1eval.baselines.shelf import BaselineShelf, FoundBaseline
from pytest_r1eval.baselines.terms import Terms
from pytest_r1eval.stats.verdicts import GateRule
from tests.made_up_baselines import PUBLISHED, measured

SHELF = BaselineShelf(root=Path(), choice=None, model_name="a/b")


@pytest.mark.parametrize(
    ("margin", "relative", "expected"),
    [(None, None, None), (0.03, None, 0.03), (None, 0.1, 0.025), (0.03, 0.1, 0.025), (0.02, 0.1, 0.02)],
)
def test_the_smaller_margin_counts(margin: float | None, relative: float | None, expected: float | None) -> None:
    """Of a margin in points and one in percent of the baseline's pass@1 the smaller one counts."""
    terms = Terms(shelf=SHELF, rule=GateRule(margin=margin), relative_margin=relative)
    assert terms.rule_against(measured((2, 8), (2, 8))).margin == (
        None if expected is None else pytest.approx(expected)
    )


def test_a_published_number_and_a_baseline_at_zero() -> None:
    """A published number has a relative margin too, and a baseline that solves nothing has none."""
    terms = Terms(shelf=SHELF, rule=GateRule(), relative_margin=0.1)
    assert terms.rule_against(FoundBaseline(baseline=PUBLISHED, source="a table")).margin == pytest.approx(0.0555)
    assert terms.rule_against(measured((0, 8), (0, 8))).margin is None
    assert terms.rule_against(None).margin is None
