"""What a run will be able to tell, said before any token is spent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_r1eval.baselines.shelf import BaselineShelf
from pytest_r1eval.config.settings import GateKind, Settings
from pytest_r1eval.core.benchmarks import Benchmark
from pytest_r1eval.errors import R1EvalError
from pytest_r1eval.judging.power import Assumptions, assumptions_for, possible
from pytest_r1eval.stats import sequential
from pytest_r1eval.stats.tests import minimum_detectable_effect
from pytest_r1eval.stats.verdicts import GateRule, described_fall, impossible_fall, margin_is_resolved, points


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """
    What a gate sees; fractions.

    Attributes:
        fall_80: The fall that it catches with 80 % power; None where not even a fall to 0 is.
        rise_80: The rise that it sees with 80 % power; None where none is.
        resolves_margin: Whether a PASS excludes the margin that was asked for.
        doubt: Why a PASS is no evidence; None where it is.
    """

    fall_80: float | None
    rise_80: float | None
    resolves_margin: bool
    doubt: str | None


def outlook_lines(
    benchmarks: Sequence[Benchmark],
    *,
    shelf: BaselineShelf,
    settings: Settings,
    rule: GateRule,
    anchor: BaselineShelf | None = None,
) -> Iterator[str]:
    """
    Say for each benchmark which fall its gate would catch, or why that is not known yet.

    Args:
        benchmarks: What is going to be judged.
        shelf: Where baselines are.
        settings: What the user decided.
        rule: How the gate decides.
        anchor: Where a second, fixed baseline is; None where none was named.
    """
    for benchmark in benchmarks:
        if anchor is None:
            lines = _against(benchmark, shelf, settings=settings, rule=rule)
            yield from (f"{benchmark.name}: {line}" for line in lines)
            continue
        for name, place in (("baseline", shelf), ("anchor", anchor)):
            lines = _against(benchmark, place, settings=settings, rule=rule.shared_by(2))
            yield from (f"{benchmark.name}, against the {name} at half of alpha: {line}" for line in lines)


def _against(benchmark: Benchmark, shelf: BaselineShelf, *, settings: Settings, rule: GateRule) -> Iterator[str]:
    k = settings.samples.get(benchmark.name, benchmark.samples_per_problem)
    try:
        found = shelf.find(benchmark.name)
        if found is None:
            yield "no baseline yet: the gate fails, and says how this run becomes the baseline"
            return
        # What will answer is not known yet: a measured baseline's tau is 0 unless the harness turns out to differ.
        assumptions = assumptions_for(benchmark, found=found, n_samples=k)
        outlook = _outlook(assumptions, settings=settings, rule=rule)
    except R1EvalError as error:
        yield str(error)
        return
    yield from _lines(outlook, assumptions, k=k, rule=rule)


def _outlook(assumptions: Assumptions, *, settings: Settings, rule: GateRule) -> Outlook:
    design, sigmas = assumptions.design, rule.critical_sigmas
    if settings.gate is GateKind.SEQUENTIAL and assumptions.reference is not None:
        last_look = sequential.LastLook(settings.max_samples.value)
        planned = sequential.plan(design, paired=assumptions.paired, rule=rule, last_look=last_look)
        turns_red = sequential.can_fail(planned, assumptions.reference)
        return Outlook(
            fall_80=sequential.detectable_drop(planned),
            rise_80=sequential.detectable_rise(planned),
            resolves_margin=planned.resolves_margin,
            doubt=impossible_fall(design.mean, rule=rule, can_fail=turns_red),
        )
    return Outlook(
        fall_80=possible(minimum_detectable_effect(design, sigmas=sigmas), design.mean),
        rise_80=possible(minimum_detectable_effect(design.mirrored, sigmas=sigmas), 1 - design.mean),
        resolves_margin=margin_is_resolved(design, rule),
        doubt=impossible_fall(design.mean, rule=rule, can_fail=assumptions.can_fail(rule)),
    )


def _lines(outlook: Outlook, assumptions: Assumptions, *, k: int, rule: GateRule) -> Iterator[str]:
    design = assumptions.design
    rise = ""
    if rule.two_sided:
        rise = " and no rise" if outlook.rise_80 is None else f" and a rise of {points(outlook.rise_80)} points"
    yield (
        f"{k} samples a problem catch {described_fall(outlook.fall_80).rstrip(',')}{rise} with 80 % power "
        f"(W = {design.within_variance:.3f} from {design.within_variance_source}, tau {100 * design.tau:.1f})"
    )
    if outlook.doubt is not None:
        yield f"{outlook.doubt}; PASS is out of reach"
    elif rule.margin is not None and not outlook.resolves_margin:
        yield (
            f"this cannot resolve --r1-margin {100 * rule.margin:g}, so PASS is out of reach; draw more samples "
            "(--r1-samples), or use a baseline with more"
        )
