"""Stores of runs that are under way: made-up plans, claims and samples."""

from __future__ import annotations

from dataclasses import replace

from pytest_r1eval.core.benchmarks import Exam, Sampling
from pytest_r1eval.core.fingerprints import ModelIdentity
from pytest_r1eval.core.plans import Plan
from pytest_r1eval.core.records import FinishReason, Grade, Outcome, Response, Sample
from pytest_r1eval.runs.store import (
    RunHeader,
    Store,
)
from pytest_r1eval.runs.work_queue import ClaimedUnit, WorkQueue
from tests.recordings import make_exam, next_unit

HEADER = RunHeader(
    model="toy",
    model_name="local/toy",
    identity=ModelIdentity(weights="w", tokenizer="t", chat_template="c", checkpoint="all"),
    created="2025-01-20T00:00:00+00:00",
    seed=2**63 - 1,
)


class Clock:
    """The store's clock, moved by hand."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def monotonic(self) -> float:
        """Return the time, in the place of `time.monotonic`."""
        return self.now_s


def make_plan(exam: Exam, *, rounds: tuple[int, ...] = (2,)) -> Plan:
    """Plan a whole exam."""
    return Plan(
        benchmark=exam.benchmark,
        exam=exam.digest,
        problem_ids=tuple(problem.id for problem in exam.problems),
        rounds=rounds,
        seed=1,
        sampling=Sampling(),
        template_date="2025-01-01",
        prompts="p",
    )


def open_benchmark(store: Store, name: str, *, n_problems: int = 2, rounds: tuple[int, ...] = (2,)) -> Plan:
    """Select and plan a benchmark of sums."""
    exam = make_exam(name, n_problems)
    plan = make_plan(exam, rounds=rounds)
    WorkQueue(store).select((name,))
    WorkQueue(store).write_plan(exam, tuple((1, 2, 3) for _ in exam.problems), plan)
    return plan


def sample_of(claimed: ClaimedUnit, index: int, *, outcome: Outcome = Outcome.CORRECT) -> Sample:
    """Answer one sample of a unit."""
    return Sample(
        problem_id=claimed.unit.problem_id,
        index=index,
        seed=index,
        response=Response(text=f"answer {index}", n_tokens=10, finish_reason=FinishReason.STOP),
        grade=Grade(outcome=outcome),
    )


def claim(store: Store, *, owner: str = "w1") -> ClaimedUnit:
    """Claim a unit that must be there."""
    claimed = next_unit(store, owner=owner)
    assert claimed is not None
    return claimed


def claimed_units(store: Store, *, owner: str = "w1") -> list[tuple[str, int, str, int]]:
    """Claim everything; return benchmark, round, problem and first index, in the order of the claims."""
    found = []
    while (claimed := next_unit(store, owner=owner)) is not None:
        found.append((claimed.benchmark, claimed.unit.round, claimed.unit.problem_id, claimed.unit.first))
    return found


def long_sample(claimed: ClaimedUnit, index: int) -> Sample:
    """Answer at length: the text follows from the sample alone and spans many pages of the file."""
    text = f"{claimed.unit.problem_id}/{index};" * 2000
    response = Response(text=text, n_tokens=len(text), finish_reason=FinishReason.STOP)
    return replace(sample_of(claimed, index), response=response)
