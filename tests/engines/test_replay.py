"""The replay engine gives back what was recorded, and refuses what was not."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.core.records import Sample
from pytest_r1eval.engines.engine import EngineIdentity, Generation, Request
from pytest_r1eval.engines.replay import ReplayEngine, ReplayOptions
from pytest_r1eval.errors import EngineError, StoreError
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import Store
from tests.recordings import HARNESS, record_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Record a run of two benchmarks whose problems have the same ids."""
    return record_run(tmp_path / "run", benchmarks=("smoke", "aime24"), n_problems=3, n_samples=2)


def request_for(benchmark: str, problem_id: str, index: int, *, seed: int = 99) -> Request:
    """Ask for one sample; prompt and seed are not the recorded ones."""
    return Request(
        benchmark=benchmark,
        problem_id=problem_id,
        index=index,
        prompt=(7,),
        seed=seed,
        sampling=Sampling(),
        max_new_tokens=1,
    )


async def replay(run: Path, *requests: Request) -> tuple[EngineIdentity, list[Generation]]:
    """Start an engine, ask it everything at once and close it."""
    engine = ReplayEngine(run)
    try:
        return await engine.start(), list(await asyncio.gather(*map(engine.generate, requests)))
    finally:
        await engine.close()


def samples_of(run: Path, benchmark: str) -> list[Sample]:
    """Read the recorded samples."""
    with closing(Store.open(run)) as store:
        return list(RunReader(store).samples(benchmark))


def test_every_sample_is_the_recorded_one(run: Path) -> None:
    """A replay chooses the recorded sample by benchmark, problem and index, whatever order it is asked in."""
    recorded = [(name, sample) for name in ("aime24", "smoke") for sample in reversed(samples_of(run, name))]

    _, generations = asyncio.run(
        replay(run, *(request_for(name, sample.problem_id, sample.index) for name, sample in recorded))
    )

    assert len(recorded) == 12
    assert [Generation(response=sample.response, grade=sample.grade) for _, sample in recorded] == generations


def test_results_go_under_the_recorded_harness(run: Path) -> None:
    """A replay is compared as what it replays, the grader included."""
    identity, _ = asyncio.run(replay(run))

    expected = EngineIdentity(
        engine=HARNESS.engine,
        dtype=HARNESS.dtype,
        quantization=HARNESS.quantization,
        device=HARNESS.device,
        n_devices=HARNESS.n_devices,
        grader=HARNESS.grader,
    )
    assert expected == identity


@pytest.mark.parametrize(
    ("benchmark", "problem_id", "index"), [("gpqa", "p000", 0), ("smoke", "p3", 0), ("smoke", "p000", 2)]
)
def test_unknown_sample_is_refused(run: Path, benchmark: str, problem_id: str, index: int) -> None:
    """A sample that was not recorded is an error of the engine, never an empty response."""
    with pytest.raises(EngineError) as caught:
        asyncio.run(replay(run, request_for(benchmark, problem_id, index)))

    expected = (
        f"the recorded run {run} holds no sample {index} of problem {problem_id} of {benchmark}; "
        "ask for no more samples than were recorded (--r1-samples)"
    )
    assert expected == str(caught.value)


def test_missing_sample_of_an_interrupted_run_is_refused(tmp_path: Path) -> None:
    """A recorded run with holes replays what it has."""
    run = record_run(tmp_path / "run", n_problems=1, n_samples=2, skip=frozenset({("p000", 1)}))

    _, generations = asyncio.run(replay(run, request_for("smoke", "p000", 0)))

    assert len(generations) == 1
    with pytest.raises(EngineError, match="holds no sample 1 of problem p000"):
        asyncio.run(replay(run, request_for("smoke", "p000", 1)))


def test_several_harnesses_are_refused(run: Path) -> None:
    """A recorded run with several harnesses is refused, because a replay is compared under one name."""
    with closing(Store.open(run)) as store:
        store.add_worker("second", replace(HARNESS, device="H200"))

    with pytest.raises(EngineError) as caught:
        asyncio.run(replay(run))

    expected = (
        f"the recorded run {run} names 2 harnesses; a replay needs exactly one, "
        "because its results are compared under that name"
    )
    assert expected == str(caught.value)


def test_several_workers_of_one_harness_are_one(run: Path) -> None:
    """A run spread over eight equal workers replays like any other."""
    with closing(Store.open(run)) as store:
        store.add_worker("second", HARNESS)

    identity, _ = asyncio.run(replay(run))

    assert identity.engine == HARNESS.engine


def test_no_recorded_run(tmp_path: Path) -> None:
    """A replay of a folder without a run is refused."""
    with pytest.raises(StoreError, match="no run at"):
        asyncio.run(replay(tmp_path))


def test_close_is_always_safe(run: Path) -> None:
    """Closing a replay is safe before its start and twice, and a closed one holds no sample."""

    async def use() -> None:
        engine = ReplayEngine(run)
        await engine.close()
        await engine.start()
        await engine.close()
        await engine.close()
        await engine.generate(request_for("smoke", "p000", 0))

    with pytest.raises(EngineError, match="holds no sample"):
        asyncio.run(use())


def test_delay_holds_every_answer(run: Path) -> None:
    """A delay holds back every answer, so that tests can watch or kill a running replay."""
    engine = ReplayEngine(run, options=ReplayOptions.parse({"delay_s": 0.05, "n_concurrent": 3}))

    async def answer() -> float:
        await engine.start()
        started = time.monotonic()
        await engine.generate(request_for("smoke", "p000", 0))
        took = time.monotonic() - started
        await engine.close()
        return took

    assert engine.n_concurrent == 3
    assert asyncio.run(answer()) >= 0.05


@pytest.mark.parametrize(
    "arguments",
    [{"delay": 1}, {"delay_s": -1}, {"delay_s": "long"}, {"start_s": -1}, {"n_concurrent": 0}, {"n_concurrent": 1.5}],
)
def test_unknown_arguments_are_refused(arguments: dict[str, object]) -> None:
    """Unknown arguments of the replay are refused with the known ones."""
    with pytest.raises(
        EngineError, match="takes n_concurrent=N, delay_s=SECONDS, start_s=SECONDS, regrade=true and ledger=true"
    ):
        ReplayOptions.parse(arguments)


def test_a_recording_can_be_graded_anew(run: Path) -> None:
    """A replay with `regrade` gives the recorded response without its grade."""
    engine = ReplayEngine(run, options=ReplayOptions.parse({"regrade": True}))

    async def ask() -> tuple[EngineIdentity, Generation]:
        answered = await engine.start(), await engine.generate(request_for("smoke", "p000", 0))
        await engine.close()
        return answered

    identity, generation = asyncio.run(ask())
    assert (identity.grader, generation.grade) == (None, None)
    assert generation.response == samples_of(run, "smoke")[0].response
    with pytest.raises(EngineError, match="regrade is 1; expected true or false"):
        ReplayOptions.parse({"regrade": 1})
