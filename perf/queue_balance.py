"""
How well the queue balances a run: a simulation of its rules on 8 engines, with R1-like answer lengths.

    python perf/queue_balance.py > perf/queue_balance.txt

The rules are the real ones: the plan cuts the units, engines claim whole units in the
store's order, and an engine claims while it holds fewer samples than it has slots.
Answers are log-normal, with a median of their own for each problem, and cut at the limit. An engine decodes in steps,
one token for each answer that it runs, and a step takes longer the more it runs; what it holds beyond that waits.

Two things make a run take long, and only one is the queue's: that engines end at different times, and
that the last answers are long whoever writes them. So perfect balance is the time that the same answers
take, in the same order, when they may move between engines at any moment for nothing. Efficiency is that time over the simulated one.
"""

from __future__ import annotations

import heapq
import math
import random
import statistics
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pytest_r1eval.core.benchmarks import BUILT_IN, Sampling
from pytest_r1eval.core.plans import Plan, Unit

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
        by_length: Longest problems first, as a baseline that knows the lengths would order them.
        fair: Whether an engine holds no more than its share of the samples that are open.
    """

    benchmark: str
    engine: Engine = Engine()
    n_engines: int = 8
    stagger_s: float = 0.0
    by_length: bool = False
    fair: bool = False
    unit: int = 8


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


def plan_of(name: str, n_problems: int, n_samples: int) -> Plan:
    """Plan the fixed gate of a benchmark."""
    ids = tuple(f"p{number}" for number in range(n_problems))
    return Plan(benchmark=name, exam="simulated", problem_ids=ids, rounds=(n_samples,), seed=0, sampling=Sampling())


