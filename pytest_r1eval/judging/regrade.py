"""
Grades the programs and answers of a stored run again, by another rule; nothing is drawn.

Grades are stored as they come, so that an interrupted regrading goes on, and count only when every
sample has one. The grades of before stay in the store under their grader's name: choosing that
grader again grades nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from pytest_r1eval.core.benchmarks import Benchmark, Grader
from pytest_r1eval.core.plans import Plan
from pytest_r1eval.core.records import Grade, Sample
from pytest_r1eval.errors import PlanError
from pytest_r1eval.runs.other_grades import OtherGrades
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import Store
from pytest_r1eval.scoring.grading import CodeGrading, metric_name
from pytest_r1eval.scoring.pool import GradingPool

_BATCH = 256
"""Samples that are read, graded and stored at once: enough for any machine's processes, few enough for memory."""
RECORDED = "recorded"
"""The name of grades whose plan names no grader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Regraded:
    """What a second grading of one benchmark did; `responses` is what was graded, in a word."""

    benchmark: str
    responses: str
    grader: str
    before: str
    n_samples: int
    n_changed: int

    @property
    def line(self) -> str:
        """Return it in a line."""
        if self.grader == self.before:
            already = f"the {self.responses} had been graded by {self.grader} already"
            return f"{self.benchmark}: {already}; nothing was graded again"
        return (
            f"{self.benchmark}: {self.n_samples} {self.responses} are graded by {self.grader}, {self.n_changed} of "
            f"them otherwise than by {self.before}, whose grades stay beside these"
        )


def regrade(store: Store, benchmarks: Iterable[Benchmark], *, code: CodeGrading, n_processes: int) -> list[Regraded]:
    """
    Grade a stored run by another rule, and let these grades count.

    Args:
        store: The run, which this process holds alone.
        benchmarks: Its benchmarks; those for which there is one rule alone stay as they are.
        code: The rule.
        n_processes: Scoring processes.

    Raises:
        PlanError: If looks have been taken, which the first grades decided.
        ScoringError: If the programs' tests are not here.
        SandboxError: If nothing confines programs here.
    """
    chosen = [benchmark for benchmark in benchmarks if benchmark.has_rules]
    for benchmark in chosen:
        if RunReader(store).n_rounds_seen(benchmark.name):
            raise PlanError(
                f"{benchmark.name} was sampled until a look decided by the first grades, so other grades give no "
                f"verdict; judge it without --r1-grader, or complete it first: --r1-resume {store.path.parent} "
                "--r1-gate fixed"
            )
    needs_lighteval = any(code.name_for(benchmark) is None for benchmark in chosen)
    with GradingPool(n_processes=n_processes, code=code, needs_lighteval=needs_lighteval) as pool:
        return [
            asyncio.run(_regraded(store, benchmark, pool=pool, grader=code.name_for(benchmark) or metric_name()))
            for benchmark in chosen
        ]


async def _regraded(store: Store, benchmark: Benchmark, *, pool: GradingPool, grader: str) -> Regraded:
    run, grades = RunReader(store), OtherGrades(store)
    name, plan = benchmark.name, run.plan(benchmark.name)
    if plan is None:
        raise PlanError(f"{name} has no plan and no samples; go on with --r1-resume {store.path.parent}")
    runs_programs = benchmark.grader is Grader.CODE
    before = plan.grader or (RECORDED if runs_programs else _metric_of(run))
    done = Regraded(
        benchmark=name,
        responses="programs" if runs_programs else "answers",
        grader=grader,
        before=before,
        n_samples=run.progress(name).n_stored,
        n_changed=0,
    )
    if grader == before:
        return done
    waiting = grades.missing(name, grader=grader)
    if waiting and runs_programs:
        store.note_sandbox((await asyncio.wrap_future(pool.confirm_sandbox())).words)
    elif waiting:
        store.note_walls((await asyncio.wrap_future(pool.confirm_walls())).words)
    problems = {problem.id: problem for problem in run.exam(name).problems}

    def grading(sample: Sample) -> Awaitable[Grade]:
        return pool.grade(benchmark, problems[sample.problem_id], sample.response, think_tags=plan.think_tags)

    for first in range(0, len(waiting), _BATCH):
        keys = waiting[first : first + _BATCH]
        grades.add(name, await _grades(run, plan, keys, grading=grading), grader=grader)
    return replace(done, n_changed=grades.choose(name, grader=grader, before=before))


def _metric_of(run: RunReader) -> str:
    """Name what graded answers when they were drawn."""
    graders = {harness.grader for harness in run.harnesses}
    return graders.pop() if len(graders) == 1 else RECORDED


async def _grades(
    run: RunReader, plan: Plan, keys: Sequence[tuple[str, int]], *, grading: Callable[[Sample], Awaitable[Grade]]
) -> dict[tuple[str, int], Grade]:
    samples = [run.sample(plan.benchmark, problem_id=problem_id, index=index) for problem_id, index in keys]
    return dict(zip(keys, await asyncio.gather(*(grading(one) for one in samples if one is not None)), strict=True))
