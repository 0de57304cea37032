"""
How far a run is, read from its store alone, so that any process can show it.

A running pass@1 is shown, and marked: short answers finish first and are right
more often, so it falls while a run goes on. Among the first half of AIME answers
it is far too high. Only the verdict's number is a score.

The store keeps no times. Rates are differences between two looks at it, made by
the watching process, which also makes them right for a run that was resumed.
"""

import datetime as dt
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

from pytest_r1eval.core.codec import Kind, Layout, document
from pytest_r1eval.core.plans import Plan
from pytest_r1eval.core.records import Counts, ProblemTally
from pytest_r1eval.core.texts import printable
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import BenchmarkState
from pytest_r1eval.stats.tests import pass_at_1
from pytest_r1eval.stats.verdicts import Verdict

WINDOW_S = 60.0
"""Over how long tokens per second are counted: long enough for a few answers of 32768 tokens to end in it."""
MIN_SAMPLES_FOR_ETA = 10
"""Below this many finished answers the time that is left would be a guess."""
LEGEND = "a running pass@1 is biased towards short answers, which finish first: no score before the verdict"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningScore:
    """
    pass@1 of the samples that are there, as fractions.

    Attributes:
        mean: Mean over the problems that have a sample of their fraction of correct ones.
        standard_error: SD of the mean from the spread within problems; None until every problem has two samples.
    """

    mean: float
    standard_error: float | None

    def __str__(self) -> str:
        """In points."""
        error = "" if self.standard_error is None else f" ± {100 * self.standard_error:.1f}"
        return f"{100 * self.mean:.1f}{error}"


def running_score(tallies: Sequence[ProblemTally]) -> RunningScore | None:
    """Score what was graded so far; None where nothing was."""
    if not any(tally.n_graded for tally in tallies):
        return None
    estimate = pass_at_1(Counts.graded(tallies))
    has_spread = all(tally.n_graded >= 2 for tally in tallies)
    return RunningScore(mean=estimate.mean, standard_error=estimate.standard_error if has_spread else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """
    How far one benchmark is, at one look at the store.

    Attributes:
        benchmark: Its name.
        state: Whether it is planned, open, closed or failed.
        is_settled: Whether it needs no more samples.
        is_under_way: Whether an engine holds a unit of it.
        n_stored: Stored samples.
        n_planned: Planned samples; 0 before there is a plan.
        n_tokens: Generated tokens of the stored samples.
        n_ungraded: Stored samples on which the grader failed.
        score: pass@1 so far; None where there is none.
        n_looks: Looks of a sequential gate that were taken.
        n_planned_looks: Looks that are planned; 0 for a fixed gate.
        is_allocated: Whether problems have unequal numbers of samples.
        has_looks: Whether a look was taken, be it at health alone.
        error: Why it cannot be run; None if it can.
        verdict: The stored verdict; None before it is judged.
    """

    benchmark: str
    state: BenchmarkState
    is_settled: bool = False
    is_under_way: bool = False
    n_stored: int = 0
    n_planned: int = 0
    n_tokens: int = 0
    n_ungraded: int = 0
    score: RunningScore | None = None
    n_looks: int = 0
    n_planned_looks: int = 0
    has_looks: bool = False
    is_allocated: bool = False
    error: str | None = None
    verdict: str | None = None

    @property
    def is_finished(self) -> bool:
        """Whether it is settled and judged."""
        return self.is_settled and self.verdict is not None

    @property
    def is_at_stop(self) -> bool:
        """Whether looks ended it early, so that its pass@1 is biased by the stopping."""
        is_early = self.n_looks < self.n_planned_looks or self.is_allocated
        return self.state is BenchmarkState.CLOSED and self.has_looks and is_early


def standing_of(store: RunReader, name: str) -> Standing:
    """
    Look at one benchmark of a run.

    Raises:
        StoreError: If the run does not hold it, or cannot be read.
    """
    state, plan = store.state(name), store.plan(name)
    if plan is None:
        return Standing(
            benchmark=name,
            state=state,
            is_settled=state in {BenchmarkState.FAILED, BenchmarkState.LEFT_OUT},
            error=store.error(name),
            verdict=_verdict(store, name),
        )
    progress, n_looks = store.progress(name), store.n_looks(name)
    tallies = store.tallies(name, k=plan.depth)
    return Standing(
        benchmark=name,
        state=state,
        is_settled=state in {BenchmarkState.CLOSED, BenchmarkState.LEFT_OUT} or progress.n_open_units == 0,
        error=store.error(name),
        is_under_way=store.n_leased_units(name) > 0,
        n_stored=sum(tally.n_samples for tally in tallies),
        n_planned=min(progress.n_planned, plan.n_samples),  # one machine's slice of a plan has fewer
        n_tokens=sum(tally.n_tokens for tally in tallies),
        n_ungraded=sum(tally.n_error for tally in tallies),
        score=running_score(_judged_tallies(store, plan, tallies, state=state)),
        n_looks=n_looks,
        n_planned_looks=plan.n_rounds - plan.first_look if store.is_sequential(name) else 0,
        has_looks=store.n_rounds_seen(name) > 0,
        is_allocated=plan.allocated is not None,
        verdict=_verdict(store, name),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredJudgement:
    """Of a stored judgement: its verdict."""

    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVerdict:
    """Of a stored gate: its judgement."""

    judgement: StoredJudgement


STORED_VERDICT = Kind(of=StoredVerdict, is_excerpt=True)


def _judged_tallies(
    store: RunReader, plan: Plan, tallies: tuple[ProblemTally, ...], *, state: BenchmarkState
) -> tuple[ProblemTally, ...]:
    """After a stop leave out what was begun beyond the last look: the verdict does not count it either."""
    has_stopped = state is BenchmarkState.CLOSED and store.is_sequential(plan.benchmark)
    looks = store.looks(plan.benchmark) if has_stopped else ()
    return store.tallies(plan.benchmark, k=plan.depth_at(looks[-1].number + plan.first_look - 1)) if looks else tallies


def _verdict(store: RunReader, name: str) -> str | None:
    stored = store.verdict(name, STORED_VERDICT)
    return None if stored is None else stored.judgement.verdict.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """
    How fast one benchmark goes.

    Attributes:
        tokens_per_s: Tokens of the answers that ended in the last minute, per second; None where not yet known.
        remaining_s: Seconds until every planned sample is there; None where not yet known.
    """

    tokens_per_s: float | None = None
    remaining_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Observation:
    at_s: float
    n_stored: int
    n_tokens: int


class Pace:
    """The looks that the rates of one benchmark are made of."""

    def __init__(self) -> None:
        self._recent: deque[_Observation] = deque()
        self._start: _Observation | None = None

    def rates(self, standing: Standing, *, at_s: float) -> Rates:
        """
        Add a look and return the rates that follow from it.

        Args:
            standing: What was seen.
            at_s: When, on a clock that never goes back.
        """
        now = _Observation(at_s=at_s, n_stored=standing.n_stored, n_tokens=standing.n_tokens)
        if self._start is None and standing.is_under_way:
            self._start = now  # not before: loading the engine is not generating
        self._recent.append(now)
        while len(self._recent) > 1 and self._recent[1].at_s <= at_s - WINDOW_S:
            self._recent.popleft()
        return Rates(tokens_per_s=self._tokens_per_s(), remaining_s=self._remaining_s(standing.n_planned))

    def _tokens_per_s(self) -> float | None:
        first, last = self._recent[0], self._recent[-1]
        if self._start is None or last.at_s <= first.at_s:
            return None
        return (last.n_tokens - first.n_tokens) / (last.at_s - first.at_s)

    def _remaining_s(self, n_planned: int) -> float | None:
        start, last = self._start, self._recent[-1]
        if start is None or last.n_stored - start.n_stored < MIN_SAMPLES_FOR_ETA:
            return None
        per_sample_s = (last.at_s - start.at_s) / (last.n_stored - start.n_stored)
        return per_sample_s * (n_planned - last.n_stored)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One benchmark's standing, and how fast it goes."""

    standing: Standing
    rates: Rates


class Watcher:
    """
    Looks at a run again and again.

    Args:
        store: The run, on a connection of the watcher's own.
        benchmarks: What to look at; None for all that the run holds.
    """

    def __init__(self, store: RunReader, *, benchmarks: Collection[str] | None = None) -> None:
        self._store = store
        self._benchmarks = benchmarks
        self._paces: dict[str, Pace] = {}

    def look(self, *, at_s: float) -> tuple[Seen, ...]:
        """
        Look at every benchmark, in the run's order.

        Raises:
            StoreError: If the run cannot be read.
        """
        names = [name for name in self._store.selected if self._benchmarks is None or name in self._benchmarks]
        standings = [standing_of(self._store, name) for name in names]
        return tuple(
            Seen(standing=standing, rates=self._paces.setdefault(standing.benchmark, Pace()).rates(standing, at_s=at_s))
            for standing in standings
        )


def seen_json(seen: Sequence[Seen]) -> str:
    """Write what was seen as JSON in one line; scores are fractions, and what is not known is null."""
    benchmarks = [
        {
            **asdict(one.standing),
            "is_finished": one.standing.is_finished,
            "is_at_stop": one.standing.is_at_stop,
            **asdict(one.rates),
        }
        for one in seen
    ]
    return document({"benchmarks": benchmarks}, layout=Layout.LINE)


def standing_line(seen: Seen) -> str:
    """Say in one line how far a benchmark is."""
    standing = seen.standing
    if standing.is_settled:
        return settled_line(standing)
    return f"{standing.benchmark}: {', '.join([*_amount(standing), *_pace(seen)])}"


def settled_line(standing: Standing) -> str:
    """Say in one line how a benchmark ended."""
    parts = [] if standing.verdict is None else [standing.verdict]
    if standing.error is not None:
        how = "" if standing.state is BenchmarkState.LEFT_OUT else "cannot be run: "
        return f"{standing.benchmark}: {', '.join([*parts, f'{how}{printable(standing.error)}'])}"
    parts += ["stopped"] if standing.is_at_stop else []
    parts += [*_amount(standing), f"{standing.n_tokens:,} tokens"] if standing.n_planned else []
    return f"{standing.benchmark}: {', '.join(parts or ['nothing was planned'])}"


def _amount(standing: Standing) -> list[str]:
    if not standing.n_planned:
        return ["planning"]
    parts = [f"{standing.n_stored}/{standing.n_planned} samples"]
    if standing.score is not None:
        parts.append(f"{score_name(standing)} {standing.score}")
    parts += [f"{standing.n_ungraded} not graded"] if standing.n_ungraded else []
    return [*parts, *([f"look {looks_text(standing)}"] if standing.n_planned_looks else [])]


def _pace(seen: Seen) -> list[str]:
    if not seen.standing.n_planned:
        return []
    if not seen.standing.is_under_way:
        return ["waiting for an engine"]
    parts = [f"{tokens} tokens/s"] if (tokens := tokens_text(seen.rates)) else []
    return [*parts, *([f"ETA {eta}"] if (eta := eta_text(seen)) else [])]


def score_name(standing: Standing) -> str:
    """Name pass@1 as what it is: running, at stop, or a score."""
    if not standing.is_settled:
        return "running pass@1"
    return "pass@1 at stop" if standing.is_at_stop else "pass@1"


def looks_text(standing: Standing) -> str:
    """Say which look was reached; empty for a fixed gate."""
    return f"{standing.n_looks} of {standing.n_planned_looks}" if standing.n_planned_looks else ""


def tokens_text(rates: Rates) -> str:
    """Write tokens per second; empty where they are not known."""
    return "" if rates.tokens_per_s is None else f"{rates.tokens_per_s:,.0f}"


def eta_text(seen: Seen) -> str:
    """Write the time that is left, h:mm:ss; a sequential gate may need less. Empty where it is not known."""
    if seen.rates.remaining_s is None or seen.standing.is_settled:
        return ""
    left = str(dt.timedelta(seconds=round(seen.rates.remaining_s)))
    return f"{left} at most" if seen.standing.n_planned_looks else left
