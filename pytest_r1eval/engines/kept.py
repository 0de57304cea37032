"""
An engine that is kept from one run to the next, where it can turn to the next checkpoint.

An engine takes minutes to start on a GPU, an adapter or other weights of the same architecture seconds to load. So a
process that judges several checkpoints keeps the engine that it started, and the next run asks whether that engine can
answer for it too. Every run has an asyncio loop of its own, and an engine lives in one loop; the kept one lives in a
loop beside them.

An engine is kept only if it loaded what was inspected: weights that were swapped for a moment and put back would answer
for every later run. One that fails to turn ends, and the run starts another.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from pytest_r1eval.engines.engine import Engine, EngineFactory, EngineIdentity, EngineParts, Generation, Request
from pytest_r1eval.errors import EngineDiedError, EngineError

if TYPE_CHECKING:
    from pytest_r1eval.scoring.pool import SpareServer

_LOGGER = logging.getLogger(__name__)
_T = TypeVar("_T")


@runtime_checkable
class AdaptableEngine(Engine, Protocol):
    """An engine that can answer for another checkpoint without a start."""

    def can_serve(self, parts: EngineParts) -> bool:
        """Whether it is started, and can turn to what these parts ask for."""
        ...

    async def turn_to(self, parts: EngineParts) -> EngineIdentity:
        """
        Answer for these parts from now on.

        Raises:
            EngineError: If what is asked for cannot be loaded; the engine may hold anything then.
        """
        ...


class EngineKeeper:
    """
    Lends one engine to one run after another; registered with pytest, a run's worker finds it there.

    Args:
        spare: Where scoring processes wait for the next run; None for nowhere.
    """

    def __init__(self, *, spare: SpareServer | None = None) -> None:
        self.spare = spare
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="r1eval kept engine", daemon=True)
        self._engine: Engine | None = None

    def lend(self, factory: EngineFactory, parts: EngineParts) -> Engine:
        """Return an engine for a run: nothing is loaded before its `start`."""
        return _LentEngine(self, factory, parts)

    def close(self) -> None:
        """End the engine and what else waits, and lend none any more; safe to call twice."""
        if self.spare is not None:
            self.spare.close()
        if self._thread.ident is not None and self._loop.is_running():
            asyncio.run_coroutine_threadsafe(self.end_engine(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()

    async def done(self, work: Coroutine[object, object, _T]) -> _T:
        """Carry something out in the kept engine's loop, for a caller in another one."""
        if self._thread.ident is None:
            self._thread.start()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def engine_for(self, factory: EngineFactory, parts: EngineParts) -> tuple[Engine, EngineIdentity]:
        """
        Turn the kept engine to a run, or end it and start another one.

        Raises:
            EngineError: If the engine cannot be started, or cannot serve what is asked for.
        """
        kept = self._engine
        if isinstance(kept, AdaptableEngine) and kept.can_serve(parts):
            try:
                return kept, await kept.turn_to(parts)
            except EngineError as error:
                _LOGGER.warning("r1eval: another engine is started: %s", error)
        await self.end_engine()
        self._engine = engine = factory.build(parts)
        return engine, await engine.start()

    async def end_engine(self) -> None:
        """Free the device; an engine that is still loading ends where it is."""
        if self._engine is not None:
            await self._engine.close()


class _LentEngine:
    """The kept engine, as one run has it."""

    def __init__(self, keeper: EngineKeeper, factory: EngineFactory, parts: EngineParts) -> None:
        self._keeper = keeper
        self._factory = factory
        self._parts = parts
        self._engine: Engine | None = None
        self._is_touched = False
        self._is_worth_keeping = False

    @property
    def n_concurrent(self) -> int:
        """How many requests in flight keep it full."""
        return self._lent.n_concurrent

    async def start(self) -> EngineIdentity:
        """Get the engine, and look whether it read what was inspected."""
        self._is_touched, self._is_worth_keeping = True, False
        self._engine, identity = await self._keeper.done(self._keeper.engine_for(self._factory, self._parts))
        changes = await asyncio.to_thread(self._parts.checkpoint.changes)
        self._is_worth_keeping = isinstance(self._engine, AdaptableEngine) and not changes
        return identity

    async def generate(self, request: Request) -> Generation:
        """Draw one sample; an engine that dies is not kept."""
        try:
            return await self._keeper.done(self._lent.generate(request))
        except EngineDiedError:
            self._is_worth_keeping = False
            raise

    async def close(self) -> None:
        """Give the engine back; it ends if it is not worth keeping."""
        if self._is_touched and not self._is_worth_keeping:
            await self._keeper.done(self._keeper.end_engine())

    @property
    def _lent(self) -> Engine:
        if self._engine is None:
            raise EngineError("the engine is not started; start it before the first request")
        return self._engine
