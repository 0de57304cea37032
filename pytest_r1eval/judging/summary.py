"""
A judged run in one value: what an upload reads, and what travels with the samples.

It is stored under ``r1eval`` in the results file, so that an upload that is tried again next week sends the same.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from pytest_r1eval.core.fingerprints import Harness, ModelIdentity, Question
from pytest_r1eval.judging.result import GateResult
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.stats.verdicts import Verdict

SUMMARY_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """pass@1 and its error on these problems; fractions."""

    mean: float
    standard_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFingerprint:
    """
    What a run's numbers depend on, judged or not.

    Attributes:
        model: The checkpoint.
        question: What was asked; None where there was no plan.
        harnesses: What answered and graded; one where the run can be judged.
    """

    model: ModelIdentity
    question: Question | None
    harnesses: tuple[Harness, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkSummary:
    """
    One benchmark of a judged run.

    Attributes:
        task: LightEval's full name of the task, ``aime24|0``.
        details: The file of its samples, relative to the run's folder; None where there is none.
        score: None where the run is INVALID or stopped early, which biases the mean.
        verdict: The verdict on pass@1.
        passes: Whether that lets the checkpoint through.
        reason: Why, in one sentence.
        baseline: What it was compared with; None for nothing.
        baseline_mean: Its pass@1, a fraction; None for nothing.
        attempt: Which attempt on these weights it is; None where no ledger is kept.
        first_verdict: The first attempt's; None for a first attempt.
        is_at_stop: Whether looks ended the run early.
        samples_per_problem: How many the verdict is computed from; None where there was no plan.
        n_samples: Stored samples among these.
        n_planned: Planned samples; None where there was no plan.
        n_problems: Problems of the exam; None where there was no plan.
        dataset: Where they came from; None where there was no plan.
        fingerprint: What the numbers depend on.
    """

    task: str
    details: str | None
    score: Score | None
    verdict: Verdict
    passes: bool
    reason: str
    baseline: str | None
    baseline_mean: float | None
    attempt: int | None
    first_verdict: str | None
    is_at_stop: bool
    samples_per_problem: int | None
    n_samples: int
    n_planned: int | None
    n_problems: int | None
    dataset: str | None
    fingerprint: RunFingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """
    A judged run.

    Attributes:
        schema_version: Of this form.
        run: The name of the run's folder.
        created: When the run was started, ISO.
        date: The same as LightEval writes it in names.
        model_name: ``org/name`` of the checkpoint.
        revision: Its commit on the Hub; ``main`` for one from a folder.
        seed: The run's seed.
        passes: Whether every gate is green, health included; under a release policy whether the answer is SHIP.
        verdicts: Digest of the verdicts that this belongs to.
        benchmarks: By name, in the order of their verdicts.
    """

    schema_version: int = SUMMARY_SCHEMA_VERSION
    run: str
    created: str
    date: str
    model_name: str
    revision: str
    seed: int
    passes: bool
    verdicts: str
    benchmarks: Mapping[str, BenchmarkSummary]


def benchmark_summary(store: RunReader, result: GateResult, *, task: str) -> BenchmarkSummary:
    """
    Summarise one benchmark before its samples are written to a file.

    Args:
        store: The run.
        result: The verdict.
        task: LightEval's name of the task.

    Raises:
        StoreError: If the run cannot be read.
    """
    plan = store.plan(result.benchmark)
    judgement, attempts = result.judgement, result.attempts
    return BenchmarkSummary(
        task=f"{task}|0",
        details=None,
        score=_score(result),
        verdict=judgement.verdict,
        passes=judgement.passes,
        reason=judgement.reason,
        baseline=result.baseline,
        baseline_mean=judgement.baseline_mean,
        attempt=None if attempts is None else attempts.number,
        first_verdict=attempts.earlier[0].verdict if attempts is not None and attempts.earlier else None,
        is_at_stop=result.is_at_stop,
        samples_per_problem=result.samples_per_problem,
        n_samples=result.n_samples,
        n_planned=result.n_planned,
        n_problems=None if plan is None else len(plan.problem_ids),
        dataset=None if plan is None else store.exam(result.benchmark).dataset,
        fingerprint=RunFingerprint(
            model=store.header.identity,
            question=None if plan is None else plan.question,
            harnesses=store.harnesses,
        ),
    )


def _score(result: GateResult) -> Score | None:
    """Return pass@1 and its error where there is a score: not where looks ended the run early."""
    estimate = result.judgement.estimate
    if estimate is None or result.is_at_stop or result.judgement.verdict is Verdict.INVALID:
        return None
    return Score(mean=estimate.mean, standard_error=estimate.standard_error)


def verdicts_digest(gates: object) -> str:
    """Hash verdicts as they are in ``verdicts.json`` under ``gates``, to tell whether results belong to them."""
    return hashlib.sha256(json.dumps(gates, allow_nan=False).encode()).hexdigest()
