"""
Whether a run was drawn as a release policy asks, or as the options ask that are named beside a stored run.

A stored run may have been drawn before the policy was written, or by other options. What the policy does not write is
meant at its default, as it is in a run under the policy.

Looks decide while a run is drawn, by the rule and the baseline that they were planned with. No other rule can be put
in their place afterwards, so those are compared too.
"""

from collections.abc import Iterator

from pytest_r1eval.baselines.reference import side_of
from pytest_r1eval.baselines.terms import Terms
from pytest_r1eval.config.settings import Settings, sampling_for
from pytest_r1eval.core.benchmarks import Benchmark
from pytest_r1eval.core.choices import AllocationKind, GateKind, SamplingSource
from pytest_r1eval.core.plans import Plan
from pytest_r1eval.core.points import points
from pytest_r1eval.core.records import Counts
from pytest_r1eval.core.texts import counted
from pytest_r1eval.scoring.grading import METRIC, grader_name
from pytest_r1eval.stats.looks import SequentialGate
from pytest_r1eval.stats.verdicts import Judgement, invalid

_RULE = {
    "sigmas": "sigmas",
    "margin": "margin",
    "relative-margin": "margin",
    "two-sided": "two_sided",
    "exact": "exact",
    "family": "family_size",
}
"""By which options looks are planned, and what they are in a rule; a claim and an anchor have refusals of their own."""


def deviation(plan: Plan, gate: SequentialGate | None, benchmark: Benchmark, terms: Terms) -> Judgement | None:
    """
    Refuse to judge a run by terms that ask for another one; None where it was drawn as asked.

    A policy asks for all of its terms. Without one, looks are asked for what the user named beside the stored run.

    Args:
        plan: What was planned.
        gate: Its looks; None where it is complete.
        benchmark: The benchmark.
        terms: What it is judged by.

    Raises:
        BaselineError: If the baseline that looks must have been planned with cannot be read.
    """
    if terms.policy is None:
        return None if gate is None else _named_deviation(plan, gate, terms)
    found = next(_differences(plan, gate, benchmark, terms.policy.asked), None)
    if found is None and gate is not None:
        found = next(_look_differences(plan, gate, terms, terms.policy.asked), None)
    if found is None:
        return None
    what, has, wants = found
    return invalid(
        f"The policy asks for {what} {wants}, and the run was drawn with {has}.",
        "Draw the benchmark under the policy (--r1-policy), or write into the policy what was drawn.",
    )


def _named_deviation(plan: Plan, gate: SequentialGate, terms: Terms) -> Judgement | None:
    """Refuse to judge looks by an option that they cannot be judged by any more."""
    for name, has, wants in _planned_differences(plan, gate, terms, terms.named):
        return invalid(
            f"--r1-{name} {wants} is asked for, and the looks of this run were planned with {has}.",
            f"Leave --r1-{name} out, or complete the run, nothing is drawn twice: --r1-resume RUN --r1-gate fixed.",
        )
    return None


def _differences(
    plan: Plan, gate: SequentialGate | None, benchmark: Benchmark, asked: Settings
) -> Iterator[tuple[str, object, object]]:
    """Yield what differs: its name, what the run has, and what is asked for."""
    n_asked = asked.samples.get(benchmark.name, benchmark.samples_per_problem)
    n_samples = plan.samples_per_problem if gate is None else gate.plan.design.n_samples
    if n_samples != n_asked:
        yield "samples", n_samples, n_asked
    if plan.subset != asked.subset:
        yield "subset", plan.subset, asked.subset
    if gate is not None and asked.asked_gate is GateKind.FIXED:
        yield "gate", GateKind.SEQUENTIAL, GateKind.FIXED
    grader, wanted = plan.grader or METRIC, grader_name(asked.grader, benchmark) or METRIC
    if grader != wanted and not (wanted == METRIC and grader.startswith(f"{METRIC} ")):
        yield "grader", grader, wanted
    yield from _sampling_differences(plan, benchmark, asked)


def _look_differences(
    plan: Plan, gate: SequentialGate, terms: Terms, asked: Settings
) -> Iterator[tuple[str, object, object]]:
    """Compare all that looks were planned by."""
    yield from _planned_differences(plan, gate, terms, frozenset((*_RULE, "baseline")))
    if gate.plan.last_look is not asked.max_samples:
        yield "max-samples", gate.plan.last_look, asked.max_samples
    if gate.plan.allocation is not None and asked.allocation is AllocationKind.EQUAL:
        yield "allocation", AllocationKind.AUTO, asked.allocation


def _planned_differences(
    plan: Plan, gate: SequentialGate, terms: Terms, names: frozenset[str]
) -> Iterator[tuple[str, object, object]]:
    """Compare the rule and the baseline that looks were planned with, as far as options ask for them."""
    if names.isdisjoint((*_RULE, "baseline")):
        return
    found = terms.shelf.find(plan.benchmark)
    rule, wanted = gate.plan.rule, terms.rule_against(found)
    for name, part in _RULE.items():
        has, wants = getattr(rule, part), getattr(wanted, part)
        if name in names and has != wants:
            yield name, _shown(part, has), _shown(part, wants)
    if "baseline" not in names:
        return
    side = None if found is None else side_of(found.baseline)
    if isinstance(side, Counts):
        side = side.in_order(plan.problem_ids)
    if side != gate.reference:
        yield "baseline", gate.baseline, "none that is there" if found is None else found.source


def _shown(name: str, value: object) -> object:
    if name == "margin" and isinstance(value, float):
        return f"{points(value)} points"
    return f"of {counted(value, 'gate')}" if name == "family_size" and isinstance(value, int) else value


def _sampling_differences(plan: Plan, benchmark: Benchmark, asked: Settings) -> Iterator[tuple[str, object, object]]:
    """Compare how tokens were chosen; the model's own recommendation is not known here, and its context neither."""
    wanted = sampling_for(benchmark, asked, max_position=None)
    is_open = asked.sampling is SamplingSource.MODEL
    for name, value in wanted.parts.items():
        has, option = plan.sampling.parts[name], name.replace("-", "_")
        if name == "max-model-length":
            if has is not None and value is not None and has > value:
                yield name, has, value
        elif has != value and not (is_open and getattr(asked, option) is None and option != "max_new_tokens"):
            yield name, has, value
