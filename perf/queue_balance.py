"""
How well the queue balances a run: a simulation of its rules on 8 engines, with R1-like answer lengths.

    python perf/queue_balance.py > perf/queue_balance.txt

The rules are the real ones: the plan cuts the units, engines claim whole units in the store's
order, and an engine claims while it has a slot free and holds less than its share of what is open.
Answers are log-normal, with a median of their own for each problem, and cut at the limit. An engine
decodes in steps, one token for each answer that it runs, and a step takes longer the more it runs;
what it holds beyond that waits. One engine after the other gets ready, so the first may claim alone.

Two things make a run take long, and only one is the queue's: that engines end at different times,
and that the last answers are long on every worker. So perfect balance is the time that the same
answers take, in the same order, when they may move between engines at any moment for nothing.
Efficiency is that time over the simulated one; another order may be lucky and pass 1 by a little.
"""

from __future__ import annotations

import heapq
import math
import random
import statistics
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.core.built_in import BUILT_IN
from pytest_r1eval.core.plans import MAX_SAMPLES_PER_UNIT, Plan

SEEDS = range(10)
MAX_TOKENS = Sampling().max_new_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """
    Answer lengths of one benchmark in tokens, assumed for a distilled 7B model.

    Attributes:
        median: Of the problems' medians.
        sigma_problems: SD of the logarithm of the problems' medians.
        sigma_answers: SD of the logarithm of the answers to one problem.
    """

    median: float
    sigma_problems: float
    sigma_answers: float


LENGTHS = {
    "aime24": Lengths(median=9_500, sigma_problems=0.55, sigma_answers=0.45),
    "math500": Lengths(median=2_800, sigma_problems=0.65, sigma_answers=0.4),
    "gpqa": Lengths(median=6_000, sigma_problems=0.5, sigma_answers=0.4),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """
    What an engine can do.

    Attributes:
        n_slots: Samples it holds at most, running or waiting.
        n_running: Samples that its key-value cache lets run at once.
        step_s: Seconds for one token of one answer: reading the weights.
        step_per_answer_s: Seconds more for each answer that runs beside it: reading its cache.
    """

    n_slots: int = 1024
    n_running: int = 256
    step_s: float = 0.009
    step_per_answer_s: float = 0.0001


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """
    One simulated run.

    Attributes:
        benchmark: What is asked.
        engine: What each engine can do.
        n_engines: How many there are.
        stagger_s: The last engine is ready this much later than the first.
        is_shared: Whether an engine holds no more than its share of what is open; the store's rule.
        is_spread: Whether units in a row are of different problems; the plan's rule.
        longest_first: Whether problems come longest first, as a baseline that knows the lengths could order them.
    """

    benchmark: str
    engine: Engine = Engine()
    n_engines: int = 8
    stagger_s: float = 5.0
    is_shared: bool = True
    is_spread: bool = True
    longest_first: bool = False


class _Server:
    """One engine at work; its clock counts tokens per running answer."""

    def __init__(self, engine: Engine, *, ready_s: float, n_sharing: int = 1) -> None:
        self._engine = engine
        self._n_sharing = n_sharing
        self.now_s = ready_s
        self._tokens = 0.0
        self._running: list[float] = []
        self._waiting: deque[float] = deque()

    @property
    def n_held(self) -> int:
        return len(self._running) + len(self._waiting)

    @property
    def next_end_s(self) -> float:
        """When the next answer ends, if nothing is added."""
        if not self._running:
            return math.inf
        return self.now_s + (self._running[0] - self._tokens) * self._token_s

    @property
    def _token_s(self) -> float:
        n_running = len(self._running) / self._n_sharing
        return self._engine.step_s + self._engine.step_per_answer_s * n_running

    def advance(self, to_s: float) -> None:
        """Decode until a time at which nothing has ended yet."""
        if self._running and to_s > self.now_s:
            self._tokens += (to_s - self.now_s) / self._token_s
        self.now_s = max(self.now_s, to_s)

    def add(self, n_tokens: float) -> None:
        self._waiting.append(n_tokens)
        self._fill()

    def end_one(self) -> None:
        self._tokens = heapq.heappop(self._running)
        self._fill()

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self._engine.n_running * self._n_sharing:
            heapq.heappush(self._running, self._tokens + self._waiting.popleft())


def drawn_units(setting: Setting, *, seed: int) -> list[list[int]]:
    """Draw the answers of a fixed gate: tokens of each sample, unit by unit in the order of claims."""
    benchmark = next(one for one in BUILT_IN if one.name == setting.benchmark)
    if benchmark.planning is None:
        raise ValueError(f"{benchmark.name} has no planning constants, so no number of problems")
    rng, lengths = random.Random(seed), LENGTHS[setting.benchmark]  # noqa: S311 - a simulation
    ids = [f"p{number}" for number in range(benchmark.planning.n_problems)]
    medians = {id_: lengths.median * math.exp(rng.gauss(0, lengths.sigma_problems)) for id_ in ids}
    plan = Plan(
        benchmark=benchmark.name,
        exam="simulated",
        problem_ids=tuple(sorted(ids, key=lambda id_: -medians[id_]) if setting.longest_first else ids),
        rounds=(benchmark.samples_per_problem,),
        seed=seed,
        sampling=Sampling(),
        template_date="2025-01-01",
        prompts="p",
    )
    units = list(plan.units())
    if not setting.is_spread:
        units.sort(key=lambda unit: plan.problem_ids.index(unit.problem_id))
    answers = {
        (id_, index): min(MAX_TOKENS, math.ceil(medians[id_] * math.exp(rng.gauss(0, lengths.sigma_answers))))
        for id_ in ids
        for index in range(plan.samples_per_problem)
    }
    return [[answers[unit.problem_id, index] for index in unit.indices] for unit in units]


class Simulation:
    """Engines that claim from one queue until it is empty and everything has ended."""

    def __init__(self, setting: Setting, units: list[list[int]]) -> None:
        self._setting = setting
        self._queue = deque(units)
        self._n_open = sum(map(len, units))
        last = max(1, setting.n_engines - 1)
        self._loading = deque(
            _Server(setting.engine, ready_s=setting.stagger_s * number / last) for number in range(setting.n_engines)
        )
        self._ready: list[_Server] = []

    def makespan_s(self) -> float:
        """Run it; seconds until the last answer."""
        now_s = 0.0
        while self._n_open:
            now_s = self._step()
            self._claim()
        return now_s

    def _step(self) -> float:
        """Go on to the next thing that happens: an engine gets ready, or an answer ends."""
        first = min(self._ready, key=lambda server: server.next_end_s, default=None)
        end_s = math.inf if first is None else first.next_end_s
        if self._loading and self._loading[0].now_s <= end_s:
            end_s = self._loading[0].now_s
            self._ready.append(self._loading.popleft())
        elif first is not None:
            first.advance(end_s)
            first.end_one()
            self._n_open -= 1
        for server in self._ready:
            server.advance(end_s)
        return end_s

    def _claim(self) -> None:
        """Let each engine in turn take a unit, until none has room for more."""
        takers = [server for server in self._ready if self._has_room(server)]
        while takers and self._queue:
            for server in takers:
                for n_tokens in self._queue.popleft() if self._queue else ():
                    server.add(n_tokens)
            takers = [server for server in takers if self._has_room(server)]

    def _has_room(self, server: _Server) -> bool:
        share = self._n_open / self._setting.n_engines if self._setting.is_shared else math.inf
        return server.n_held < min(self._setting.engine.n_slots, share)


def balanced_s(setting: Setting, units: list[list[int]]) -> float:
    """Seconds that the same answers take in perfect balance: one engine with the power of all."""
    pool = _Server(setting.engine, ready_s=setting.stagger_s / 2, n_sharing=setting.n_engines)
    for unit in units:
        for n_tokens in unit:
            pool.add(n_tokens)
    while pool.n_held:
        pool.advance(pool.next_end_s)
        pool.end_one()
    return pool.now_s


def efficiency(setting: Setting, *, seed: int) -> float:
    """Perfect balance over what the rules give."""
    units = drawn_units(setting, seed=seed)
    return balanced_s(setting, units) / Simulation(setting, units).makespan_s()


RULES = {
    "as shipped": Setting(benchmark="aime24"),
    "+ longest first": Setting(benchmark="aime24", longest_first=True),
    "- shares": Setting(benchmark="aime24", is_shared=False),
    "- spread": Setting(benchmark="aime24", is_spread=False),
    "- both": Setting(benchmark="aime24", is_shared=False, is_spread=False),
}


def rows() -> Iterator[str]:
    """Simulate everything, and say it line by line."""
    yield "Efficiency of the queue, fixed gate, 8 engines: perfect balance / simulated time; mean (lowest) of 10 seeds."
    yield f"Units of at most {MAX_SAMPLES_PER_UNIT} samples; the last engine is ready 5 s after the first."
    yield ""
    yield f"{'benchmark':10}{'slots':>6}{'running':>8}  " + "".join(f"{name:17}" for name in RULES)
    for benchmark in LENGTHS:
        for n_slots, n_running in ((64, 64), (128, 128), (256, 256), (1024, 128), (1024, 256)):
            cells = []
            for rule in RULES.values():
                engine = Engine(n_slots=n_slots, n_running=n_running)
                setting = replace(rule, benchmark=benchmark, engine=engine)
                found = [efficiency(setting, seed=seed) for seed in SEEDS]
                cells.append(f"{statistics.mean(found):.3f} ({min(found):.3f})")
            yield f"{benchmark:10}{n_slots:6}{n_running:8}  " + "".join(f"{cell:17}" for cell in cells)


if __name__ == "__main__":
    for row in rows():
        print(row.rstrip(), flush=True)
