"""
Finished runs, read back from their folders: what one benchmark of a run measured, or why it counts for nothing.

A run is read by the judge's own rules, so that what cannot be judged cannot be
compared or added up either.
"""

import datetime as dt
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from pytest_r1eval.core.baselines import HealthCounts, MeasuredBaseline
from pytest_r1eval.core.evidence import Evidence
from pytest_r1eval.core.fingerprints import Fingerprint, ModelIdentity
from pytest_r1eval.core.measurements import Measurement
from pytest_r1eval.core.plans import Plan, dealt, sample_seed
from pytest_r1eval.core.records import Counts, Outcome, ProblemTally
from pytest_r1eval.core.texts import counted, escaped, is_loop, quoted
from pytest_r1eval.errors import RunError
from pytest_r1eval.runs.progress import STORED_VERDICT
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import FILE_NAME, BenchmarkState
from pytest_r1eval.stats.health import added_health, judge_health
from pytest_r1eval.stats.looks import Completions
from pytest_r1eval.stats.pooling import DISAGREE, added_counts, pooled
from pytest_r1eval.stats.tests import pass_at_1
from pytest_r1eval.stats.verdicts import GateRule, Judgement, Verdict, invalid

T = TypeVar("T")

MAX_UNGRADED_FRACTION = 0.005
"""
Of a run's samples, how many the grader may have failed on: one in two hundred, and only where a verdict is the same
whether all of them are counted wrong or right. One crash in a night of grading then costs no run, and none can tip a
gate. A number that others rest on, a baseline or an aggregate, has no such verdict yet and leaves none out.
"""
MIN_TOKENS_OF_A_REPEAT = 256
"""
Two draws of one short answer agree by chance; of this many tokens, at a temperature above 0, they do not.

Two kinds of response prove nothing about seeds, whatever their length, and are the model's own failure. One is ended by
the token limit: a model stuck on one token fills it the same way each time. The other repeats a short piece again and
again. Such a model is judged, and its health or pass@1 is red.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ungraded:
    """
    Samples of one benchmark on which the grader failed.

    Attributes:
        run: The run's folder.
        n_errors: How many there are.
        n_samples: Stored samples, these among them.
        detail: What failed, of the first one.
    """

    run: Path
    n_errors: int
    n_samples: int
    detail: str

    @property
    def are_too_many(self) -> bool:
        """Whether no verdict may leave them out."""
        return too_many_ungraded(n_errors=self.n_errors, n_samples=self.n_samples)

    @property
    def note(self) -> str:
        """The warning beside a verdict that they could not change."""
        failed = f"The grader failed on {counted(self.n_errors, 'sample')}"
        return f"{failed}. Left out: right or wrong, the verdict would be the same."

    def refusal(self, why: str = "") -> Judgement:
        """Refuse the run because of them; `why` follows the count."""
        return invalid(
            f"The grader failed on {self.n_errors} of {self.n_samples} samples ({self.detail}){why}.",
            f"A grader's failure is never a wrong answer: repair it; --r1-resume {self.run} grades them once more.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteRun:
    """
    What one benchmark of a complete run measured.

    Attributes:
        measured: Its numbers, from the graded samples.
        samples_per_problem: As planned; None where several attempts are added up.
        health: Of all samples, graded or not.
        ungraded: Samples on which the grader failed; None where it failed on none.
        extremes: The counts with all ungraded samples wrong, and with all of them right; none where all are graded.
        n_truncated_correct: Of its own samples, truncated ones that were graded right.
        earlier_seeds: Seeds of the attempts whose samples are added.
    """

    measured: Measurement
    samples_per_problem: int | None
    health: HealthCounts
    ungraded: Ungraded | None
    extremes: tuple[Counts, ...]
    n_truncated_correct: int
    earlier_seeds: tuple[int, ...] = ()

    @property
    def evidence(self) -> Evidence:
        """What decides its samples."""
        own = self.measured.evidence
        return replace(own, seeds=(*self.earlier_seeds, *own.seeds))


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
        with closing(RunReader.open(self.folder)) as store:
            return store.header.model_name

    @property
    def identity(self) -> ModelIdentity:
        """Digests of the checkpoint."""
        with closing(RunReader.open(self.folder)) as store:
            return store.header.identity

    def verdict(self, benchmark: str) -> Verdict | None:
        """Return the stored verdict; None where it was not judged."""
        with closing(RunReader.open(self.folder)) as store:
            stored = store.verdict(benchmark, STORED_VERDICT)
        return None if stored is None else stored.judgement.verdict

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """The benchmarks that it judges, in order."""
        with closing(RunReader.open(self.folder)) as store:
            return store.selected

    def complete(self, benchmark: str) -> CompleteRun | Judgement:
        """Return what the run measured, as a candidate; INVALID with the reason where it is not whole."""
        with closing(RunReader.open_finished(self.folder)) as store:
            if benchmark not in store.selected:
                return invalid(
                    f"The run {self.folder} holds no {benchmark}, only {', '.join(store.selected) or 'nothing'}.",
                    "Choose what both hold with --benchmark, or run what is missing.",
                )
            plan = store.plan(benchmark)
            if plan is None:
                return unplanned_run(store, benchmark)
            check_drawn(store, plan)
            tallies = store.tallies(benchmark, k=plan.depth)
            is_sequential = store.is_sequential(benchmark)
            refusal = stopped_early(plan, tallies, run=self.folder) if is_sequential else None
            return refusal or complete_run(store, plan, tallies)

    def read(self, benchmark: str) -> Measurement | Judgement:
        """Return what others may be compared with or added to; INVALID, with the reason, where it is not such."""
        return number_of(self.complete(benchmark))

    def measured(self, benchmark: str) -> Measurement:
        """
        Return what others may be compared with or added to.

        Raises:
            RunError: If it is not whole, or a sample is not graded.
        """
        return self._demanded(benchmark, self.read(benchmark))

    def as_baseline(self, benchmark: str, *, replaced: MeasuredBaseline | None, reason: str | None) -> MeasuredBaseline:
        """
        Return the run as a baseline.

        Args:
            benchmark: Which part of it.
            replaced: The entry whose place it takes; None for a first one.
            reason: Why a person wants it; None where no reason was given.

        Raises:
            RunError: If it may be none.
        """
        fit = baseline_from(self.complete(benchmark), replaced=replaced, reason=reason)
        return self._demanded(benchmark, fit)

    def is_fit(self, benchmark: str) -> bool:
        """Whether the run may be a baseline without a word from a person."""
        fit = baseline_from(self.complete(benchmark), replaced=None, reason=None)
        return isinstance(fit, MeasuredBaseline)

    def _demanded(self, benchmark: str, found: T | Judgement) -> T:
        if isinstance(found, Judgement):
            raise RunError(f"{self.folder}, {benchmark}: {found.reason} {found.next_step}")
        return found


def number_of(run: CompleteRun | Judgement) -> Measurement | Judgement:
    """Return a run's number if every sample of it is graded; else, or where there is none, why not."""
    if isinstance(run, Judgement):
        return run
    return (
        run.measured if run.ungraded is None else run.ungraded.refusal("; a baseline or an aggregate leaves none out")
    )


def baseline_from(
    run: CompleteRun | Judgement, *, replaced: MeasuredBaseline | None, reason: str | None
) -> MeasuredBaseline | Judgement:
    """
    Take a run as a baseline, or say why it may be none: the one rule of record, bless, save-baseline and candidates.

    A run that is not whole, stopped early or holds an ungraded sample cannot be a baseline, whatever the reason: its
    number is wrong, and --r1-resume completes it. A run whose responses are not healthy may be one, with a reason.

    Args:
        run: The run, or why it is not whole.
        replaced: The entry whose place it takes, whose health counts too; None for a first one.
        reason: Why a person wants it; None where no reason was given.
    """
    number = number_of(run)
    if isinstance(number, Judgement):
        return number
    references = (None,) if replaced is None else (None, replaced.health)
    healths = [judge_health(number.health, baseline=health, alpha=GateRule().alpha) for health in references]
    sick = dict.fromkeys(judged.reason for health in healths for judged in health.failing)
    if not sick or reason is not None:
        return number.as_baseline(reason=reason)
    return Judgement(
        verdict=Verdict.INCONCLUSIVE,
        passes=False,
        reason=f"The responses are not healthy, and a baseline needs healthy ones: {' '.join(sick)}",
        next_step="Read some of these responses, and check the token limit and the chat template. If the model is like "
        "that, record it with r1eval baseline record or bless, and --reason TEXT.",
    )


def check_drawn(store: RunReader, plan: Plan) -> None:
    """
    Check that a stored benchmark is what its plan says: the problems, and samples by its seeds and no others.

    A file from elsewhere may be edited: problems or samples left out of the plan, others put in.

    Raises:
        RunError: If it is not.
        StoreError: If the run cannot be read.
    """
    run, name = store.path.parent, plan.benchmark
    exam = store.exam(name)
    if exam.digest != plan.exam or tuple(problem.id for problem in exam.problems) != plan.problem_ids:
        raise RunError(
            f"{run}: the stored problems of {name} are not those of its plan; expected the exam "
            f"{escaped(plan.exam[:12])}. Start a new run"
        )
    if plan.seed != store.header.seed:
        raise RunError(
            f"{run}: the plan of {name} has the seed {plan.seed}; expected the run's, {store.header.seed}. Start a new "
            "run"
        )
    held = None if store.header.slice is None else dealt(plan, store.header.slice)
    has_looks = store.n_rounds_seen(name) > 0  # what looks drew beyond a plan that was completed as a fixed one is kept
    planned = dict(zip(plan.problem_ids, plan.samples, strict=True))
    for id_, index, seed in store.drawn(name):
        is_beyond = index >= planned.get(id_, 0) and not has_looks
        if id_ not in planned or is_beyond or (held is not None and index not in held[id_]):
            where = "the plan" if held is None else f"the plan, or in another slice than {store.header.slice}"
            raise RunError(
                f"{run}: it holds sample {index} of problem {escaped(id_)} of {name}, which is not in {where}; draw it "
                "again into a new run"
            )
        if seed != (expected := sample_seed(plan.seed, id_, index)):
            raise RunError(
                f"{run}: sample {index} of problem {id_} of {name} was drawn with the seed {seed}; expected {expected} "
                "by the plan; draw it again into a new run"
            )


def stopped_early(plan: Plan, tallies: Sequence[ProblemTally], *, run: Path) -> Judgement | None:
    """
    Refuse a sequential run that has no score.

    It ended before its last look, or a baseline's counts allocated its samples: its pass@1 is at stop.
    """
    n_there = sum(tally.n_samples for tally in tallies)
    if n_there == plan.n_samples and plan.allocated is None:
        return None
    return invalid(
        f"The run stopped after {n_there} of {plan.n_samples} planned samples, and a pass@1 at stop is not a score.",
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


def unplanned_run(store: RunReader, name: str) -> Judgement:
    """Say why a benchmark of a run has no plan."""
    if (changed := changed_checkpoint(store)) is not None:
        return changed
    if store.state(name) is BenchmarkState.LEFT_OUT:
        return invalid(
            store.error(name) or "It was left out.",
            f"To draw it all the same: --r1-resume {store.path.parent}, without --r1-fail-fast.",
        )
    if store.state(name) is BenchmarkState.FAILED:
        return invalid(store.error(name) or "planning failed", "Repair the cause and start the run again.")
    return invalid(
        "No worker got as far as planning it.", f"See the errors above, then --r1-resume {store.path.parent}."
    )


def incomplete_run(store: RunReader, plan: Plan, tallies: tuple[ProblemTally, ...]) -> Judgement | None:
    """Refuse a run in which something is missing or failed; None where everything planned is there."""
    n_missing = plan.n_samples - sum(tally.n_samples for tally in tallies)
    unfit = missing_samples if n_missing else unfit_run
    return changed_checkpoint(store) or unfit(store, plan, tallies)


def changed_checkpoint(store: RunReader) -> Judgement | None:
    """Refuse a run whose checkpoint changed while it went on: what was sampled is not what was named."""
    changes = store.changed_checkpoint
    if changes is None:
        return None
    part = store.header.slice
    slice_ = "" if part is None else f" --r1-slice {part}"
    return invalid(
        f"The checkpoint changed while the run went on: {changes}.",
        f"Put back the files that it was started with and go on with --r1-resume {store.path.parent}{slice_}, "
        "or start a new run of what is there now.",
    )


def missing_samples(store: RunReader, plan: Plan, tallies: tuple[ProblemTally, ...]) -> Judgement:
    """Say how many planned samples are not there."""
    n_missing = plan.n_samples - sum(tally.n_samples for tally in tallies)
    return invalid(
        f"{n_missing} of {plan.n_samples} planned samples are missing.",
        f"Resume the run: --r1-resume {store.path.parent}.",
    )


def unfit_run(store: RunReader, plan: Plan, tallies: tuple[ProblemTally, ...]) -> Judgement | None:
    """Refuse samples that are not evidence: of a changed checkpoint, ungraded, repeated, or of several harnesses."""
    if (changed := changed_checkpoint(store)) is not None:
        return changed
    ungraded = ungraded_of(store, plan, tallies)
    if ungraded is not None and ungraded.are_too_many:
        return ungraded.refusal()
    if plan.sampling.temperature > 0 and (repeated := repeated_samples(store, plan)) is not None:
        return repeated
    if len(store.harnesses) != 1:
        return invalid(
            f"The run's workers answered with {len(store.harnesses)} different harnesses.",
            "Use one engine version, dtype and kind of device per run; start a new one (--r1-fresh).",
        )
    return None


def repeated_samples(store: RunReader, plan: Plan) -> Judgement | None:
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
        "Samples that repeat each other are no evidence; check the engine's seeds and start a new run (--r1-fresh).",
    )


def ungraded_of(store: RunReader, plan: Plan, tallies: Sequence[ProblemTally]) -> Ungraded | None:
    """Return the samples on which the grader failed; None where it failed on none."""
    n_errors = sum(tally.n_error for tally in tallies)
    if not n_errors:
        return None
    return Ungraded(
        run=store.path.parent,
        n_errors=n_errors,
        n_samples=sum(tally.n_samples for tally in tallies),
        detail=_first_error(store, plan.benchmark),
    )


def too_many_ungraded(*, n_errors: int, n_samples: int) -> bool:
    """Whether the grader failed on more samples than any verdict may leave out."""
    return n_errors > MAX_UNGRADED_FRACTION * n_samples


def _first_error(store: RunReader, name: str) -> str:
    """Quote a grader in one line: it may quote a model, and a line of its own could be a command to a CI's runner."""
    samples = (sample for sample in store.samples(name) if sample.grade.outcome is Outcome.ERROR)
    detail = next((sample.grade.detail for sample in samples if sample.grade.detail), "no detail recorded")
    return escaped(" ".join(detail.split()))


def complete_run(store: RunReader, plan: Plan, tallies: tuple[ProblemTally, ...]) -> CompleteRun | Judgement:
    """Return what a complete run measured; why not, where something is missing, failed or no evidence."""
    refusal = incomplete_run(store, plan, tallies)
    if refusal is not None:
        return refusal
    ungraded = ungraded_of(store, plan, tallies)
    if ungraded is not None and any(tally.n_error == tally.n_samples for tally in tallies):
        return ungraded.refusal(", among them every sample of a problem")
    extremes: tuple[Counts, ...] = ()
    if ungraded is not None:
        rows = [(tally.problem_id, tally.n_correct, tally.n_graded) for tally in tallies]
        completions = Completions.of(rows, n_samples=plan.depth)
        extremes = (completions.lowest, completions.highest)
    return CompleteRun(
        measured=_measured(store, plan, tallies),
        samples_per_problem=plan.samples_per_problem,
        health=added_health(tallies),
        ungraded=ungraded,
        extremes=extremes,
        n_truncated_correct=sum(tally.n_truncated_correct for tally in tallies),
    )


def with_earlier(run: CompleteRun, earlier: Sequence[Measurement]) -> CompleteRun | Judgement:
    """
    Add the samples of earlier attempts on the same weights: a verdict rests on all of them, or it is a second chance.

    Args:
        run: The newest attempt.
        earlier: What the attempts before it measured.

    Returns:
        All of it as one run; INVALID where the attempts are not draws of one thing.
    """
    if not earlier:
        return run
    every = (*earlier, run.measured)
    if any(set(measured.counts.ids) != set(run.measured.counts.ids) for measured in earlier):
        return invalid("The attempts on these weights sat different problems.", "Use another --r1-output-dir.")
    spread = pooled([pass_at_1(measured.counts) for measured in every])
    if spread.p_different < DISAGREE:
        return invalid(
            f"The {len(every)} attempts on these weights disagree by more than sampling (Cochran's Q "
            f"{spread.cochran_q:.3g}, p = {spread.p_different:.2g}): {', '.join(measured.run for measured in every)}.",
            "Find out what changed between them: engine, device or files. Until then the earlier verdict counts.",
        )
    before = [measured.counts for measured in earlier]
    return CompleteRun(
        measured=replace(
            run.measured,
            counts=added_counts([*before, run.measured.counts]),
            health=added_health([measured.health for measured in every]),
        ),
        samples_per_problem=None,
        health=added_health([*(measured.health for measured in earlier), run.health]),
        ungraded=run.ungraded,
        extremes=tuple(added_counts([*before, counts]) for counts in run.extremes),
        n_truncated_correct=run.n_truncated_correct,
        earlier_seeds=tuple(measured.seed for measured in earlier),
    )


def drawn(store: RunReader, plan: Plan, *, k: int) -> Measurement | None:
    """Return what the first k samples of every problem measured, for later attempts; None where one has no grade."""
    tallies = store.tallies(plan.benchmark, k=k)
    if len(store.harnesses) != 1 or any(tally.n_error == tally.n_samples for tally in tallies):
        return None
    return _measured(store, plan, tallies)


def _measured(store: RunReader, plan: Plan, tallies: tuple[ProblemTally, ...]) -> Measurement:
    """Read what a complete run measured; samples without a grade count for its health alone."""
    header, (harness,) = store.header, store.harnesses
    return Measurement(
        benchmark=plan.benchmark,
        recorded=dt.datetime.fromisoformat(header.created),
        run=store.path.parent.name,
        seed=header.seed,
        fingerprint=Fingerprint(model=header.identity, question=plan.question, harness=harness.graded_by(plan.grader)),
        counts=Counts.graded(tallies),
        health=added_health(tallies),
        lineage=header.lineage,
    )


_NO_REFERENCES = frozenset({Verdict.FAIL_REGRESSED, Verdict.SUSPICIOUS_IMPROVED})


def previous_run(
    output_dir: Path, benchmark: str, *, before: Path, unlike: ModelIdentity | None = None
) -> StoredRun | None:
    """
    Return the newest whole and healthy run of a benchmark below an output folder, whichever checkpoint it judged.

    One that regressed, or rose by more than chance, is not a reference by itself: it takes a person to bless it.

    Args:
        output_dir: Where runs are kept.
        benchmark: What it must have judged.
        before: The run that asks; itself and later ones are not candidates.
        unlike: The checkpoint that asks; another run of it is not an earlier checkpoint. None takes any.
    """
    stores = sorted(output_dir.glob(f"*/*/*/{FILE_NAME}"), key=lambda path: path.parent.name, reverse=True)
    for path in stores:
        run = StoredRun(folder=path.parent)
        is_earlier = path.parent.name < before.name
        if not is_earlier or run.identity == unlike or benchmark not in run.benchmarks:
            continue
        if run.verdict(benchmark) not in _NO_REFERENCES and run.is_fit(benchmark):
            return run
    return None
