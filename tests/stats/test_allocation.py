"""How many samples of each problem are drawn, and the test at a look, against the specification's golden numbers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_r1eval.core.records import Counts
from pytest_r1eval.stats.allocation import (
    Allocation,
    AllocationRule,
    Prior,
    Shares,
    allocated_test,
    allocated_variances,
    allocated_z,
    allocated_z_range,
    offsets,
)
from pytest_r1eval.stats.pairs import PairedCounts
from pytest_r1eval.stats.tests import paired_test
from tests.stats.examples import AIME_BASELINE, pairs

RULE = AllocationRule()
PRIOR = Prior(a=0.4, b=0.3)


def formula(pair: PairedCounts, prior: Prior) -> dict[str, float]:
    """The three variances of a look as the specification writes them, problem by problem."""
    n, found = len(pair.x), {"pooled": 0.0, "shrunk": 0.0, "apart": 0.0}
    for x, k, y, b in zip(pair.x, pair.k, pair.y, pair.k_b, strict=True):
        m, t = k + b, x + y
        rt = t / m
        right, wrong = prior.a + t, prior.b + m - t
        v = right * wrong / ((right + wrong) * (right + wrong + 1))
        q, s = (x + rt) / (k + 1), (y + rt) / (b + 1)
        found["pooled"] += rt * (1 - rt) * m / (m - 1) * (1 / k + 1 / b) / n**2
        found["shrunk"] += v * (1 / k + 1 / b) / n**2
        found["apart"] += (q * (1 - q) * (k + 1) / k**2 + s * (1 - s) / b) / n**2
    return found


def addend(pair: PairedCounts) -> float:
    """One pseudo-discordant response."""
    h = [len(pair.k) / np.sum(1 / each) for each in (pair.k, pair.k_b, pair.k + pair.k_b)]
    return float((1 / h[0] + 1 / h[1]) / (len(pair.k) * h[2]) / len(pair.k))


class TestShares:
    """From the baseline's counts to shares."""

    def test_prior(self) -> None:
        """The prior of the golden baseline comes out (A01)."""
        prior = Prior.of(AIME_BASELINE, rule=RULE)

        assert (prior.a, prior.b) == pytest.approx((0.4362791064592375, 0.3280054596007407), abs=1e-15)

    def test_posterior_mean(self) -> None:
        """The posterior mean of a problem that was always solved comes out (A02)."""
        rates = Prior.of(AIME_BASELINE, rule=RULE).rates(np.array([64.0]), np.array([64.0]))

        assert rates[0] == pytest.approx(0.9949353959238726, abs=1e-15)

    def test_offsets(self) -> None:
        """The parts of a sample come out (A03): they follow the hashes of the ids, not the exam's order."""
        found = offsets(AIME_BASELINE.ids)

        assert found[:3] == pytest.approx([0.65, 0.85, 0.0833333], abs=1e-7)
        assert offsets(AIME_BASELINE.ids[::-1])[::-1] == pytest.approx(found)

    def test_share_of_an_always_solved_problem(self) -> None:
        """An always solved problem has the share of its variance after a fall (A04)."""
        shares = Shares(AIME_BASELINE, rule=RULE, tau=0.0)

        assert shares.after_fall[0] == pytest.approx(0.093563674898679, abs=1e-15)
        assert shares.shares[0] == pytest.approx(0.6167316576, abs=1e-10)

    def test_unanimous_baselines_have_shares(self) -> None:
        """A baseline without any spread within problems gives a finite prior and every problem a share."""
        unanimous = Counts.from_rows((f"p{i}", 8 * (i % 2), 8) for i in range(20))

        shares = Shares(unanimous, rule=RULE, tau=0.0).shares

        assert shares.min() >= RULE.floor
        assert shares.max() == 1


class TestRounds:
    """From shares to whole numbers of samples."""

    @settings(max_examples=40, deadline=None)
    @given(
        correct=st.lists(st.integers(0, 8), min_size=20, max_size=40),
        n_samples=st.integers(1, 64),
        size=st.integers(-64, 128),
    )
    def test_rounds_ascend_and_leave_nothing_out(self, correct: list[int], n_samples: int, size: int) -> None:
        """Every problem has a sample from the first round on, and never fewer than before."""
        baseline = Counts.from_rows((f"p{i}", y, 8) for i, y in enumerate(correct))

        rounds = np.array(Shares(baseline, rule=RULE, tau=0.0).allocation(n_samples, size).rounds)

        assert rounds.min() >= 1
        assert np.all(np.diff(rounds, axis=0) >= 0)
        assert np.all(np.diff(rounds.sum(axis=1)) > 0)

    def test_the_last_look_takes_the_place_of_one_that_is_as_good(self) -> None:
        """A last look that adds less than a hundredth of information replaces the look before it."""
        shares = Shares(AIME_BASELINE, rule=dataclasses.replace(RULE, fractions=(0.5, 0.99, 1.0)), tau=0.0)

        allocation = shares.allocation(64, 0)

        whole = dataclasses.replace(RULE, fractions=(0.5, 1.0))
        assert allocation.rounds == Shares(AIME_BASELINE, rule=whole, tau=0.0).allocation(64, 0).rounds

    def test_rounds_and_information_belong_together(self) -> None:
        """An allocation without rounds is refused."""
        with pytest.raises(ValueError, match="0 rounds, and the information of 1"):
            Allocation(rule=RULE, prior=PRIOR, size=0, problem_ids=(), rounds=(), information=(1.0,))


class TestStatistic:
    """What a look decides on."""

    @settings(max_examples=100, deadline=None)
    @given(pair=pairs(), tau=st.sampled_from([0.0, 0.006]))
    def test_follows_the_formula(self, pair: tuple[Counts, Counts], tau: float) -> None:
        """The variance is the largest of pooled, shrunk and apart, with the pseudo-response and tau."""
        each = PairedCounts.of(*pair)
        expected = max(formula(each, PRIOR).values()) + addend(each) + tau**2

        found = allocated_test(*pair, prior=PRIOR, tau=tau)

        assert found.standard_error**2 == pytest.approx(expected)
        assert found.z == pytest.approx(each.difference / expected**0.5)
        assert not found.exact

    @pytest.mark.parametrize(
        ("decides", "x", "y"),
        [
            ("pooled", [16, 16, 0, 0], [12, 12, 52, 52]),
            ("shrunk", [16, 16, 0, 0], [64, 64, 0, 0]),
            ("apart", [8, 9, 7, 8], [32, 30, 33, 31]),
        ],
    )
    def test_each_variance_may_decide(self, decides: str, x: list[int], y: list[int]) -> None:
        """Each of the three variances is the largest on some pair of runs (A17: also the one for runs apart)."""
        ours = Counts.from_rows((f"p{i}", correct, 16) for i, correct in enumerate(x))
        pair = PairedCounts.of(ours, Counts.from_rows((f"p{i}", correct, 64) for i, correct in enumerate(y)))
        found = formula(pair, PRIOR)

        assert max(found, key=lambda name: found[name]) == decides
        assert float(allocated_variances(pair, pair, prior=PRIOR)[0]) == pytest.approx(found[decides] + addend(pair))

    @settings(max_examples=100, deadline=None)
    @given(pair=pairs())
    def test_is_never_bolder_than_the_paired_test(self, pair: tuple[Counts, Counts]) -> None:
        """The error is never smaller than that of the paired test, which pools alone."""
        assert allocated_test(*pair, prior=PRIOR).standard_error >= paired_test(*pair).standard_error - 1e-12

    def test_many_runs_at_once_are_as_one_by_one(self) -> None:
        """The z of many runs at once is that of each alone: simulations go through the gate's own statistic."""
        rng = np.random.default_rng(3)
        k, k_b = rng.integers(1, 20, 12).astype(float), np.full(12, 16.0)
        x, y = rng.binomial(k.astype(int), 0.6, (5, 12)).astype(float), rng.binomial(16, 0.6, 12).astype(float)

        together = allocated_z(PairedCounts(x=x, k=k, y=y, k_b=k_b), prior=PRIOR)

        alone = [float(allocated_z(PairedCounts(x=row, k=k, y=y, k_b=k_b), prior=PRIOR)) for row in x]
        assert together.tolist() == pytest.approx(alone)

    @settings(max_examples=150, deadline=None)
    @given(data=st.data())
    def test_every_completion_lies_inside(self, data: st.DataObject) -> None:
        """The z of any completion of a run lies within the bounds, unequal numbers of samples included."""
        sizes = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=6))
        baseline, done, pending = [], [], []
        for number, k in enumerate(sizes):
            finished = data.draw(st.integers(0, k))
            right = data.draw(st.integers(0, finished))
            done.append((f"p{number}", right, k))
            pending.append(k - finished)
            baseline.append((f"p{number}", data.draw(st.integers(0, 8)), 8))
        chosen = [data.draw(st.integers(0, each)) for each in pending]
        lowest = Counts.from_rows(done)
        highest = Counts.from_rows((id_, x + left, k) for (id_, x, k), left in zip(done, pending, strict=True))
        middle = Counts.from_rows((id_, x + extra, k) for (id_, x, k), extra in zip(done, chosen, strict=True))
        reference = Counts.from_rows(baseline)

        bounds = allocated_z_range(lowest, highest, reference, prior=PRIOR, tau=0.01)

        assert bounds.low - 1e-9 <= allocated_test(middle, reference, prior=PRIOR, tau=0.01).z <= bounds.high + 1e-9
