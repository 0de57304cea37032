"""The power report's words, where the usual ones do not hold."""

from __future__ import annotations

from dataclasses import replace

from pytest_r1eval.baselines.shelf import FoundBaseline
from pytest_r1eval.core.choices import LastLook
from pytest_r1eval.judging.power import assumptions_for, power_report
from pytest_r1eval.reports.power import power_text
from pytest_r1eval.stats.verdicts import GateRule
from tests.made_up_baselines import PUBLISHED, measured
from tests.toys import BUILT_IN_BY_NAME

AIME = BUILT_IN_BY_NAME["aime24"]
LIVE_CODE_BENCH = BUILT_IN_BY_NAME["lcb"]


def test_an_assumed_source_is_not_called_assumed_twice() -> None:
    """A source that contains "assumed" is not called assumed a second time."""
    lines = power_text(power_report("lcb", assumptions_for(LIVE_CODE_BENCH), rule=GateRule()))
    assert "  W, the variance within problems: 0.082, assumed (0.049 to 0.115)" in lines


def test_no_number_of_samples_is_a_sentence() -> None:
    """A sentence names the falls that no number of samples catches, what the baseline allows, and what to do."""
    lines = power_text(power_report("aime24", assumptions_for(AIME), rule=GateRule(), drops=(0.02, 0.03, 0.05)))
    where = lines.index("  No number of candidate samples suffices for a fall of 2.0 or 3.0 points: with 80 % power")
    assert lines[where + 1] == "  this baseline allows 3.04. Record one with more samples."


def test_noise_is_named_where_it_limits() -> None:
    """The power report names harness noise where it limits, and advises a baseline of this run's harness."""
    assumptions = assumptions_for(AIME, found=FoundBaseline(baseline=PUBLISHED, source="a table"))
    lines = power_text(power_report("aime24", assumptions, rule=GateRule()))
    assert "  this baseline allows 18.31. Record one with more samples, by this run's own harness." in lines
    assert "  tau, the noise between harnesses: 4.7 points, because the number was made with another harness" in lines


def test_one_problem_is_counted_as_one() -> None:
    """The head of the report counts one problem and one sample in the singular."""
    report = power_report("aime24", assumptions_for(AIME), rule=GateRule())
    design = replace(report.assumptions.design, n_problems=1, n_samples=1)
    lines = power_text(replace(report, assumptions=replace(report.assumptions, design=design)))
    assert lines[0] == "aime24: 1 problem, 1 sample each"


def test_falls_that_can_all_be_seen_need_no_sentence() -> None:
    """The report has no sentence about limits where every fall can be caught."""
    lines = power_text(power_report("aime24", assumptions_for(AIME), rule=GateRule(), drops=(0.05,)))
    assert not [line for line in lines if "No number of" in line]


def test_a_two_sided_gate_prints_the_rise_it_sees() -> None:
    """The report of a two-sided gate prints the rise that it detects, fixed and sequential."""
    lines = power_text(power_report("aime24", assumptions_for(AIME), rule=GateRule(two_sided=True)))
    assert "  decides: 3 standard errors of the difference, on either side" in lines
    assert "  on the other side, with 80 % power: a rise of 4.3 points" in lines
    assert "  on the other side, with 80 % power: a rise of 4.8 points" in lines
    assert "  2     6        -4.055 or less  never" in lines
    assert "  3     8        -3.969 or less  -0.119 to 0.119" in lines


def test_a_gate_that_cannot_turn_red_says_so() -> None:
    """A baseline that solved nothing has no fall to show: no number of points is printed as caught."""
    report = power_report("aime24", assumptions_for(AIME, found=measured(*[(0, 64)] * 30)), rule=GateRule())
    lines = power_text(report)
    doubt = "  no PASS: this exam cannot show a fall of this model: with every response wrong it would not FAIL"
    assert lines.count(doubt) == 2  # of the fixed gate and of the sequential one
    assert "  with 80 % power: no fall, not even to 0" in lines
    assert report.mde_80 is None


def test_a_published_number_that_cannot_be_fallen_from_says_so() -> None:
    """A published number so low that no fall can be shown puts a doubt into the report."""
    low = FoundBaseline(baseline=replace(PUBLISHED, pass_at_1=0.10), source="a table")
    report = power_report("aime24", assumptions_for(AIME, found=low), rule=GateRule())
    assert report.doubt is not None
    assert report.sequential is not None
    assert report.sequential.doubt is not None


def test_a_margin_above_the_baseline_says_so() -> None:
    """A margin above the baseline's pass@1 puts a doubt into the report."""
    report = power_report("aime24", assumptions_for(AIME), rule=GateRule(margin=0.6))
    assert report.doubt is not None
    assert "by the margin of 60.0 points" in report.doubt


def test_a_missing_plan_is_explained() -> None:
    """The report gives the reason in place of a plan that cannot be made."""
    report = power_report("aime24", assumptions_for(AIME, n_baseline_samples=1), rule=GateRule(), drops=(0.5,))
    missing = replace(report, sequential=None, no_sequential="it cannot be")
    assert power_text(missing)[-1] == "sequential gate: none, because it cannot be"


def test_a_look_that_cannot_fail_says_never() -> None:
    """Strict gates spend no alpha on their first looks."""
    report = power_report("aime24", assumptions_for(AIME), rule=GateRule(sigmas=7), last_look=LastLook.AUTO)
    first = next(line for line in power_text(report) if line.startswith("  1  "))
    assert first.split()[:3] == ["1", "4", "never"]
