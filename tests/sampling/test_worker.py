"""The pump and its worker, on a real store and an engine that dies at will."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.baselines.shelf import BaselineShelf
from pytest_r1eval.baselines.terms import Terms
from pytest_r1eval.checkpoints.inspect import Checkpoint, inspect_checkpoint
from pytest_r1eval.config.settings import Settings
from pytest_r1eval.core.measurements import Measurement
from pytest_r1eval.engines.engine import EngineIdentity, Generation, Request
from pytest_r1eval.engines.replay import ReplayEngine
from pytest_r1eval.errors import EngineDiedError, EngineError
from pytest_r1eval.exams.catalog import SMOKE
from pytest_r1eval.runs.finished import StoredRun
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import Store
from pytest_r1eval.runs.work_queue import WorkQueue
from pytest_r1eval.sampling.planning import Planner, RecordedSource
from pytest_r1eval.sampling.pump import POLL_S
from pytest_r1eval.sampling.worker import Worker
from pytest_r1eval.stats.verdicts import GateRule, Judgement, Verdict
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
        WorkQueue(store).select((SMOKE.name,))
    return worker_of(recorded, run, engine)


def worker_of(recorded: Path, run: Path, engine: DyingEngine, *, checkpoint: Checkpoint | None = None) -> Worker:
    """Put one more worker together."""
    with closing(Store.open(recorded)) as store:
        header = store.header
    settings = Settings(model=str(recorded), root=run, output_dir=run)
    planner = Planner(
        settings=settings,
        identity=header.identity,
        source=RecordedSource(run=recorded),
        terms={
            SMOKE.name: Terms(shelf=BaselineShelf(root=run, choice=None, model_name=header.model_name), rule=GateRule())
        },
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
        checkpoint=checkpoint,
    )


def n_stored(run: Path) -> int:
    """Count the samples of a run."""
    with closing(Store.open(run)) as store:
        return RunReader(store).progress(SMOKE.name).n_stored


def test_engine_that_dies_is_started_once_more(recorded: Path, tmp_path: Path) -> None:
    """An engine that dies once is started again, and every sample is stored once."""
    engine = DyingEngine(recorded, iter((40, N_SAMPLES)))
    worker = worker_on(recorded, tmp_path / "run", engine)
    worker.start()
    worker.finish(SMOKE.name)
    worker.stop()
    assert engine.n_starts == 2
    assert n_stored(tmp_path / "run") == N_SAMPLES


def test_engine_that_dies_twice_is_an_error(recorded: Path, tmp_path: Path) -> None:
    """An engine that dies a second time is an error, and the samples drawn until then stay stored."""
    worker = worker_on(recorded, tmp_path / "run", DyingEngine(recorded, iter((40, 30))))
    worker.start()
    with pytest.raises(EngineDiedError, match="the engine died twice; the power went"):
        worker.finish(SMOKE.name)
    assert worker.finish_all() is None
    worker.stop()
    assert n_stored(tmp_path / "run") == 70


def test_failure_that_meets_no_item_is_returned(recorded: Path, tmp_path: Path) -> None:
    """`finish_all` returns the error of a worker that gave up, and None for one that did not."""
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
    """A worker that finds a finished run starts no engine."""
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


def test_worker_without_a_unit_to_draw_loads_no_engine(recorded: Path, tmp_path: Path) -> None:
    """A worker that joins while others hold every unit starts its engine only when a unit comes back."""
    run, engine = tmp_path / "run", DyingEngine(recorded, iter((N_SAMPLES,)))
    worker = worker_on(recorded, run, engine)
    with closing(RunReader.open(recorded)) as source, closing(Store.open(run)) as store:
        plan, prompts = source.plan(SMOKE.name), tuple(source.prompts(SMOKE.name).values())
        assert plan is not None
        WorkQueue(store).write_plan(source.exam(SMOKE.name), prompts, plan)
        assert WorkQueue(store).claim_samples(N_SAMPLES, owner="other")
        worker.start()
        time.sleep(5 * POLL_S)
        assert engine.n_starts == 0
        WorkQueue(store).release(owner="other")
    worker.finish(SMOKE.name)
    worker.stop()
    assert engine.n_starts == 1
    assert n_stored(run) == N_SAMPLES


class SlowlyEndingEngine(DyingEngine):
    """An engine that takes a while to end."""

    n_ended = 0

    async def close(self) -> None:
        """Free the device in the end."""
        await asyncio.sleep(0.5)
        self.n_ended += 1
        await super().close()


def test_stop_waits_for_the_end_of_an_engine(recorded: Path, tmp_path: Path) -> None:
    """`stop` does not interrupt a worker that ends its engine after the last sample."""
    engine = SlowlyEndingEngine(recorded, iter((N_SAMPLES,)))
    worker = worker_on(recorded, tmp_path / "run", engine)
    worker.start()
    worker.finish(SMOKE.name)
    time.sleep(2 * POLL_S)
    worker.stop()
    assert engine.n_ended == 2
    assert worker.finish_all() is None


class OvertakenEngine(DyingEngine):
    """An engine that dies at its first request, just when others have stored every sample."""

    def __init__(self, recorded: Path, run: Path) -> None:
        super().__init__(recorded, iter((0, N_SAMPLES)))
        self._recorded, self._run = recorded, run

    async def generate(self, request: Request) -> Generation:
        """Let the others store what is missing, and die."""
        with closing(RunReader.open(self._recorded)) as source, closing(Store.open(self._run)) as store:
            if not RunReader(store).progress(SMOKE.name).n_stored:
                WorkQueue(store).add_samples(SMOKE.name, source.samples(SMOKE.name))
        return await super().generate(request)


def test_dead_engine_is_not_started_again_for_nothing(recorded: Path, tmp_path: Path) -> None:
    """An engine that dies when others have drawn the rest is not started again."""
    run = tmp_path / "run"
    engine = OvertakenEngine(recorded, run)
    worker = worker_on(recorded, run, engine)
    worker.start()
    assert worker.finish_all() is None
    worker.stop()
    assert engine.n_starts == 1
    assert n_stored(run) == N_SAMPLES


class SwappingEngine(DyingEngine):
    """An engine during whose given start, counted from 1, the checkpoint changes."""

    def __init__(self, recorded: Path, lives: Iterator[int], swap: Callable[[], object], *, at_start: int) -> None:
        super().__init__(recorded, lives)
        self._swap = swap
        self._at_start = at_start

    async def start(self) -> EngineIdentity:
        """Load, and let the files change meanwhile."""
        if self.n_starts + 1 == self._at_start:
            self._swap()
        return await super().start()


def replace_file(path: Path) -> None:
    """Put another file of the same name and size in a file's place."""
    other = path.parents[1] / "draft"  # not a file of the checkpoint for a moment
    other.write_bytes(bytes(reversed(path.read_bytes())))
    other.replace(path)


def write_in_place(path: Path) -> None:
    """Change a file in place, keep its size, and set its time of modification back."""
    before = path.stat()
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHECKPOINT = Path(__file__).parents[2] / "examples/r1eval/tiny-arithmetic"


class TestNamedCheckpoint:
    """What is sampled is what was named, or nothing is."""

    @pytest.fixture
    def checkpoint(self, tmp_path: Path) -> Checkpoint:
        """Inspect a copy of a real checkpoint."""
        shutil.copytree(CHECKPOINT, tmp_path / "org" / "model")
        return inspect_checkpoint(str(tmp_path / "org" / "model"), revision=None)

    @pytest.fixture
    def run(self, recorded: Path, checkpoint: Checkpoint, tmp_path: Path) -> Path:
        """Start a run of the copy."""
        with closing(Store.open(recorded)) as store:
            header = replace(store.header, identity=checkpoint.identity)
        with closing(Store.create(tmp_path / "run", header)) as store:
            WorkQueue(store).select((SMOKE.name,))
        return tmp_path / "run"

    def refusal(self, run: Path) -> str:
        """Return why the run is INVALID."""
        refusal = StoredRun(folder=run).read(SMOKE.name)
        assert isinstance(refusal, Judgement)
        assert refusal.verdict is Verdict.INVALID
        return f"{refusal.reason} {refusal.next_step}"

    @pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
    @pytest.mark.parametrize("swap", [replace_file, write_in_place, Path.unlink])
    def test_file_that_changes_while_the_engine_loads(
        self, recorded: Path, run: Path, checkpoint: Checkpoint, name: str, swap: Callable[[Path], object]
    ) -> None:
        """A file that changes while the engine loads stops the worker before a sample, and the run is INVALID."""
        path = Path(checkpoint.model) / name
        engine = SwappingEngine(recorded, iter((N_SAMPLES,)), lambda: swap(path), at_start=1)
        worker = worker_of(recorded, run, engine, checkpoint=checkpoint)
        worker.start()

        with pytest.raises(
            EngineError, match=f"the checkpoint changed while the run went on: {name} (changed|is gone)"
        ):
            worker.finish(SMOKE.name)
        worker.stop()
        assert n_stored(run) == 0
        assert f"{name} " in self.refusal(run)
        assert f"--r1-resume {run}" in self.refusal(run)

    def test_file_that_changes_while_a_dead_engine_is_restarted(
        self, recorded: Path, run: Path, checkpoint: Checkpoint
    ) -> None:
        """A file that changes while an engine restarts ends the drawing, and the run is INVALID with its samples."""
        path = Path(checkpoint.model) / "model.safetensors"
        engine = SwappingEngine(recorded, iter((40, N_SAMPLES)), lambda: replace_file(path), at_start=2)
        worker = worker_of(recorded, run, engine, checkpoint=checkpoint)
        worker.start()

        with pytest.raises(EngineError, match=r"model\.safetensors changed"):
            worker.finish(SMOKE.name)
        worker.stop()
        assert n_stored(run) == 40
        assert "model.safetensors changed" in self.refusal(run)

    def test_worker_that_finds_another_file_loads_nothing(
        self, recorded: Path, run: Path, checkpoint: Checkpoint
    ) -> None:
        """A worker that starts after the change compares what it finds with what the run was started for."""
        replace_file(Path(checkpoint.model) / "generation_config.json")
        engine = DyingEngine(recorded, iter(()))
        found = inspect_checkpoint(checkpoint.model, revision=None)
        worker = worker_of(recorded, run, engine, checkpoint=found)
        worker.start()

        with pytest.raises(EngineError, match=r"generation_config\.json changed"):
            worker.finish(SMOKE.name)
        worker.stop()
        assert engine.n_starts == 0
        assert "generation_config.json changed" in self.refusal(run)

    def test_unchanged_files_with_new_times(self, recorded: Path, run: Path, checkpoint: Checkpoint) -> None:
        """A file that was only touched, or replaced by an equal one, is the same checkpoint."""
        path = Path(checkpoint.model) / "model.safetensors"

        def touch() -> None:
            Path(shutil.copy(path, path.parents[1] / "draft")).replace(path)
            (path.parent / "config.json").touch()

        worker = worker_of(
            recorded, run, SwappingEngine(recorded, iter((N_SAMPLES,)), touch, at_start=1), checkpoint=checkpoint
        )
        worker.start()
        worker.finish(SMOKE.name)
        worker.stop()

        assert n_stored(run) == N_SAMPLES
        assert isinstance(StoredRun(folder=run).read(SMOKE.name), Measurement)
