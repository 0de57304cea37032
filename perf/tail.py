"""
The end of a run: from the last unit claimed to the verdict, idle engines, and what scoring adds.

Real workers, store, LightEval grading in four processes; only the engines are made up: each holds
a number of answers at once and takes a time for each that is drawn log-normally, as R1's lengths
are. Time runs fast: an answer of median length takes a second here, and minutes on a GPU, so
scoring has to keep up with more answers a second than it ever will.

    python -m perf.tail --engines 4 --slots 16 --problems 30 --samples 32
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from perf.machine import machine_line, publish
from perf.made_up_runs import BENCHMARK, HARNESS, Writer, exam_of, planned_run
from pytest_r1eval.baselines.shelf import BaselineShelf
from pytest_r1eval.baselines.terms import Terms
from pytest_r1eval.config.baseline_choice import Previous
from pytest_r1eval.config.settings import Settings
from pytest_r1eval.core.records import FinishReason, Response
from pytest_r1eval.engines.engine import EngineIdentity, Generation, Request
from pytest_r1eval.exams.catalog import SMOKE
from pytest_r1eval.judging.judge import Judge
from pytest_r1eval.runs.store import Store
from pytest_r1eval.sampling.planning import Planner, RecordedSource
from pytest_r1eval.sampling.worker import Worker
from pytest_r1eval.scoring.pool import GradingPool
from pytest_r1eval.stats.verdicts import GateRule

SIGMA = 0.8
"""SD of the logarithm of answers' times: 0.7 to 0.9 fits published R1 length distributions of a mixed exam."""
MAX_OVER_MEDIAN = 4
"""Where the token limit cuts off."""
N_CHARS = 8000


@dataclass(slots=True)
class Timeline:
    """When answers began and ended, on one clock."""

    begun_s: list[float] = field(default_factory=list)
    ended_s: list[float] = field(default_factory=list)

    def busy_s(self, *, until_s: float) -> float:
        """Add up the time in which at least one answer was under way."""
        events = sorted([(at_s, 1) for at_s in self.begun_s] + [(at_s, -1) for at_s in self.ended_s])
        busy, n_open, since = 0.0, 0, 0.0
        for at_s, step in events:
            if n_open:
                busy += min(at_s, until_s) - min(since, until_s)
            n_open, since = n_open + step, at_s
        return busy


class TimedEngine:
    """Answers after a time drawn for each sample; what it says is right three times in five."""

    def __init__(self, *, n_slots: int, median_s: float) -> None:
        self.n_concurrent = n_slots
        self._median_s = median_s
        self._texts = [Writer(7).text(N_CHARS) for _ in range(8)]
        self.timeline = Timeline()

    async def start(self) -> EngineIdentity:
        """Be there at once."""
        return EngineIdentity(engine="made up", dtype="none", quantization=None, device="none", n_devices=1)

    async def generate(self, request: Request) -> Generation:
        """Take the time that the sample's seed says."""
        chance = random.Random(request.seed)  # noqa: S311 - made-up lengths
        seconds = self._median_s * min(MAX_OVER_MEDIAN, math.exp(chance.gauss(0, SIGMA)))
        self.timeline.begun_s.append(time.monotonic())
        await asyncio.sleep(seconds)
        self.timeline.ended_s.append(time.monotonic())
        answer = int(request.problem_id[1:]) + (1 if request.seed % 5 < 3 else 2)
        text = f"{chance.choice(self._texts)}</think> The answer is \\boxed{{{answer}}}."
        return Generation(
            response=Response(text=text, n_tokens=max(1, int(8000 * seconds)), finish_reason=FinishReason.STOP)
        )

    async def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How large a run is."""

    n_engines: int
    n_slots: int
    n_problems: int
    n_samples: int
    median_s: float


def run_workers(run: Path, setting: Setting, engines: Sequence[TimedEngine], pool: GradingPool) -> float:
    """Let real workers draw and grade a planned run; return when the last sample was stored."""
    workers = []
    with closing(Store.open(run)) as store:
        header = store.header
    planner = Planner(
        settings=Settings(model=str(run), root=run, output_dir=run),
        identity=header.identity,
        source=RecordedSource(run=run),
        terms={
            BENCHMARK: Terms(shelf=BaselineShelf(root=run, choice=None, model_name=header.model_name), rule=GateRule())
        },
        seed=header.seed,
    )
    for number, engine in enumerate(engines):
        worker = Worker(
            run=run,
            owner=f"gw{number}-made-up",
            benchmarks={BENCHMARK: SMOKE},
            planner=planner,
            engine=engine,
            pool=pool,
            grader=HARNESS.grader,
            n_workers=setting.n_engines,
        )
        worker.start()
        workers.append(worker)
    workers[0].finish(BENCHMARK)
    ended_s = time.monotonic()
    for worker in workers:
        worker.stop()
    return ended_s


def judged_s(run: Path) -> float:
    """Judge, and return how long that took."""
    started = time.monotonic()
    with closing(Store.open(run)) as store:
        shelf = BaselineShelf(root=run, choice=Previous(), model_name=store.header.model_name, output_dir=run, run=run)
        Judge(store=store, terms={"smoke": Terms(shelf=shelf, rule=GateRule())}).judge([SMOKE])
    return time.monotonic() - started


def warmed(pool: GradingPool) -> None:
    """Let every scoring process import LightEval first: that is start-up, not scoring."""

    async def grade() -> None:
        (problem,) = exam_of(1).problems
        response = Response(text="\\boxed{1}", n_tokens=1, finish_reason=FinishReason.STOP)
        await asyncio.gather(*(pool.grade(SMOKE, problem, response) for _ in range(16)))

    asyncio.run(grade())


def lines_of(run: Path, setting: Setting) -> Iterator[str]:
    """Measure one run."""
    planned_run(run, n_problems=setting.n_problems, n_samples=setting.n_samples, has_worker=False).close()
    engines = [TimedEngine(n_slots=setting.n_slots, median_s=setting.median_s) for _ in range(setting.n_engines)]
    pool = GradingPool(n_processes=4)
    pool.start()
    warmed(pool)
    stored_s = run_workers(run, setting, engines, pool)
    verdict_s = stored_s + judged_s(run)
    begun = [at_s for engine in engines for at_s in engine.timeline.begun_s]
    first_s, last_begun_s = min(begun), max(begun)
    generated_s = max(at_s for engine in engines for at_s in engine.timeline.ended_s)
    idle = [
        last_begun_s - min(engine.timeline.begun_s) - engine.timeline.busy_s(until_s=last_begun_s) for engine in engines
    ]
    n = setting.n_problems * setting.n_samples
    yield f"{n:,} answers, {setting.n_engines} engines of {setting.n_slots} slots, median {setting.median_s:g} s"
    yield f"{'generation, s':46}{generated_s - first_s:>9.2f}"
    longest = f"longest possible answer: {MAX_OVER_MEDIAN * setting.median_s:g} s"
    yield f"{'last answer begun to last answer ended, s':46}{generated_s - last_begun_s:>9.2f}  {longest}"
    yield f"{'last answer ended to all graded and stored, s':46}{stored_s - generated_s:>9.2f}"
    yield f"{'all stored to verdict, s':46}{verdict_s - stored_s:>9.2f}"
    yield f"{'last answer begun to verdict, s':46}{verdict_s - last_begun_s:>9.2f}"
    yield f"{'idle while answers were still to be begun, s':46}{max(idle):>9.2f}  the worst engine; goal: 0"
    yield f"{'total over generation':46}{(verdict_s - first_s) / (generated_s - first_s):>9.3f}  goal: at most 1.05"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--engines", type=int, default=4)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--problems", type=int, default=30)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--median", type=float, default=1.0, help="seconds of an answer")
    parser.add_argument("--dry", action="store_true", help="write no table")
    asked = parser.parse_args(arguments)
    setting = Setting(
        n_engines=asked.engines,
        n_slots=asked.slots,
        n_problems=asked.problems,
        n_samples=asked.samples,
        median_s=asked.median,
    )
    with tempfile.TemporaryDirectory() as name:
        lines = list(lines_of(Path(name) / "run", setting))
    publish("tail", [machine_line("lighteval"), *lines], write=not asked.dry)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
