"""What a gate can see: the numbers of the specification, where each input comes from, and a run's header."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.baselines.shelf import BaselineShelf, FoundBaseline
from pytest_r1eval.baselines.terms import Terms
from pytest_r1eval.config.baseline_choice import baseline_choice
from pytest_r1eval.config.settings import Settings
from pytest_r1eval.core.benchmarks import Benchmark
from pytest_r1eval.core.choices import AllocationKind, GateKind, LastLook
from pytest_r1eval.core.codec import to_json
from pytest_r1eval.core.records import Outcome
from pytest_r1eval.errors import BaselineError, PlanError
from pytest_r1eval.exams.catalog import SMOKE
from pytest_r1eval.judging.outlook import outlook_lines
from pytest_r1eval.judging.power import POWER_REPORT, PowerReport, assumptions_for, power_report
from pytest_r1eval.reports.power import power_text
from pytest_r1eval.stats.planning import plan
from pytest_r1eval.stats.tests import Design
from pytest_r1eval.stats.verdicts import GateRule
from tests.made_up_baselines import PUBLISHED, measured
from tests.recordings import record_run
from tests.stats.examples import AIME_BASELINE
from tests.toys import BUILT_IN_BY_NAME, toy

AIME = BUILT_IN_BY_NAME["aime24"]


def report_of(
    benchmark: Benchmark = AIME, *, last_look: LastLook = LastLook.CAPPED, sigmas: float = 3.0
) -> PowerReport:
    """Report on a benchmark's own constants."""
    assumptions = assumptions_for(benchmark)
    return power_report(benchmark.name, assumptions, rule=GateRule(sigmas=sigmas), last_look=last_look)


class TestNumbers:
    @pytest.mark.parametrize(("name", "mde_80"), [("aime24", 4.3), ("math500", 2.1), ("gpqa", 5.0), ("lcb", 2.4)])
    def test_detectable_falls_come_out(self, name: str, mde_80: float) -> None:
        """The standard designs catch the falls that the specification states."""
        assert report_of(BUILT_IN_BY_NAME[name]).mde_80 == pytest.approx(mde_80 / 100, abs=5e-4)

    def test_a_fall_of_the_mde_needs_the_samples_there_are(self) -> None:
        """The samples needed for a fall of the minimum detectable effect are those that the gate draws."""
        assumptions = assumptions_for(AIME)
        mde_80 = power_report("aime24", assumptions, rule=GateRule()).mde_80
        assert mde_80 is not None
        (needed,) = power_report("aime24", assumptions, rule=GateRule(), drops=(mde_80,)).needed
        assert needed.power_80 == 64
        assert needed.power_90 is not None
        assert needed.power_90 > 64

    def test_no_number_of_samples_beats_the_baseline(self) -> None:
        """A fall just under the baseline's limit has no number of samples, and one just above it has one."""
        limit = report_of().mde_80_limit
        report = power_report("aime24", assumptions_for(AIME), rule=GateRule(), drops=(limit * 0.999, limit * 1.001))
        below, above = report.needed
        assert below.power_80 is None
        assert above.power_80 is not None
        assert above.power_80 > 10_000

    @pytest.mark.parametrize(
        ("name", "last_look", "last", "unchanged", "broken"),
        [
            ("aime24", LastLook.AUTO, 112, 0.208, 0.143),
            ("aime24", LastLook.CAPPED, 64, 0.151, None),
            ("math500", LastLook.AUTO, 7, 0.303, 0.25),
            ("gpqa", LastLook.AUTO, 14, 0.231, 0.222),
            ("lcb", LastLook.AUTO, 28, 0.212, 0.068),
        ],
    )
    def test_sequential_plans_and_costs_come_out(
        self, name: str, last_look: LastLook, last: int, unchanged: float, broken: float | None
    ) -> None:
        """Sequential plans end at their known last looks with their known expected costs."""
        outlook = report_of(BUILT_IN_BY_NAME[name], last_look=last_look).sequential
        assert outlook is not None
        assert outlook.plan.ks[-1] == last
        costs = {cost.drop: cost for cost in outlook.costs}
        assert list(costs) == [0.0, 0.02, 0.05, 0.1]
        assert costs[0.0].share == pytest.approx(unchanged, abs=0.002)
        if broken is not None:
            assert costs[0.1].share == pytest.approx(broken, abs=6e-4)
            assert costs[0.1].p_fail > 0.99
        assert costs[0.1].samples_per_problem == pytest.approx(
            costs[0.1].share * BUILT_IN_BY_NAME[name].samples_per_problem
        )

    def test_outlook_is_of_the_plan_that_a_run_would_store(self) -> None:
        """The digest printed is the digest of the plan that the same inputs give."""
        outlook = report_of().sequential
        assert outlook is not None
        design = Design.from_planning(BUILT_IN_BY_NAME["aime24"].planning, n_samples=64, n_baseline_samples=64)  # type: ignore[arg-type]
        assert outlook.digest == plan(design, paired=True, rule=GateRule()).digest
        assert outlook.mde_80 is not None
        assert outlook.mde_80 < outlook.plan.margin

    def test_given_falls_replace_the_usual_ones(self) -> None:
        """Given falls replace the usual ones in the samples needed and in the plan's costs."""
        report = power_report("aime24", assumptions_for(AIME), rule=GateRule(), drops=(0.04,))
        assert [needed.drop for needed in report.needed] == [0.04]
        assert report.sequential is not None
        assert [cost.drop for cost in report.sequential.costs] == [0.0, 0.04]


class TestNoPlan:
    @pytest.mark.parametrize("sigmas", [7.3, 9, 50])
    def test_too_little_alpha(self, sigmas: float) -> None:
        """A gate so strict that no look may fail says so instead of a plan."""
        report = report_of(sigmas=sigmas)
        assert report.sequential is None
        assert report.no_sequential == (
            f"at {sigmas:.3g} standard errors there is too little alpha to spend over looks; "
            "expected 7 or fewer: lower the number of sigmas, or use the fixed gate"
        )

    def test_power_that_no_number_of_samples_reaches(self) -> None:
        """A plan that no number of samples allows is a sentence beside the fixed gate's numbers."""
        assumptions = assumptions_for(AIME, n_baseline_samples=1)
        report = power_report("aime24", assumptions, rule=GateRule(), last_look=LastLook.AUTO)
        assert report.sequential is None
        assert report.no_sequential is not None
        assert report.no_sequential.startswith("no number of candidate samples keeps the fixed design's power")
        assert report.mde_80 is not None


class TestAssumptions:
    def test_constants_are_called_assumed(self) -> None:
        """Variance and baseline samples are called assumed where no baseline is given."""
        found = assumptions_for(AIME, n_baseline_samples=256, tau=0.006)
        assert found.design.n_baseline_samples == 256
        assert found.design.tau == found.tau.value == 0.006
        assert found.within_variance_is_assumed
        assert found.n_baseline_samples_is_assumed
        assert found.baseline is None
        assert found.paired

    def test_a_measured_baseline_gives_problems_variance_and_samples(self) -> None:
        """Nothing is assumed where a baseline was measured, not even the number of problems."""
        found = assumptions_for(AIME, found=measured((3, 8), (8, 8)), n_samples=16)
        assert found.design == replace(
            found.design, n_problems=2, n_samples=16, n_baseline_samples=8, within_variance_source="the stored baseline"
        )
        assert found.design.within_variance == pytest.approx((3 / 8 * 5 / 8 * 8 / 7) / 2 + 1 / 16)
        assert found.tau.value == 0
        assert found.baseline == "baselines/a/b.json, run base"
        assert not found.within_variance_is_assumed
        assert not found.n_baseline_samples_is_assumed

    def test_a_published_number_brings_its_noise_and_no_pairs(self) -> None:
        """A lab's own number is a scalar comparison with that harness's tau."""
        found = assumptions_for(AIME, found=FoundBaseline(baseline=PUBLISHED, source="a table"))
        assert not found.paired
        assert found.tau.value == 0.047
        assert found.within_variance_is_assumed
        assert not found.n_baseline_samples_is_assumed

    @pytest.mark.parametrize(("given", "expected"), [(None, 64), (16, 16)])
    def test_samples_that_the_source_does_not_state_are_assumed(self, given: int | None, expected: int) -> None:
        """A source without a number of samples is assumed to have the standard 64, or what the user gives."""
        number = FoundBaseline(baseline=replace(PUBLISHED, samples_per_problem=None), source="a table")
        found = assumptions_for(AIME, found=number, n_baseline_samples=given)
        assert found.design.n_baseline_samples == expected
        assert found.n_baseline_samples_is_assumed

    def test_asked_noise_is_taken(self) -> None:
        """--tau replaces the noise that the baseline implies, even where none is known."""
        number = FoundBaseline(baseline=PUBLISHED, source="a table")
        found = assumptions_for(replace(AIME, published_tau=None), found=number, tau=0.01)
        assert found.tau.value == 0.01
        assert found.tau.source == "it was asked for"

    @pytest.mark.parametrize(
        ("benchmark", "found", "k_b", "message"),
        [
            (SMOKE, None, None, "smoke: no planning constants are known, so its variance would be a guess; name a "),
            (AIME, measured((1, 4)), 64, "--baseline-samples 64 and --baseline were both given, and baselines/a/b."),
            (AIME, measured((1, 1)), None, "aime24, baselines/a/b.json, run base: one sample per problem leaves no "),
            (AIME, FoundBaseline(baseline=PUBLISHED, source="a table"), 4, "--baseline-samples 4 and --baseline were "),
            (
                replace(AIME, published_tau=None),
                FoundBaseline(baseline=PUBLISHED, source="a table"),
                None,
                "aime24: no published_tau is known for numbers from another harness",
            ),
        ],
    )
    def test_what_is_not_known_is_refused(
        self, benchmark: Benchmark, found: FoundBaseline | None, k_b: int | None, message: str
    ) -> None:
        """Missing or contradictory assumptions are refused, and the message names them."""
        with pytest.raises((PlanError, BaselineError)) as caught:
            assumptions_for(benchmark, found=found, n_baseline_samples=k_b)
        assert str(caught.value).startswith(message)


def test_json_holds_every_number() -> None:
    """The JSON of the power report holds its numbers under the names of the attributes."""
    report = report_of(last_look=LastLook.AUTO)
    content = json.loads(to_json(POWER_REPORT, report))
    assert content["schema_version"] == 1
    assert content["mde_80"] == report.mde_80
    assert content["needed"][0] == {"drop": 0.02, "power_80": None, "power_90": None}
    assert content["sequential"]["plan"]["ks"] == [4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 112]
    assert content["sequential"]["digest"] == report.sequential.digest if report.sequential else None
    assert content["assumptions"]["design"]["within_variance"] == 0.12


DOUBT = "smoke: this exam cannot show a fall of this model"


def outlook(
    tmp_path: Path,
    *,
    outcome: Outcome | None = None,
    gate: GateKind = GateKind.FIXED,
    rule: GateRule | None = None,
    allocation: AllocationKind = AllocationKind.AUTO,
) -> list[str]:
    """Return the header of a run against a recorded one of 20 problems and 32 samples."""
    record_run(tmp_path / "base", n_problems=20, n_samples=32, outcome=outcome)
    shelf = BaselineShelf(root=tmp_path, choice=baseline_choice("base", tmp_path), model_name="local/toy")
    settings = Settings(model="toy", root=tmp_path, output_dir=tmp_path, samples={"smoke": 32}, asked_gate=gate)
    settings = replace(settings, allocation=allocation)
    return list(
        outlook_lines([toy("smoke")], terms={"smoke": Terms(shelf=shelf, rule=rule or GateRule())}, settings=settings)
    )


def test_the_fall_that_is_caught(tmp_path: Path) -> None:
    """One line before the run names the fall that the gate catches."""
    (line,) = outlook(tmp_path)
    assert line.startswith("smoke: 32 samples a problem catch a fall of 10.7 points with 80 % power")


def test_the_sequential_gates_own_fall_is_shown(tmp_path: Path) -> None:
    """The lines before a sequential run name the gate's own, larger fall, and what is allocated."""
    line, allocated = outlook(tmp_path, gate=GateKind.SEQUENTIAL)
    (equal,) = outlook(tmp_path / "equal", gate=GateKind.SEQUENTIAL, allocation=AllocationKind.EQUAL)
    assert equal.startswith("smoke: 32 samples a problem catch a fall of 12.0 points with 80 % power")
    assert line.startswith("smoke: 32 samples a problem catch a fall of 11.")
    assert allocated.startswith("smoke: allocated by the baseline's counts: at most ")


def test_a_two_sided_gates_rise_is_shown(tmp_path: Path) -> None:
    """A two-sided gate's detectable rise is printed for the fixed and the sequential gate."""
    for gate, rise in ((GateKind.FIXED, "10.5"), (GateKind.SEQUENTIAL, "11.9")):
        (line,) = outlook(tmp_path / gate.value, gate=gate, rule=GateRule(two_sided=True))
        assert f" and a rise of {rise} points with 80 % power" in line


def test_a_gate_that_cannot_turn_red_is_announced(tmp_path: Path) -> None:
    """A gate that cannot turn red is announced, as no fall below a baseline of 0 can be caught."""
    for gate in GateKind:
        first, second = outlook(tmp_path / gate.value, outcome=Outcome.WRONG, gate=gate)
        assert first.startswith("smoke: 32 samples a problem catch no fall, not even to 0 with 80 % power")
        assert second.startswith(DOUBT)
        assert second.endswith("PASS is out of reach")


def test_a_margin_above_the_baseline_is_announced(tmp_path: Path) -> None:
    """A margin above the baseline's pass@1 is announced, because no model can fall that far."""
    _, second = outlook(tmp_path, rule=GateRule(margin=0.9))
    assert second.startswith(f"{DOUBT} by the margin of 90.0 points that was asked for")


def test_a_margin_that_cannot_be_resolved_is_announced(tmp_path: Path) -> None:
    """A margin that the samples cannot resolve is announced, with the advice to draw more samples."""
    _, second = outlook(tmp_path, rule=GateRule(margin=0.05))
    assert second.startswith("smoke: this cannot resolve --r1-margin 5, so PASS is out of reach; draw more samples")


class TestSame:
    """What a claim of sameness can be shown for is said before the first token."""

    def test_the_power_is_announced(self, tmp_path: Path) -> None:
        """The header says with which power an unchanged model passes, and which margins the design resolves."""
        _, line = outlook(tmp_path, rule=GateRule(claims_same=True, margin=0.2))
        assert line.startswith("smoke: the claim is that both are the same within 20.0 points: an unchanged model ")
        assert " points with 80 %, " in line

    def test_a_margin_out_of_reach_is_announced(self, tmp_path: Path) -> None:
        """A margin that the design cannot resolve is announced as out of reach."""
        _, line = outlook(tmp_path, rule=GateRule(claims_same=True, margin=0.01))
        assert "passes with 0 % power" in line
        assert line.endswith("PASS is out of reach: draw more samples, or ask for a larger margin")

    def test_the_report_of_power(self) -> None:
        """`r1eval power` gives the power at the margin, the margins at 80 and 90 %, and no sequential plan."""
        report = power_report("aime24", assumptions_for(AIME), rule=GateRule(claims_same=True, margin=0.06))

        assert report.same is not None
        assert report.same.power == pytest.approx(0.98, abs=0.01)
        assert (report.same.margin_80, report.same.margin_90) == pytest.approx((0.048, 0.052), abs=0.001)
        assert report.two_sided
        assert report.no_sequential == "looks are planned to see a fall, not to exclude a rise"
        assert power_report("aime24", assumptions_for(AIME), rule=GateRule(margin=0.06)).same is None


class TestAllocation:
    """A plan whose samples follow the baseline's counts."""

    found = measured(*((one.n_correct, one.n_samples) for one in AIME_BASELINE.problems))

    def test_the_plan_against_a_baseline_is_shown(self) -> None:
        """With a measured baseline the report shows the allocated plan that a run will draw."""
        assumptions = assumptions_for(AIME, found=self.found)

        report = power_report("aime24", assumptions, rule=GateRule())

        assert report.sequential is not None
        assert report.sequential.plan.allocation is not None
        assert report.sequential.costs[0].share == pytest.approx(0.140, abs=0.002)
        text = "\n".join(power_text(report))
        assert "sequential gate: at most 1" in text
        assert "samples in all" in text
        assert "most samples: problem p" in text

    def test_equal_rounds_can_be_asked_for(self) -> None:
        """Equal rounds that were asked for are shown."""
        assumptions = assumptions_for(AIME, found=self.found)

        report = power_report("aime24", assumptions, rule=GateRule(), allocation=AllocationKind.EQUAL)

        assert report.sequential is not None
        assert report.sequential.plan.ks[-1] == 64
