"""
A gate's verdict: the value that the judge makes and everything else reads, and its form in files.

A result has no dependency on the judge: reports, uploads and the ledger read stored verdicts without one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pytest_r1eval.atomic_files import write_text
from pytest_r1eval.core.attempts import Attempts
from pytest_r1eval.core.choices import Tier
from pytest_r1eval.core.codec import Kind, Layout, document
from pytest_r1eval.core.fields import LeftOutIfEmpty
from pytest_r1eval.core.plans import Depth
from pytest_r1eval.core.records import GraderDifference, ProblemCounts
from pytest_r1eval.errors import StoreError
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.stats.health import Health
from pytest_r1eval.stats.multiplicity import FallenProblems, Rearrangement, family_wise_error
from pytest_r1eval.stats.pass_at_k import AtK
from pytest_r1eval.stats.planning import SequentialPlan
from pytest_r1eval.stats.tests import alpha_of
from pytest_r1eval.stats.verdicts import Judgement, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceVerdict:
    """
    The verdict against one of two baselines.

    Attributes:
        role: Which: the baseline or the anchor.
        baseline: Where it came from, for people.
        judgement: The verdict and its numbers, at half of alpha.
    """

    role: str
    baseline: str
    judgement: Judgement


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemTitle:
    """A problem's name for people; see `Problem.title`."""

    problem_id: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartScore:
    """
    pass@1 of one part of a pool, fractions.

    Attributes:
        name: The part: a benchmark's name.
        n_problems: Its problems.
        mean: Its pass@1.
        standard_error: The error of the mean on these problems.
        baseline_mean: The measured baseline's; None without one.
    """

    name: str
    n_problems: int
    mean: float
    standard_error: float
    baseline_mean: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """
    One benchmark's judgement, with what a report shows beside it.

    Attributes:
        benchmark: The benchmark's name.
        judgement: The verdict and its numbers.
        baseline: Where the baseline came from, for people; None where there was none.
        baseline_run: The run that a measured baseline was recorded from; None for another one.
        samples_per_problem: How many of every problem the verdict is computed from; None where there was no plan.
        allocated: How many of each, in the exam's order, where the baseline's counts decided; None for equally many.
        n_samples: Stored samples among these.
        n_planned: Planned samples; None where there was no plan.
        part: Which part of the exam was asked, as in "24 of 500 problems"; None for all of it.
        changes: What differs from the measured baseline: files of the checkpoint, and what answered and graded.
        n_truncated: Responses truncated at the token limit.
        n_truncated_correct: Of these, graded right all the same; None where only counts are compared.
        n_no_answer: Responses without an answer.
        n_tokens: Generated tokens.
        recorded: The baseline file that this run wrote; None if it wrote none.
        candidate: The file beside the run that may become a first baseline; None where there is one already.
        health: Truncation, missing answers, length; None where the run cannot be judged.
        fallen: After a FAIL against a measured baseline, the problems that fell; else None.
        titles: How people call the problems that fell.
        rearrangement: Against a measured baseline, whether problems moved more than chance moves them; else None.
        is_at_stop: Whether looks ended the run early, so that its pass@1 is biased by the stopping.
        gate: Digest of the sequential gate, reference and noise included; None for a fixed one.
        sequential_plan: Looks and bounds; None for a fixed gate.
        grader: What graded, name and version; None where the task's metric did.
        grader_differences: Where another grader has graded the stored responses too, how often the two differ.
        sandbox: What programs ran in, or what the task's metric graded in; None where neither was done here.
        reference: The measured baseline's counts, for reports; None without one.
        attempts: Which attempt on these weights it is, and what came before; None where no ledger is kept.
        pass_at_k: How often one of k samples is correct, ascending by k; empty where looks ended the run early.
        maj_at_k: How often the most frequent answer is right; None there, and for programs, which cannot be compared.
        references: With an anchor, the verdicts against both baselines; `judgement` is the worse of them.
        parts: Of a pool, each part's pass@1; empty for a benchmark of its own.
        policy: Digest of the release policy that it was judged by; None without one.
        tier: What it does to the release; None without a policy.
    """

    benchmark: str
    judgement: Judgement
    baseline: str | None
    baseline_run: str | None = None
    samples_per_problem: int | None = None
    allocated: tuple[int, ...] | None = None
    n_samples: int = 0
    n_planned: int | None = None
    part: str | None = None
    changes: tuple[str, ...] = ()
    n_truncated: int = 0
    n_truncated_correct: int | None = None
    n_no_answer: int = 0
    n_tokens: int = 0
    recorded: str | None = None
    candidate: str | None = None
    health: Health | None = None
    fallen: FallenProblems | None = None
    titles: tuple[ProblemTitle, ...] = ()
    rearrangement: Rearrangement | None = None
    is_at_stop: bool = False
    gate: str | None = None
    sequential_plan: SequentialPlan | None = None
    grader: str | None = None
    grader_differences: tuple[GraderDifference, ...] = ()
    sandbox: str | None = None
    reference: tuple[ProblemCounts, ...] | None = None
    attempts: Attempts | None = None
    pass_at_k: tuple[AtK, ...] = ()
    maj_at_k: AtK | None = None
    references: tuple[ReferenceVerdict, ...] = ()
    parts: tuple[PartScore, ...] = ()
    policy: Annotated[str | None, LeftOutIfEmpty()] = None
    tier: Annotated[Tier | None, LeftOutIfEmpty()] = None

    @property
    def depth(self) -> Depth | None:
        """The samples of each problem that the verdict is computed from; None where there was no plan."""
        return self.samples_per_problem if self.allocated is None else self.allocated

    @property
    def title(self) -> str:
        """The benchmark as reports name it, with the part of the exam that was asked."""
        return self.benchmark if self.part is None else f"{self.benchmark} ({self.part})"

    def with_references(self, references: Sequence[ReferenceVerdict]) -> GateResult:
        """Take the worse of two verdicts; of equal ones that against the baseline."""
        worst = max(references, key=lambda reference: reference.judgement.severity)
        return replace(self, judgement=worst.judgement, baseline=worst.baseline, references=tuple(references))

    @property
    def tests(self) -> tuple[Judgement, ...]:
        """The tests of pass@1 behind the verdict: one for each baseline."""
        return tuple(reference.judgement for reference in self.references) or (self.judgement,)

    @property
    def passes(self) -> bool:
        """Whether both gates, pass@1 and health, are green or were not judged."""
        return self.judgement.passes and self.is_healthy

    @property
    def has_failed(self) -> bool:
        """Whether it is decided that the checkpoint is worse or sick; what is not decided has not failed."""
        is_decided = self.judgement.verdict not in {Verdict.INCONCLUSIVE, Verdict.INVALID}
        return (is_decided and not self.judgement.passes) or not self.is_healthy

    @property
    def is_tolerated(self) -> bool:
        """Whether a policy lets a red gate only warn, so that the run neither fails nor ends by it."""
        return self.tier is not None and self.tier is not Tier.CRITICAL

    @property
    def is_healthy(self) -> bool:
        """Whether the responses are healthy; those that cannot be judged count as healthy."""
        return self.health is None or self.health.passes


def false_alarm(results: Sequence[GateResult]) -> float | None:
    """Return a bound on how often an unchanged model turns a run's gates red, health included; None for one gate."""
    judged = [result for result in results if result.judgement.sigmas is not None]
    if len(judged) < 2:
        return None
    n_tests = [1 + (0 if result.health is None else result.health.n_tests) for result in judged]
    return family_wise_error(max(map(gate_alpha, judged)), sum(n_tests))


def gate_alpha(result: GateResult) -> float:
    """Return the level of a gate on pass@1: that of its tests together."""
    return sum(alpha_of(test.sigmas) for test in result.tests if test.sigmas is not None)


VERDICT = Kind(of=GateResult, version=1, layout=Layout.INDENTED)
"""A gate's verdict as the store keeps it and other programs read it."""


def stored_results(run: RunReader) -> dict[str, GateResult]:
    """
    Return a run's verdicts, by benchmark; none for a benchmark that was not judged.

    Raises:
        StoreError: If they cannot be read.
    """
    stored = {name: run.verdict(name, VERDICT) for name in run.selected}
    return {name: result for name, result in stored.items() if result is not None}


def write_verdicts(folder: Path, results: Sequence[GateResult], *, release: object = None) -> Path:
    """
    Write all results of a run beside its store, as ``verdicts.json``: `schema_version` and `gates`.

    Args:
        folder: The run's folder.
        results: Its verdicts.
        release: The verdict under a policy, which is written as `release`; None without one.

    Raises:
        StoreError: If the folder cannot be written.
    """
    path = folder / "verdicts.json"
    try:
        write_text(
            path,
            document({"gates": results} if release is None else {"gates": results, "release": release}) + "\n",
            inside=folder,
        )
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}; the verdicts are in the run's store") from error
    return path
