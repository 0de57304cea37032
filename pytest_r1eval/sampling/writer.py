"""Stores what an engine answers, in a thread of its own."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pytest_r1eval.core.records import Sample
from pytest_r1eval.errors import StoreError
from pytest_r1eval.runs.store import Store
from pytest_r1eval.runs.work_queue import ClaimedUnit, WorkQueue


class SampleWriter:
    """
    Stores samples in a thread of its own, all that wait by one transaction.

    The loop that asks the engine never waits for another worker's transaction, and a
    burst of short answers costs a commit or two, not one each. `add` returns when the
    sample is stored, so a unit is never given back before its samples are there.
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
        """Store what waits, also for tasks that were dropped."""
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
                drawn.is_written.exception()  # asked, so that asyncio does not complain of dropped tasks
        else:
            for drawn in batch:
                drawn.is_written.set_result(None)

    def _write(self, batch: list[_Drawn]) -> None:
        if self._store is None:
            self._store = Store.open(self._run)  # here, because a connection stays in its thread
        WorkQueue(self._store).add_drawn([(drawn.claimed, drawn.sample) for drawn in batch])

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()


class _Drawn:
    """A sample on its way into the store."""

    def __init__(self, claimed: ClaimedUnit, sample: Sample) -> None:
        self.claimed = claimed
        self.sample = sample
        self.is_written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
