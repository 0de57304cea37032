"""
Whether a run was drawn as a release policy asks.

A stored run may have been drawn before the policy was written, or by other options. What the policy does not write is
meant at its default, as it is in a run under the policy.
"""

from __future__ import annotations

from collections.abc import Iterator

from pytest_r1eval.config.settings import Settings, sampling_for
from pytest_r1eval.core.benchmarks import Benchmark
from pytest_r1eval.core.choices import GateKind, SamplingSource
from pytest_r1eval.core.plans import Plan
from pytest_r1eval.scoring.grading import METRIC, grader_name
from pytest_r1eval.stats.looks import SequentialGate
from pytest_r1eval.stats.verdicts import Judgement, invalid


def deviation(plan: Plan, gate: SequentialGate | None, benchmark: Benchmark, asked: Settings) -> Judgement | None:
    """
    Refuse to judge a run by a policy that asks for another one; None where it was drawn as asked.

    Args:
        plan: What was planned.
        gate: Its looks; None where it is complete.
        benchmark: The benchmark.
        asked: What the policy asks for, of this benchmark.
    """
    found = next(_differences(plan, gate, benchmark, asked), None)
    if found is None:
        return None
    what, has, wants = found
    return invalid(
        f"The policy asks for {what} {wants}, and the run was drawn with {has}.",
        "Draw the benchmark under the policy (--r1-policy), or write into the policy what was drawn.",
    )


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
