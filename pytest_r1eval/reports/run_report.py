"""
A judged run as reports show it, read from its folder alone, so that a report can be made again anywhere.

The verdicts are those that were stored; nothing is judged here.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from pytest_r1eval.core.fingerprints import Harness
from pytest_r1eval.core.plans import Depth, Plan
from pytest_r1eval.core.records import FinishReason, Outcome, ProblemCounts, Sample
from pytest_r1eval.errors import RunError, StoreError
from pytest_r1eval.judging.release import RELEASE, Release, ReleaseVerdict
from pytest_r1eval.judging.result import GateResult, false_alarm, stored_results
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import FILE_NAME, RunHeader
from pytest_r1eval.stats.looks import Look
from pytest_r1eval.stats.verdicts import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemRow:
    """
    One problem beside its baseline.

    Attributes:
        id: The problem.
        title: How people call it; its id is part of that.
        query: What was asked.
        answer: The right answer; empty where a program is asked for.
        n_correct: Correct samples.
        n_samples: Graded samples.
        baseline: Its counts in the baseline; None where that has none.
        has_fallen: Whether it is on the list of those that fell.
    """

    id: str
    title: str
    query: str
    answer: str
    n_correct: int
    n_samples: int
    baseline: ProblemCounts | None
    has_fallen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Generated tokens of the responses, apart by why they ended."""

    stopped: tuple[int, ...]
    truncated: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """
    One benchmark of a run.

    Attributes:
        result: The stored verdict.
        dataset: Where the problems came from; None where there was no plan.
        plan: What was going to be drawn; None where there was no plan.
        problems: In the exam's order.
        looks: Those that were taken.
        lengths: Of the samples that the verdict is computed from.
    """

    result: GateResult
    dataset: str | None
    plan: Plan | None
    problems: tuple[ProblemRow, ...]
    looks: tuple[Look, ...]
    lengths: Lengths

    @property
    def verdict(self) -> Verdict:
        """The verdict on pass@1."""
        return self.result.judgement.verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """
    How many samples a page carries, and how much of each.

    Attributes:
        n_samples: Samples for each benchmark; 0 for none.
        n_characters: Characters of a response; the middle of a longer one is left out, and the page says so.
    """

    n_samples: int = 300
    n_characters: int = 6000


USUAL = Embedding()
"""What a page carries by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """
    A judged run.

    Attributes:
        run: The run's folder.
        header: What the run is about.
        harnesses: What answered and graded; one where the run can be judged.
        gates: In the order in which they were judged.
        unjudged: Benchmarks of the run that have no verdict yet.
        release: The verdict under a release policy; None without one.
    """

    run: Path
    header: RunHeader
    harnesses: tuple[Harness, ...]
    gates: tuple[GateReport, ...]
    unjudged: tuple[str, ...] = ()
    release: Release | None = None

    @property
    def passes(self) -> bool:
        """Whether every benchmark of the run was judged and every gate is green, health included; or its release is."""
        if self.release is not None:
            return self.release.verdict is ReleaseVerdict.SHIP
        return bool(self.gates) and not self.unjudged and all(gate.result.passes for gate in self.gates)

    @property
    def exit_code(self) -> int:
        """Pytest's exit code: 0 for green, 1 for anything else; under a policy that of the release."""
        if self.release is not None:
            return self.release.verdict.exit_code
        return 0 if self.passes else 1

    @property
    def family_wise_error(self) -> float | None:
        """A bound on the probability that an unchanged model turns a gate red, health included; None for one gate."""
        return false_alarm([gate.result for gate in self.gates])

    def __getitem__(self, benchmark: str) -> GateReport:
        """Return one benchmark's gate."""
        for gate in self.gates:
            if gate.result.benchmark == benchmark:
                return gate
        held = ", ".join(gate.result.benchmark for gate in self.gates)
        raise KeyError(f"{benchmark!r}; the run {self.run} was judged on {held}")


def read_report(run: Path) -> RunReport:
    """
    Read a judged run.

    Args:
        run: The run's folder.

    Raises:
        StoreError: If there is no run, or it cannot be read.
        RunError: If it was not judged yet.
    """
    with closing(RunReader.open_finished(run)) as store:
        results = stored_results(store)
        if not results:
            raise RunError(f"{run} was not judged yet; judge it with pytest --r1-judge-only {run}")
        return RunReport(
            run=run,
            header=store.header,
            harnesses=store.harnesses,
            gates=tuple(_gate(store, name, result) for name, result in results.items()),
            unjudged=tuple(name for name in store.selected if name not in results),
            release=store.release(RELEASE),
        )


def outcomes_of(run: Path, benchmark: str, *, k: Depth) -> Iterator[tuple[str, int, Outcome]]:
    """
    Yield problem id, index and outcome of the samples that a verdict is computed from: the first k of every problem.

    Raises:
        StoreError: If the run cannot be read.
    """
    with closing(RunReader.open(run)) as store:
        yield from store.outcomes(benchmark, k=k)


def baseline_run_of(report: RunReport, gate: GateReport) -> Path | None:
    """
    Find the stored run that the baseline was recorded from, in the same output folder; None where it is not there.

    It counts only if it was asked the same prompts.
    """
    if gate.result.baseline_run is None or gate.plan is None or len(report.run.parents) < 3:
        return None
    for path in sorted(report.run.parents[2].glob(f"*/*/{escape(gate.result.baseline_run)}/{FILE_NAME}")):
        with suppress(StoreError), closing(RunReader.open(path.parent)) as store:
            plan = store.plan(gate.result.benchmark)
            if plan is not None and plan.prompts == gate.plan.prompts:
                return path.parent
    return None


def samples_at(run: Path, benchmark: str, places: Iterable[tuple[str, int]]) -> Iterator[Sample]:
    """
    Yield the samples of some problem ids and indices: a run holds gigabytes, too many to read at once.

    Raises:
        StoreError: If the run cannot be read.
    """
    with closing(RunReader.open(run)) as store:
        for problem_id, index in places:
            sample = store.sample(benchmark, problem_id=problem_id, index=index)
            if sample is not None:
                yield sample


def _gate(store: RunReader, name: str, result: GateResult) -> GateReport:
    plan, k = store.plan(name), result.depth
    if plan is None or k is None:
        return GateReport(
            result=result, dataset=None, plan=plan, problems=(), looks=(), lengths=Lengths(stopped=(), truncated=())
        )
    exam = store.exam(name)
    reference = {counts.problem_id: counts for counts in result.reference or ()}
    fallen = {row.candidate.problem_id for row in result.fallen.problems} if result.fallen else set()
    tallies = {tally.problem_id: tally for tally in store.tallies(name, k=k)}
    problems = tuple(
        ProblemRow(
            id=problem.id,
            title=problem.title,
            query=problem.query,
            answer=problem.choices[problem.gold_index],
            n_correct=tallies[problem.id].n_correct,
            n_samples=tallies[problem.id].n_graded,
            baseline=reference.get(problem.id),
            has_fallen=problem.id in fallen,
        )
        for problem in exam.problems
    )
    return GateReport(
        result=result,
        dataset=exam.dataset,
        plan=plan,
        problems=problems,
        looks=store.looks(name),
        lengths=_lengths(store, name, k),
    )


def _lengths(store: RunReader, name: str, k: Depth) -> Lengths:
    return Lengths(
        stopped=store.lengths(name, k=k, reason=FinishReason.STOP),
        truncated=store.lengths(name, k=k, reason=FinishReason.LENGTH),
    )
