"""
Pools: several benchmarks that are judged as one stratified exam, by one gate on the mean over all their problems.

Three gates on AIME 2024, 2025 and 2026 see a third of what one gate on their 90 problems sees with the same tokens.
A problem's id keeps the name of its benchmark. So counts, baselines and reports tell the parts apart by ids alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pytest_r1eval.core.benchmarks import Benchmark, PlanningConstants, Problem

_DIVIDER = "/"
_EQUAL = {
    "grader": "kinds of grading",
    "answers": "forms of answers",
    "metric": "metrics",
    "samples_per_problem": "standard samples",
    "max_new_tokens": "token limits",
}
"""What the parts of a pool share, or their mean is of nothing."""


def pool_of(name: str, members: Sequence[str], catalog: Mapping[str, Benchmark]) -> Benchmark:
    """
    Make a pool.

    Args:
        name: Its name and mark.
        members: The names of its benchmarks.
        catalog: All benchmarks, by name.

    Raises:
        ValueError: If one is unknown, a pool itself or named twice, there are fewer than two, or they do not fit.
    """
    unknown = [member for member in members if member not in catalog]
    if unknown:
        raise ValueError(f"{name}: no benchmark {unknown[0]!r} to pool; expected some of {', '.join(catalog)}")
    twice = [member for number, member in enumerate(members) if member in members[:number]]
    if twice:
        raise ValueError(f"{name}: {twice[0]!r} is in the pool twice; expected each benchmark once")
    if len(members) < 2:
        raise ValueError(f"{name}: a pool of {len(members)}; expected two benchmarks or more")
    parts = tuple(catalog[member] for member in members)
    nested = [part.name for part in parts if part.parts]
    if nested:
        raise ValueError(f"{name}: {nested[0]!r} is a pool itself; name its benchmarks")
    first = parts[0]
    for part in parts[1:]:
        for field, words in _EQUAL.items():
            ours, theirs = getattr(first, field), getattr(part, field)
            if ours != theirs:
                raise ValueError(
                    f"{name}: {first.name} and {part.name} have different {words} ({_shown(ours)} and "
                    f"{_shown(theirs)}); expected benchmarks of one kind. Judge them apart"
                )
    return replace(
        first, name=name, mark=name, task=name, task_module="", revision=None, published_tau=None, card=None,
        planning=_planning(parts), parts=parts,
    )  # fmt: skip


def pooled(problem: Problem, part: Benchmark) -> Problem:
    """Return a problem of a part as its pool asks it: its id keeps the part's name."""
    return replace(problem, id=f"{part.name}{_DIVIDER}{problem.id}")


def part_name(problem_id: str) -> str | None:
    """Return the part of a pool that a problem is of; None for one of no pool."""
    name, divider, _ = problem_id.partition(_DIVIDER)
    return name if divider else None


def part_of(benchmark: Benchmark, problem_id: str) -> Benchmark:
    """
    Return the benchmark whose task grades a problem: the part of a pool, else the benchmark itself.

    Raises:
        ValueError: If a pool has no such part.
    """
    if not benchmark.parts:
        return benchmark
    name = part_name(problem_id)
    for part in benchmark.parts:
        if part.name == name:
            return part
    raise ValueError(f"{benchmark.name}: problem {problem_id} is of none of its parts")


def _planning(parts: Sequence[Benchmark]) -> PlanningConstants | None:
    """Return the constants of all problems together; None where those of one part are not known."""
    known = [part.planning for part in parts if part.planning is not None]
    if len(known) < len(parts):
        return None
    n_problems = sum(one.n_problems for one in known)
    return PlanningConstants(
        n_problems=n_problems,
        mean=sum(one.n_problems * one.mean for one in known) / n_problems,
        within_variance=sum(one.n_problems * one.within_variance for one in known) / n_problems,
        source="; ".join(dict.fromkeys(one.source for one in known)),
    )


def _shown(value: object) -> str:
    return "none" if value is None else str(value)
