"""
What the plugin adds to an engine: the same made-up engine, asked directly and through a worker.

Real worker, store, LightEval's math grading in scoring processes; only the engine is made up. It is
a process of its own that runs up to 1,024 answers at once, one token of each in a step, and takes for
a step what vLLM took on an H200 for a 1.5B model. Its front end lies in the worker's loop, as vLLM's
does: it works for every token, and makes text of an answer's tokens when it is complete. Answers of
one length end a thousand at once, which is the worst case for the process that grades and stores them; others
have log-normal lengths, as R1's have.

    python -m perf.pump --pairs 5
"""

from __future__ import annotations

import argparse
import asyncio
import math
import multiprocessing as mp
import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from tokenizers import Tokenizer

from perf.generation import LOGNORMAL_SIGMA, MAX_OVER_MEAN
from perf.machine import machine_line, publish
from perf.made_up_runs import BENCHMARK, HARNESS, exam_of, planned_run
from perf.random_checkpoint import SHAPES, Shape, write_tokenizer
from perf.tail import warmed
from pytest_r1eval.baselines.shelf import BaselineShelf
from pytest_r1eval.baselines.terms import Terms
from pytest_r1eval.config.settings import Settings
from pytest_r1eval.core.plans import sample_seed
from pytest_r1eval.core.records import FinishReason, Response
from pytest_r1eval.engines.decoding import decoded
from pytest_r1eval.engines.engine import EngineIdentity, Generation, Request
from pytest_r1eval.exams.catalog import SMOKE
from pytest_r1eval.plugin.wiring import N_SCORING_PROCESSES_PER_WORKER
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.sampling.planning import Planner, RecordedSource
from pytest_r1eval.sampling.worker import Worker
from pytest_r1eval.scoring.pool import GradingPool
from pytest_r1eval.stats.verdicts import GateRule

N_SLOTS = 1024
STEP_S, STEP_S_PER_ANSWER = 2.2e-3, 15.2e-6
"""A step of 256, 512 and 960 answers took 5.9, 10.8 and 16.8 ms on an H200 with vLLM 0.25.1."""
FRONT_S_PER_TOKEN = 3.1e-6
"""What vLLM's front end spent there, on one CPU."""
N_TEXTS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How large a run is; `n_tokens` is the mean of log-normal lengths, or every answer's."""

    n_problems: int
    n_samples: int
    n_tokens: int
    n_processes: int
    is_lognormal: bool

    def length(self, seed: int) -> int:
        """Return an answer's length."""
        if not self.is_lognormal:
            return self.n_tokens
        location = math.log(self.n_tokens) - LOGNORMAL_SIGMA**2 / 2
        drawn = random.Random(seed).lognormvariate(location, LOGNORMAL_SIGMA)  # noqa: S311 - a made-up length
        return max(1, min(MAX_OVER_MEAN * self.n_tokens, round(drawn)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """
    What a load took.

    Attributes:
        generated_s: From the engine's being ready to the last answer.
        stored_s: To the last sample that was graded and stored; alone, to the last answer.
        loop_cpu_s: CPU seconds of the thread that the engine's front end shares with its caller.
    """

    generated_s: float
    stored_s: float
    loop_cpu_s: float
    n_tokens: int


def step_forever(connection: Connection) -> None:
    """Be the engine's core: take answers' lengths, tell after each step which have ended."""
    running: dict[int, int] = {}
    waiting: list[tuple[int, int]] = []
    while True:
        while connection.poll(None if not running and not waiting else 0):
            if (asked := connection.recv()) is None:
                return
            waiting.extend(asked)
        n_free = N_SLOTS - len(running)
        running |= dict(waiting[:n_free])
        del waiting[:n_free]
        time.sleep(STEP_S + STEP_S_PER_ANSWER * len(running))
        n_running = len(running)
        ended = [number for number, left in running.items() if left == 1]
        running = {number: left - 1 for number, left in running.items() if left > 1}
        connection.send((n_running, ended))


class SteppingEngine:
    """The front end of the made-up engine."""

    def __init__(self, tokenizer: Tokenizer, setting: Setting) -> None:
        self.n_concurrent = N_SLOTS
        self._tokenizer = tokenizer
        self._setting = setting
        chance = random.Random(3)  # noqa: S311 - made-up answers
        size, longest = tokenizer.get_vocab_size(), setting.n_tokens * MAX_OVER_MEAN
        self._answers = [[chance.randrange(size) for _ in range(longest)] for _ in range(N_TEXTS)]
        self.n_generated = 0
        self._open: dict[int, asyncio.Future[None]] = {}
        self._number = 0
        self._unsent: list[tuple[int, int]] = []
        self.started_s = 0.0
        self.ended_s = 0.0
        self.loop_cpu_s = 0.0

    async def start(self) -> EngineIdentity:
        """Start the core."""
        self._loop = asyncio.get_running_loop()
        self._connection, theirs = mp.Pipe()
        self._core = mp.get_context("spawn").Process(target=step_forever, args=(theirs,), daemon=True)
        self._core.start()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        await self.generate_tokens(1)
        self.started_s, self.loop_cpu_s = time.perf_counter(), time.thread_time()
        return EngineIdentity(engine="made up", dtype="none", quantization=None, device="none", n_devices=1)

    def _read(self) -> None:
        while True:
            try:
                n_running, ended = self._connection.recv()
                self._loop.call_soon_threadsafe(self._stepped, n_running, ended)
            except (EOFError, OSError, RuntimeError):
                return

    def _stepped(self, n_running: int, ended: Sequence[int]) -> None:
        until_s = time.perf_counter() + FRONT_S_PER_TOKEN * n_running
        while time.perf_counter() < until_s:
            pass
        for number in ended:
            self._open.pop(number).set_result(None)

    async def generate_tokens(self, n_tokens: int) -> None:
        """Wait for so many steps."""
        self._number += 1
        self._open[self._number] = answered = self._loop.create_future()
        self._connection.send([(self._number, n_tokens)])
        await answered

    async def generate(self, request: Request) -> Generation:
        """Draw one answer."""
        n_tokens = self._setting.length(request.seed)
        await self.generate_tokens(n_tokens)
        self.n_generated += n_tokens
        response = self.response(request.seed, f"{request.index} ", after=request.prompt[-8:])
        self.ended_s = time.perf_counter()
        return Generation(response=response)

    def response(self, seed: int, start: str, *, after: Sequence[int]) -> Response:
        """Make text of an answer's tokens; its start tells it from others of the same text."""
        ids = self._answers[seed % N_TEXTS][: self._setting.length(seed)]
        text = start + decoded(self._tokenizer, ids, after=after)
        return Response(text=text, n_tokens=len(ids), finish_reason=FinishReason.LENGTH)

    def taken(self, *, stored_s: float) -> Taken:
        """Say what a load took, whose last sample was stored at a time."""
        return Taken(
            generated_s=self.ended_s - self.started_s,
            stored_s=stored_s - self.started_s,
            loop_cpu_s=self.loop_cpu_s,
            n_tokens=self.n_generated,
        )

    async def close(self) -> None:
        """End the core; safe to call twice."""
        if self._core.is_alive():
            self.loop_cpu_s = time.thread_time() - self.loop_cpu_s
            self._connection.send(None)
            await asyncio.to_thread(self._core.join)
            self._connection.close()


def asked_directly(run: Path, tokenizer: Tokenizer, setting: Setting) -> Taken:
    """Ask an engine for all samples of a planned run in the plan's order, so many at a time."""
    with closing(planned_run(run, n_problems=setting.n_problems, n_samples=setting.n_samples)) as store:
        plan = RunReader(store).plan(BENCHMARK)
    if plan is None:
        raise SystemExit(f"{run} has no plan")
    engine, free = SteppingEngine(tokenizer, setting), asyncio.Semaphore(N_SLOTS)

    async def answer(problem_id: str, index: int) -> None:
        request = Request(
            benchmark=BENCHMARK,
            problem_id=problem_id,
            index=index,
            prompt=(1, 2, 3),
            seed=sample_seed(plan.seed, problem_id, index),
            sampling=plan.sampling,
            max_new_tokens=setting.n_tokens,
        )
        async with free:
            await engine.generate(request)

    async def ask() -> None:
        await engine.start()
        await asyncio.gather(*(answer(unit.problem_id, index) for unit in plan.units() for index in unit.indices))
        await engine.close()

    asyncio.run(ask())
    return engine.taken(stored_s=engine.ended_s)


def through_plugin(run: Path, tokenizer: Tokenizer, setting: Setting) -> Taken:
    """Let a worker draw a planned run."""
    with closing(
        planned_run(run, n_problems=setting.n_problems, n_samples=setting.n_samples, has_worker=False)
    ) as store:
        header = store.header
    engine = SteppingEngine(tokenizer, setting)
    pool = GradingPool(n_processes=setting.n_processes)
    pool.start()
    warmed(pool)
    planner = Planner(
        settings=Settings(model=str(run), root=run, output_dir=run),
        identity=header.identity,
        source=RecordedSource(run=run),
        terms={
            BENCHMARK: Terms(shelf=BaselineShelf(root=run, choice=None, model_name=header.model_name), rule=GateRule())
        },
        seed=header.seed,
    )
    worker = Worker(
        run=run,
        owner="alone-made-up",
        benchmarks={BENCHMARK: SMOKE},
        planner=planner,
        engine=engine,
        pool=pool,
        grader=HARNESS.grader,
    )
    worker.start()
    worker.finish(BENCHMARK)
    stored_s = time.perf_counter()
    worker.stop()
    return engine.taken(stored_s=stored_s)


def graded_s(tokenizer: Tokenizer, setting: Setting, *, n_answers: int) -> float:
    """Time the scoring processes alone: so many answers at once, and nothing beside them."""
    engine = SteppingEngine(tokenizer, setting)
    problem, *_ = exam_of(1).problems
    responses = [engine.response(seed, f"{seed} ", after=(1, 2, 3)) for seed in range(n_answers)]

    async def grade() -> float:
        started = time.perf_counter()
        await asyncio.gather(*(pool.grade(SMOKE, problem, response) for response in responses))
        return time.perf_counter() - started

    with GradingPool(n_processes=setting.n_processes) as pool:
        warmed(pool)
        return asyncio.run(grade())


def tokenizer_of(folder: Path, shape: Shape) -> Tokenizer:
    """Make the tokenizer of a random checkpoint."""
    return Tokenizer.from_file(str(write_tokenizer(folder / "model", shape)))


def line_of(name: str, taken: Taken) -> str:
    """Set a measurement out."""
    tokens_per_s = taken.n_tokens / taken.stored_s
    return f"{name:20}{taken.generated_s:>12.2f}{taken.stored_s:>9.2f}{tokens_per_s:>10,.0f}{taken.loop_cpu_s:>11.2f}"


def lines_of(folder: Path, setting: Setting, *, n_pairs: int) -> Iterator[str]:
    """Measure pairs."""
    tokenizer = tokenizer_of(folder, SHAPES["1.5B"])
    words = f"{setting.n_tokens} tokens{' on average, log-normal' if setting.is_lognormal else ''}"
    n = setting.n_problems * setting.n_samples
    yield f"{n:,} answers of {words}, {N_SLOTS:,} at once, {setting.n_processes} scoring processes"
    yield f"{'':20}{'generated s':>12}{'stored s':>9}{'tokens/s':>10}{'loop CPU s':>11}{'ratio':>7}"
    ratios, directs = [], []
    for number in range(n_pairs):
        direct = asked_directly(folder / f"asked-{number}", tokenizer, setting)
        through = through_plugin(folder / f"run-{number}", tokenizer, setting)
        ratios.append(direct.stored_s / through.stored_s)
        directs.append(direct.stored_s)
        yield line_of("engine alone", direct)
        yield f"{line_of('through the plugin', through)}{ratios[-1]:>7.2f}"
    yield f"median ratio {statistics.median(ratios):.2f}; goal: at least 0.90"
    if setting.is_lognormal:
        return
    n_last = n % N_SLOTS or N_SLOTS
    taken_s = statistics.median(graded_s(tokenizer, setting, n_answers=n_last) for _ in range(n_pairs))
    at_most = statistics.median(directs) / (statistics.median(directs) + taken_s)
    yield f"the last {n_last:,} answers, which end together, graded with nothing beside it: {taken_s:.2f} s; that alone"
    yield f"leaves a ratio of {at_most:.2f} on these cores"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--problems", type=int, default=30)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=256)
    processes = min(N_SCORING_PROCESSES_PER_WORKER, len(os.sched_getaffinity(0)))
    parser.add_argument("--processes", type=int, default=processes, help="that grade")
    parser.add_argument("--dry", action="store_true", help="write no table")
    asked = parser.parse_args(arguments)
    lines = [machine_line("tokenizers", "lighteval")]
    for is_lognormal in (False, True):
        setting = Setting(
            n_problems=asked.problems,
            n_samples=asked.samples,
            n_tokens=asked.tokens,
            n_processes=asked.processes,
            is_lognormal=is_lognormal,
        )
        with tempfile.TemporaryDirectory() as name:
            lines += lines_of(Path(name), setting, n_pairs=asked.pairs)
    publish("pump", lines, write=not asked.dry)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
