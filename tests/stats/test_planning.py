"""Plans against published tables and the specification's numbers, before the first token."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_r1eval.core.choices import LastLook
from pytest_r1eval.core.codec import Kind, Layout, from_json, plain, to_json
from pytest_r1eval.errors import PlanError
from pytest_r1eval.stats.allocation import LOOK_FRACTIONS
from pytest_r1eval.stats.planning import (
    SequentialPlan,
    crossings,
    detectable_drop,
    detectable_rise,
    expected_cost,
    first_crossing_bounds,
    plan,
)
from pytest_r1eval.stats.tests import Design
from pytest_r1eval.stats.verdicts import GateRule
from tests.stats.examples import AIME_BASELINE, EIGHT_LOOKS, planning, standard_design, standard_plan

STORED = Kind(of=SequentialPlan, layout=Layout.CANONICAL)

RULE = GateRule()

AIME_A = (-4.213666, -3.983083, -3.865450, -3.783117, -3.600466, -3.526343, -3.369992, -3.316174, -3.182790)
AIME_B = (0.871239, 0.247452, -0.207998, -0.566071, -1.179128, -1.572748, -2.183798, -2.552597, -3.182790)


AIME = standard_plan("aime24")
CAPPED = standard_plan("aime24", last_look=LastLook.CAPPED)


def test_sigmas_beyond_the_recursion_are_refused() -> None:
    """A plan with more than seven sigmas is refused, because its bounds would be rounding errors."""
    design = standard_design("aime24")
    with pytest.raises(PlanError, match="expected 7 or fewer"):
        plan(design, paired=True, rule=GateRule(sigmas=7.5))


class TestBounds:
    """The recursion against published numbers."""

    def test_obrien_fleming_type_table_of_lan_and_demets(self) -> None:
        """Bounds for five equal looks at one-sided 0.025 match the O'Brien-Fleming table of Lan and DeMets."""
        times = np.arange(1, 6) / 5
        from scipy.stats import norm  # noqa: PLC0415  the reference, for this test alone

        spent = 2 * (1 - norm.cdf(norm.ppf(1 - 0.025 / 2) / np.sqrt(times)))

        bounds = first_crossing_bounds(times.tolist(), np.diff(spent, prepend=0.0).tolist())

        assert [round(-bound, 4) for bound in bounds] == pytest.approx(
            [4.8769, 3.3570, 2.6803, 2.2898, 2.0310], abs=1e-4
        )

    def test_pocock_type_table_of_lan_and_demets(self) -> None:
        """Bounds for five equal looks at one-sided 0.025 match the Pocock table of Lan and DeMets."""
        times = np.arange(1, 6) / 5
        spent = 0.025 * np.log(1 + (math.e - 1) * times)

        bounds = first_crossing_bounds(times.tolist(), np.diff(spent, prepend=0.0).tolist())

        assert [round(-bound, 4) for bound in bounds] == [2.4380, 2.4268, 2.4102, 2.3966, 2.3860]

    def test_aime_plan_comes_out(self) -> None:
        """The auto plan of AIME has its known looks, and its bounds to 1e-5."""
        assert AIME.ks == (4, 8, 12, 16, 24, 32, 48, 64, 100)
        assert AIME.fail_bounds == pytest.approx(AIME_A, abs=1e-5)
        assert AIME.pass_bounds == pytest.approx(AIME_B, abs=1e-5)

    @pytest.mark.parametrize(
        ("name", "k_b", "last"),
        [("aime24", 64, 100), ("aime24", 256, 82), ("math500", 4, 7), ("gpqa", 8, 13), ("lcb", 16, 25)],
    )
    def test_last_looks_come_out(self, name: str, k_b: int, last: int) -> None:
        """The last look of an auto plan is where the power of the fixed design is kept."""
        assert standard_plan(name, k_b=k_b).ks[-1] == last

    @pytest.mark.parametrize("name", ["aime24", "math500", "gpqa", "lcb"])
    def test_auto_plans_keep_the_fixed_designs_margin_and_power(self, name: str) -> None:
        """An auto plan has the fixed gate's margin and reaches 90 % power at its last look."""
        planned = standard_plan(name)

        error = planned.design.standard_error(drop=planned.margin)
        assert planned.margin == pytest.approx(4.2816 * error, rel=1e-4)
        assert 0.9 <= power_of(planned) < 0.91

    @pytest.mark.parametrize(
        ("name", "growth"), [("aime24", 1.1036), ("math500", 1.1039), ("gpqa", 1.1017), ("lcb", 1.1036)]
    )
    def test_capped_plans_pay_with_a_tenth_of_margin(self, name: str, growth: float) -> None:
        """A capped plan needs no more samples than the fixed design, for a margin wider by a tenth."""
        capped, auto = standard_plan(name, last_look=LastLook.CAPPED), standard_plan(name)

        assert capped.ks == auto.ks[:-1]
        assert capped.margin / auto.margin == pytest.approx(growth, abs=1e-4)
        assert power_of(capped) == pytest.approx(0.9, abs=1e-6)

    def test_the_whole_of_alpha_is_spent(self) -> None:
        """The looks spend exactly alpha, and an unchanged model fails less often once PASS stops are obeyed."""
        assert sum(AIME.alpha_spent) == pytest.approx(RULE.alpha)
        assert sum(crossings(AIME).fail) < RULE.alpha

    def test_stop_probabilities_add_up(self) -> None:
        """The probabilities to stop at the looks add up to one, whatever the drop."""
        for drop in (-0.2, 0.0, 0.03, 0.1, 0.5):
            assert sum(crossings(AIME, drop=drop).stop) == pytest.approx(1.0, abs=1e-9)

    def test_alike_sides(self) -> None:
        """A rise is found at the first look as often as a fall of the same size."""
        assert crossings(AIME, drop=-0.1).improve[0] == pytest.approx(crossings(AIME, drop=0.1).fail[0])


def power_of(planned: SequentialPlan) -> float:
    """Probability of no PASS at the margin, rises (which pass) left out."""
    at_margin = crossings(planned, drop=planned.margin)
    return 1 - sum(at_margin.passing) - sum(at_margin.improve)


class TestCost:
    """What a plan costs, in samples over the fixed design."""

    @pytest.mark.parametrize(("k_b", "before", "now", "largest"), [(64, 0.182, 0.163, 72), (256, 0.255, 0.228, 69)])
    def test_more_looks_and_early_beta_cost_less_at_one_margin(
        self, k_b: int, before: float, now: float, largest: int
    ) -> None:
        """
        Twelve looks that spend beta as t^0.7 need a tenth fewer samples than eight with t.

        Alpha, power and margin are the same.
        """
        eight = standard_plan("aime24", k_b=k_b, last_look=LastLook.CAPPED)
        fractions = [fraction * largest / 64 for fraction in LOOK_FRACTIONS]
        twelve = plan(eight.design, paired=True, rule=RULE, fractions=fractions)

        assert twelve.margin == pytest.approx(eight.margin, rel=1e-3)
        assert power_of(twelve) == pytest.approx(0.9, abs=1e-6)
        assert sum(twelve.alpha_spent) == pytest.approx(RULE.alpha)
        assert expected_cost(eight) == pytest.approx(before, abs=0.001)
        assert expected_cost(twelve) == pytest.approx(now, abs=0.002)

    def test_the_cap_turns_the_rest_into_margin(self) -> None:
        """
        The default plan costs 15 % of the fixed design on an unchanged model.

        Its margin is 3 % wider than that of eight looks.
        """
        eight, twelve = CAPPED, plan(standard_design("aime24"), paired=True, rule=RULE)

        assert twelve.ks[-1] == eight.ks[-1] == 64
        assert expected_cost(twelve) == pytest.approx(0.1515, abs=5e-4)
        assert twelve.margin / eight.margin == pytest.approx(1.029, abs=1e-3)

    def test_equal_plan_of_the_allocations_example(self) -> None:
        """A plan of eight looks from a baseline's own counts has the cost of example A08 in the specification."""
        design = Design.from_baseline(AIME_BASELINE, n_samples=64)

        planned = plan(design, paired=True, rule=RULE, fractions=EIGHT_LOOKS, beta_power=1)

        assert expected_cost(planned) == pytest.approx(0.1815957, abs=1e-6)

    @pytest.mark.parametrize(
        ("name", "auto", "capped", "broken"),
        [
            ("aime24", 0.231, 0.181, 0.154),
            ("math500", 0.314, 0.281, 0.25),
            ("gpqa", 0.248, 0.202, 0.222),
            ("lcb", 0.233, 0.182, 0.068),
        ],
    )
    def test_expected_costs_come_out(self, name: str, auto: float, capped: float, broken: float) -> None:
        """Expected costs are the known ones for an unchanged model and for a drop of ten points."""
        assert expected_cost(standard_plan(name)) == pytest.approx(auto, abs=0.002)
        assert expected_cost(standard_plan(name, last_look=LastLook.CAPPED)) == pytest.approx(capped, abs=0.0011)
        assert expected_cost(standard_plan(name), drop=0.10) == pytest.approx(broken, abs=0.0006)

    def test_borderline_drops_cost_most(self) -> None:
        """A borderline drop costs more samples than no drop or a large one, and never more than the cap."""
        unchanged, borderline, broken = (expected_cost(CAPPED, drop=drop) for drop in (0.0, 0.035, 0.1))

        assert unchanged < borderline
        assert broken < borderline
        assert borderline <= 1.0

    def test_detectable_drop_has_its_power(self) -> None:
        """The sequential gate turns red at its detectable drop with the power that was asked for."""
        drop = detectable_drop(AIME, power=0.8)

        assert drop is not None
        assert sum(crossings(AIME, drop=drop).fail) == pytest.approx(0.8, abs=1e-6)
        assert drop == pytest.approx(0.043, abs=0.001)
        larger = detectable_drop(AIME, power=0.999)
        assert larger is not None
        assert larger > AIME.margin
        with pytest.raises(ValueError, match="power is"):
            detectable_drop(AIME, power=0.0)


class TestPlan:
    """Which plans there are."""

    def test_twelve_looks_by_default(self) -> None:
        """The default plan has twelve looks, and fewer where two would have one number of samples."""
        assert plan(standard_design("aime24"), paired=True, rule=RULE).ks == (
            4,
            6,
            8,
            10,
            12,
            16,
            20,
            24,
            32,
            40,
            48,
            64,
        )
        assert plan(standard_design("gpqa"), paired=True, rule=RULE).ks == (1, 2, 3, 4, 5, 6, 8)

    def test_small_numbers_of_samples_look_from_the_first(self) -> None:
        """A paired plan of at most 16 samples per problem has a look after the first sample."""
        assert standard_plan("math500").ks == (1, 2, 3, 4, 7)
        assert standard_plan("gpqa").ks == (1, 2, 3, 4, 6, 8, 13)
        assert standard_plan("lcb").ks == (1, 2, 3, 4, 6, 8, 12, 16, 25)

    def test_a_published_number_is_not_looked_at_before_the_fourth_sample(self) -> None:
        """The first look at a published number comes after four samples, which show the candidate's own variance."""
        unpaired = plan(standard_design("lcb"), paired=False, rule=RULE)

        assert unpaired.ks == (4, 5, 6, 8, 10, 12, 16)

    def test_a_published_number_and_fewer_than_four_samples_have_no_plan(self) -> None:
        """Fewer than four samples against a published number have no plan, as they could never fail."""
        design = Design.from_planning(planning("math500"), n_samples=3, n_baseline_samples=4)

        with pytest.raises(PlanError, match="expected at least 4"):
            plan(design, paired=False, rule=RULE)

    def test_one_look_is_the_fixed_gate(self) -> None:
        """A plan with one look has the bounds of the fixed gate."""
        single = plan(standard_design("math500"), paired=False, rule=RULE)

        assert single.ks == (4,)
        assert single.fail_bounds == pytest.approx((-3.0,))
        assert single.pass_bounds == pytest.approx((-3.0,))

    def test_harness_noise_can_make_the_power_unreachable(self) -> None:
        """An auto plan is refused where harness noise makes the power unreachable, and a capped one is not."""
        noisy = standard_design("aime24", tau=0.047)

        with pytest.raises(PlanError, match="no number of candidate samples"):
            plan(noisy, paired=False, rule=RULE, last_look=LastLook.AUTO)
        assert plan(noisy, paired=False, rule=RULE).ks[-1] == 64

    def test_margin_that_cannot_be_resolved_is_known_before_the_run(self) -> None:
        """The plan knows before the run whether it resolves a margin: 5 points on AIME, and not 4."""
        assert standard_plan("aime24", rule=GateRule(margin=0.05)).resolves_margin
        assert not standard_plan("aime24", rule=GateRule(margin=0.04)).resolves_margin

    def test_a_family_shares_alpha(self) -> None:
        """Four plans at a quarter of alpha each have wider FAIL bounds."""
        shared = standard_plan("aime24", rule=GateRule(family_size=4))

        assert sum(shared.alpha_spent) == pytest.approx(RULE.alpha / 4)
        assert all(
            a is not None and b is not None and a < b
            for a, b in zip(shared.fail_bounds, CAPPED.fail_bounds, strict=False)
        )

    @pytest.mark.parametrize("beta", [0.0, 0.6, math.nan])
    def test_impossible_beta_is_refused(self, beta: float) -> None:
        """A beta of 0 or above one half is refused."""
        with pytest.raises(ValueError, match="beta is"):
            plan(standard_design("gpqa"), paired=True, rule=RULE, beta=beta)

    def test_plan_survives_the_store(self) -> None:
        """A plan is read from the store as it was written, with its digest."""
        text = to_json(STORED, AIME)

        assert from_json(STORED, text) == AIME
        assert from_json(STORED, text).digest == AIME.digest

    def test_digest_is_of_everything_that_decides(self) -> None:
        """The plan's digest changes with margin, bounds, rule and the source of W."""
        design = dataclasses.replace(AIME.design, within_variance_source="a guess")
        others = [
            dataclasses.replace(AIME, design=design),
            dataclasses.replace(AIME, margin=0.05),
            dataclasses.replace(AIME, rule=GateRule(two_sided=True)),
            dataclasses.replace(AIME, pass_bounds=(0.0,) * 9),
        ]

        assert len({AIME.digest, *(other.digest for other in others)}) == 5
        assert standard_plan("aime24").digest == AIME.digest

    @pytest.mark.parametrize("text", ["{}", "[]", '{"design": {"n": 1}}', "null"])
    def test_text_that_is_no_plan_is_refused(self, text: str) -> None:
        """A stored plan is read as it was written or not at all."""
        with pytest.raises(ValueError, match=r"found no such key|expected an object"):
            from_json(STORED, text)

    def test_plan_that_was_edited_is_refused(self) -> None:
        """A stored plan in another than the canonical form is refused."""
        with pytest.raises(ValueError, match="canonical"):
            from_json(STORED, json.dumps(plain(AIME), indent=2))

    @settings(max_examples=25, deadline=None)
    @given(
        st.integers(5, 500),
        st.integers(1, 32),
        st.integers(1, 64),
        st.floats(0.005, 0.25),
        st.sampled_from([0.0, 0.006]),
    )
    def test_any_design_can_be_planned(self, n: int, k: int, k_b: int, w: float, tau: float) -> None:
        """Any design gets ascending looks and ordered bounds that keep alpha, the power and the cap."""
        design = Design(
            n_problems=n,
            n_samples=k,
            n_baseline_samples=k_b,
            mean=0.5,
            within_variance=w,
            within_variance_source="drawn",
            tau=tau,
        )

        planned = plan(design, paired=True, rule=RULE)

        assert planned.ks[-1] == k
        assert list(planned.ks) == sorted(set(planned.ks))
        assert all(a is not None and a <= b for a, b in zip(planned.fail_bounds, planned.pass_bounds, strict=True))
        assert sum(crossings(planned).fail) <= RULE.alpha * (1 + 1e-6)
        assert power_of(planned) >= 0.9 - 1e-6
        assert 0 < expected_cost(planned) <= 1 + 1e-9


class TestTwoSided:
    """A rise fails too, so a look may not pass before it is excluded."""

    two = GateRule(two_sided=True)

    def test_a_one_sided_gate_has_passed_before_it_sees_a_rise(self) -> None:
        """A one-sided sequential gate detects a rise of five points on AIME with .005 and of ten with .146."""
        capped = standard_plan("aime24", last_look=LastLook.CAPPED)

        assert [sum(crossings(capped, drop=-rise).improve) for rise in (0.05, 0.10)] == pytest.approx(
            [0.005, 0.146], abs=6e-4
        )

    def test_a_two_sided_gate_sees_a_rise_as_it_sees_a_fall(self) -> None:
        """A two-sided gate detects a rise of five points with .85 and keeps the level and power of the fall."""
        planned = plan(standard_design("aime24"), paired=True, rule=self.two)
        unchanged, risen = crossings(planned), crossings(planned, drop=-planned.margin)

        assert [sum(crossings(planned, drop=-rise).improve) for rise in (0.05, 0.10)] == pytest.approx(
            [0.850, 1.0], abs=1e-3
        )
        assert sum(risen.passing) <= 0.1
        assert sum(crossings(planned, drop=planned.margin).passing) <= 0.1
        assert sum(unchanged.fail) <= RULE.alpha
        assert sum(unchanged.improve) <= RULE.alpha
        assert sum(unchanged.stop) == pytest.approx(1.0, abs=1e-9)
        assert detectable_rise(planned) == pytest.approx(0.0475, abs=1e-3)

    def test_a_two_sided_gate_costs_more_of_an_unchanged_model(self) -> None:
        """A two-sided gate costs a quarter of the samples on an unchanged model, and a one-sided gate a seventh."""
        one, two = (plan(standard_design("aime24"), paired=True, rule=rule) for rule in (RULE, self.two))

        assert expected_cost(one) == pytest.approx(0.152, abs=1e-3)
        assert expected_cost(two) == pytest.approx(0.245, abs=1e-3)
        assert two.fail_bounds == one.fail_bounds
        assert two.pass_bounds == one.pass_bounds

    def test_simulated_runs_end_as_the_recursion_computes(self) -> None:
        """Twenty thousand simulated paths detect a rise as often as the recursion computes."""
        planned = plan(standard_design("aime24"), paired=True, rule=self.two)
        information = np.array([planned.design.standard_error(k) ** -2 for k in planned.ks])
        steps = np.diff(information, prepend=0.0)
        for rise, seed in ((0.0, 5), (0.05, 6)):
            rng, n_runs = np.random.default_rng(seed), 20_000
            scores = np.cumsum(rng.normal(rise * steps, np.sqrt(steps), (n_runs, len(steps))), axis=1)
            running, improved = np.ones(n_runs, bool), np.zeros(n_runs, bool)
            for number, z in enumerate((scores / np.sqrt(information)).T, start=1):
                a, b, top = -3.0, planned.pass_bounds[number - 1], planned.pass_ceiling(number)
                a = planned.fail_bounds[number - 1] or a
                improved |= running & (z >= -a)
                running &= (a < z) & (z < -a) & ~((b <= z) & (z <= top))
            expected = sum(crossings(planned, drop=-rise).improve)

            deviation = abs(float(improved.mean()) - expected)
            assert deviation <= 3.3 * math.sqrt(expected * (1 - expected) / n_runs)
