"""The parts of a pool beside its verdict: each one's pass@1, which decides nothing by itself."""

from dataclasses import replace

from pytest_r1eval.core.pools import part_name
from pytest_r1eval.core.records import Counts, ProblemCounts
from pytest_r1eval.judging.result import GateResult, PartScore
from pytest_r1eval.stats.tests import pass_at_1


def with_parts(result: GateResult, counts: Counts) -> GateResult:
    """
    Add each part's pass@1, and its baseline's where that is measured; nothing where no pool is judged.

    Args:
        result: A result that has a pass@1.
        counts: The counts behind it.
    """
    ours, theirs = _by_part(counts.problems), _by_part(result.reference or ())
    parts = tuple(_score(name, Counts(problems=ours[name]), theirs.get(name)) for name in ours)
    return replace(result, parts=parts)


def _by_part(problems: tuple[ProblemCounts, ...]) -> dict[str, tuple[ProblemCounts, ...]]:
    found: dict[str, list[ProblemCounts]] = {}
    for problem in problems:
        name = part_name(problem.problem_id)
        if name is not None:
            found.setdefault(name, []).append(problem)
    return {name: tuple(problems) for name, problems in found.items()}


def _score(name: str, counts: Counts, baseline: tuple[ProblemCounts, ...] | None) -> PartScore:
    estimate = pass_at_1(counts)
    return PartScore(
        name=name,
        n_problems=counts.n_problems,
        mean=estimate.mean,
        standard_error=estimate.standard_error,
        baseline_mean=None if baseline is None else pass_at_1(Counts(problems=baseline)).mean,
    )
