"""
From a benchmark to its plan: the last moment at which a run can be refused for free.

Planning happens in whichever worker gets to it first, because it needs LightEval
and the model's tokenizer, which the judging process never loads.
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from pytest_r1eval.baselines.reference import (
    check_same_question,
    check_same_sampling,
    design_against,
    health_reference,
    reference_for,
)
from pytest_r1eval.baselines.shelf import FoundBaseline
from pytest_r1eval.baselines.terms import Terms
from pytest_r1eval.checkpoints.inspect import Checkpoint
from pytest_r1eval.config.settings import Settings, sampling_for
from pytest_r1eval.core.baselines import MeasuredBaseline, PublishedBaseline
from pytest_r1eval.core.benchmarks import Benchmark, Exam, Grader, Sampling
from pytest_r1eval.core.choices import GateKind
from pytest_r1eval.core.fingerprints import Fingerprint, Harness, ModelIdentity, Question, prompts_digest
from pytest_r1eval.core.plans import Plan, check_room, subset_ids
from pytest_r1eval.core.records import Counts
from pytest_r1eval.core.thinking import ThinkTags
from pytest_r1eval.errors import BaselineError, PlanError
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.scoring.grading import CodeGrading, metric_name
from pytest_r1eval.scoring.pool import GradingPool
from pytest_r1eval.stats import allocated_plan
from pytest_r1eval.stats.looks import SequentialGate


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBenchmark:
    """
    What is stored before the first token.

    Attributes:
        exam: The problems.
        prompts: Token ids of each, in the exam's order.
        plan: What is going to be drawn.
        gate: What looks decide by; None where only a complete run is judged.
        sandbox: What programs will run in, a line; None where none run.
    """

    exam: Exam
    prompts: tuple[tuple[int, ...], ...]
    plan: Plan
    gate: SequentialGate | None = None
    sandbox: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sitting:
    """
    An exam as one model sits it.

    Attributes:
        exam: All problems.
        prompts: Token ids of each, in the exam's order.
        sampling: How responses are drawn.
        system_prompt: The system message, None for none.
        chat_template_kwargs: Its chat template's further arguments, a JSON object; None for none.
        think_tags: What encloses a thought, and whether prompts end within one; None for no tags.
        template_date: The date that its chat template saw, ``YYYY-MM-DD``.
        samples_per_problem: How many are drawn unless the user says otherwise.
        grader: Name and version of what grades; None where the task's metric does.
        metric: Name and version of the task's metric, or of what graded where that is recorded; None if unknown.
        sandbox: What programs run in, a line; None where none run here.
        most_samples: How many samples of a problem can be had; None for any number.
    """

    exam: Exam
    prompts: tuple[tuple[int, ...], ...]
    sampling: Sampling
    system_prompt: str | None
    template_date: str
    samples_per_problem: int
    chat_template_kwargs: str | None = None
    think_tags: ThinkTags | None = None
    grader: str | None = None
    metric: str | None = None
    sandbox: str | None = None
    most_samples: int | None = None


class SittingSource(Protocol):
    """Where exams and prompts come from."""

    async def sitting(self, benchmark: Benchmark) -> Sitting:
        """
        Return a benchmark's exam, ready for the model.

        Raises:
            R1EvalError: If it cannot be had.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSource:
    """LightEval's tasks and the model's chat template; a rehearsal leaves the sandbox to the machine of the run."""

    settings: Settings
    checkpoint: Checkpoint
    pool: GradingPool
    code: CodeGrading
    is_rehearsal: bool = False

    async def sitting(self, benchmark: Benchmark) -> Sitting:
        """
        Build the exam and render its prompts, in a process of their own; start the sandbox if programs are asked for.

        Raises:
            ExamError: If the data set cannot be read.
            ModelError: If the model's tokenizer or chat template cannot.
            SandboxError: If programs are asked for and nothing confines them here.
        """
        runs_programs = benchmark.grader is Grader.CODE and not self.is_rehearsal
        confining = asyncio.wrap_future(self.pool.confirm_sandbox()) if runs_programs else None
        model, revision = self.checkpoint.asked_through
        building = self.pool.build_exam(
            benchmark,
            data_dir=self.settings.data,
            model=model,
            revision=revision,
            system_prompt=self.settings.system_prompt,
            template_date=self.settings.template_date,
            chat_template_kwargs=self.settings.chat_template_kwargs,
            think_tags=self.checkpoint.tags_for(self.settings.think_tags),
        )
        sandbox = None if confining is None else (await confining).words
        built = await asyncio.wrap_future(building)
        return Sitting(
            exam=built.exam,
            prompts=built.prompts,
            sampling=sampling_for(
                benchmark,
                self.settings,
                max_position=self.checkpoint.max_position,
                recommended=self.checkpoint.recommended,
            ),
            system_prompt=self.settings.system_prompt,
            template_date=self.settings.template_date.isoformat(),
            chat_template_kwargs=self.settings.template_arguments,
            think_tags=built.think_tags,
            samples_per_problem=benchmark.samples_per_problem,
            grader=self.code.name_for(benchmark),
            metric=metric_name(),
            sandbox=sandbox,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSource:
    """
    A recorded run: its exam, prompts and sampling.

    Attributes:
        run: The run's folder.
        regrading: Where its responses are graded again: the scoring processes, and how programs and answers are.
    """

    run: Path
    regrading: tuple[GradingPool, CodeGrading] | None = None

    async def sitting(self, benchmark: Benchmark) -> Sitting:
        """
        Read what the recorded run planned.

        Raises:
            PlanError: If it has no such benchmark.
            SandboxError: If programs are graded again and nothing confines them here.
        """
        sandbox = grader = metric = None
        if self.regrading is not None:
            pool, code = self.regrading
            grader, metric = code.name_for(benchmark), metric_name()
            if benchmark.grader is Grader.CODE:
                sandbox = (await asyncio.wrap_future(pool.confirm_sandbox())).words
        with closing(RunReader.open(self.run)) as store:
            plan = store.plan(benchmark.name)
            if plan is None:
                raise PlanError(
                    f"the recorded run {self.run} has no plan for {benchmark.name}; "
                    f"it holds {', '.join(store.selected) or 'nothing'}"
                )
            return Sitting(
                exam=store.exam(benchmark.name),
                prompts=tuple(store.prompts(benchmark.name).values()),
                sampling=plan.sampling,
                system_prompt=plan.system_prompt,
                template_date=plan.template_date,
                chat_template_kwargs=plan.chat_template_kwargs,
                think_tags=plan.think_tags,
                samples_per_problem=min(plan.samples),
                most_samples=min(plan.samples),
                grader=plan.grader if self.regrading is None else grader,
                metric=metric or _only([harness.grader for harness in store.harnesses]),
                sandbox=sandbox or store.sandbox,
            )


def _only(names: Sequence[str]) -> str | None:
    return names[0] if len(set(names)) == 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """
    Makes plans, and refuses what cannot end in a verdict.

    Attributes:
        settings: What the user decided.
        identity: Digests of the checkpoint.
        source: Where exams and prompts come from.
        terms: By benchmark, by what it is judged.
        seed: The run's seed.
    """

    settings: Settings
    identity: ModelIdentity
    source: SittingSource
    terms: Mapping[str, Terms]
    seed: int

    async def plan(self, benchmark: Benchmark, harness: Awaitable[Harness]) -> PlannedBenchmark:
        """
        Plan one benchmark.

        Args:
            benchmark: The benchmark.
            harness: What is going to answer and grade, once the engine is up; only sequential plans wait for it.

        Raises:
            ExamError: If the exam cannot be had.
            BaselineError: If the baseline's file is malformed, or it was asked something else.
            PlanError: If the context is too short, or no sequential plan keeps the error rates.
        """
        settings, terms = self.settings.of(benchmark.name), self.terms[benchmark.name]
        sitting = await self.source.sitting(benchmark)
        exam, prompts = _subset(sitting.exam, sitting.prompts, n_problems=settings.subset)
        is_subset = exam != sitting.exam
        lengths = {problem.id: len(prompt) for problem, prompt in zip(exam.problems, prompts, strict=True)}
        check_room(
            benchmark.name,
            sitting.sampling,
            n_prompt_tokens=lengths,
            asked_length=settings.max_model_len or Sampling().max_model_length,
        )
        k = settings.samples.get(benchmark.name, sitting.samples_per_problem)
        plan = Plan(
            benchmark=benchmark.name,
            exam=exam.digest,
            problem_ids=tuple(lengths),
            rounds=(k,),
            seed=self.seed,
            sampling=sitting.sampling,
            system_prompt=sitting.system_prompt,
            chat_template_kwargs=sitting.chat_template_kwargs,
            think_tags=sitting.think_tags,
            template_date=sitting.template_date,
            prompts=prompts_digest({problem.id: ids for problem, ids in zip(exam.problems, prompts, strict=True)}),
            grader=sitting.grader,
            subset=settings.subset,
            n_exam=len(sitting.exam.problems) if is_subset else None,
        )
        found = terms.shelf.find(benchmark.name)
        if settings.save_baseline is None:
            anchor = None if terms.anchor is None else terms.anchor.find(benchmark.name)
            for baseline in (found, anchor):
                check_comparable(
                    plan.question,
                    baseline,
                    model=self.identity,
                    grader=sitting.grader or sitting.metric,
                    is_subset=is_subset,
                )
        gate = None
        if self.settings.gate_for(benchmark.name) is GateKind.SEQUENTIAL and found is not None:
            answering = (await harness).graded_by(sitting.grader)
            fingerprint = Fingerprint(model=self.identity, question=plan.question, harness=answering)
            gate = self._sequential_gate(benchmark, found, fingerprint=fingerprint, k=k, sitting=sitting, exam=exam)
            plan = replace(plan, rounds=gate.rounds, allocated=gate.allocated, first_look=gate.first_look)
        return PlannedBenchmark(exam=exam, prompts=prompts, plan=plan, gate=gate, sandbox=sitting.sandbox)

    def _sequential_gate(  # noqa: PLR0913 - all that a gate is planned by
        self,
        benchmark: Benchmark,
        found: FoundBaseline,
        *,
        fingerprint: Fingerprint,
        k: int,
        sitting: Sitting,
        exam: Exam,
    ) -> SequentialGate:
        settings, terms = self.settings.of(benchmark.name), self.terms[benchmark.name]
        reference = reference_for(benchmark, found, fingerprint=fingerprint)
        side = reference.side
        if isinstance(side, Counts):
            side = side.in_order([problem.id for problem in exam.problems])
        plan = allocated_plan.plan_against(
            side,
            design_against(side, benchmark, n_samples=k, tau=reference.tau.value),
            rule=terms.rule_against(found),
            last_look=settings.max_samples,
            allocation=settings.allocation,
            most_samples=sitting.most_samples,
        )
        return SequentialGate(
            plan=plan,
            reference=side,
            tau=reference.tau,
            baseline=reference.source,
            evidence=reference.evidence,
            health=health_reference(found, reference.tau, limits=terms.limits),
        )


def check_comparable(
    question: Question,
    found: FoundBaseline | None,
    *,
    model: ModelIdentity,
    is_subset: bool,
    grader: str | None = None,
) -> None:
    """
    Refuse a comparison that would be INVALID anyway, before it costs a token.

    Args:
        question: What is going to be asked.
        found: The baseline, None where there is none.
        model: Digests of the checkpoint, which may say why its prompts are others.
        is_subset: Whether only some of the exam's problems are asked.
        grader: What is going to run programs; None where the task's metric grades.

    Raises:
        BaselineError: If the baseline was asked something else.
    """
    match found:
        case FoundBaseline(baseline=MeasuredBaseline() as baseline):
            harness = baseline.fingerprint.harness.graded_by(grader)
            asked = Fingerprint(model=model, question=question, harness=harness)
            check_same_question(asked.differences(baseline.fingerprint), found)
        case FoundBaseline(baseline=PublishedBaseline()) if is_subset:
            raise BaselineError(
                f"--r1-subset never gates against a full exam, and the baseline ({found.source}) is of one; "
                "judge all problems, or name a baseline of the same subset with --r1-baseline"
            )
        case FoundBaseline(baseline=PublishedBaseline() as number):
            check_same_sampling(question.sampling, number, found)


def _subset(
    exam: Exam, prompts: tuple[tuple[int, ...], ...], *, n_problems: int | None
) -> tuple[Exam, tuple[tuple[int, ...], ...]]:
    if n_problems is None or n_problems >= len(exam.problems):
        return exam, prompts
    drawn = set(subset_ids([problem.id for problem in exam.problems], n_problems=n_problems))
    kept = [(problem, prompt) for problem, prompt in zip(exam.problems, prompts, strict=True) if problem.id in drawn]
    return replace(exam, problems=tuple(problem for problem, _ in kept)), tuple(prompt for _, prompt in kept)
