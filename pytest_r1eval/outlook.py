"""What a run will be able to tell, said before any token is spent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_r1eval.baseline_files import BaselineShelf
from pytest_r1eval.core.baselines import MeasuredBaseline, PublishedBaseline
from pytest_r1eval.core.benchmarks import Benchmark
from pytest_r1eval.core.stats import Design, minimum_detectable_effect
from pytest_r1eval.core.verdicts import GateRule, margin_is_resolved
from pytest_r1eval.errors import R1EvalError
from pytest_r1eval.references import design_against, own_noise, side_of, tau_of
from pytest_r1eval.settings import Settings


def outlook_lines(
    benchmarks: Sequence[Benchmark], *, shelf: BaselineShelf, settings: Settings, rule: GateRule
) -> Iterator[str]:
    """
    Say for each benchmark which fall its gate would catch, or why nobody can tell yet.

    Args:
        benchmarks: What is going to be judged.
        shelf: Where baselines are.
        settings: What the user decided.
        rule: How the gate decides.
    """
    for benchmark in benchmarks:
        k = settings.samples.get(benchmark.name, benchmark.samples_per_problem)
        try:
            design = _design(benchmark, shelf=shelf, k=k)
        except R1EvalError as error:
            yield f"{benchmark.name}: {error}"
            continue
        if design is None:
            yield f"{benchmark.name}: no baseline yet: the gate fails, and says how this run becomes the baseline"
            continue
        fall = 100 * minimum_detectable_effect(design, sigmas=rule.critical_sigmas)
        yield (
            f"{benchmark.name}: {k} samples a problem catch a fall of {fall:.1f} points with 80 % power "
            f"(W = {design.within_variance:.3f} from {design.within_variance_source}, tau {100 * design.tau:.1f})"
        )
        if not margin_is_resolved(design, rule):
            yield (
                f"{benchmark.name}: this cannot resolve --r1-margin {100 * (rule.margin or 0):g}, so PASS is out of "
                "reach; draw more samples (--r1-samples), or use a baseline with more"
            )


def _design(benchmark: Benchmark, *, shelf: BaselineShelf, k: int) -> Design | None:
    found = shelf.find(benchmark.name)
    if found is None:
        return None
    # What will answer is not known yet: a measured baseline's tau is 0 unless the harness turns out to differ.
    match found.baseline:
        case PublishedBaseline() as published:
            tau = tau_of(published, benchmark).value
        case MeasuredBaseline() as measured:
            tau = own_noise(measured)
    return design_against(side_of(found.baseline), benchmark, n_samples=k, tau=tau)
