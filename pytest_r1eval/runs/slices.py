"""
What one machine reports about its slice: whether it is whole, and what to do with it, but no verdict.

A slice is some samples of every problem. A score of it would be noisier than the
run's and would be looked at N times, so there is none until the slices are merged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_r1eval.core.plans import Slice
from pytest_r1eval.core.texts import printable
from pytest_r1eval.runs.finished import changed_checkpoint, unfit_run, unplanned_run
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.stats.verdicts import Judgement, invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceResult:
    """
    How far one benchmark of a slice is.

    Attributes:
        benchmark: The benchmark's name.
        slice: Which slice.
        n_samples: Stored samples.
        n_planned: Samples of the slice.
        run: The slice's folder.
        refusal: Why it cannot be merged; None where it is whole.
    """

    benchmark: str
    slice: Slice
    n_samples: int
    n_planned: int
    run: Path
    refusal: Judgement | None

    @property
    def lines(self) -> list[str]:
        """Say what is there and what to do next."""
        head = f"{self.benchmark}: slice {self.slice}, {self.n_samples} of {self.n_planned} samples."
        if self.refusal is not None:
            lines = [f"{head} INVALID. {self.refusal.reason}", f"  next: {self.refusal.next_step}"]
            return [printable(line) for line in lines]
        return [
            f"{head} No verdict is given on a slice.",
            f"  next: r1eval merge {self.run} and the other slices --out RUN; then pytest --r1-judge-only RUN",
        ]


def slice_results(store: RunReader, part: Slice, names: Sequence[str]) -> tuple[SliceResult, ...]:
    """
    Look at every benchmark of a slice.

    Raises:
        StoreError: If the run cannot be read.
    """
    return tuple(_result(store, part, name) for name in names)


def _result(store: RunReader, part: Slice, name: str) -> SliceResult:
    progress = store.progress(name)
    return SliceResult(
        benchmark=name,
        slice=part,
        n_samples=progress.n_stored,
        n_planned=progress.n_planned,
        run=store.path.parent,
        refusal=_refusal(store, name),
    )


def _refusal(store: RunReader, name: str) -> Judgement | None:
    plan, progress = store.plan(name), store.progress(name)
    if plan is None:
        return unplanned_run(store, name)
    n_missing = progress.n_planned - progress.n_stored
    if n_missing:
        return changed_checkpoint(store) or invalid(
            f"{n_missing} of the slice's {progress.n_planned} samples are missing.",
            f"Resume it where it ran: --r1-resume {store.path.parent} --r1-slice {store.header.slice}.",
        )
    if not progress.n_planned:  # more slices than samples: an empty one is whole
        return changed_checkpoint(store)
    return unfit_run(store, plan, store.tallies(name, k=plan.depth))
