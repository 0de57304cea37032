"""What one run measured, and the baseline that is recorded from it."""

from __future__ import annotations

from dataclasses import replace

from pytest_r1eval.core.measurements import Measurement
from tests.made_up_baselines import MEASURED


def test_a_baseline_of_a_run_holds_what_the_run_measured() -> None:
    """Recording adds a reason and loses nothing."""
    measured = Measurement.of(MEASURED)
    recorded = measured.as_baseline(reason="the first release")
    assert Measurement.of(recorded) == measured
    assert recorded == replace(MEASURED, history=(), correlation=None, reason="the first release")
    assert measured.evidence == MEASURED.evidence
