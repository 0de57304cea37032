"""Health beside pass@1: rates against the baseline's, under the harness's noise."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_r1eval.core.baselines import HealthCounts
from pytest_r1eval.core.thinking import ThoughtCounts
from pytest_r1eval.stats.health import (
    NO_ANSWER,
    TRUNCATION,
    HealthLimit,
    HealthLimits,
    added_health,
    is_sick,
    judge_health,
    judge_rate,
)
from pytest_r1eval.stats.multiplicity import family_wise_error
from pytest_r1eval.stats.tests import Rate
from pytest_r1eval.stats.verdicts import CHANGED_HARNESS_TAU, GateRule, Verdict

ALPHA = GateRule().alpha


def health_counts(n_truncated: int, *, n_tokens: int = 19_200) -> HealthCounts:
    """An AIME run of 1,920 responses."""
    return HealthCounts(n_samples=1920, n_truncated=n_truncated, n_no_answer=0, n_tokens=n_tokens)


def test_harness_noise_is_part_of_the_test() -> None:
    """Ten truncated responses of 1,920 against none fail within one harness and pass across two."""
    same, other = (
        judge_health(health_counts(10), baseline=health_counts(0), alpha=ALPHA, tau=tau)
        for tau in (0.0, CHANGED_HARNESS_TAU)
    )

    assert same.truncation.verdict is Verdict.FAIL_REGRESSED
    assert other.truncation.verdict is Verdict.PASS


def test_much_truncation_is_red_across_harnesses_too() -> None:
    """Ten points of truncation fail the health test across harnesses too."""
    judged = judge_health(health_counts(192), baseline=health_counts(0), alpha=ALPHA, tau=CHANGED_HARNESS_TAU)

    assert not judged.passes


def test_a_baseline_without_tokens_is_a_warning() -> None:
    """A baseline without counts of tokens passes health with a warning that lengths are not compared."""
    judged = judge_health(health_counts(0), baseline=health_counts(0, n_tokens=0), alpha=ALPHA)

    assert judged.passes
    assert judged.warnings == ("The baseline counts no tokens, so the lengths of responses are not compared.",)


def test_thoughts_and_answers_have_means_of_their_own() -> None:
    """Health has means of thoughts for run and baseline, unknown where a part did not tell thoughts apart."""
    counts = replace(health_counts(0), thoughts=ThoughtCounts(n_tokens=9_600, n_unfinished=3))
    judged = judge_health(counts, baseline=counts, alpha=ALPHA)
    assert (judged.mean_tokens, judged.mean_thought_tokens, judged.baseline_mean_thought_tokens) == (10, 5, 5)
    assert judged.n_unfinished_thoughts == 3

    unknown = judge_health(added_health([counts, health_counts(0)]), baseline=health_counts(0), alpha=ALPHA)
    assert (unknown.mean_tokens, unknown.mean_thought_tokens, unknown.n_unfinished_thoughts) == (10, None, None)
    assert unknown.baseline_mean_thought_tokens is None
    assert added_health([counts, counts]).thoughts == ThoughtCounts(n_tokens=19_200, n_unfinished=6)


def test_only_tests_against_a_baseline_can_be_chance() -> None:
    """Health tests count as chance only against a baseline, and four benchmarks then risk .016 at most."""
    compared = judge_health(health_counts(0), baseline=health_counts(0), alpha=ALPHA)
    alone = judge_health(health_counts(0), baseline=None, alpha=ALPHA)

    assert (compared.n_tests, alone.n_tests) == (2, 0)
    assert family_wise_error(ALPHA, 4 * (1 + compared.n_tests)) == pytest.approx(0.016, abs=2e-4)


class TestHealth:
    """Rates of unhealthy responses."""

    def test_more_truncation_than_the_baseline_fails(self) -> None:
        """More truncated responses than the baseline's fail a test of their own, with a reason of its own."""
        judged = judge_rate(
            Rate(n_events=300, n_responses=1920),
            limit=TRUNCATION,
            alpha=ALPHA,
            baseline=Rate(n_events=60, n_responses=1920),
        )

        assert judged.verdict is Verdict.FAIL_REGRESSED
        assert judged.reason.startswith("15.6 % of the responses were truncated, 3.1 % in the baseline")

    def test_truncation_that_was_always_there_passes_with_a_warning(self) -> None:
        """Truncation as frequent as the baseline's passes with a warning."""
        rate = Rate(n_events=600, n_responses=1920)

        judged = judge_rate(rate, limit=TRUNCATION, alpha=ALPHA, baseline=rate)

        assert judged.verdict is Verdict.PASS
        assert judged.warnings == ("More than 15 % of the responses were truncated, in the baseline too.",)

    @pytest.mark.parametrize(("events", "verdict"), [(365, Verdict.FAIL_REGRESSED), (288, Verdict.PASS)])
    def test_without_a_baseline_the_limit_decides(self, events: int, verdict: Verdict) -> None:
        """Without a baseline 19 % of responses without an answer fail the health test, and 15 % pass it."""
        judged = judge_rate(Rate(n_events=events, n_responses=1920), limit=NO_ANSWER, alpha=ALPHA)

        assert judged.verdict is verdict
        assert judged.p_value is None

    def test_impossible_limit_is_refused(self) -> None:
        """A health limit above 1 is refused, because it is a fraction."""
        with pytest.raises(ValueError, match="the limit is"):
            HealthLimit(name="anything", limit=15)


class TestOwnLimits:
    """A limit that a person set fails beside a baseline too."""

    LIMITS = HealthLimits.of(max_truncated=0.05, max_no_answer=None)

    @pytest.mark.parametrize(("n_truncated", "passes"), [(96, True), (97, False)])
    def test_a_rate_above_it_fails_whatever_the_baseline_has(self, *, n_truncated: int, passes: bool) -> None:
        """A rate above a limit that was set fails although the baseline's is as large; the other limit is the usual."""
        counts = health_counts(n_truncated)
        judged = judge_health(counts, baseline=counts, alpha=ALPHA, limits=self.LIMITS)
        assert judged.passes is passes
        assert judged.truncation.reason.endswith("At most 5 % may.")
        assert judged.no_answer.limit == NO_ANSWER
        assert judge_health(counts, baseline=counts, alpha=ALPHA).passes

    def test_looks_stop_by_it(self) -> None:
        """A look stops where a limit that was set is shown to be exceeded, beside a baseline too."""
        counts = health_counts(300)
        assert is_sick(counts, baseline=counts, alpha=ALPHA, limits=self.LIMITS)
        assert not is_sick(counts, baseline=counts, alpha=ALPHA)
        assert not is_sick(health_counts(100), baseline=counts, alpha=ALPHA, limits=self.LIMITS)
