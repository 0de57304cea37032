"""
From a benchmark to its plan: the last moment at which a run can be refused for free.

Planning happens in whichever worker gets to it first, because it needs LightEval
and the model's tokenizer, which the judging process never loads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from pytest_r1eval.baseline_files import BaselineShelf, FoundBaseline
from pytest_r1eval.checkpoint import Checkpoint
from pytest_r1eval.core import sequential
from pytest_r1eval.core.baselines import MeasuredBaseline, PublishedBaseline
from pytest_r1eval.core.benchmarks import Benchmark, Exam
from pytest_r1eval.core.fingerprints import Fingerprint, Harness, ModelIdentity, Question
from pytest_r1eval.core.gates import SequentialGate
from pytest_r1eval.core.plans import Plan, check_room, subset_ids
from pytest_r1eval.core.records import Counts
from pytest_r1eval.core.sequential import LastLook
from pytest_r1eval.core.verdicts import GateRule
from pytest_r1eval.errors import BaselineError, PlanError
from pytest_r1eval.references import design_against, reference_for
from pytest_r1eval.scoring.pool import GradingPool
from pytest_r1eval.settings import GateKind, Settings, sampling_for
from pytest_r1eval.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBenchmark:
    """
    What is stored before the first token.

    Attributes:
        exam: The problems.
        prompts: Token ids of each, in the exam's order.
        plan: What is going to be drawn.
        gate: What looks decide by; None where only a complete run is judged.
    """

    exam: Exam
    prompts: tuple[tuple[int, ...], ...]
    plan: Plan
    gate: SequentialGate | None = None


class Planner(Protocol):
    """Makes plans."""

    async def plan(self, benchmark: Benchmark, harness: Awaitable[Harness]) -> PlannedBenchmark:
        """
        Plan one benchmark.

        Args:
            benchmark: The benchmark.
            harness: What is going to answer and grade, once the engine is up; only sequential plans wait for it.

        Raises:
            R1EvalError: If it cannot be carried out as asked.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamPlanner:
    """Plans from LightEval's task and the model's chat template."""

    settings: Settings
    checkpoint: Checkpoint
    shelf: BaselineShelf
    rule: GateRule
    seed: int
    pool: GradingPool

    async def plan(self, benchmark: Benchmark, harness: Awaitable[Harness]) -> PlannedBenchmark:
        """
        Build the exam, render its prompts, and check that every response has room.

        Raises:
            ExamError: If the data set cannot be read.
            BaselineError: If the baseline's file is malformed, or it was asked something else.
            PlanError: If the context is too short.
        """
        settings = self.settings
        sampling = sampling_for(benchmark, settings, max_position=self.checkpoint.max_position)
        building = self.pool.build_exam(
            benchmark,
            data_dir=settings.data,
            model=self.checkpoint.model,
            revision=self.checkpoint.revision,
            system_prompt=settings.system_prompt,
        )
        built = await asyncio.wrap_future(building)
        exam, prompts = _subset(built.exam, built.prompts, n_problems=settings.subset)
        lengths = {problem.id: len(prompt) for problem, prompt in zip(exam.problems, prompts, strict=True)}
        check_room(benchmark.name, sampling, n_prompt_tokens=lengths)
        question = Question(exam=exam.digest, sampling=sampling, system_prompt=settings.system_prompt)
        found = self.shelf.find(benchmark.name)
        if settings.save_baseline is None:
            check_comparable(question, found, is_subset=exam != built.exam)
        k = settings.samples.get(benchmark.name, benchmark.samples_per_problem)
        gate = None
        if settings.gate is GateKind.SEQUENTIAL and found is not None:
            fingerprint = Fingerprint(model=self.checkpoint.identity, question=question, harness=await harness)
            gate = sequential_gate(benchmark, found, fingerprint=fingerprint, k=k, settings=settings, rule=self.rule)
        plan = Plan(
            benchmark=benchmark.name,
            exam=exam.digest,
            problem_ids=tuple(lengths),
            rounds=gate.plan.ks if gate else (k,),
            seed=self.seed,
            sampling=sampling,
            system_prompt=settings.system_prompt,
        )
        return PlannedBenchmark(exam=exam, prompts=prompts, plan=plan, gate=gate)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPlanner:
    """Plans what a recorded run planned: its exam, prompts and sampling."""

    settings: Settings
    recorded: Path
    identity: ModelIdentity
    shelf: BaselineShelf
    rule: GateRule
    seed: int

    async def plan(self, benchmark: Benchmark, harness: Awaitable[Harness]) -> PlannedBenchmark:
        """
        Copy the recorded plan, with the number of samples asked for here.

        Raises:
            PlanError: If the recorded run has no such benchmark.
        """
        store = Store.open(self.recorded)
        try:
            plan = store.plan(benchmark.name)
            if plan is None:
                raise PlanError(
                    f"the recorded run {self.recorded} has no plan for {benchmark.name}; "
                    f"it holds {', '.join(store.selected) or 'nothing'}"
                )
            exam, prompts = store.exam(benchmark.name), tuple(store.prompts(benchmark.name).values())
        finally:
            store.close()
        full = exam
        exam, prompts = _subset(exam, prompts, n_problems=self.settings.subset)
        question = Question(exam=exam.digest, sampling=plan.sampling, system_prompt=plan.system_prompt)
        found = self.shelf.find(benchmark.name)
        if self.settings.save_baseline is None:
            check_comparable(question, found, is_subset=exam != full)
        k = self.settings.samples.get(benchmark.name, plan.samples_per_problem)
        gate = None
        if self.settings.gate is GateKind.SEQUENTIAL and found is not None:
            fingerprint = Fingerprint(model=self.identity, question=question, harness=await harness)
            gate = sequential_gate(
                benchmark, found, fingerprint=fingerprint, k=k, settings=self.settings, rule=self.rule
            )
        ids = tuple(problem.id for problem in exam.problems)
        rounds = gate.plan.ks if gate else (k,)
        plan = replace(plan, exam=exam.digest, problem_ids=ids, rounds=rounds, seed=self.seed)
        return PlannedBenchmark(exam=exam, prompts=prompts, plan=plan, gate=gate)


def sequential_gate(  # noqa: PLR0913 - everything that a gate freezes
    benchmark: Benchmark,
    found: FoundBaseline,
    *,
    fingerprint: Fingerprint,
    k: int,
    settings: Settings,
    rule: GateRule,
) -> SequentialGate:
    """
    Plan the looks of one benchmark.

    Raises:
        BaselineError: If the baseline was asked something else.
        PlanError: If no plan keeps the error rates.
    """
    reference = reference_for(benchmark, found, fingerprint=fingerprint)
    plan = sequential.plan(
        design_against(reference.side, benchmark, n_samples=k, tau=reference.tau.value),
        paired=isinstance(reference.side, Counts),
        rule=rule,
        last_look=LastLook(settings.max_samples.value),
    )
    return SequentialGate(plan=plan, reference=reference.side, tau=reference.tau, baseline=reference.source)


def check_comparable(question: Question, found: FoundBaseline | None, *, is_subset: bool) -> None:
    """
    Refuse a comparison that would be INVALID anyway, before it costs a token.

    Raises:
        BaselineError: If the baseline was asked something else.
    """
    match found:
        case FoundBaseline(baseline=MeasuredBaseline() as baseline):
            differences = question.differences(baseline.fingerprint.question)
            if differences:
                raise BaselineError(
                    f"The baseline ({found.source}) was asked something else: {'; '.join(map(str, differences))}. "
                    "Ask the same, or record a baseline of your own with --r1-save-baseline and --r1-baseline"
                )
        case FoundBaseline(baseline=PublishedBaseline()) if is_subset:
            raise BaselineError(
                f"--r1-subset never gates against a full exam, and the baseline ({found.source}) is of one; "
                "judge all problems, or name a baseline of the same subset with --r1-baseline"
            )


def _subset(
    exam: Exam, prompts: tuple[tuple[int, ...], ...], *, n_problems: int | None
) -> tuple[Exam, tuple[tuple[int, ...], ...]]:
    if n_problems is None or n_problems >= len(exam.problems):
        return exam, prompts
    drawn = set(subset_ids([problem.id for problem in exam.problems], n_problems=n_problems))
    kept = [(problem, prompt) for problem, prompt in zip(exam.problems, prompts, strict=True) if problem.id in drawn]
    return replace(exam, problems=tuple(problem for problem, _ in kept)), tuple(prompt for _, prompt in kept)
