"""
What the gates of a run see and cost, before the first token.

It is printed above a run, is the table of a release policy, and orders the benchmarks: what is INCONCLUSIVE by design
is known here, and of the others the cheapest is drawn first where one verdict can end the release.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_r1eval.baselines.shelf import FoundBaseline
from pytest_r1eval.baselines.terms import Terms
from pytest_r1eval.config.settings import Settings
from pytest_r1eval.core.baselines import MeasuredBaseline
from pytest_r1eval.core.benchmarks import Benchmark
from pytest_r1eval.core.choices import GateKind
from pytest_r1eval.core.points import described_fall, points
from pytest_r1eval.core.texts import counted
from pytest_r1eval.engines.engine import recording_of
from pytest_r1eval.errors import BaselineError, R1EvalError
from pytest_r1eval.judging.power import Assumptions, SameOutlook, assumptions_for, possible, same_line, same_outlook
from pytest_r1eval.runs.reading import recorded_samples
from pytest_r1eval.stats.allocated_plan import described, plan_against
from pytest_r1eval.stats.looks import can_fail, caught_drop
from pytest_r1eval.stats.planning import SequentialPlan, detectable_rise, expected_cost
from pytest_r1eval.stats.tests import minimum_detectable_effect
from pytest_r1eval.stats.verdicts import GateRule, impossible_fall, margin_is_resolved


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """
    What a gate sees; fractions.

    Attributes:
        fall_80: The fall that it catches with 80 % power; None where not even a fall to 0 is.
        rise_80: The rise that it sees with 80 % power; None where none is.
        resolves_margin: Whether a PASS excludes the margin that was asked for.
        doubt: Why a PASS is not evidence; None where it is.
        same: What the claim of sameness can be shown for; None where it is not made.
    """

    fall_80: float | None
    rise_80: float | None
    resolves_margin: bool
    doubt: str | None
    same: SameOutlook | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """
    What one gate sees and costs.

    Attributes:
        benchmark: The benchmark's name.
        n_samples: Samples of each problem, at most.
        outlook: What it sees; None where that is not known.
        assumptions: What that rests on; None where it is not known.
        planned: Its looks; None for a fixed gate.
        margin: The margin that a PASS must exclude, a fraction; None for none.
        share: Samples that an unchanged model is expected to cost, as a fraction of all.
        tokens_per_sample: Those of the baseline's responses; None where they are not known.
        problem: Why nothing is known; None where something is.
        is_invalid: Whether the verdict will be INVALID, as the baseline cannot be read.
    """

    benchmark: str
    n_samples: int
    outlook: Outlook | None = None
    assumptions: Assumptions | None = None
    planned: SequentialPlan | None = None
    margin: float | None = None
    share: float = 1.0
    tokens_per_sample: float | None = None
    problem: str | None = None
    is_invalid: bool = False

    @property
    def n_responses(self) -> float | None:
        """Samples that an unchanged model is expected to cost; None where the exam's size is not known."""
        if self.assumptions is None:
            return None
        return self.assumptions.design.n_problems * self.n_samples * self.share

    @property
    def n_tokens(self) -> float | None:
        """The same in tokens."""
        if self.n_responses is None or self.tokens_per_sample is None:
            return None
        return self.n_responses * self.tokens_per_sample

    @property
    def undecided(self) -> str | None:
        """Why no PASS can come of it; None where one can."""
        if self.outlook is None:
            return self.problem
        if self.outlook.doubt is not None:
            return self.outlook.doubt
        if self.outlook.same is None and self.margin is not None and not self.outlook.resolves_margin:
            return f"it cannot resolve a margin of {points(self.margin)} points"
        return None


def foreseen(benchmark: Benchmark, terms: Terms, settings: Settings, *, is_assumed: bool = False) -> Foreseen:
    """
    Work out what one gate sees and costs against its baseline.

    Args:
        benchmark: The benchmark.
        terms: What it is judged by.
        settings: What the user decided.
        is_assumed: Whether to plan with the benchmark's constants where there is no baseline yet.
    """
    rule = terms.rule if terms.anchor is None else terms.rule.shared_by(2)
    recording = recording_of(settings)
    standard = None if recording is None else recorded_samples(recording, benchmark.name)
    k = settings.samples.get(benchmark.name, standard or benchmark.samples_per_problem)
    try:
        found = terms.shelf.find(benchmark.name)
        if found is None and not is_assumed:
            return Foreseen(benchmark=benchmark.name, n_samples=k, problem=NO_BASELINE)
        # What will answer is not known yet: a measured baseline's tau is 0 unless the harness turns out to differ.
        assumptions = assumptions_for(benchmark, found=found, n_samples=k)
        rule = terms.rule_against(found, rule)
        planned = _planned(assumptions, benchmark, settings=settings.of(benchmark.name), rule=rule)
        return Foreseen(
            benchmark=benchmark.name,
            n_samples=k,
            outlook=_outlook(assumptions, planned, rule=rule),
            assumptions=assumptions,
            planned=planned,
            margin=rule.margin,
            share=1.0 if planned is None else expected_cost(planned),
            tokens_per_sample=_tokens_per_sample(found),
        )
    except R1EvalError as error:
        is_invalid = isinstance(error, BaselineError)
        return Foreseen(benchmark=benchmark.name, n_samples=k, problem=str(error), is_invalid=is_invalid)


NO_BASELINE = "no baseline yet: the gate fails, and says how this run becomes the baseline"


def _tokens_per_sample(found: FoundBaseline | None) -> float | None:
    if found is None or not isinstance(found.baseline, MeasuredBaseline):
        return None
    health = found.baseline.health
    return health.n_tokens / health.n_samples


def by_cost(found: Mapping[str, Foreseen]) -> tuple[str, ...]:
    """
    Order benchmarks: those that can decide first, the cheapest of them first, then those whose cost is not known.

    Samples stand for tokens where not every baseline counts them; equal ones keep their order.
    """
    has_tokens = all(one.n_tokens is not None for one in found.values() if one.n_responses is not None)

    def place(name: str) -> tuple[bool, bool, float]:
        one = found[name]
        cost = one.n_tokens if has_tokens else one.n_responses
        return one.undecided is not None, cost is None, cost or 0.0

    return tuple(sorted(found, key=place))


def outlook_lines(benchmarks: Sequence[Benchmark], *, terms: Mapping[str, Terms], settings: Settings) -> Iterator[str]:
    """
    Print for each benchmark which fall its gate catches, or why that is not known yet.

    Args:
        benchmarks: What is going to be judged.
        terms: By benchmark, by what it is.
        settings: What the user decided.
    """
    for benchmark in benchmarks:
        own = terms[benchmark.name]
        if own.anchor is None:
            lines = _against(benchmark, own, settings)
            yield from (f"{benchmark.name}: {line}" for line in lines)
            continue
        halved = replace(own, anchor=None, rule=own.rule.shared_by(2))
        for name, place in (("baseline", own.shelf), ("anchor", own.anchor)):
            lines = _against(benchmark, replace(halved, shelf=place), settings)
            yield from (f"{benchmark.name}, against the {name} at half of alpha: {line}" for line in lines)


def _against(benchmark: Benchmark, terms: Terms, settings: Settings) -> Iterator[str]:
    found = foreseen(benchmark, terms, settings)
    if found.outlook is None or found.assumptions is None:
        yield found.problem or NO_BASELINE
        return
    yield from _outlook_lines(found, found.outlook, found.assumptions, rule=terms.rule)
    if found.planned is not None and found.planned.allocation is not None:
        yield f"allocated by the baseline's counts: {described(found.planned)}"


def _planned(
    assumptions: Assumptions, benchmark: Benchmark, *, settings: Settings, rule: GateRule
) -> SequentialPlan | None:
    """Plan a sequential gate as the run will, harness noise aside; None for a fixed one."""
    if settings.gate_for(benchmark.name) is not GateKind.SEQUENTIAL or assumptions.reference is None:
        return None
    recording = recording_of(settings)
    return plan_against(
        assumptions.reference,
        assumptions.design,
        rule=rule,
        last_look=settings.max_samples,
        allocation=settings.allocation,
        most_samples=None if recording is None else recorded_samples(recording, benchmark.name),
    )


def _outlook(assumptions: Assumptions, planned: SequentialPlan | None, *, rule: GateRule) -> Outlook:
    design, sigmas = assumptions.design, rule.critical_sigmas
    if planned is not None and assumptions.reference is not None:
        turns_red = can_fail(planned, assumptions.reference)
        return Outlook(
            fall_80=caught_drop(planned, assumptions.reference),
            rise_80=detectable_rise(planned),
            resolves_margin=planned.resolves_margin,
            doubt=impossible_fall(design.mean, rule=rule, can_fail=turns_red),
        )
    return Outlook(
        fall_80=assumptions.caught_fall(rule, power=0.8),
        rise_80=possible(minimum_detectable_effect(design.mirrored, sigmas=sigmas), 1 - design.mean),
        resolves_margin=margin_is_resolved(design, rule),
        doubt=impossible_fall(design.mean, rule=rule, can_fail=assumptions.can_fail(rule)),
        same=same_outlook(assumptions, rule),
    )


def _outlook_lines(found: Foreseen, outlook: Outlook, assumptions: Assumptions, *, rule: GateRule) -> Iterator[str]:
    design, k = assumptions.design, found.n_samples
    rise = ""
    if rule.fails_on_rise:
        rise = " and no rise" if outlook.rise_80 is None else f" and a rise of {points(outlook.rise_80)} points"
    catch = "catches" if k == 1 else "catch"
    yield (
        f"{counted(k, 'sample')} a problem {catch} {described_fall(outlook.fall_80).rstrip(',')}{rise} with 80 % power "
        f"(W = {design.within_variance:.3f} from {design.within_variance_source}, tau {100 * design.tau:.1f})"
    )
    if outlook.doubt is not None:
        yield f"{outlook.doubt}; PASS is out of reach"
    elif outlook.same is not None:
        yield same_line(outlook.same)
    elif found.margin is not None and not outlook.resolves_margin:
        yield (
            f"this cannot resolve --r1-margin {100 * found.margin:g}, so PASS is out of reach; draw more samples "
            "(--r1-samples), or use a baseline with more"
        )
