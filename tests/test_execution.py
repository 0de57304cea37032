"""The pump and its worker, on a real store and an engine that dies at will."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pytest_r1eval.baseline_files import BaselineShelf
from pytest_r1eval.catalog import SMOKE
from pytest_r1eval.core.verdicts import GateRule
from pytest_r1eval.engines.engine import EngineIdentity, Generation, Request
from pytest_r1eval.engines.replay import ReplayEngine
from pytest_r1eval.errors import EngineDiedError
from pytest_r1eval.execution import Worker
from pytest_r1eval.planning import Planner, RecordedSource
from pytest_r1eval.settings import Settings
from pytest_r1eval.store import Store
from tests.recordings import record_run

N_SAMPLES = 96


class DyingEngine:
    """A replayed run whose engine dies after so many samples, each time it is started."""

    n_concurrent = 16

    def __init__(self, recorded: Path, lives: Iterator[int]) -> None:
        self._engine = ReplayEngine(recorded)
        self._lives = lives
        self._n_left = 0
        self.n_starts = 0

    async def start(self) -> EngineIdentity:
        """Begin the next life."""
        self.n_starts += 1
        self._n_left = next(self._lives)
        return await self._engine.start()

    async def generate(self, request: Request) -> Generation:
        """Answer, until the life is over."""
        if self._n_left == 0:
            raise EngineDiedError("the power went")
        self._n_left -= 1
        return await self._engine.generate(request)

    async def close(self) -> None:
        """End this life."""
        await self._engine.close()


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A recorded run of 96 samples."""
    return record_run(tmp_path / "recorded")


def worker_on(recorded: Path, run: Path, engine: DyingEngine) -> Worker:
    """Put a worker together on a new run of what was recorded."""
    with closing(Store.open(recorded)) as store:
        header = store.header
    with closing(Store.create(run, header)) as store:
        store.select((SMOKE.name,))
    return worker_of(recorded, run, engine)


def worker_of(recorded: Path, run: Path, engine: DyingEngine) -> Worker:
    """Put one more worker together."""
    with closing(Store.open(recorded)) as store:
        header = store.header
    settings = Settings(model=str(recorded), root=run, output_dir=run)
    planner = Planner(
        settings=settings,
        identity=header.identity,
        source=RecordedSource(run=recorded),
        shelf=BaselineShelf(root=run, choice=None, model_name=header.model_name),
        rule=GateRule(),
        seed=header.seed,
    )
    return Worker(
        run=run,
        owner="test",
        benchmarks={SMOKE.name: SMOKE},
        planner=planner,
        engine=engine,
        pool=None,
        grader="recorded",
    )


def n_stored(run: Path) -> int:
    """Count the samples of a run."""
    with closing(Store.open(run)) as store:
        return store.progress(SMOKE.name).n_stored


def test_engine_that_dies_is_started_once_more(recorded: Path, tmp_path: Path) -> None:
    """Every sample is there once, the ones of the first life included."""
    engine = DyingEngine(recorded, iter((40, N_SAMPLES)))
    worker = worker_on(recorded, tmp_path / "run", engine)
    worker.start()
    worker.finish(SMOKE.name)
    worker.stop()
    assert engine.n_starts == 2
    assert n_stored(tmp_path / "run") == N_SAMPLES


def test_engine_that_dies_twice_is_an_error(recorded: Path, tmp_path: Path) -> None:
    """The second death is said, and what was drawn is kept."""
    worker = worker_on(recorded, tmp_path / "run", DyingEngine(recorded, iter((40, 30))))
    worker.start()
    with pytest.raises(EngineDiedError, match="the engine died twice; the power went"):
        worker.finish(SMOKE.name)
    assert worker.finish_all() is None
    worker.stop()
    assert n_stored(tmp_path / "run") == 70


def test_failure_that_meets_no_item_is_returned(recorded: Path, tmp_path: Path) -> None:
    """A worker that has no shard left says why it gave up, and nothing where it did not."""
    failing = worker_on(recorded, tmp_path / "failing", DyingEngine(recorded, iter((40, 30))))
    failing.start()
    assert isinstance(failing.finish_all(), EngineDiedError)
    failing.stop()
    working = worker_on(recorded, tmp_path / "working", DyingEngine(recorded, iter((N_SAMPLES,))))
    working.start()
    assert working.finish_all() is None
    working.stop()
    assert n_stored(tmp_path / "working") == N_SAMPLES


def test_finished_run_loads_no_engine(recorded: Path, tmp_path: Path) -> None:
    """Whoever comes when all is stored has nothing to load a model for."""
    first = worker_on(recorded, tmp_path / "run", DyingEngine(recorded, iter((N_SAMPLES,))))
    first.start()
    first.finish(SMOKE.name)
    first.stop()
    engine = DyingEngine(recorded, iter(()))
    late = worker_of(recorded, tmp_path / "run", engine)
    late.start()
    late.finish(SMOKE.name)
    late.stop()
    assert engine.n_starts == 0
