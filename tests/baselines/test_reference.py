"""What a run is compared with: noise that more samples do not remove."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from pytest_r1eval.baselines.reference import (
    check_same_sampling,
    health_reference,
    own_noise,
    reference_for,
    unstated_sampling,
    widened,
)
from pytest_r1eval.baselines.shelf import FoundBaseline
from pytest_r1eval.core.baselines import HealthCounts, MeasuredBaseline, PublishedBaseline, PublishedSampling
from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.core.records import Counts
from pytest_r1eval.errors import BaselineError
from pytest_r1eval.judging.diagnostics import with_diagnostics
from pytest_r1eval.judging.result import GateResult
from pytest_r1eval.sampling.planning import check_comparable
from pytest_r1eval.stats.tests import paired_test
from pytest_r1eval.stats.verdicts import GateRule, Tau, judge_measured
from tests.made_up_baselines import MEASURED, PUBLISHED
from tests.toys import BUILT_IN_BY_NAME

CORRELATION = 0.02
N_REPLICATES = 3000
SAME = Tau(value=0.0, source="the fingerprints are equal")


def moving_run(rng: np.random.Generator, means: np.ndarray[tuple[int], np.dtype[np.float64]], *, k: int = 64) -> Counts:
    """Draw a run whose solve rates have moved, by an intra-class correlation of .02."""
    size = 1 / CORRELATION - 1
    drawn = rng.binomial(k, rng.beta(means * size, (1 - means) * size))
    return Counts.from_rows((f"p{number}", int(correct), k) for number, correct in enumerate(drawn))


def recorded(counts: Counts, *, correlation: float | None) -> MeasuredBaseline:
    """Make a baseline of counts."""
    health = HealthCounts(n_samples=counts.n_samples, n_truncated=0, n_no_answer=0, n_tokens=1)
    return replace(MEASURED, counts=counts, health=health, correlation=correlation)


def test_a_model_that_moves_from_run_to_run_keeps_its_error_rate_where_that_was_recorded() -> None:
    """
    A gate that knows the correlation of runs keeps its error rate.

    At AIME's size a correlation of .02 otherwise makes 2.3 % false alarms in place of .135 %.
    """
    rng = np.random.default_rng(7)
    means = rng.uniform(0.15, 0.85, size=30)
    blind = aware = 0
    for _ in range(N_REPLICATES):
        baseline, candidate = moving_run(rng, means), moving_run(rng, means)
        noise = own_noise(recorded(baseline, correlation=CORRELATION))
        blind += paired_test(candidate, baseline).z <= -3
        aware += paired_test(candidate, baseline, tau=noise).z <= -3
    assert blind / N_REPLICATES == pytest.approx(0.023, abs=0.009)
    assert aware / N_REPLICATES < 0.005


def test_rates_take_the_harnesss_noise_alone() -> None:
    """Noise of the baseline's own runs widens the gate of pass@1, not the health test of truncation."""
    baseline = replace(
        recorded(Counts.from_rows((f"p{i}", 32, 64) for i in range(30)), correlation=CORRELATION),
        health=HealthCounts(n_samples=1920, n_truncated=0, n_no_answer=0, n_tokens=1920),
    )
    tau = widened(SAME, baseline)
    judged = judge_measured(baseline.counts, baseline.counts, tau=tau, rule=GateRule())
    result = with_diagnostics(
        GateResult(benchmark="aime24", judgement=judged, baseline="x"),
        observed=replace(baseline.health, n_truncated=10),
        counts=baseline.counts,
        baseline=baseline,
        health=health_reference(FoundBaseline(baseline=baseline, source="x"), tau),
        alpha=GateRule().alpha,
        ungraded=None,
    )
    assert tau.value > 0.01
    assert result.health is not None
    assert not result.health.passes


@pytest.mark.parametrize("correlation", [None, 0.0])
def test_a_baseline_of_runs_that_do_not_move_adds_nothing(correlation: float | None) -> None:
    """A baseline of runs that do not move, or of a single run, adds no noise."""
    baseline = recorded(Counts.from_rows([("p", 32, 64)]), correlation=correlation)
    assert own_noise(baseline) == 0
    assert widened(SAME, baseline) == SAME


def test_it_is_added_to_harness_noise_and_said() -> None:
    """Noise of the baseline's own runs adds to harness noise in squares, and tau's source names both reasons."""
    baseline = recorded(Counts.from_rows([("p", 32, 64)]), correlation=0.02)
    found = widened(Tau(value=0.006, source="the fingerprints differ in harness.device"), baseline)
    assert found.value == pytest.approx(np.hypot(0.006, own_noise(baseline)))
    assert found.source == (
        "the fingerprints differ in harness.device, and runs of the baseline's checkpoint move beyond sampling "
        "(rho = 0.02)"
    )


class TestSamplingOfAPublishedNumber:
    """A number is only comparable with responses drawn as its source drew them."""

    STATED = replace(PUBLISHED, sampling=PublishedSampling(temperature=0.6, top_p=0.95, max_new_tokens=32768))

    def found(self, number: PublishedBaseline) -> FoundBaseline:
        """Find it."""
        return FoundBaseline(baseline=number, source="a paper")

    @pytest.mark.parametrize("sampling", [Sampling(temperature=1.3), Sampling(top_p=0.8)])
    def test_another_one_is_refused(self, sampling: Sampling) -> None:
        """A sampling other than the source's is refused before the first token and at the verdict, with both values."""
        question = replace(MEASURED.fingerprint.question, sampling=sampling)
        fingerprint = replace(MEASURED.fingerprint, question=question)
        here = f"{sampling.temperature:g} and {sampling.top_p:g} here"
        expected = re.escape(f"asked something else: temperature 0.6 and top-p 0.95 in the source, {here}. ")

        with pytest.raises(BaselineError, match=expected):
            reference_for(BUILT_IN_BY_NAME["aime24"], self.found(self.STATED), fingerprint=fingerprint)
        with pytest.raises(BaselineError, match=expected):
            check_comparable(question, self.found(self.STATED), model=fingerprint.model, is_subset=False)

    def test_room_for_a_response_is_the_runs_own_matter(self) -> None:
        """A response limit that differs from the source's is accepted, because health counts truncation."""
        check_same_sampling(Sampling(max_new_tokens=1024), self.STATED, self.found(self.STATED))

    def test_an_unusual_one_beside_a_source_that_states_none(self) -> None:
        """An unusual sampling beside a source that states none is a warning; the usual sampling is not."""
        silent = replace(self.STATED, sampling=None)

        warning = unstated_sampling(Sampling(temperature=1.3), silent)

        assert warning is not None
        assert warning.startswith("The source names no sampling: 0.6 and 0.95 are usual")
        assert warning.endswith("this run has 1.3 and 0.95. It may have been asked something else.")
        assert unstated_sampling(Sampling(), silent) is None
        assert unstated_sampling(Sampling(temperature=1.3), self.STATED) is None
