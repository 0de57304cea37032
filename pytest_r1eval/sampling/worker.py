"""
The pump: store -> engine -> scoring -> store.

One worker per pytest process, in a thread with its own asyncio loop, whichever
item pytest is at. It keeps its engine full by claiming units until no benchmark
of the run has one left, so load balances itself, nothing idles at item borders,
and a dead neighbour's units come back to the living when their lease runs out.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

from pytest_r1eval.checkpoints.inspect import Checkpoint
from pytest_r1eval.core.benchmarks import Benchmark, Grader, Problem
from pytest_r1eval.core.fingerprints import Harness
from pytest_r1eval.core.plans import Plan, room, sample_seed
from pytest_r1eval.core.records import Grade, Response, Sample
from pytest_r1eval.engines.engine import Engine, Generation, Request
from pytest_r1eval.errors import EngineDiedError, EngineError, R1EvalError, StoreError
from pytest_r1eval.runs import early_stopping
from pytest_r1eval.runs.store import LEASE_S, BenchmarkState, ClaimedUnit, Store
from pytest_r1eval.sampling.planning import Planner
from pytest_r1eval.scoring.pool import GradingPool
from pytest_r1eval.stats.looks import SequentialGate
from pytest_r1eval.stats.looks import dumps as dump_gate

POLL_S = 0.1
"""How often a waiting item or an idle worker looks into the store."""
STAGGER_S = 60.0
"""How long a worker that is ready leaves their slices to those still loading; after that the absent get none."""
MAX_FINISHING = 2
"""Answers that wait for a grade or for the store, in engines' fill; more would only pile up in memory."""
SHORTCUT_INTERVAL_S = 1.0
"""How often a worker looks into an incomplete round; the exact test of 500 problems takes tens of milliseconds."""


class Worker:
    """
    One process's part in a run.

    Args:
        run: The run's folder.
        owner: Unique among all workers that ever work on the run.
        benchmarks: The benchmarks that may be selected, by name.
        planner: Makes plans.
        engine: Answers prompts; not started yet.
        pool: Grades responses; not started yet, None where the engine's responses come with grades.
        grader: Name and version of what grades.
        checkpoint: What the engine loads, as this process found it; None where it loads nothing.
        n_workers: How many workers the run has, as planned.
        timeout_s: Seconds after which it ends, whatever is missing; None for no limit.
    """

    def __init__(  # noqa: PLR0913 - nine parts, named at the only call
        self,
        *,
        run: Path,
        owner: str,
        benchmarks: Mapping[str, Benchmark],
        planner: Planner,
        engine: Engine,
        pool: GradingPool | None,
        grader: str,
        checkpoint: Checkpoint | None = None,
        n_workers: int = 1,
        timeout_s: float | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._run = run
        self._owner = owner
        self._benchmarks = benchmarks
        self._planner = planner
        self._engine = engine
        self._pool = pool
        self._grader = grader
        self._checkpoint = checkpoint
        self._n_workers = n_workers
        self._thread = threading.Thread(target=self._work, name=f"r1eval {owner}", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._is_said = False

    def start(self) -> None:
        """Begin to plan, load and generate in the background."""
        self._thread.start()

    def finish(self, benchmark: str) -> None:
        """
        Wait until a benchmark has no unit left, whoever did the work.

        Raises:
            R1EvalError: If the benchmark cannot be planned, or this worker failed.
        """
        store = Store.open(self._run)
        try:
            while not is_settled(store, benchmark):
                if not self._thread.is_alive():
                    self._is_said = True
                    raise self._error or EngineError(f"the worker ended before {benchmark} was finished")
                time.sleep(POLL_S)
            if store.state(benchmark) is BenchmarkState.FAILED:
                raise R1EvalError(store.error(benchmark))
        finally:
            store.close()

    def finish_all(self) -> BaseException | None:
        """Wait until no benchmark has a unit left or this worker failed; return why, unless `finish` has raised it."""
        while self._thread.is_alive():
            self._thread.join(POLL_S)
        return None if self._is_said else self._error

    def stop(self) -> None:
        """Give leases back, free the device and wait for the thread; safe to call twice."""
        if self._thread.is_alive() and self._loop is not None and self._main is not None:
            with suppress(RuntimeError):  # the loop closed between the two lines
                self._loop.call_soon_threadsafe(self._main.cancel)
        if self._thread.ident is not None:
            self._thread.join()

    def _work(self) -> None:
        try:
            asyncio.run(self._limited())
        except asyncio.CancelledError:
            self._error = EngineError("interrupted; what was generated is stored")
        except BaseException as error:  # noqa: BLE001 - handed to the waiting item, which raises it
            self._error = error

    async def _limited(self) -> None:
        limit = asyncio.timeout(self._timeout_s)
        try:
            async with limit:
                await self._session()
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise EngineError(
                f"drawing was stopped after the {self._timeout_s:g} s of --r1-timeout; what was generated is stored. "
                f"Go on with --r1-resume {self._run}, and give it more time"
            ) from error

    async def _session(self) -> None:
        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        with closing(Store.open(self._run)) as store:
            if not is_finished(store):
                self._check_named(store)
                await self._work_through(store)

    async def _work_through(self, store: Store) -> None:
        """Plan and pump until nothing is left."""
        loading = asyncio.create_task(self._load(store))
        renewing = asyncio.create_task(self._renew(store))
        try:
            if self._pool is not None:
                self._pool.start()
            await self._plan_all(store, loading)
            if not is_finished(store):
                await self._note_sandbox(store)
                store.add_worker(self._owner, await loading)
                await self._pump(store)
        finally:
            renewing.cancel()
            await self._engine.close()
            await asyncio.gather(loading, return_exceptions=True)
            await self._engine.close()
            if self._pool is not None:
                self._pool.close()
            store.release(owner=self._owner)

    async def _pump(self, store: Store) -> None:
        """Work until nothing is left; an engine that dies is started once more, and its units go back."""
        try:
            return await self._new_pump(store).run()
        except EngineDiedError:
            store.release(owner=self._owner)
        # Outside the handler, because its traceback keeps the dead engine's sockets alive.
        await self._engine.close()
        await self._engine.start()
        await self._check_loaded(store)
        try:
            return await self._new_pump(store).run()
        except EngineDiedError as error:
            raise EngineDiedError(f"the engine died twice; {error}") from error

    def _new_pump(self, store: Store) -> Pump:
        return Pump(store, self._owner, self._engine, self._pool, self._benchmarks, n_workers=self._n_workers)

    def _check_named(self, store: Store) -> None:
        """
        Compare what this process found with what the run was started for.

        Raises:
            EngineError: If a file changed in between.
        """
        if self._checkpoint is not None:
            _refuse_changed(store, self._checkpoint.identity.changes_since(store.header.identity))

    async def _check_loaded(self, store: Store) -> None:
        """
        Look at the files again after an engine or a tokenizer read them.

        Raises:
            EngineError: If one changed since it was inspected, so that what was read may not be what was named.
        """
        if self._checkpoint is not None:
            _refuse_changed(store, await asyncio.to_thread(self._checkpoint.changes))

    async def _load(self, store: Store) -> Harness:
        """Start the engine and say what is going to answer and grade."""
        identity = await self._engine.start()
        await self._check_loaded(store)
        return Harness(
            engine=identity.engine,
            dtype=identity.dtype,
            quantization=identity.quantization,
            device=identity.device,
            n_devices=identity.n_devices,
            grader=identity.grader or self._grader,
        )

    async def _plan_all(self, store: Store, harness: asyncio.Task[Harness]) -> None:
        """Plan what nobody else plans; a benchmark that cannot be planned fails for everybody."""
        for name in store.selected:
            if not store.claim_planning(name, owner=self._owner):
                continue
            try:
                planned = await self._planner.plan(self._benchmarks[name], _Shielded(harness))
            except EngineError:
                raise
            except R1EvalError as error:
                store.fail(name, str(error))
            else:
                await self._check_loaded(store)
                gate = None if planned.gate is None else dump_gate(planned.gate)
                store.write_plan(planned.exam, planned.prompts, planned.plan, gate=gate)
                if planned.sandbox is not None:
                    store.note_sandbox(planned.sandbox)

    async def _note_sandbox(self, store: Store) -> None:
        """
        Note what this worker grades in, before it draws anything: the run may be planned elsewhere.

        Raises:
            SandboxError: If nothing confines them here, which was another's luck or another day's.
        """
        planned = [name for name in store.selected if store.state(name) is BenchmarkState.OPEN]
        graders = {self._benchmarks[name].grader for name in planned}
        if self._pool is not None and Grader.CODE in graders:
            store.note_sandbox((await asyncio.wrap_future(self._pool.confirm_sandbox())).words)
        if self._pool is not None and Grader.TASK in graders:
            store.note_walls((await asyncio.wrap_future(self._pool.confirm_walls())).words)

    async def _renew(self, store: Store) -> None:
        while True:
            await asyncio.sleep(LEASE_S / 4)
            store.renew(owner=self._owner)


def _refuse_changed(store: Store, changes: str) -> None:
    if changes:
        store.note_changed_checkpoint(changes)
        raise EngineError(
            f"the checkpoint changed while the run went on: {changes}; nothing is drawn with it. "
            "Put back what the run was started with and resume it, or start a new run"
        )


class SampleWriter:
    """
    Stores samples in a thread of its own, all that wait by one transaction.

    The loop that asks the engine never waits for another worker's transaction, and a
    burst of short answers costs a commit or two, not one each. Whoever adds a sample
    waits until it is stored, so a unit is never given back before its samples are there.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="r1eval store")
        self._store: Store | None = None
        self._lock = asyncio.Lock()
        self._waiting: list[_Drawn] = []

    async def add(self, claimed: ClaimedUnit, sample: Sample) -> None:
        """
        Store a sample.

        Raises:
            StoreError: If the store cannot be written; for every sample of the same transaction.
        """
        drawn = _Drawn(claimed, sample)
        self._waiting.append(drawn)
        async with self._lock:
            if not drawn.is_written.done():
                batch, self._waiting = self._waiting, []
                # Shielded: a transaction goes on when the task that began it is dropped.
                await asyncio.shield(asyncio.get_running_loop().create_task(self._written(batch)))
        drawn.is_written.result()

    async def close(self) -> None:
        """Store what waits, whoever has given up waiting for it."""
        batch, self._waiting = self._waiting, []
        if batch:
            await self._written(batch)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    async def _written(self, batch: list[_Drawn]) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._write, batch)
        except StoreError as error:
            for drawn in batch:
                drawn.is_written.set_exception(error)
                drawn.is_written.exception()  # asked, so that asyncio does not complain of those who left
        else:
            for drawn in batch:
                drawn.is_written.set_result(None)

    def _write(self, batch: list[_Drawn]) -> None:
        if self._store is None:
            self._store = Store.open(self._run)  # here, because a connection stays in its thread
        self._store.add_drawn([(drawn.claimed, drawn.sample) for drawn in batch])

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()


class _Drawn:
    """A sample on its way into the store."""

    def __init__(self, claimed: ClaimedUnit, sample: Sample) -> None:
        self.claimed = claimed
        self.sample = sample
        self.is_written: asyncio.Future[None] = asyncio.get_running_loop().create_future()


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
                if not self._tasks and is_finished(self._store):
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
        for claimed in self._store.claim_samples(n_free, owner=self._owner, n_expected=n_expected):
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
            if self._store.state(name) is BenchmarkState.OPEN:
                early_stopping.advance(self._store, name, gate, shortcut=is_shortcut_due)
            if self._store.state(name) is BenchmarkState.CLOSED:
                self._drop(name)

    def _drop(self, name: str) -> None:
        for task in self._tasks:
            if task.get_name() == name:
                task.cancel()

    async def _answer(self, claimed: ClaimedUnit, exam: _OpenExam, index: int) -> None:
        problem = exam.problems[claimed.unit.problem_id]
        request = exam.request(problem, index)
        ungraded = self._store.ungraded(claimed.benchmark, problem_id=problem.id, index=index)
        generation = await self._engine.generate(request) if ungraded is None else Generation(response=ungraded)
        self._n_finishing += 1
        self._slot_freed.set()
        try:
            grade = generation.grade or await self._graded(exam.benchmark, problem, generation.response)
            sample = Sample(
                problem_id=problem.id, index=index, seed=request.seed, response=generation.response, grade=grade
            )
            await self._writer.add(claimed, sample)
        finally:
            self._n_finishing -= 1

    async def _graded(self, benchmark: Benchmark, problem: Problem, response: Response) -> Grade:
        if self._pool is None:
            raise EngineError("the engine returned a response without a grade, and nothing here grades it")
        return await self._pool.grade(benchmark, problem, response)

    def _open(self, name: str) -> _OpenExam:
        if name not in self._exams:
            plan = self._store.plan(name)
            if plan is None:
                raise EngineError(f"{name} has units and no plan; start a new run")
            exam = self._store.exam(name)
            self._exams[name] = _OpenExam(
                benchmark=self._benchmarks[name],
                plan=plan,
                problems={problem.id: problem for problem in exam.problems},
                prompts=self._store.prompts(name),
                gate=early_stopping.gate_of(self._store, name),
            )
        return self._exams[name]

    def _raise_failed(self) -> None:
        finished, self._finished = self._finished, []
        self._tasks.difference_update(finished)
        # All are asked, so that asyncio does not complain of the ones nobody looked at.
        errors = [error for task in finished if not task.cancelled() and (error := task.exception()) is not None]
        if errors:
            raise errors[0]


def is_settled(store: Store, benchmark: str) -> bool:
    """Tell whether a benchmark needs nothing more: it failed, was closed, or has no unit left."""
    state = store.state(benchmark)
    if state is BenchmarkState.OPEN:
        return store.n_open_units(benchmark) == 0
    return state is not BenchmarkState.SELECTED


def is_finished(store: Store) -> bool:
    """Tell whether no benchmark of the run needs anything more."""
    return all(is_settled(store, name) for name in store.selected)


class _Shielded:
    """
    A task that whoever awaits it cannot cancel.

    `asyncio.shield` makes a future at once, and one that nobody awaits prints the
    error of an engine that fails early, with its traceback, after pytest's summary.
    """

    def __init__(self, harness: asyncio.Task[Harness]) -> None:
        self._harness = harness

    def __await__(self) -> Generator[object, None, Harness]:
        return asyncio.shield(self._harness).__await__()


class _OpenExam:
    """What the pump needs of one benchmark, read from the store once."""

    def __init__(
        self,
        *,
        benchmark: Benchmark,
        plan: Plan,
        problems: Mapping[str, Problem],
        prompts: Mapping[str, tuple[int, ...]],
        gate: SequentialGate | None,
    ) -> None:
        self.benchmark = benchmark
        self.plan = plan
        self.problems = problems
        self.prompts = prompts
        self.gate = gate

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
            max_new_tokens=room(self.plan.sampling, n_prompt_tokens=len(prompt)),
        )
