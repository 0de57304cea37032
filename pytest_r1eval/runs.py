"""
Finished runs, read back from their folders: what one benchmark of a run measured, or why it counts for nothing.

A run is read by the judge's own rules, so that what cannot be judged cannot be
compared or added up either.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pytest_r1eval.core.baselines import MeasuredBaseline
from pytest_r1eval.core.plans import Plan
from pytest_r1eval.core.records import ProblemTally
from pytest_r1eval.core.verdicts import Judgement, invalid
from pytest_r1eval.errors import RunError
from pytest_r1eval.judge import incomplete_run, measured_run, unplanned_run
from pytest_r1eval.store import FILE_NAME, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """
    A run's folder, read only.

    Raises:
        StoreError: From any method, if there is no run or it cannot be read.
    """

    folder: Path

    @property
    def exists(self) -> bool:
        """Whether there is a run at all."""
        return (self.folder / FILE_NAME).is_file()

    @property
    def model_name(self) -> str:
        """``org/name`` of the checkpoint."""
        with closing(Store.open(self.folder)) as store:
            return store.header.model_name

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """The benchmarks that it judges, in order."""
        with closing(Store.open(self.folder)) as store:
            return store.selected

    def read(self, benchmark: str) -> MeasuredBaseline | Judgement:
        """Return what the run measured, or INVALID with the reason where it is not whole."""
        with closing(Store.open(self.folder)) as store:
            if benchmark not in store.selected:
                return invalid(
                    f"The run {self.folder} holds no {benchmark}, only {', '.join(store.selected) or 'nothing'}.",
                    "Choose what both hold with --benchmark, or run what is missing.",
                )
            plan = store.plan(benchmark)
            if plan is None:
                return unplanned_run(store, benchmark)
            tallies = store.tallies(benchmark, k=plan.samples_per_problem)
            is_sequential = store.gate(benchmark) is not None
            refusal = stopped_early(plan, tallies, run=self.folder) if is_sequential else None
            refusal = refusal or incomplete_run(store, plan, tallies)
            return measured_run(store, plan, tallies) if refusal is None else refusal

    def measured(self, benchmark: str) -> MeasuredBaseline:
        """
        Return what the run measured.

        Raises:
            RunError: If it is not whole.
        """
        match self.read(benchmark):
            case MeasuredBaseline() as measured:
                return measured
            case Judgement() as refusal:
                raise RunError(f"{self.folder}, {benchmark}: {refusal.reason} {refusal.next_step}")


def stopped_early(plan: Plan, tallies: Sequence[ProblemTally], *, run: Path) -> Judgement | None:
    """Refuse a sequential run that ended before its last look: its pass@1 is at stop, and biased by the stopping."""
    n_there = sum(tally.n_samples for tally in tallies)
    if n_there == plan.n_samples:
        return None
    return invalid(
        f"The run stopped after {n_there} of {plan.n_samples} planned samples, and a pass@1 at stop is no score.",
        f"Complete it, nothing is drawn twice: --r1-resume {run} --r1-gate fixed.",
    )


def chosen_benchmarks(run: StoredRun, *, asked: Sequence[str]) -> tuple[str, ...]:
    """
    Return the benchmarks that were asked for, or all that the run holds.

    Raises:
        RunError: If the run does not hold one of them, or nothing at all.
    """
    held = run.benchmarks
    missing = [name for name in asked if name not in held]
    if missing or not held:
        raise RunError(
            f"{run.folder} holds no {missing[0] if missing else 'benchmark'}; "
            f"expected one of {', '.join(held) or 'those it was started with'}"
        )
    return tuple(dict.fromkeys(asked)) or held
