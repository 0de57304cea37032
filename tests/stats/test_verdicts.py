"""What a gate answers, and what it says."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_r1eval.core.fingerprints import Difference
from pytest_r1eval.core.points import described_fall
from pytest_r1eval.core.records import Counts
from pytest_r1eval.core.texts import counted
from pytest_r1eval.stats.tests import Design, Published, alpha_of, paired_test
from pytest_r1eval.stats.verdicts import (
    GateRule,
    Judgement,
    Tau,
    Verdict,
    invalid,
    judge_measured,
    judge_published,
    margin_is_resolved,
    measured_tau,
    published_tau,
    under_holm,
)
from tests.stats.examples import benchmark, counts

NO_NOISE = Tau(value=0.0, source="the fingerprints are equal")
RULE = GateRule()


def aime(correct_of_64: int) -> Counts:
    """Thirty problems, solved alike."""
    return counts(*[correct_of_64] * 30, of=64)


class TestMeasured:
    """Against a stored run on the same problems."""

    def test_unchanged_passes(self) -> None:
        """A candidate with the baseline's counts passes."""
        judged = judge_measured(aime(32), aime(32), tau=NO_NOISE, rule=RULE, n_samples=64)

        assert judged.verdict is Verdict.PASS
        assert judged.passes
        assert judged.reason == "pass@1 is exactly the baseline's, 0.0 standard errors (3 decide)."
        assert judged.next_step.startswith("Ship it; a fall of ")

    def test_a_fall_beyond_three_sigma_fails(self) -> None:
        """A fall of 9.4 points on AIME, 5.8 standard errors, is FAIL_REGRESSED."""
        judged = judge_measured(aime(26), aime(32), tau=NO_NOISE, rule=RULE)

        assert judged.verdict is Verdict.FAIL_REGRESSED
        assert not judged.passes
        assert judged.reason == "pass@1 is 9.4 points below the baseline, 5.8 standard errors (3 decide)."
        assert judged.z is not None
        assert judged.z < -3
        assert judged.difference == pytest.approx(-6 / 64)
        assert judged.estimate is not None
        assert judged.baseline_mean == 0.5
        assert judged.p_value == pytest.approx(2.7e-9, rel=0.5)

    @pytest.mark.parametrize("two_sided", [False, True])
    def test_a_rise_beyond_three_sigma_is_suspicious(self, *, two_sided: bool) -> None:
        """A rise beyond three sigma is SUSPICIOUS_IMPROVED, which fails only a two-sided gate."""
        judged = judge_measured(aime(40), aime(32), tau=NO_NOISE, rule=GateRule(two_sided=two_sided))

        assert judged.verdict is Verdict.SUSPICIOUS_IMPROVED
        assert judged.passes is not two_sided
        assert "contamination" in judged.next_step

    def test_harness_noise_forgives(self) -> None:
        """A fall that fails in one harness passes between two whose noise is larger."""
        judged = judge_measured(aime(26), aime(32), tau=Tau(value=0.05, source="of a test"), rule=RULE)

        assert judged.verdict is Verdict.PASS
        assert judged.tau == Tau(value=0.05, source="of a test")
        assert "record your own baseline once" in judged.warnings[0]

    def test_other_problems_are_invalid(self) -> None:
        """A baseline with other problems makes the gate INVALID, without a score."""
        judged = judge_measured(counts(1, 1, of=2), counts(1, 1, 1, of=2), tau=NO_NOISE, rule=RULE)

        assert judged.verdict is Verdict.INVALID
        assert judged.reason == ("The baseline has 3 problems and the candidate 2, of which 2 are the same.")
        assert judged.estimate is None

    def test_a_wrong_denominator_is_invalid(self) -> None:
        """A problem with fewer samples than planned makes the gate INVALID."""
        short = Counts.from_rows([("p0", 1, 4), ("p1", 1, 3)])

        judged = judge_measured(short, counts(1, 1, of=4), tau=NO_NOISE, rule=RULE, n_samples=4)

        assert judged.verdict is Verdict.INVALID
        assert "1 of 2 problems do not have the 4 samples" in judged.reason
        assert "problem p1 has 3" in judged.reason

    def test_margin_that_is_not_excluded_is_inconclusive(self) -> None:
        """A gate that cannot exclude the margin is INCONCLUSIVE, and passes only where the rule allows it."""
        close, baseline = aime(31), aime(32)
        strict, lenient = GateRule(margin=0.02), GateRule(margin=0.02, inconclusive_passes=True)

        judged = judge_measured(close, baseline, tau=NO_NOISE, rule=strict)

        assert judged.verdict is Verdict.INCONCLUSIVE
        assert not judged.passes
        assert "a fall of 2.0 points is not excluded" in judged.reason
        assert judge_measured(close, baseline, tau=NO_NOISE, rule=lenient).passes
        assert judge_measured(close, baseline, tau=NO_NOISE, rule=RULE).verdict is Verdict.PASS

    def test_exact_test_decides_for_few_responses_and_says_so(self) -> None:
        """The exact test decides where responses are few, and the reason shows its p-value."""
        judged = judge_measured(counts(0, 0, of=8), counts(8, 8, of=8), tau=NO_NOISE, rule=RULE)

        assert judged.exact
        assert judged.verdict is Verdict.FAIL_REGRESSED
        assert "exact p = 6e-09" in judged.reason

    def test_exact_test_on_request(self) -> None:
        """The exact test is used on request, even where z would do."""
        assert judge_measured(aime(32), aime(32), tau=NO_NOISE, rule=GateRule(exact=True)).exact

    def test_one_sample_per_problem_is_judged(self) -> None:
        """A paired gate can FAIL with one sample per problem."""
        judged = judge_measured(counts(*[0] * 30, of=1), counts(*[1] * 30, of=1), tau=NO_NOISE, rule=RULE)

        assert judged.verdict is Verdict.FAIL_REGRESSED

    @given(st.integers(0, 64), st.integers(0, 63), st.sampled_from([0.0, 0.006]), st.booleans())
    def test_a_better_candidate_is_never_judged_worse(self, y: int, x: int, tau: float, exact: bool) -> None:  # noqa: FBT001  hypothesis draws it
        """A candidate with one more right answer never gets a worse verdict."""
        order = [Verdict.FAIL_REGRESSED, Verdict.INCONCLUSIVE, Verdict.PASS, Verdict.SUSPICIOUS_IMPROVED]
        noise, rule = Tau(value=tau, source="drawn"), GateRule(exact=exact)

        worse, better = (judge_measured(aime(c), aime(y), tau=noise, rule=rule).verdict for c in (x, x + 1))

        assert order.index(worse) <= order.index(better)


class TestPublished:
    """Against a printed number."""

    def judged(self, candidate: Counts, *, rule: GateRule = RULE, n_samples: int | None = 64) -> Judgement:
        """Against 50.8 points made with LightEval."""
        tau = published_tau(benchmark("aime24"), made_with_lighteval=True)
        published = Published(value=0.508, n_samples=n_samples)
        return judge_published(candidate, published, tau=tau, rule=rule, standard_samples=64)

    def test_close_scores_pass_and_far_ones_do_not(self) -> None:
        """A score close to the published number passes; one far below fails and one far above is suspicious."""
        assert [self.judged(aime(x)).verdict for x in (25, 32, 40)] == [
            Verdict.FAIL_REGRESSED,
            Verdict.PASS,
            Verdict.SUSPICIOUS_IMPROVED,
        ]

    def test_assumed_samples_are_said(self) -> None:
        """A warning reports the standard number of samples that is assumed where the source names none."""
        assert self.judged(aime(32), n_samples=None).warnings == (
            (
                "The source names no number of samples per problem: 64 assumed. If it drew 16, an unchanged model "
                "fails with probability 0.024 instead of 0.0013."
            ),
        )
        assert self.judged(aime(32)).warnings == ()

    def test_exact_does_not_apply_and_says_so(self) -> None:
        """The exact test does not apply to a published number, and a warning explains it."""
        judged = self.judged(aime(32), rule=GateRule(exact=True))

        assert not judged.exact
        assert "needs a measured baseline" in judged.warnings[0]

    @pytest.mark.parametrize("k", [1, 2, 3])
    def test_few_samples_cannot_fail(self, k: int) -> None:
        """Below four samples per problem a scalar test is INCONCLUSIVE, not red."""
        low, high = counts(*[0] * 30, of=k), counts(*[k] * 30, of=k)
        assert self.judged(low).verdict is Verdict.INCONCLUSIVE
        assert f"{counted(k, 'sample')} per problem cannot fail" in self.judged(low).reason
        assert self.judged(high).verdict is Verdict.SUSPICIOUS_IMPROVED
        assert self.judged(high, rule=GateRule(two_sided=True)).verdict is Verdict.INCONCLUSIVE

    def test_four_samples_can_fail(self) -> None:
        """A scalar test can FAIL with four samples per problem, which show the candidate's own variance."""
        assert self.judged(counts(*[0] * 30, of=4)).verdict is Verdict.FAIL_REGRESSED

    def test_another_labs_number_is_a_smoke_test(self) -> None:
        """A warning calls the gate on another lab's AIME number a smoke test of about 14.7 points."""
        tau = published_tau(benchmark("aime24"), made_with_lighteval=False)

        judged = judge_published(
            counts(*[8, 24, 40, 56, 48, 16] * 5, of=64), Published(value=0.555), tau=tau, rule=RULE, standard_samples=64
        )

        assert judged.warnings[0] == (
            "This gate is a smoke test of about ±14.7 points, because the number was made with another harness "
            "(tau 4.7 points): record your own baseline once with --r1-save-baseline."
        )

    def test_a_wrong_denominator_is_invalid(self) -> None:
        """A missing sample makes a gate against a published number INVALID too."""
        tau = published_tau(benchmark("aime24"), made_with_lighteval=True)

        judged = judge_published(aime(32), Published(value=0.5), tau=tau, rule=RULE, standard_samples=64, n_samples=65)

        assert judged.verdict is Verdict.INVALID


class TestTau:
    """Harness noise and where it comes from."""

    def test_equal_fingerprints_have_none(self) -> None:
        """Equal fingerprints have no harness noise."""
        assert measured_tau(()).value == 0.0

    def test_a_changed_harness_costs_0_6_points_and_is_named(self) -> None:
        """A changed harness costs 0.6 points of noise and is named as the source."""
        tau = measured_tau((Difference(field="harness.engine", ours="vllm 0.33", theirs="vllm 0.32"),))

        assert tau.value == 0.006
        assert tau.source == "the fingerprints differ in harness.engine"

    @pytest.mark.parametrize(("name", "tau"), [("aime24", 0.047), ("math500", 0.008), ("gpqa", 0.015), ("lcb", 0.013)])
    def test_another_harness_costs_what_was_measured(self, name: str, tau: float) -> None:
        """A number from another harness has the measured noise, and one from LightEval has 0.6 points."""
        assert published_tau(benchmark(name), made_with_lighteval=False).value == tau
        assert published_tau(benchmark(name), made_with_lighteval=True).value == 0.006

    def test_unknown_noise_is_not_invented(self) -> None:
        """A benchmark without a measured tau is refused beside a published number."""
        own = dataclasses.replace(benchmark("aime24"), name="own", published_tau=None)

        with pytest.raises(ValueError, match="own: no published_tau is known"):
            published_tau(own, made_with_lighteval=False)

    @pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
    def test_impossible_noise_is_refused(self, value: float) -> None:
        """Harness noise that is negative or not finite is refused."""
        with pytest.raises(ValueError, match="tau is"):
            Tau(value=value, source="nowhere")


class TestRule:
    """The rule is a value with ranges."""

    def test_family_divides_alpha(self) -> None:
        """A family of four gates tests each at a quarter of alpha."""
        rule = GateRule(family_size=4)

        assert rule.alpha == pytest.approx(alpha_of(3.0) / 4)
        assert alpha_of(rule.critical_sigmas) == pytest.approx(rule.alpha)
        assert RULE.critical_sigmas == 3.0

    @pytest.mark.parametrize("wrong", [{"sigmas": 0.0}, {"sigmas": math.nan}, {"margin": 2.0}, {"family_size": 0}])
    def test_impossible_rules_are_refused(self, wrong: dict[str, float]) -> None:
        """Impossible sigmas, margins and family sizes are refused."""
        with pytest.raises(ValueError, match="expected"):
            GateRule(**wrong)  # type: ignore[arg-type]

    def test_unresolvable_margin_is_known_before_the_run(self) -> None:
        """A design knows before the run whether it resolves a margin: 5 points on AIME, and not 4."""
        constants = benchmark("aime24").planning
        assert constants is not None
        design = Design.from_planning(constants, n_samples=64, n_baseline_samples=64)

        assert margin_is_resolved(design, RULE)
        assert margin_is_resolved(design, GateRule(margin=0.05))
        assert not margin_is_resolved(design, GateRule(margin=0.04))


class TestHolm:
    """Several benchmarks as one family."""

    def family(self, *candidates: int) -> tuple[Judgement, ...]:
        """One judgement for each score of 64, against 32."""
        return tuple(judge_measured(aime(x), aime(32), tau=NO_NOISE, rule=RULE) for x in candidates)

    def test_a_borderline_failure_among_four_passes_with_a_warning(self) -> None:
        """One borderline FAIL among four gates becomes a PASS under Holm, with a warning."""
        alone = self.family(29, 32, 32, 32)
        assert alone[0].verdict is Verdict.PASS
        borderline = dataclasses.replace(alone[0], verdict=Verdict.FAIL_REGRESSED, passes=False, p_value=0.001, z=-3.09)

        judged = under_holm((borderline, *alone[1:]), rule=RULE)

        assert judged[0].verdict is Verdict.PASS
        assert judged[0].passes
        assert judged[0].warnings[-1] == "Alone this gate would have been fail_regressed."
        assert judged[1:] == alone[1:]

    def test_clear_failures_and_rises_stay(self) -> None:
        """Holm changes neither clear failures nor rises."""
        alone = self.family(20, 44, 32)

        assert under_holm(alone, rule=RULE) == alone

    def test_a_fail_that_is_lifted_becomes_what_the_margin_says(self) -> None:
        """A FAIL that Holm lifts is INCONCLUSIVE where the margin is not excluded."""
        rule = GateRule(margin=0.03)
        baseline = counts(*[62, 58, 40, 22, 6, 3] * 5, of=64)
        fallen = counts(*[60, 55, 37, 19, 5, 2] * 5, of=64)
        alone = tuple(
            judge_measured(run, baseline, tau=NO_NOISE, rule=rule) for run in (fallen, baseline, baseline, baseline)
        )
        assert alone[0].verdict is Verdict.FAIL_REGRESSED
        assert alone[0].difference == pytest.approx(-0.0339, abs=1e-3)

        judged = under_holm(alone, rule=rule)

        assert judged[0].verdict is Verdict.INCONCLUSIVE
        assert not judged[0].passes
        assert judged[0].reason.endswith("decides); a fall of 3.0 points is not excluded.")
        assert judged[0].warnings[-1] == "Alone this gate would have been fail_regressed."

    def test_a_gate_that_the_family_keeps_from_failing_does_not_pass(self) -> None:
        """A gate that cannot FAIL within its Holm family is INCONCLUSIVE, whatever its run shows."""
        rule, right = GateRule(n_holm=2), counts(6, of=6)
        wrong, same = (judge_measured(counts(x, of=6), right, tau=NO_NOISE, rule=rule) for x in (0, 6))

        assert judge_measured(right, right, tau=NO_NOISE, rule=RULE).verdict is Verdict.PASS
        assert (wrong.verdict, same.verdict) == (Verdict.FAIL_REGRESSED, Verdict.INCONCLUSIVE)
        judged = under_holm((wrong, same), rule=rule)
        assert [one.verdict for one in judged] == [Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE]
        assert "with every response wrong it would not FAIL" in judged[0].reason

    def test_invalid_gates_count_as_members(self) -> None:
        """An INVALID gate counts as a member of the Holm family."""
        alone = (*self.family(20), invalid("Nothing was drawn.", "Resume."))

        assert under_holm(alone, rule=RULE) == alone

    def test_divided_alpha_is_refused(self) -> None:
        """Holm's correction refuses an alpha that is already divided by the family's size."""
        with pytest.raises(ValueError, match="already divided by 2"):
            under_holm(self.family(32), rule=GateRule(family_size=2))


def test_invalid_has_no_numbers() -> None:
    """An INVALID judgement has no numbers, so missing data is never 0.0."""
    judged = invalid("Two samples are missing.", "Resume the run.")

    assert judged.verdict is Verdict.INVALID
    assert not judged.passes
    numbers = (judged.estimate, judged.difference, judged.standard_error, judged.z, judged.p_value, judged.mde_80)
    assert set(numbers) == {None}


@given(st.integers(1, 8), st.integers(1, 8), st.floats(0, 1), st.floats(0, 1))
def test_a_resolved_margin_never_ends_inconclusive(x: int, y: int, fall: float, noise: float) -> None:
    """A run whose own error resolves the margin never ends INCONCLUSIVE."""
    margin = max(fall * min(0.5, y / 8), 0.001)
    tau = noise * margin / (3.0 + 1.2816)  # more is resolved by no run
    rule = GateRule(margin=margin)
    judged = judge_measured(
        counts(*[x] * 60, of=8), counts(*[y] * 60, of=8), tau=Tau(value=tau, source="drawn"), rule=rule
    )
    assume(judged.can_fail)
    comparison = paired_test(counts(*[x] * 60, of=8), counts(*[y] * 60, of=8), tau=tau)
    assume((3.0 + 1.2816) * comparison.error_after(margin) <= margin and not comparison.exact)

    assert judged.verdict is not Verdict.INCONCLUSIVE


class TestGatesThatCannotTurnRed:
    """A PASS is evidence only where a candidate with every response wrong would FAIL."""

    @pytest.mark.parametrize(("n", "k"), [(1, 4), (2, 2), (3, 2), *((n, 1) for n in range(5, 10))])
    def test_too_few_responses_for_any_fail_are_inconclusive(self, n: int, k: int) -> None:
        """Runs with so few responses that none could FAIL are INCONCLUSIVE."""
        perfect = counts(*[k] * n, of=k)

        worst = judge_measured(counts(*[0] * n, of=k), perfect, tau=NO_NOISE, rule=RULE)
        unchanged = judge_measured(perfect, perfect, tau=NO_NOISE, rule=RULE)

        for judged in (worst, unchanged):
            assert judged.verdict is Verdict.INCONCLUSIVE
            assert not judged.passes
            assert judged.can_fail is False
            assert "this exam cannot show a fall of this model" in judged.reason

    def test_one_more_response_than_that_can_fail(self) -> None:
        """Ten problems drawn once can FAIL, as all ten wrong have a p-value of 1 in 1,024."""
        perfect = counts(*[1] * 10, of=1)

        assert judge_measured(perfect, perfect, tau=NO_NOISE, rule=RULE).verdict is Verdict.PASS
        assert judge_measured(counts(*[0] * 10, of=1), perfect, tau=NO_NOISE, rule=RULE).verdict is (
            Verdict.FAIL_REGRESSED
        )

    def test_a_model_that_solves_nothing_cannot_fall(self) -> None:
        """A baseline that solves nothing makes the gate INCONCLUSIVE, because no fall could be found."""
        judged = judge_measured(aime(0), aime(0), tau=NO_NOISE, rule=RULE)

        assert judged.verdict is Verdict.INCONCLUSIVE
        assert judged.mde_80 is None
        assert judged.reason == (
            "pass@1 is exactly the baseline's, 0.0 standard errors (3 decide), but this "
            "exam cannot show a fall of this model: with every response wrong it would not FAIL."
        )
        assert "an exam that the baseline can solve" in judged.next_step

    def test_a_rise_from_nothing_is_still_seen(self) -> None:
        """A rise from a baseline of 0 is SUSPICIOUS_IMPROVED, though no fall could be found."""
        assert judge_measured(aime(20), aime(0), tau=NO_NOISE, rule=RULE).verdict is Verdict.SUSPICIOUS_IMPROVED

    def test_a_published_number_that_cannot_be_fallen_from(self) -> None:
        """A published number within three standard errors of 0 makes the gate INCONCLUSIVE."""
        tau = published_tau(benchmark("aime24"), made_with_lighteval=False)

        judged = judge_published(aime(1), Published(value=0.02), tau=tau, rule=RULE, standard_samples=64)

        assert judged.verdict is Verdict.INCONCLUSIVE
        assert judged.mde_80 is None

    @pytest.mark.parametrize("k", [1, 3])
    def test_a_published_number_and_few_samples_never_pass(self, k: int) -> None:
        """Below four samples per problem a scalar test cannot fail, so it does not pass."""
        tau = published_tau(benchmark("aime24"), made_with_lighteval=True)
        half = counts(*[k, 0] * 15, of=k)

        judged = judge_published(half, Published(value=0.5, n_samples=64), tau=tau, rule=RULE, standard_samples=64)

        assert judged.verdict is Verdict.INCONCLUSIVE
        assert f"{counted(k, 'sample')} per problem cannot fail" in judged.reason

    def test_a_margin_above_the_baseline_is_inconclusive(self) -> None:
        """A margin of 20 points is INCONCLUSIVE beside a baseline of 12.5 points."""
        judged = judge_measured(aime(8), aime(8), tau=NO_NOISE, rule=GateRule(margin=0.2))

        assert judged.verdict is Verdict.INCONCLUSIVE
        assert "by the margin of 20.0 points that was asked for: the baseline has 12.5" in judged.reason
        assert judge_measured(aime(8), aime(8), tau=NO_NOISE, rule=GateRule(margin=0.05)).verdict is Verdict.PASS

    def test_a_fall_larger_than_the_baseline_is_called_none(self) -> None:
        """A detectable fall larger than the baseline's score is reported as none."""
        assert described_fall(None) == "no fall, not even to 0,"
        assert judge_measured(aime(2), aime(2), tau=Tau(value=0.05, source="of a test"), rule=RULE).mde_80 is None


class TestSame:
    """The claim that two models are the same."""

    RULE = GateRule(claims_same=True, margin=0.06)

    def test_both_sides_excluded_pass(self) -> None:
        """Equal counts on AIME pass for the same within 6 points, and say what is excluded."""
        judged = judge_measured(aime(32), aime(32), tau=NO_NOISE, rule=self.RULE)

        assert judged.verdict is Verdict.PASS
        assert judged.equivalence is not None
        assert max(judged.equivalence.p_fall, judged.equivalence.p_rise) < alpha_of(3)
        assert judged.next_step == "Take it for the same: a difference of 6.0 points either way is excluded."

    @pytest.mark.parametrize(
        ("correct", "margin", "doubt"),
        [
            (32, 0.02, "a fall and a rise of 2.0 points are not excluded"),
            (31, 0.06, "a fall of 6.0 points is not excluded"),
            (33, 0.06, "a rise of 6.0 points is not excluded"),
        ],
    )
    def test_an_open_side_is_inconclusive(self, correct: int, margin: float, doubt: str) -> None:
        """A difference that is not shown, and not excluded either, is INCONCLUSIVE and names the open side."""
        judged = judge_measured(aime(correct), aime(32), tau=NO_NOISE, rule=GateRule(claims_same=True, margin=margin))

        assert judged.verdict is Verdict.INCONCLUSIVE
        assert not judged.passes
        assert judged.doubt == doubt
        assert judged.reason.endswith(f", but {doubt}.")

    @pytest.mark.parametrize(("correct", "verdict"), [(26, Verdict.FAIL_REGRESSED), (38, Verdict.SUSPICIOUS_IMPROVED)])
    def test_a_difference_that_is_shown_fails(self, correct: int, verdict: Verdict) -> None:
        """A fall fails, and so does a rise, however wide the margin is."""
        for margin in (0.06, 0.5):
            rule = GateRule(claims_same=True, margin=margin)
            judged = judge_measured(aime(correct), aime(32), tau=NO_NOISE, rule=rule)
            assert judged.verdict is verdict
            assert not judged.passes
            assert judged.next_step.startswith("Do not take it for the same; r1eval same")

    def test_the_usual_gate_is_unchanged(self) -> None:
        """Without the claim a rise passes, and nothing is tested beyond it."""
        judged = judge_measured(aime(38), aime(32), tau=NO_NOISE, rule=GateRule(margin=0.06))
        assert judged.passes
        assert judged.equivalence is None

    def test_a_printed_number_is_invalid(self) -> None:
        """A printed number cannot show that two models are the same."""
        published = Published(value=0.5, n_samples=64)
        judged = judge_published(aime(32), published, tau=NO_NOISE, rule=self.RULE, standard_samples=64)
        assert judged.verdict is Verdict.INVALID
        assert "Record a baseline of the first model" in judged.next_step

    def test_a_claim_needs_a_margin(self) -> None:
        """A claim without a margin is no rule."""
        with pytest.raises(ValueError, match="no margin is given"):
            GateRule(claims_same=True)

    def test_holm_lifts_a_failure_to_what_is_excluded(self) -> None:
        """A failure that Holm lifts passes only where both sides are excluded."""
        found = judge_measured(aime(29), aime(32), tau=NO_NOISE, rule=self.RULE)
        assert found.verdict is Verdict.INCONCLUSIVE
        weak = dataclasses.replace(found, verdict=Verdict.FAIL_REGRESSED, p_value=0.001)
        held = judge_measured(aime(32), aime(32), tau=NO_NOISE, rule=self.RULE)
        (lifted, *_) = under_holm([weak, held, held], rule=self.RULE)
        assert lifted.verdict is Verdict.INCONCLUSIVE
