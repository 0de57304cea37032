"""
Two results compared without an engine: stored runs with each other, or a run with a baseline.

Every rule is the judge's own. Two things differ: nothing is written, and without
a baseline the answer is INVALID, because this run will not be recorded as one.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from pytest_r1eval.baselines.reference import health_reference
from pytest_r1eval.baselines.shelf import BaselineShelf, FoundBaseline
from pytest_r1eval.config.baseline_choice import RunFolder, baseline_choice
from pytest_r1eval.core.baselines import PublishedBaseline
from pytest_r1eval.core.benchmarks import Benchmark
from pytest_r1eval.core.measurements import Measurement
from pytest_r1eval.errors import BaselineError, RunError
from pytest_r1eval.judging.decision import decided
from pytest_r1eval.judging.diagnostics import with_diagnostics, with_titles
from pytest_r1eval.judging.result import GateResult
from pytest_r1eval.runs.finished import CompleteRun, StoredRun
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import FILE_NAME
from pytest_r1eval.stats.verdicts import GateRule, Judgement, Verdict, invalid

SCHEMA_VERSION = 1


class Source(Protocol):
    """What a run is compared with."""

    @property
    def name(self) -> str:
        """What the user called it."""
        ...

    def find(self, benchmark: str) -> FoundBaseline | Judgement:
        """Return one benchmark's baseline, or INVALID with the reason."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSource:
    """Another stored run."""

    run: StoredRun

    @property
    def name(self) -> str:
        """The run's folder."""
        return str(self.run.folder)

    def find(self, benchmark: str) -> FoundBaseline | Judgement:
        """Return what the run measured, or INVALID with the reason."""
        match self.run.read(benchmark):
            case Measurement() as measured:
                return FoundBaseline(baseline=measured.as_baseline(), source=f"run {self.run.folder}")
            case Judgement() as refusal:
                return replace(refusal, reason=f"The baseline cannot be used. {refusal.reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShelfSource:
    """A baseline file."""

    name: str
    shelf: BaselineShelf

    def find(self, benchmark: str) -> FoundBaseline | Judgement:
        """
        Return the file's baseline, or INVALID where it has none.

        Raises:
            BaselineError: If the file is malformed, or the one named does not exist.
        """
        found = self.shelf.find(benchmark)
        if found is not None:
            return found
        return invalid(
            f"The baseline {self.name} has nothing for {benchmark}.",
            "Choose what both hold with --benchmark, or record a baseline with --r1-save-baseline.",
        )


def source_of(text: str, *, root: Path, model_name: str) -> Source:
    """
    Return what the argument names: a run or a baseline.

    Args:
        text: A run's folder, org/name, a baseline's JSON file, or ``published``.
        root: The folder whose ``baselines/`` is the user's.
        model_name: ``org/name`` of the candidate, whose published numbers ``published`` means.

    Raises:
        RunError: If it is neither.
    """
    try:
        choice = baseline_choice(text, Path.cwd())
    except ValueError as error:
        raise RunError(f"{text!r}; expected {error}") from error
    if isinstance(choice, RunFolder):
        return RunSource(run=StoredRun(folder=Path(text)))
    source = ShelfSource(name=text, shelf=BaselineShelf(root=root, choice=choice, model_name=model_name))
    try:
        source.find("any")
    except BaselineError as error:
        raise RunError(f"{text} is neither a run (it holds no {FILE_NAME}) nor a baseline: {error}") from error
    return source


@dataclass(frozen=True, slots=True, kw_only=True)
class RunComparison:
    """
    One run judged against another, or against a baseline.

    Attributes:
        candidate: The run's folder.
        baseline: What it was compared with, as the user called it.
        gates: One per benchmark.
    """

    candidate: str
    baseline: str
    gates: tuple[GateResult, ...]

    @property
    def passes(self) -> bool:
        """Whether every gate lets the candidate through, its health included."""
        return all(gate.passes for gate in self.gates)


def compare(
    candidate: StoredRun,
    source: Source,
    *,
    benchmarks: Sequence[str],
    catalog: Mapping[str, Benchmark],
    rule: GateRule,
) -> RunComparison:
    """
    Judge a stored run, benchmark by benchmark.

    Args:
        candidate: The run to be judged.
        source: What it is compared with.
        benchmarks: Which benchmarks, by name.
        catalog: Every benchmark that is defined; published numbers need its tau.
        rule: How to decide.

    Raises:
        RunError: If a published number is of a benchmark that is not defined.
        StoreError: If a run cannot be read.
        BaselineError: If a baseline is malformed.
    """
    return RunComparison(
        candidate=str(candidate.folder),
        baseline=source.name,
        gates=tuple(
            _titled(
                _gate(_read(candidate, name, source), source, name=name, benchmark=catalog.get(name), rule=rule),
                candidate,
            )
            for name in benchmarks
        ),
    )


def _titled(result: GateResult, candidate: StoredRun) -> GateResult:
    """Add the titles of the problems that fell; without any the run is not opened again."""
    if result.fallen is None:
        return result
    with closing(RunReader.open(candidate.folder)) as store:
        return with_titles(result, store)


def _read(candidate: StoredRun, benchmark: str, source: Source) -> CompleteRun | Judgement:
    """Read one benchmark, or refuse to compare a run with itself, as `aggregate` does."""
    if isinstance(source, RunSource) and source.run.folder.resolve() == candidate.folder.resolve():
        return invalid(
            f"The run {candidate.folder} is compared with itself: the same samples.",
            "Name another run, or a baseline.",
        )
    return candidate.complete(benchmark)


def _gate(
    run: CompleteRun | Judgement,
    source: Source,
    *,
    name: str,
    benchmark: Benchmark | None,
    rule: GateRule,
) -> GateResult:
    if isinstance(run, Judgement):
        return GateResult(benchmark=name, judgement=run, baseline=None)
    found = source.find(name)
    observed = run.health
    result = GateResult(
        benchmark=name,
        judgement=found if isinstance(found, Judgement) else _judged(run, found, benchmark, rule=rule),
        baseline=None if isinstance(found, Judgement) else found.source,
        samples_per_problem=run.samples_per_problem,
        n_samples=observed.n_samples,
        n_planned=observed.n_samples,
        n_truncated=observed.n_truncated,
        n_truncated_correct=run.n_truncated_correct,
        n_no_answer=observed.n_no_answer,
        n_tokens=observed.n_tokens,
    )
    if isinstance(found, Judgement) or result.judgement.verdict is Verdict.INVALID:
        return result
    return with_diagnostics(
        result,
        observed=observed,
        counts=run.measured.counts,
        baseline=found.baseline,
        health=health_reference(found, result.judgement.tau),
        alpha=rule.alpha,
        ungraded=run.ungraded,
    )


def _judged(run: CompleteRun, found: FoundBaseline, benchmark: Benchmark | None, *, rule: GateRule) -> Judgement:
    is_published = isinstance(found.baseline, PublishedBaseline)
    if is_published and benchmark is not None and (refusal := _part_of_an_exam(run.measured, benchmark)) is not None:
        return refusal
    return decided(run, found, benchmark=benchmark, rule=rule)


def _part_of_an_exam(measured: Measurement, benchmark: Benchmark) -> Judgement | None:
    """Refuse a run of a subset: a published number is of all problems."""
    n_problems = measured.counts.n_problems
    if benchmark.planning is None or benchmark.planning.n_problems == n_problems:
        return None
    return invalid(
        f"The run sat {n_problems} problems, and the published number is of all {benchmark.planning.n_problems}.",
        "Judge all problems, or compare with a run of the same subset.",
    )
