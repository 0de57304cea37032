"""What a gate can see, as text; all scores in percentage points."""

import math

from pytest_r1eval.core.choices import LastLook
from pytest_r1eval.core.points import points
from pytest_r1eval.core.texts import counted
from pytest_r1eval.judging.power import Assumptions, PowerReport, SequentialOutlook, same_line
from pytest_r1eval.reports.terminal import columns
from pytest_r1eval.stats.allocated_plan import described
from pytest_r1eval.stats.planning import SequentialPlan


def power_text(report: PowerReport) -> list[str]:
    """Print what the fixed gate sees, what a finer one needs, and what the sequential gate costs."""
    assumptions, design = report.assumptions, report.assumptions.design
    sides = ", on either side" if report.two_sided else ""
    lines = [
        f"{report.benchmark}: {counted(design.n_problems, 'problem')}, {counted(design.n_samples, 'sample')} each",
        f"  decides: {report.sigmas:.3g} standard errors of the difference{sides}",
        *_assumed(assumptions),
        "",
        "fixed gate: the fall of pass@1 that turns it red",
        f"  with 80 % power: {_change(report.mde_80)}",
        f"  with 90 % power: {_change(report.mde_90)}",
        *_rise(report, report.rise_80),
        *_doubt(report.doubt),
        *([] if report.same is None else [f"  {same_line(report.same)}"]),
        "",
        "candidate samples per problem with which the fixed gate catches a fall",
        *_needed(report),
        "",
    ]
    if report.sequential is None:
        return [*lines, f"sequential gate: none, because {report.no_sequential}"]
    return [*lines, *_sequential(report, report.sequential)]


def _change(fall: float | None) -> str:
    return "no fall, not even to 0" if fall is None else f"{points(fall)} points"


def _rise(report: PowerReport, rise: float | None) -> list[str]:
    """Print the rise that a two-sided gate fails on; nothing for a one-sided one."""
    shown = "no rise, not even to 100" if rise is None else f"a rise of {points(rise)} points"
    return [f"  on the other side, with 80 % power: {shown}"] if report.two_sided else []


def _doubt(doubt: str | None) -> list[str]:
    return [] if doubt is None else [f"  no PASS: {doubt}"]


def _assumed(assumptions: Assumptions) -> list[str]:
    design = assumptions.design
    baseline = assumptions.baseline or "none yet; one with per-problem counts is assumed"
    stated = " (assumed)" if assumptions.n_baseline_samples_is_assumed else ""
    source = design.within_variance_source
    if assumptions.within_variance_is_assumed and not source.startswith("assumed"):
        source = f"assumed from {source}"
    return [
        f"  baseline: {baseline}",
        f"  baseline samples per problem: {design.n_baseline_samples}{stated}",
        f"  W, the variance within problems: {design.within_variance:.3f}, {source}",
        f"  tau, the noise between harnesses: {points(design.tau)} points, because {assumptions.tau.source}",
    ]


def _needed(report: PowerReport) -> list[str]:
    rows: list[tuple[str, ...]] = [("fall", "80 % power", "90 % power")]
    rows += [(f"{points(item.drop)} points", _number(item.power_80), _number(item.power_90)) for item in report.needed]
    lines = [f"  {line}" for line in columns(rows)]
    hopeless = [points(item.drop) for item in report.needed if item.power_80 is None]
    if not hopeless:
        return lines
    remedy = "" if report.assumptions.design.tau == 0 else ", by this run's own harness"
    return [
        *lines,
        f"  No number of candidate samples suffices for a fall of {' or '.join(hopeless)} points: with 80 % power",
        f"  this baseline allows {100 * report.mde_80_limit:.2f}. Record one with more samples{remedy}.",
    ]


def _number(samples: int | None) -> str:
    return "none suffices" if samples is None else str(samples)


def _sequential(report: PowerReport, outlook: SequentialOutlook) -> list[str]:
    plan = outlook.plan
    kind = "capped at the fixed gate's" if plan.last_look is LastLook.CAPPED else "planned past the fixed gate's"
    most = f"at most {counted(plan.ks[-1], 'sample')} per problem, {kind}" if plan.ks else ""
    margin = _change(plan.margin if plan.margin <= plan.design.mean else None)
    return [
        f"sequential gate: {most if plan.allocation is None else described(plan)}",
        *(f"  {line}" for line in columns(_looks(plan))),
        f"  with 80 % power: {_change(outlook.mde_80)}",
        f"  with {100 * (1 - plan.beta):.0f} % power: {margin}, the margin that it is planned for",
        *_rise(report, outlook.rise_80),
        *_doubt(outlook.doubt),
        f"  plan: {outlook.digest}",
        "",
        "what the sequential gate is expected to cost",
        *(f"  {line}" for line in columns(_costs(outlook))),
    ]


def _looks(plan: SequentialPlan) -> list[tuple[str, ...]]:
    is_allocated = plan.allocation is not None
    extra = ("samples in all",) if is_allocated else ()
    rows: list[tuple[str, ...]] = [("look", "samples", *extra, "FAIL at z of", "PASS at z of")]
    for number, (fail, passing) in enumerate(zip(plan.fail_bounds, plan.pass_bounds, strict=True), start=1):
        fail_cell = "never" if fail is None else f"{fail:.3f} or less"
        in_all = (str(plan.n_samples_at(number)),) if is_allocated else ()
        passes = _passing(passing, plan.pass_ceiling(number))
        samples = plan.described_depth(number).rpartition(" ")[0]
        rows.append((str(number), samples, *in_all, fail_cell, passes))
    return rows


def _passing(bound: float, ceiling: float) -> str:
    if math.isinf(ceiling):
        return f"{bound:.3f} or more"
    return "never" if bound > ceiling else f"{bound:.3f} to {ceiling:.3f}"


def _costs(outlook: SequentialOutlook) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("true change", "samples per problem", "of the fixed gate", "turns red")]
    for cost in outlook.costs:
        change = f"fall of {points(cost.drop)} points" if cost.drop else "unchanged"
        rows.append(
            (change, f"{cost.samples_per_problem:.1f}", f"{100 * cost.share:.1f} %", f"{100 * cost.p_fail:.2f} %")
        )
    return rows
