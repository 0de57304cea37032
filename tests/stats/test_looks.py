"""What a look at a sequential run decides, and the shortcut inside a round."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest

from pytest_r1eval.core.baselines import HealthCounts
from pytest_r1eval.core.choices import LastLook
from pytest_r1eval.core.plans import each_of
from pytest_r1eval.core.records import Counts, ProblemTally
from pytest_r1eval.stats.allocated_plan import sequential_plan
from pytest_r1eval.stats.allocation import allocated_test
from pytest_r1eval.stats.health import HealthReference, judge_health
from pytest_r1eval.stats.looks import Completions, SequentialGate, can_fail, look, sandwich
from pytest_r1eval.stats.planning import plan
from pytest_r1eval.stats.tests import Design, Published
from pytest_r1eval.stats.verdicts import GateRule, Tau, Verdict
from tests.stats.examples import AIME_BASELINE, counts, planning, problems, standard_design, standard_plan

NO_NOISE = Tau(value=0.0, source="the fingerprints are equal")
RULE = GateRule()

AIME = standard_plan("aime24")
CAPPED = standard_plan("aime24", last_look=LastLook.CAPPED)


class TestLook:
    """What a complete round says."""

    baseline = problems(0.5, k=64)

    def test_a_broken_model_fails_at_the_first_look(self) -> None:
        """A model that solves nothing fails at the first look, after four samples per problem."""
        seen = look(AIME, 1, problems(0.0, k=4), self.baseline, tau=NO_NOISE)

        assert seen.judgement is not None
        assert seen.judgement.verdict is Verdict.FAIL_REGRESSED
        assert not seen.judgement.passes
        assert seen.early
        assert [warning.partition(":")[0] for warning in seen.judgement.warnings] == [
            "Stopped after 4 of at most 100 samples per problem"
        ]
        assert seen.judgement.reason.startswith(
            "After 4 samples per problem pass@1 is 50.0 points below the baseline, z = -10.56"
        )

    def test_one_sample_is_singular(self) -> None:
        """A first look after one sample of each problem, as GPQA Diamond has, says "1 sample"."""
        gpqa = standard_plan("gpqa")
        n = gpqa.design.n_problems
        seen = look(gpqa, 1, problems(0.0, k=1, n=n), problems(0.5, k=8, n=n), tau=NO_NOISE)
        assert gpqa.ks[0] == 1
        assert seen.judgement is not None
        assert seen.judgement.reason.startswith("After 1 sample per problem pass@1 is 50.0 points below the baseline")

    def test_an_unchanged_model_goes_on_and_then_passes(self) -> None:
        """An unchanged model is undecided at the first look and passes at the third."""
        seen = [look(AIME, i, problems(0.5, k=k), self.baseline, tau=NO_NOISE) for i, k in ((1, 4), (3, 12))]

        assert seen[0].judgement is None
        assert seen[0].comparison is not None
        assert seen[1].judgement is not None
        assert seen[1].judgement.verdict is Verdict.PASS
        assert "look 3 of 9: FAIL at -3.87 and below, PASS from -0.21" in seen[1].judgement.reason

    def test_a_rise_is_suspicious(self) -> None:
        """A rise at a look is SUSPICIOUS_IMPROVED, which passes one-sided and fails two-sided."""
        two_sided = standard_plan("aime24", rule=GateRule(two_sided=True))

        seen = [look(planned, 2, problems(1.0, k=8), self.baseline, tau=NO_NOISE) for planned in (AIME, two_sided)]

        judgements = [each.judgement for each in seen]
        assert [judged.verdict for judged in judgements if judged] == [Verdict.SUSPICIOUS_IMPROVED] * 2
        assert [judged.passes for judged in judgements if judged] == [True, False]

    def test_the_last_look_passes_unless_it_fails(self) -> None:
        """The last look passes a run that it does not fail, and its score has no warning."""
        seen = look(CAPPED, 8, problems(0.47, k=64), self.baseline, tau=NO_NOISE)

        assert seen.judgement is not None
        assert seen.judgement.verdict is Verdict.PASS
        assert not seen.early
        assert seen.judgement.warnings == ()

    def test_an_unresolved_margin_is_inconclusive_instead_of_a_pass(self) -> None:
        """A gate that cannot resolve the margin asked for is INCONCLUSIVE instead of a PASS."""
        asked = standard_plan("aime24", rule=GateRule(margin=0.02))

        seen = look(asked, 3, problems(0.5, k=12), self.baseline, tau=NO_NOISE)

        assert seen.judgement is not None
        assert seen.judgement.verdict is Verdict.INCONCLUSIVE
        assert "not of the 2.0 asked for" in seen.judgement.reason

    def test_a_run_that_cannot_turn_red_never_passes(self) -> None:
        """A sequential gate is INCONCLUSIVE where the baseline solved nothing, as no run could fail it."""
        nothing = problems(0.0, k=64)
        planned = plan(Design.from_baseline(nothing, n_samples=64), paired=True, rule=RULE)

        ended = [look(planned, i, problems(0.0, k=k), nothing, tau=NO_NOISE) for i, k in enumerate(planned.ks, start=1)]

        judged = next(seen.judgement for seen in ended if seen.judgement is not None)
        assert not can_fail(planned, nothing)
        assert can_fail(planned, self.baseline)
        assert judged.verdict is Verdict.INCONCLUSIVE
        assert judged.mde_80 is None
        assert "this exam cannot show a fall of this model" in judged.reason

    def test_a_published_number_that_cannot_be_fallen_from_never_passes(self) -> None:
        """A published number within three standard errors of 0 is INCONCLUSIVE, as no run could fail it."""
        tau = Tau(value=0.006, source="the number was made with LightEval, but not by this run's harness")
        design = Design.from_planning(planning("aime24"), n_samples=64, n_baseline_samples=64, tau=0.006, mean=0.01)
        planned = plan(design, paired=False, rule=RULE)

        seen = look(planned, len(planned.ks), counts(*[1] * 30, of=64), Published(value=0.01, n_samples=64), tau=tau)

        assert not can_fail(planned, Published(value=0.01, n_samples=64))
        assert seen.judgement is not None
        assert seen.judgement.verdict is Verdict.INCONCLUSIVE

    def test_an_incomplete_round_is_invalid(self) -> None:
        """A look at an incomplete round is INVALID."""
        short = Counts.from_rows([*((f"p{i}", 2, 4) for i in range(29)), ("p29", 2, 3)])

        seen = look(AIME, 1, short, self.baseline, tau=NO_NOISE)

        assert seen.judgement is not None
        assert seen.judgement.verdict is Verdict.INVALID
        assert seen.comparison is None

    def test_other_problems_are_invalid(self) -> None:
        """A paired look on other problems than the baseline's is INVALID."""
        seen = look(AIME, 1, problems(0.5, k=4, n=29), self.baseline, tau=NO_NOISE)

        assert seen.judgement is not None
        assert seen.judgement.verdict is Verdict.INVALID

    def test_a_look_that_was_not_planned_is_refused(self) -> None:
        """A look is refused with another number, baseline or tau than planned."""
        half = problems(0.5, k=4)
        with pytest.raises(ValueError, match="expected 1 to 9"):
            look(AIME, 10, half, self.baseline, tau=NO_NOISE)
        with pytest.raises(ValueError, match="expected per-problem counts"):
            look(AIME, 1, half, Published(value=0.5), tau=NO_NOISE)
        with pytest.raises(ValueError, match=r"expected the planned 0\.0"):
            look(AIME, 1, half, self.baseline, tau=Tau(value=0.01, source="of a test"))
        unpaired = plan(standard_design("aime24"), paired=False, rule=RULE)
        with pytest.raises(ValueError, match="expected the planned 64"):
            look(unpaired, 1, half, Published(value=0.5, n_samples=16), tau=NO_NOISE)

    def test_small_exams_are_decided_exactly(self) -> None:
        """A look at fewer than 200 responses is decided by the exact p against that look's alpha."""
        seen = look(AIME, 1, problems(0.0, k=4), self.baseline, tau=NO_NOISE)

        assert seen.comparison is not None
        assert seen.comparison.exact
        assert seen.comparison.p_regressed <= AIME.alpha_spent[0]
        assert seen.judgement is not None
        assert "exact p = " in seen.judgement.reason

    def test_a_published_number_can_be_gated_sequentially(self) -> None:
        """A published number can be gated sequentially with the scalar test and its warnings."""
        tau = Tau(value=0.006, source="the number was made with LightEval, but not by this run's harness")
        design = dataclasses.replace(standard_design("aime24"), tau=0.006)
        unpaired = plan(design, paired=False, rule=RULE)
        candidate = counts(*[0, 1, 2, 3, 4, 2] * 5, of=4)

        seen = look(unpaired, 1, candidate, Published(value=0.9), tau=tau)

        assert seen.judgement is not None
        assert seen.judgement.verdict is Verdict.FAIL_REGRESSED
        assert seen.judgement.warnings[0].startswith("The source names no number of samples per problem: 64 assumed.")


class TestSandwich:
    """The one legal shortcut inside a round."""

    baseline = problems(0.5, k=64)

    def test_stops_when_the_pending_samples_cannot_matter(self) -> None:
        """A look decides before its round is complete where the pending samples cannot change it."""
        rows = [(f"p{i}", 0, 4) for i in range(29)]

        early = sandwich(AIME, 1, Completions.of([*rows, ("p29", 0, 0)], n_samples=4), self.baseline, tau=NO_NOISE)

        assert early is not None
        assert early.judgement is not None
        assert early.judgement.verdict is Verdict.FAIL_REGRESSED
        assert early.judgement.warnings[-1] == (
            "Decided before the round was complete: its 4 pending samples were counted against it."
        )
        assert early.judgement.estimate is not None
        assert early.judgement.estimate.mean == pytest.approx(4 / 120)

    def test_goes_on_while_they_may_matter(self) -> None:
        """A look does not decide while half of the round is pending and may change it."""
        rows = [(f"p{i}", 1, 2) for i in range(30)]

        assert sandwich(AIME, 1, Completions.of(rows, n_samples=4), self.baseline, tau=NO_NOISE) is None

    def test_a_round_that_says_go_on_is_no_stop(self) -> None:
        """A round that decides nothing does not stop the run."""
        rows = [(f"p{i}", 2, 4) for i in range(30)]

        assert sandwich(AIME, 1, Completions.of(rows, n_samples=4), self.baseline, tau=NO_NOISE) is None

    def test_impossible_rounds_are_refused(self) -> None:
        """More samples than the round has are refused."""
        with pytest.raises(ValueError, match="in a round of 4"):
            Completions.of([("p0", 1, 5)], n_samples=4)

    @settings(max_examples=60, deadline=None)
    @given(st.data(), st.sampled_from(["paired", "exact", "scalar"]))
    def test_no_completion_changes_the_verdict(self, data: st.DataObject, kind: str) -> None:
        """The complete round gives the verdict of a look that decided early, whatever the pending samples show."""
        n, k, k_b = data.draw(st.sampled_from([(8, 8, 8), (40, 16, 16)])) if kind != "scalar" else (30, 16, 16)
        design = Design(
            n_problems=n,
            n_samples=k,
            n_baseline_samples=k_b,
            mean=0.5,
            within_variance=0.1,
            within_variance_source="drawn",
        )
        planned = plan(design, paired=kind != "scalar", rule=GateRule(exact=kind == "exact"))
        number = data.draw(st.integers(1, len(planned.ks)))
        size = planned.ks[number - 1]
        rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
        rates = rng.beta(0.5, 0.5, n)
        reference: Counts | Published = counts(*rng.binomial(k_b, rates).tolist(), of=k_b)
        if kind == "scalar":
            reference = Published(value=round(float(rates.mean()), 3))
        shift = data.draw(st.sampled_from([0.0, 0.3, 0.6, 1.0]))
        done = np.minimum(size, size - rng.binomial(1, 0.2, n) * rng.integers(0, size + 1, n))
        correct = rng.binomial(done, rates * (1 - shift))
        rows = [(f"p{i}", int(x), int(d)) for i, (x, d) in enumerate(zip(correct, done, strict=True))]

        early = sandwich(planned, number, Completions.of(rows, n_samples=size), reference, tau=NO_NOISE)
        assume(early is not None)
        assert early is not None
        assert early.judgement is not None

        for _ in range(5):
            final = [(id_, x + int(rng.integers(0, size - d + 1)), size) for id_, x, d in rows]
            complete = look(planned, number, Counts.from_rows(final), reference, tau=NO_NOISE)
            assert complete.judgement is not None
            assert complete.judgement.verdict is early.judgement.verdict


class TestTwoSidedLook:
    """A rise fails too, so a look may not pass before it is excluded."""

    two = GateRule(two_sided=True)

    def test_a_look_goes_on_where_a_rise_is_not_excluded(self) -> None:
        """A rise of z = 1.5 after twelve samples passes a one-sided gate and leaves a two-sided one undecided."""
        one, two = (standard_plan("aime24", rule=rule) for rule in (RULE, self.two))
        above, baseline = problems(7 / 12, k=12), problems(0.5, k=64)

        passed, gone_on = (look(planned, 3, above, baseline, tau=NO_NOISE) for planned in (one, two))

        assert passed.judgement is not None
        assert passed.judgement.verdict is Verdict.PASS
        assert gone_on.judgement is None

    def test_the_last_look_decides_between_both_bounds(self) -> None:
        """The last look of a two-sided gate passes what neither fell nor rose."""
        two = standard_plan("aime24", last_look=LastLook.CAPPED, rule=self.two)

        seen = look(two, 8, problems(33 / 64, k=64), problems(0.5, k=64), tau=NO_NOISE)

        assert seen.judgement is not None
        assert seen.judgement.verdict is Verdict.PASS
        assert "PASS from -3.20 to 3.20" in seen.judgement.reason


class TestAllocated:
    """Looks at samples that the baseline's counts allocated."""

    baseline = AIME_BASELINE
    planned = sequential_plan(Design.from_baseline(AIME_BASELINE, n_samples=64), AIME_BASELINE, rule=RULE)
    gate = SequentialGate(plan=planned, reference=AIME_BASELINE, tau=NO_NOISE, baseline="the base")

    def tallied(self, number: int, rate: float | None = None, *, pending: int = 0) -> tuple[ProblemTally, ...]:
        """Tally a round in which each problem is solved as the baseline solved it, or with a rate."""
        tallies = []
        for problem, k in zip(self.baseline.problems, each_of(self.planned.depth_at(number), 30), strict=True):
            done = max(k - pending, 0)
            solved = problem.n_correct / 64 if rate is None else rate
            tallies.append(
                dataclasses.replace(
                    responses(done, n=1)[0], problem_id=problem.problem_id, n_correct=round(solved * done)
                )
            )
        return tuple(tallies)

    def test_a_broken_model_fails_at_the_first_look(self) -> None:
        """A model that solves nothing fails at the first allocated look, and its samples are named."""
        seen = self.gate.look(1, self.tallied(1, 0.0))

        assert seen is not None
        assert seen.judgement is not None
        assert seen.verdict is Verdict.FAIL_REGRESSED
        assert seen.judgement.reason.startswith("After 1 to 6 samples per problem pass@1 is ")
        assert any("Stopped after 118 of at most 1855 samples" in warning for warning in seen.judgement.warnings)

    def test_an_unchanged_model_passes_by_the_allocated_statistic(self) -> None:
        """An unchanged model passes at an early look, with the z of the allocated test."""
        tallies = self.tallied(4)
        seen = self.gate.look(4, tallies)

        assert seen is not None
        assert seen.comparison is not None
        assert self.planned.allocation is not None
        expected = allocated_test(Counts.graded(tallies), self.baseline, prior=self.planned.allocation.prior)
        assert seen.comparison == expected
        assert seen.verdict is Verdict.PASS

    def test_the_last_look_has_no_score_either(self) -> None:
        """An allocated run that reaches its last look is at stop: some problems have more samples than others."""
        seen = self.gate.look(12, self.tallied(12))

        assert seen is not None
        assert seen.early

    def test_other_numbers_of_samples_are_invalid(self) -> None:
        """Counts that are not those of the allocated round are INVALID."""
        seen = look(self.planned, 1, problems(0.5, k=4), self.baseline, tau=NO_NOISE)

        assert seen.verdict is Verdict.INVALID

    def test_the_shortcut_bounds_every_completion(self) -> None:
        """A round with pending samples decides only as any completion would."""
        assert self.gate.look(6, self.tallied(6, 0.0, pending=1)) is not None
        assert self.gate.look(1, self.tallied(1, pending=1)) is None

    def test_a_pass_is_evidence(self) -> None:
        """A candidate with every response wrong turns an allocated gate red."""
        assert can_fail(self.planned, self.baseline)

    def test_health_is_judged_by_equally_many_samples(self) -> None:
        """Health is judged by the samples that every problem has, from one on, and alpha is spent on them once."""
        assert self.gate.first_look == 1
        assert [self.gate.n_judged_for_health(number) for number in (0, 1, 12)] == [1, 1, 14]
        for last in (1, 4, 12):
            depths = [self.gate.n_judged_for_health(number) for number in range(last + 1)]
            spent = {}
            for number in range(last + 1):
                spent[depths[number]] = self.gate.health_alpha(number, is_last=number == last)
            assert sum(spent.values()) == pytest.approx(RULE.alpha)


def responses(k: int, *, n_truncated: int = 0, n_stored: int | None = None, n: int = 30) -> tuple[ProblemTally, ...]:
    """Tallies of problems of which half is solved; the truncated responses are those of the first problems."""
    stored = k if n_stored is None else n_stored
    left = n_truncated
    tallies = []
    for number in range(n):
        here = min(stored, left)
        left -= here
        tallies.append(
            ProblemTally(
                problem_id=f"p{number}",
                n_samples=stored,
                n_correct=(stored + number % 2) // 2,
                n_no_answer=0,
                n_error=0,
                n_truncated=here,
                n_truncated_correct=0,
                n_tokens=100 * stored,
            )
        )
    return tuple(tallies)


class TestHealth:
    """Looks at health, with an error rate of its own."""

    counts = HealthCounts(n_samples=1920, n_truncated=40, n_no_answer=0, n_tokens=10_000)
    capped = plan(standard_design("aime24"), paired=True, rule=RULE)
    gate = SequentialGate(
        plan=capped,
        reference=problems(0.5, k=64),
        tau=NO_NOISE,
        baseline="the base",
        health=HealthReference(counts=counts),
    )

    def test_one_round_comes_before_the_first_look(self) -> None:
        """A round of one sample of each problem comes before a first look at four, and none before one at one."""
        single = dataclasses.replace(self.gate, plan=plan(standard_design("gpqa"), paired=True, rule=RULE))

        assert self.gate.rounds[:3] == (1, 4, 6)
        assert self.gate.first_look == 1
        assert single.rounds[:2] == (1, 2)
        assert single.first_look == 0

    @pytest.mark.parametrize("last", [1, 5, 12])
    def test_all_looks_together_spend_alpha(self, last: int) -> None:
        """Wherever pass@1 ends a run, its looks at health have spent exactly alpha on each rate."""
        spent = [self.gate.health_alpha(number, is_last=number == last) for number in range(last + 1)]

        assert min(spent) > 0
        assert sum(spent) == pytest.approx(RULE.alpha)

    def test_spending_is_that_of_pass_at_1(self) -> None:
        """Health's looks spend alpha as the square of the part of the samples."""
        spent = [self.gate.health_alpha(number, is_last=False) for number in range(13)]

        assert np.cumsum(spent) == pytest.approx([RULE.alpha * (k / 64) ** 2 for k in self.gate.rounds])

    def test_a_collapsed_model_ends_at_once(self) -> None:
        """A model with every response truncated is sick after one sample of each problem."""
        seen = self.gate.look(0, responses(1, n_truncated=30))

        assert seen is not None
        assert seen.is_sick
        assert seen.ends
        assert seen.verdict is None

    def test_pending_responses_count_as_healthy(self) -> None:
        """A round that is not complete ends a run where no pending response can make it healthy."""
        some = responses(1, n_truncated=12, n=12) + tuple(
            dataclasses.replace(one, problem_id=f"q{one.problem_id}", n_samples=0, n_correct=0, n_tokens=0)
            for one in responses(1, n=18)
        )
        healthy = tuple(dataclasses.replace(one, n_truncated=0) for one in some)

        seen = self.gate.look(0, some)

        assert seen is not None
        assert seen.is_sick
        assert self.gate.look(0, healthy) is None

    def test_a_healthy_model_goes_on(self) -> None:
        """The look before the first says nothing of a healthy model, and no later look calls it sick."""
        first = self.gate.look(0, responses(1, n_truncated=1))
        second = self.gate.look(1, responses(4, n_truncated=3))

        assert first is not None
        assert not first.ends
        assert second is not None
        assert not second.is_sick

    def test_a_look_at_pass_at_1_may_end_by_health(self) -> None:
        """A round without a verdict on pass@1 ends where its responses are sick."""
        seen = self.gate.look(1, responses(4, n_truncated=60))

        assert seen is not None
        assert (seen.verdict, seen.is_sick, seen.number) == (None, True, 1)

    @pytest.mark.parametrize(("n_truncated", "is_sick"), [(10, False), (22, True)])
    def test_without_a_measured_baseline_the_limit_is_tested(self, *, n_truncated: int, is_sick: bool) -> None:
        """Against a published number a look tests the limit, because few responses are above it by chance."""
        published = dataclasses.replace(self.gate, health=HealthReference())

        seen = published.look(0, responses(1, n_truncated=n_truncated))

        assert seen is not None
        assert seen.is_sick is is_sick

    def test_an_unchanged_model_is_called_sick_no_more_often_than_alpha(self) -> None:
        """
        Looks at health call an unchanged model sick with alpha at most, where truncated responses are wrong.

        A tenth of alpha's size makes rare events frequent: the rule is planned at 1.645 sigmas, alpha .05.
        """
        rule, rng = GateRule(sigmas=1.6448536269514722), np.random.default_rng(22)
        planned = plan(standard_design("aime24"), paired=True, rule=rule)
        solved = rng.beta(0.5, 0.5, 30)
        truncated = 0.4 * (1 - solved)
        n_sick, n_runs = 0, 200
        for _ in range(n_runs):
            base_truncated = rng.binomial(64, truncated)
            base = rng.binomial(64 - base_truncated, np.minimum(solved / (1 - truncated), 1))
            health = HealthCounts(n_samples=1920, n_truncated=int(base_truncated.sum()), n_no_answer=0, n_tokens=1)
            gate = dataclasses.replace(
                self.gate, plan=planned, reference=counts(*base.tolist(), of=64), health=HealthReference(counts=health)
            )
            cut = rng.random((30, 64)) < truncated[:, None]
            right = ~cut & (rng.random((30, 64)) < np.minimum(solved / (1 - truncated), 1)[:, None])
            n_sick += self.ends_sick(gate, cut, right)
        assert binomtest(n_sick, n_runs, 0.05, alternative="greater").pvalue > 0.001

    @staticmethod
    def ends_sick(gate: SequentialGate, cut: NDArray[np.bool_], right: NDArray[np.bool_]) -> bool:
        """Whether health fails, at a look or where pass@1 ends the run."""
        for place, k in enumerate(gate.rounds):
            number, n_truncated = place + 1 - gate.first_look, int(cut[:, :k].sum())
            tallies = tuple(
                dataclasses.replace(one, n_correct=int(x), n_truncated=0)
                for one, x in zip(responses(k), right[:, :k].sum(axis=1), strict=True)
            )
            tallies = (dataclasses.replace(tallies[0], n_truncated=n_truncated), *tallies[1:])
            seen = gate.look(number, tallies)
            assert seen is not None
            if seen.is_sick:
                return True
            if seen.verdict is not None:
                observed = HealthCounts(n_samples=30 * k, n_truncated=n_truncated, n_no_answer=0, n_tokens=1)
                alpha = gate.health_alpha(number, is_last=True)
                return not judge_health(observed, baseline=gate.health.counts, alpha=alpha).passes
        raise AssertionError("the last look decides")
