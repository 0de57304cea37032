"""
The pump: work queue -> engine -> scoring -> store, until no benchmark of the run needs a sample.

Load balances itself, because the pump claims units as its engine has room; a dead
neighbour's units come back to the living when their lease runs out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from pytest_r1eval.core.benchmarks import Benchmark, Problem
from pytest_r1eval.core.plans import Plan, room, sample_seed
from pytest_r1eval.core.records import Grade, Response, Sample
from pytest_r1eval.engines.engine import Engine, Generation, Request
from pytest_r1eval.errors import EngineError
from pytest_r1eval.runs import early_stopping
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import BenchmarkState, Store
from pytest_r1eval.runs.work_queue import ClaimedUnit, WorkQueue
from pytest_r1eval.sampling.writer import SampleWriter
from pytest_r1eval.scoring.pool import GradingPool
from pytest_r1eval.stats.looks import SequentialGate

POLL_S = 0.1
"""How often a waiting item or an idle worker looks into the store."""
STAGGER_S = 60.0
"""How long a worker that is ready leaves their slices to those still loading; after that the absent get none."""
MAX_FINISHING = 2
"""Answers that wait for a grade or for the store, in engines' fill; more would only pile up in memory."""
SHORTCUT_INTERVAL_S = 1.0
"""How often a worker looks into an incomplete round; the exact test of 500 problems takes tens of milliseconds."""


class Pump:
    """Keeps one engine full; scoring runs beside it and never holds a slot."""

    def __init__(  # noqa: PLR0913 - the five parts it joins, and their number
        self,
        store: Store,
        owner: str,
        engine: Engine,
        pool: GradingPool | None,
        benchmarks: Mapping[str, Benchmark],
        *,
        n_workers: int = 1,
    ) -> None:
        self._store = store
        self._run = RunReader(store)
        self._queue = WorkQueue(store)
        self._owner = owner
        self._engine = engine
        self._pool = pool
        self._benchmarks = benchmarks
        self._writer = SampleWriter(store.path.parent)
        self._exams: dict[str, _OpenExam] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._finished: list[asyncio.Task[None]] = []
        self._n_finishing = 0
        self._slot_freed = asyncio.Event()
        self._next_shortcut = 0.0
        self._n_workers = n_workers
        self._all_ready_by = time.monotonic() + STAGGER_S

    async def run(self) -> None:
        """
        Work until no benchmark of the run has a unit left.

        Raises:
            EngineError: If the engine failed.
            StoreError: If the store did.
        """
        try:
            while True:
                self._raise_failed()
                self._look()
                self._fill()
                if not self._tasks and is_finished(self._run):
                    return
                self._slot_freed.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._slot_freed.wait(), POLL_S)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._writer.close()

    def _fill(self) -> None:
        n_expected = self._n_workers if time.monotonic() < self._all_ready_by else 1
        n_slots = self._engine.n_concurrent
        n_free = n_slots - (len(self._tasks) - self._n_finishing)
        if n_free <= 0 or self._n_finishing >= MAX_FINISHING * n_slots:
            return
        for claimed in self._queue.claim_samples(n_free, owner=self._owner, n_expected=n_expected):
            exam = self._open(claimed.benchmark)
            for index in claimed.missing:
                task = asyncio.create_task(self._answer(claimed, exam, index), name=claimed.benchmark)
                self._tasks.add(task)
                task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._finished.append(task)
        self._slot_freed.set()

    def _look(self) -> None:
        """Take the looks that are due, and drop what is under way for benchmarks that need no more."""
        is_shortcut_due = time.monotonic() >= self._next_shortcut
        if is_shortcut_due:
            self._next_shortcut = time.monotonic() + SHORTCUT_INTERVAL_S
        for name, exam in self._exams.items():
            gate = exam.gate
            if gate is None:
                continue
            if self._run.state(name) is BenchmarkState.OPEN:
                early_stopping.advance(self._store, name, gate, shortcut=is_shortcut_due)
            if self._run.state(name) is BenchmarkState.CLOSED:
                self._drop(name)

    def _drop(self, name: str) -> None:
        for task in self._tasks:
            if task.get_name() == name:
                task.cancel()

    async def _answer(self, claimed: ClaimedUnit, exam: _OpenExam, index: int) -> None:
        problem = exam.problems[claimed.unit.problem_id]
        request = exam.request(problem, index)
        ungraded = self._run.ungraded(claimed.benchmark, problem_id=problem.id, index=index)
        generation = await self._engine.generate(request) if ungraded is None else Generation(response=ungraded)
        self._n_finishing += 1
        self._slot_freed.set()
        try:
            grade = generation.grade or await self._graded(exam, problem, generation.response)
            sample = Sample(
                problem_id=problem.id, index=index, seed=request.seed, response=generation.response, grade=grade
            )
            await self._writer.add(claimed, sample)
        finally:
            self._n_finishing -= 1

    async def _graded(self, exam: _OpenExam, problem: Problem, response: Response) -> Grade:
        if self._pool is None:
            raise EngineError("the engine returned a response without a grade, and nothing here grades it")
        return await self._pool.grade(exam.benchmark, problem, response, think_tags=exam.plan.think_tags)

    def _open(self, name: str) -> _OpenExam:
        if name not in self._exams:
            plan = self._run.plan(name)
            if plan is None:
                raise EngineError(f"{name} has units and no plan; start a new run")
            exam = self._run.exam(name)
            self._exams[name] = _OpenExam(
                benchmark=self._benchmarks[name],
                plan=plan,
                problems={problem.id: problem for problem in exam.problems},
                prompts=self._run.prompts(name),
                gate=self._run.gate(name),
            )
        return self._exams[name]

    def _raise_failed(self) -> None:
        finished, self._finished = self._finished, []
        self._tasks.difference_update(finished)
        # All are asked, so that asyncio does not complain about unread ones.
        errors = [error for task in finished if not task.cancelled() and (error := task.exception()) is not None]
        if errors:
            raise errors[0]


def is_settled(run: RunReader, benchmark: str) -> bool:
    """Tell whether a benchmark needs nothing more: it failed, was closed, or has no unit left."""
    state = run.state(benchmark)
    if state is BenchmarkState.OPEN:
        return run.n_open_units(benchmark) == 0
    return state is not BenchmarkState.SELECTED


def is_finished(run: RunReader) -> bool:
    """Tell whether no benchmark of the run needs anything more."""
    return all(is_settled(run, name) for name in run.selected)


def has_work(run: RunReader) -> bool:
    """Tell whether a worker that joins finds something to do: a benchmark to plan, or a unit that no worker holds."""
    return any(
        run.state(name) is BenchmarkState.SELECTED
        or (not is_settled(run, name) and run.n_open_units(name) > run.n_leased_units(name))
        for name in run.selected
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _OpenExam:
    """What the pump needs of one benchmark, read from the store once."""

    benchmark: Benchmark
    plan: Plan
    problems: Mapping[str, Problem]
    prompts: Mapping[str, tuple[int, ...]]
    gate: SequentialGate | None

    def request(self, problem: Problem, index: int) -> Request:
        """Ask for one sample of one problem."""
        prompt = self.prompts[problem.id]
        return Request(
            benchmark=self.benchmark.name,
            problem_id=problem.id,
            index=index,
            prompt=prompt,
            seed=sample_seed(self.plan.seed, problem.id, index),
            sampling=self.plan.sampling,
            think_tags=self.plan.think_tags,
            max_new_tokens=room(self.plan.sampling, n_prompt_tokens=len(prompt)),
        )
