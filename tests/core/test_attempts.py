"""Further attempts: what is said of them, and what a second chance would be worth."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_r1eval.core.attempts import Attempt, Attempts
from pytest_r1eval.stats.pairs import Floats

N_REPLICATES = 2_000_000
FIRST = Attempt(
    number=1, run="evals/a/b/r1", verdict="FAIL_REGRESSED", passes=False, judged="2026-01-01T00:00:00+00:00"
)


def z_of_attempts(fall: float, *, n_attempts: int, all_samples: bool) -> Floats:
    """Draw the z of each attempt in normal theory, candidate and baseline of one size; shape (attempts, replicates)."""
    rng = np.random.default_rng(20261129)
    baseline = rng.normal(size=N_REPLICATES)
    drawn = rng.normal(loc=-fall, size=(n_attempts, N_REPLICATES))
    number = np.arange(1, n_attempts + 1)[:, None]
    if all_samples:
        return np.asarray((drawn.cumsum(axis=0) / number - baseline) / np.sqrt(1 / number + 1))
    return np.asarray((drawn - baseline) / np.sqrt(2))


def passes_within(z: Floats) -> list[float]:
    """Return the probability that one of the first 1, 2, ... attempts is no FAIL at 3 sigma."""
    return [float(np.mean((z[:count] > -3).any(axis=0))) for count in range(1, len(z) + 1)]


@pytest.mark.parametrize(("all_samples", "expected"), [(True, [0.100, 0.103, 0.103]), (False, [0.100, 0.168, 0.219])])
def test_a_second_chance_is_worth_nothing_where_all_samples_count(
    *,
    all_samples: bool,
    expected: list[float],
) -> None:
    """
    Three attempts judged on all samples pass a fall as often as one gate does.

    Judged alone, one of the three passes it with .22 instead of .10.
    """
    fall = (3 + 1.2815515655446004) * np.sqrt(2)
    found = passes_within(z_of_attempts(fall, n_attempts=3, all_samples=all_samples))
    assert found == pytest.approx(expected, abs=0.0015)


def test_a_false_alarm_is_lifted_by_a_second_attempt_in_most_cases() -> None:
    """A second attempt turns about five in eight false alarms green when the samples of both count."""
    first, second = z_of_attempts(0.0, n_attempts=2, all_samples=True)
    alarms = first <= -3
    assert float(np.mean(second[alarms] > -3)) == pytest.approx(0.620, abs=0.03)


class TestLines:
    def test_a_first_attempt_says_where_it_looked(self) -> None:
        """A first attempt names the folder in which it looked for earlier verdicts."""
        assert Attempts(number=1, ledger="data/evals").lines == (
            "attempt 1; no earlier verdict on this checkpoint and question is visible in data/evals",
        )

    def test_a_second_names_the_first_verdict(self) -> None:
        """A second attempt names the first verdict and the samples that it rests on."""
        (line,) = Attempts(number=2, ledger="data/evals", earlier=(FIRST,), n_added=1, n_samples=960).lines
        assert line == (
            "attempt 2 on these weights, judged on the 960 samples of all 2 attempts; the first verdict was "
            "FAIL_REGRESSED (run evals/a/b/r1)"
        )

    def test_a_stored_verdict_says_that_nothing_was_drawn(self) -> None:
        """A stored verdict names the run that holds it and the option for another attempt."""
        (line,) = Attempts(number=1, ledger="data/evals", stored=FIRST).lines
        assert line.startswith("stored: judged before, in run evals/a/b/r1 (2026-01-01T00:00:00+00:00); ")
        assert "--r1-fresh draws again" in line
