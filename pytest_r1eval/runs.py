"""
Finished runs, read back from their folders: what one benchmark of a run measured, or why it counts for nothing.

A run is read by the judge's own rules, so that what cannot be judged cannot be
compared or added up either.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pytest_r1eval.core.baselines import HealthCounts, MeasuredBaseline
from pytest_r1eval.core.fingerprints import Fingerprint, Question
from pytest_r1eval.core.plans import Plan
from pytest_r1eval.core.records import Counts, Outcome, ProblemTally
from pytest_r1eval.core.texts import escaped, is_loop, quoted
from pytest_r1eval.core.verdicts import Judgement, invalid
from pytest_r1eval.errors import RunError
from pytest_r1eval.store import FILE_NAME, BenchmarkState, Store

MAX_UNGRADED_SHARE = 0.005
"""
Of a run's samples, how many the grader may have failed on: one in two hundred, and only where the verdict is the same
whether all of them are counted wrong or right. One crash in a night of grading then costs no run, and none can tip a
gate.
"""
MIN_TOKENS_OF_A_REPEAT = 256
"""
Two draws of one short answer agree by chance; of this many tokens, at a temperature above 0, they do not.

Two kinds of response prove nothing about seeds, whatever their length, and are the model's own failure: one that the
token limit ended (a model stuck on one token fills it the same way each time), and one that says a short piece again
and again. Such a model is judged, and its health or pass@1 is red.
"""


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


def unplanned_run(store: Store, name: str) -> Judgement:
    """Say why a benchmark of a run has no plan."""
    if (changed := changed_checkpoint(store)) is not None:
        return changed
    if store.state(name) is BenchmarkState.FAILED:
        return invalid(store.error(name) or "planning failed", "Mend the cause and start the run again.")
    return invalid(
        "No worker got as far as planning it.", f"See the errors above, then --r1-resume {store.path.parent}."
    )


def incomplete_run(store: Store, plan: Plan, tallies: tuple[ProblemTally, ...]) -> Judgement | None:
    """Refuse a run in which something is missing or failed; None where everything planned is there."""
    n_missing = plan.n_samples - sum(tally.n_samples for tally in tallies)
    unfit = missing_samples if n_missing else unfit_run
    return changed_checkpoint(store) or unfit(store, plan, tallies)


def changed_checkpoint(store: Store) -> Judgement | None:
    """Refuse a run whose checkpoint changed while it went on: what was sampled is not what was named."""
    changes = store.changed_checkpoint
    if changes is None:
        return None
    share = store.header.share
    shard = "" if share is None else f" --r1-shard {share}"
    return invalid(
        f"The checkpoint changed while the run went on: {changes}.",
        f"Put back the files that it was started with and go on with --r1-resume {store.path.parent}{shard}, "
        "or start a new run of what is there now.",
    )


def missing_samples(store: Store, plan: Plan, tallies: tuple[ProblemTally, ...]) -> Judgement:
    """Say how many planned samples are not there."""
    n_missing = plan.n_samples - sum(tally.n_samples for tally in tallies)
    return invalid(
        f"{n_missing} of {plan.n_samples} planned samples are missing.",
        f"Resume the run: --r1-resume {store.path.parent}.",
    )


def unfit_run(store: Store, plan: Plan, tallies: tuple[ProblemTally, ...]) -> Judgement | None:
    """Refuse samples that are no evidence: of a changed checkpoint, ungraded, repeated, or of several harnesses."""
    if (changed := changed_checkpoint(store)) is not None:
        return changed
    n_samples, n_errors = sum(tally.n_samples for tally in tallies), sum(tally.n_error for tally in tallies)
    if n_errors > MAX_UNGRADED_SHARE * n_samples:
        return ungraded_run(store, plan, tallies, why="")
    if plan.sampling.temperature > 0 and (repeated := repeated_samples(store, plan)) is not None:
        return repeated
    if len(store.harnesses) != 1:
        return invalid(
            f"The run's workers answered with {len(store.harnesses)} different harnesses.",
            "Use one engine version, dtype and kind of device per run.",
        )
    return None


def repeated_samples(store: Store, plan: Plan) -> Judgement | None:
    """Refuse a run in which one problem has one long response several times, which only equal seeds draw."""
    found = [
        (repeated, sample.response)
        for repeated in store.repeated_responses(plan.benchmark, min_tokens=MIN_TOKENS_OF_A_REPEAT)
        if (sample := store.sample(plan.benchmark, problem_id=repeated.problem_id, index=repeated.first_index))
        and not is_loop(sample.response.text)
    ]
    if not found:
        return None
    repeated, response = found[0]
    return invalid(
        f"Problem {repeated.problem_id} has one response of {response.n_tokens} tokens {repeated.n_samples} times, "
        f"which begins {quoted(response.text)}; the run has {len(found)} such: seeds were reused.",
        "Samples that repeat each other are no evidence; check the engine's seeds and start a new run.",
    )


def ungraded_run(store: Store, plan: Plan, tallies: Sequence[ProblemTally], *, why: str) -> Judgement:
    """Refuse a run because of samples on which the grader failed."""
    n_samples, n_errors = sum(tally.n_samples for tally in tallies), sum(tally.n_error for tally in tallies)
    return invalid(
        f"The grader failed on {n_errors} of {n_samples} samples ({_first_error(store, plan.benchmark)}){why}.",
        f"A failure of the grader is no wrong answer: mend it; --r1-resume {store.path.parent} grades them once more.",
    )


def _first_error(store: Store, name: str) -> str:
    """Quote a grader in one line: it may quote a model, and a line of its own could be a command to a CI's runner."""
    samples = (sample for sample in store.samples(name) if sample.grade.outcome is Outcome.ERROR)
    detail = next((sample.grade.detail for sample in samples if sample.grade.detail), "no detail recorded")
    return escaped(" ".join(detail.split()))


def graded_rows(tallies: Iterable[ProblemTally]) -> list[tuple[str, int, int]]:
    """Return (problem id, correct, graded samples) of each problem."""
    return [(tally.problem_id, tally.n_correct, tally.n_samples - tally.n_error) for tally in tallies]


def measured_run(store: Store, plan: Plan, tallies: tuple[ProblemTally, ...]) -> MeasuredBaseline:
    """
    Take a complete run as what a baseline would record of it; samples without a grade do not count.

    Raises:
        RunError: If the grader failed on every sample of a problem.
    """
    header, (harness,) = store.header, store.harnesses
    graded = graded_rows(tallies)
    if not all(n_samples for _, _, n_samples in graded):
        raise RunError(
            f"{store.path.parent}: the grader failed on every sample of a problem; grade it with --r1-resume"
        )
    question = Question(exam=plan.exam, sampling=plan.sampling, system_prompt=plan.system_prompt)
    return MeasuredBaseline(
        benchmark=plan.benchmark,
        recorded=dt.datetime.fromisoformat(header.created),
        run=store.path.parent.name,
        seed=header.seed,
        fingerprint=Fingerprint(model=header.identity, question=question, harness=harness.graded_by(plan.grader)),
        counts=Counts.from_rows(graded),
        health=HealthCounts(
            n_samples=sum(n_samples for _, _, n_samples in graded),
            n_truncated=sum(tally.n_cut_off for tally in tallies),
            n_no_answer=sum(tally.n_no_answer for tally in tallies),
            n_tokens=sum(tally.n_tokens for tally in tallies),
        ),
        lineage=header.lineage,
    )


def previous_run(output_dir: Path, benchmark: str, *, before: Path) -> StoredRun | None:
    """
    Return the newest whole run of a benchmark below an output folder, whichever checkpoint it judged.

    Args:
        output_dir: Where runs are kept.
        benchmark: What it must have judged.
        before: The run that asks; itself and later ones are no candidates.
    """
    stores = sorted(output_dir.glob(f"*/*/*/{FILE_NAME}"), key=lambda path: path.parent.name, reverse=True)
    for path in stores:
        run = StoredRun(folder=path.parent)
        is_earlier = path.parent.name < before.name
        if is_earlier and benchmark in run.benchmarks and isinstance(run.read(benchmark), MeasuredBaseline):
            return run
    return None
