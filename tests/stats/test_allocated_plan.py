"""Plans whose samples follow a baseline's counts, against the specification's golden numbers."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from pytest_r1eval.core.choices import AllocationKind, LastLook
from pytest_r1eval.core.codec import Kind, Layout, from_json, to_json
from pytest_r1eval.core.records import Counts
from pytest_r1eval.stats.allocated_plan import (
    TARGET_FRACTIONS,
    applies,
    described,
    plan_against,
    sequential_plan,
    sized,
)
from pytest_r1eval.stats.planning import SequentialPlan, crossings, expected_cost, plan
from pytest_r1eval.stats.tests import Design, Published
from pytest_r1eval.stats.verdicts import GateRule
from tests.stats.examples import AIME_BASELINE, counts, planning

RULE = GateRule()
DESIGN = Design.from_baseline(AIME_BASELINE, n_samples=64)
SIZED = sized(DESIGN, AIME_BASELINE, rule=RULE)
AIME = sequential_plan(DESIGN, AIME_BASELINE, rule=RULE)
STORED = Kind(of=SequentialPlan, layout=Layout.CANONICAL)


def fall_on_the_unchanged_exam(difference: float) -> float:
    """The fall that is as many of its own errors large as a difference is of the unchanged exam's."""
    return DESIGN.smallest_fall(difference / DESIGN.standard_error())


class TestGolden:
    """The specification's AIME baseline: 30 problems, 64 samples on both sides."""

    def test_rounds(self) -> None:
        """The rounds come out (A05): the whole, the samples by look, the last round, and the digest of all."""
        rounds = SIZED.allocation.rounds

        assert SIZED.allocation.size == 28
        assert [sum(each) for each in rounds] == [118, 172, 235, 290, 348, 466, 578, 694, 926, 1158, 1390, 1855]
        assert " ".join(map(str, rounds[-1])) == (
            "54 54 53 54 53 56 59 64 63 70 73 79 80 82 84 86 87 87 86 84 78 74 68 59 49 33 33 25 14 14"
        )
        text = json.dumps(rounds, separators=(",", ":"))
        assert hashlib.sha256(text.encode()).hexdigest().startswith("5588db50")

    def test_bounds(self) -> None:
        """Target, margin and bounds come out (A06)."""
        assert SIZED.target == pytest.approx(0.0495672993, abs=1e-10)
        assert SIZED.margin == pytest.approx(0.0495572815, abs=1e-10)
        assert AIME.fail_bounds[0] == pytest.approx(-4.0918133, abs=1e-7)
        assert AIME.fail_bounds[11] == pytest.approx(-3.2102273, abs=1e-7)
        assert AIME.pass_bounds[0] == pytest.approx(0.2609044, abs=1e-7)
        assert AIME.pass_bounds[5] == pytest.approx(-1.1141753, abs=1e-7)

    @pytest.mark.parametrize(
        ("difference", "cost", "p_fail"),
        [(0.0, 0.1403148, 0.0011082), (SIZED.margin, 0.3764823, 0.9), (0.1, 0.1071208, 0.9999026)],
    )
    def test_cost(self, difference: float, cost: float, p_fail: float) -> None:
        """Expected samples over the fixed design and the power come out (A07), of a fall in the unchanged errors."""
        drop = fall_on_the_unchanged_exam(difference) if difference else 0.0

        assert expected_cost(AIME, drop=drop) == pytest.approx(cost, abs=1e-7)
        assert sum(crossings(AIME, drop=drop).fail) == pytest.approx(p_fail, abs=1e-7)

    def test_the_plan_that_it_is_compared_with(self) -> None:
        """Eight equal looks that spend beta as information cost what the specification says (A08)."""
        eight = plan(DESIGN, paired=True, rule=RULE, fractions=TARGET_FRACTIONS, beta_power=1.0)

        assert expected_cost(eight) == pytest.approx(0.1815957, abs=1e-7)

    def test_a_larger_baseline_and_another_harness(self) -> None:
        """Four times the baseline's samples and a tau of .6 points come out (A10)."""
        larger = Counts.from_rows((one.problem_id, 4 * one.n_correct, 256) for one in AIME_BASELINE.problems)
        design = Design.from_baseline(larger, n_samples=64, tau=0.006)

        found = sized(design, larger, rule=RULE)

        assert found.allocation.size == 27
        assert found.margin == pytest.approx(0.0480641818, abs=1e-10)
        assert found.spending.fail_bounds()[-1] == pytest.approx(-3.2072340487, abs=1e-10)

    def test_equal_problems_get_a_whole_of_twelve_steps(self) -> None:
        """Problems that the baseline solved equally often need twelve steps more than the fixed design (A11)."""
        equal = counts(*[32] * 30, of=64)

        assert sized(Design.from_baseline(equal, n_samples=64), equal, rule=RULE).allocation.size == 12


class TestPlan:
    """What is stored before the first token."""

    def test_the_margin_is_a_fall_with_its_own_errors(self) -> None:
        """The stored margin is the fall that is caught with the planned power, spread responses included."""
        assert sum(crossings(AIME, drop=AIME.margin).fail) == pytest.approx(0.9, abs=1e-6)

    def test_reading_it_back(self) -> None:
        """A plan with an allocation is read back from its JSON as it was, with every constant of its rule."""
        text = to_json(STORED, AIME)

        assert from_json(STORED, text) == AIME
        for key in ('"version":1', '"floor":0.15', '"fall":0.1', '"beta_power":0.7', '"n_steps":64', '"rounds":[['):
            assert key in text

    def test_the_order_of_the_exam_does_not_matter(self) -> None:
        """The same problems in another order get the same samples each."""
        turned = Counts(problems=AIME_BASELINE.problems[::-1])

        other = sequential_plan(DESIGN, turned, rule=RULE)

        assert other.allocation is not None
        assert AIME.allocation is not None
        assert other.allocation.rounds == tuple(each[::-1] for each in AIME.allocation.rounds)

    def test_samples_by_look(self) -> None:
        """A plan tells what each look sees of each problem, and in all."""
        assert AIME.depth_at(12) == SIZED.allocation.rounds[-1]
        assert AIME.n_samples_at(1) == 118
        assert AIME.n_looks == 12


class TestWhenItApplies:
    """Equal rounds elsewhere."""

    @pytest.mark.parametrize(
        ("baseline", "rule"),
        [
            (AIME_BASELINE, GateRule(exact=True)),
            (Counts(problems=AIME_BASELINE.problems[:19]), RULE),
            (counts(*[1, 2] * 15, of=3), RULE),
            (counts(*[64] * 29, 20, of=64), RULE),
            (counts(*[0] * 29, 56, of=64), RULE),
        ],
        ids=["exact", "few problems", "few samples", "saturated", "hopeless"],
    )
    def test_thin_evidence_keeps_equal_rounds(self, baseline: Counts, rule: GateRule) -> None:
        """The exact test, few problems, few samples and a mean near 0 or 1 keep equal rounds."""
        planned = sequential_plan(Design.from_baseline(baseline, n_samples=64), baseline, rule=rule)

        assert not applies(baseline, rule=rule)
        assert planned.allocation is None
        assert planned == plan(planned.design, paired=True, rule=rule)

    def test_an_exam_where_it_does_not_pay_keeps_equal_rounds(self) -> None:
        """MATH-500 keeps equal rounds: four samples of a problem leave little to allocate."""
        rng = np.random.default_rng(1)
        constants = planning("math500")
        rates = rng.beta(4.7, 0.27, constants.n_problems)
        baseline = counts(*rng.binomial(4, rates).tolist(), of=4)

        planned = sequential_plan(Design.from_baseline(baseline, n_samples=4), baseline, rule=RULE)

        assert applies(baseline, rule=RULE)
        assert planned.allocation is None

    def test_a_plan_past_k_has_equal_rounds(self) -> None:
        """A plan that may end past k has equal rounds."""
        planned = plan_against(AIME_BASELINE, DESIGN, rule=RULE, last_look=LastLook.AUTO)

        assert planned == plan(DESIGN, paired=True, rule=RULE, last_look=LastLook.AUTO)

    def test_a_margin_that_noise_keeps_out_of_reach_keeps_equal_rounds(self) -> None:
        """Where no number of samples catches the target, as under a large noise of the harness, rounds are equal."""
        noisy = Design.from_baseline(AIME_BASELINE, n_samples=64, tau=0.5)

        assert sequential_plan(noisy, AIME_BASELINE, rule=RULE).allocation is None

    def test_a_recording_keeps_equal_rounds_where_it_is_too_small(self) -> None:
        """An allocation that asks a recording for more samples than it has is not used."""
        plans = [plan_against(AIME_BASELINE, DESIGN, rule=RULE, most_samples=most) for most in (86, 87)]

        assert [planned.allocation is None for planned in plans] == [True, False]

    def test_it_can_be_turned_off(self) -> None:
        """Equal rounds that were asked for are equal, and a published number has no others."""
        equal = plan_against(AIME_BASELINE, DESIGN, rule=RULE, allocation=AllocationKind.EQUAL)
        published = plan_against(Published(value=0.5, n_samples=64), DESIGN, rule=RULE)

        assert equal == plan(DESIGN, paired=True, rule=RULE)
        assert published == plan(DESIGN, paired=False, rule=RULE)

    def test_it_is_described_in_a_line(self) -> None:
        """A plan says what it costs at most and on average, and which problems get most samples and fewest."""
        assert described(AIME) == (
            "at most 1855 samples (0.97 of the fixed design), 0.140 of it expected on an unchanged model, margin 5.0 "
            "points; most samples: problem aime24-16 (87), fewest: problem aime24-28 (14)"
        )

    def test_it_saves_a_tenth_where_it_applies(self) -> None:
        """The allocated plan of AIME needs fewer samples than twelve equal looks, for a smaller margin."""
        equal = plan(DESIGN, paired=True, rule=RULE)

        assert AIME.allocation is not None
        assert expected_cost(AIME) < 0.95 * expected_cost(equal)
        assert AIME.margin < equal.margin
