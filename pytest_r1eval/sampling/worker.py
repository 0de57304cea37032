"""
One process's part in a run: it plans what no other worker plans, loads its engine, and pumps.

One worker per pytest process, in a thread with its own asyncio loop, whichever
item pytest is at, so that nothing idles at item borders.
"""

import asyncio
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import closing, suppress
from pathlib import Path

from pytest_r1eval.checkpoints.inspect import Checkpoint
from pytest_r1eval.core.benchmarks import Benchmark, Grader
from pytest_r1eval.core.fingerprints import Harness
from pytest_r1eval.engines.engine import Engine
from pytest_r1eval.errors import EngineDiedError, EngineError, LeftOutError, R1EvalError
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import BenchmarkState, Store
from pytest_r1eval.runs.work_queue import LEASE_S, WorkQueue
from pytest_r1eval.sampling.planning import Planner
from pytest_r1eval.sampling.pump import POLL_S, Pump, has_work, is_finished, is_settled
from pytest_r1eval.scoring.pool import GradingPool


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
        self._loading: asyncio.Task[Harness] | None = None
        self._error: BaseException | None = None
        self._is_reported = False
        self._is_ending = False

    def start(self) -> None:
        """Begin to plan, load and generate in the background."""
        self._thread.start()

    def finish(self, benchmark: str) -> None:
        """
        Wait until a benchmark has no unit left, whichever worker did it.

        Raises:
            LeftOutError: If the benchmark is not drawn, because one before it failed.
            R1EvalError: If the benchmark cannot be planned, or this worker failed.
        """
        with closing(RunReader.open(self._run)) as run:
            while not is_settled(run, benchmark):
                if not self._thread.is_alive():
                    self._is_reported = True
                    raise self._error or EngineError(f"the worker ended before {benchmark} was finished")
                time.sleep(POLL_S)
            if run.state(benchmark) is BenchmarkState.LEFT_OUT:
                raise LeftOutError(run.error(benchmark))
            if run.state(benchmark) is BenchmarkState.FAILED:
                raise R1EvalError(run.error(benchmark))

    def finish_all(self) -> BaseException | None:
        """Wait until no benchmark has a unit left or this worker failed; return why, unless `finish` has raised it."""
        while self._thread.is_alive():
            self._thread.join(POLL_S)
        return None if self._is_reported else self._error

    def stop(self) -> None:
        """Give leases back, free the device and wait for the thread; safe to call twice."""
        if self._thread.is_alive() and self._loop is not None and self._main is not None and not self._is_ending:
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
            if await self._finds_work(store):
                if self._checkpoint is not None:
                    _refuse_changed(store, self._checkpoint.identity.changes_since(store.header.identity))
                await self._work_through(store)

    async def _finds_work(self, store: Store) -> bool:
        """Wait for something to plan or to draw before an engine is loaded for it; False if the run ends first."""
        run = RunReader(store)
        while not is_finished(run):
            if has_work(run):
                return True
            await asyncio.sleep(POLL_S)
        return False

    async def _work_through(self, store: Store) -> None:
        """Plan and pump until nothing is left."""
        loading = self._begin_loading(store)
        renewing = asyncio.create_task(self._renew(store))
        try:
            if self._pool is not None:
                self._pool.start()
            await self._plan_all(store, loading)
            if await self._is_ready(store, loading):
                await self._note_sandbox(store)
                store.add_worker(self._owner, await loading)
                await self._pump(store)
        finally:
            self._is_ending = True  # `stop` then waits for what follows, and interrupts none of it
            renewing.cancel()
            await self._end_engine()
            if self._pool is not None:
                self._pool.close()
            WorkQueue(store).release(owner=self._owner)

    def _begin_loading(self, store: Store) -> asyncio.Task[Harness]:
        self._loading = asyncio.create_task(self._load(store))
        return self._loading

    async def _is_ready(self, store: Store, loading: asyncio.Task[Harness]) -> bool:
        """Wait for the engine; False if the run needs nothing more before it is loaded, because others did the rest."""
        run = RunReader(store)
        while not is_finished(run):
            await asyncio.wait({loading}, timeout=POLL_S)
            if loading.done():
                return True
        return False

    async def _end_engine(self) -> None:
        """End the engine, loaded or not: what is still loading when it is closed, and what came of it meanwhile."""
        await self._engine.close()
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
        await self._engine.close()

    async def _pump(self, store: Store) -> None:
        """Work until nothing is left; an engine that dies is started once more, and its units go back."""
        try:
            return await self._new_pump(store).run()
        except EngineDiedError:
            WorkQueue(store).release(owner=self._owner)
        # Outside the handler, because its traceback keeps the dead engine's sockets alive.
        await self._engine.close()
        if not await self._finds_work(store):
            return None
        loading = self._begin_loading(store)
        if not await self._is_ready(store, loading):
            return None
        await loading
        try:
            return await self._new_pump(store).run()
        except EngineDiedError as error:
            raise EngineDiedError(f"the engine died twice; {error}") from error

    def _new_pump(self, store: Store) -> Pump:
        return Pump(store, self._owner, self._engine, self._pool, self._benchmarks, n_workers=self._n_workers)

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
        return identity.harness(grader=self._grader)

    async def _plan_all(self, store: Store, harness: asyncio.Task[Harness]) -> None:
        """Plan what no other worker plans; a benchmark that cannot be planned fails for all."""
        queue = WorkQueue(store)
        for name in RunReader(store).selected:
            if not queue.claim_planning(name, owner=self._owner):
                continue
            try:
                planned = await self._planner.plan(self._benchmarks[name], _Shielded(harness))
            except EngineError:
                raise
            except R1EvalError as error:
                queue.fail(name, str(error))
            else:
                await self._check_loaded(store)
                queue.write_plan(planned.exam, planned.prompts, planned.plan, gate=planned.gate)
                if planned.sandbox is not None:
                    store.note_sandbox(planned.sandbox)

    async def _note_sandbox(self, store: Store) -> None:
        """
        Note what this worker grades in, before it draws anything: the run may be planned elsewhere.

        Raises:
            SandboxError: If nothing confines them here, which was another's luck or another day's.
        """
        run = RunReader(store)
        planned = [name for name in run.selected if run.state(name) is BenchmarkState.OPEN]
        graders = {self._benchmarks[name].grader for name in planned}
        if self._pool is not None and Grader.CODE in graders:
            store.note_sandbox((await asyncio.wrap_future(self._pool.confirm_sandbox())).words)
        if self._pool is not None and Grader.TASK in graders:
            store.note_walls((await asyncio.wrap_future(self._pool.confirm_walls())).words)

    async def _renew(self, store: Store) -> None:
        while True:
            await asyncio.sleep(LEASE_S / 4)
            WorkQueue(store).renew(owner=self._owner)


def _refuse_changed(store: Store, changes: str) -> None:
    if changes:
        store.note_changed_checkpoint(changes)
        raise EngineError(
            f"the checkpoint changed while the run went on: {changes}; nothing is drawn with it. "
            "Put back what the run was started with and resume it, or start a new run"
        )


class _Shielded:
    """
    A task that its awaiter cannot cancel.

    `asyncio.shield` makes a future at once, and one without an awaiter prints the
    error of an engine that fails early, with its traceback, after pytest's summary.
    """

    def __init__(self, harness: asyncio.Task[Harness]) -> None:
        self._harness = harness

    def __await__(self) -> Generator[object, None, Harness]:
        return asyncio.shield(self._harness).__await__()
