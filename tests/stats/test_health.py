"""Health beside pass@1: rates against the baseline's, under the harness's noise."""

from __future__ import annotations

import pytest

from pytest_r1eval.core.baselines import HealthCounts
from pytest_r1eval.stats.health import judge_health
from pytest_r1eval.stats.multiplicity import family_wise_error
from pytest_r1eval.stats.verdicts import CHANGED_HARNESS_TAU, GateRule, Verdict


def health_counts(n_truncated: int, *, n_tokens: int = 19_200) -> HealthCounts:
    """An AIME run of 1,920 responses."""
    return HealthCounts(n_samples=1920, n_truncated=n_truncated, n_no_answer=0, n_tokens=n_tokens)


def test_harness_noise_is_part_of_the_test() -> None:
    """Ten truncated responses of 1,920 against none are red on one GPU model, and green across two."""
    same, other = (
        judge_health(health_counts(10), baseline=health_counts(0), rule=GateRule(), tau=tau)
        for tau in (0.0, CHANGED_HARNESS_TAU)
    )

    assert same.truncation.verdict is Verdict.FAIL_REGRESSED
    assert other.truncation.verdict is Verdict.PASS


def test_much_truncation_is_red_across_harnesses_too() -> None:
    """Noise forgives half a point, not ten."""
    judged = judge_health(health_counts(192), baseline=health_counts(0), rule=GateRule(), tau=CHANGED_HARNESS_TAU)

    assert not judged.passes


def test_a_baseline_without_tokens_is_a_warning() -> None:
    """A server that counts no tokens recorded it: lengths cannot be compared, everything else can."""
    judged = judge_health(health_counts(0), baseline=health_counts(0, n_tokens=0), rule=GateRule())

    assert judged.passes
    assert judged.warnings == ("The baseline counts no tokens, so the lengths of responses are not compared.",)


def test_only_tests_against_a_baseline_can_be_chance() -> None:
    """Four benchmarks with two health tests each turn an unchanged model red with .016 at most."""
    compared = judge_health(health_counts(0), baseline=health_counts(0), rule=GateRule())
    alone = judge_health(health_counts(0), baseline=None, rule=GateRule())

    assert (compared.n_tests, alone.n_tests) == (2, 0)
    assert family_wise_error(GateRule().alpha, 4 * (1 + compared.n_tests)) == pytest.approx(0.016, abs=2e-4)
