"""
The verdict on a benchmark, from the run's store and a baseline.

Nothing here depends on which process did the work or which items pytest ran: the
plan says what there must be, and what is missing makes the verdict INVALID.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict, dataclass, replace

from pytest_r1eval.baseline_files import BaselineShelf, FoundBaseline
from pytest_r1eval.core.baselines import HealthCounts, MeasuredBaseline, PublishedBaseline, PublishedHarness
from pytest_r1eval.core.benchmarks import Benchmark
from pytest_r1eval.core.fingerprints import Fingerprint, Question
from pytest_r1eval.core.plans import Plan
from pytest_r1eval.core.records import Counts, ProblemTally
from pytest_r1eval.core.stats import Published, pass_at_1
from pytest_r1eval.core.verdicts import (
    GateRule,
    Judgement,
    Verdict,
    invalid,
    judge_measured,
    judge_published,
    measured_tau,
    published_tau,
)
from pytest_r1eval.errors import R1EvalError
from pytest_r1eval.store import BenchmarkState, Store

VERDICT_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """
    One benchmark's judgement, with what a report shows beside it.

    Attributes:
        benchmark: The benchmark's name.
        judgement: The verdict and its numbers.
        baseline: Where the baseline came from, in words; None where there was none.
        n_samples: Stored samples.
        n_planned: Planned samples; None where there was no plan.
        n_cut_off: Responses cut off at the token limit.
        n_no_answer: Responses without an answer.
        n_tokens: Generated tokens.
        recorded: The baseline file that this run wrote; None if it wrote none.
    """

    benchmark: str
    judgement: Judgement
    baseline: str | None
    n_samples: int = 0
    n_planned: int | None = None
    n_cut_off: int = 0
    n_no_answer: int = 0
    n_tokens: int = 0
    recorded: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """
    Judges the benchmarks of one run.

    Attributes:
        store: The run.
        shelf: Where baselines are.
        rule: How to decide.
        save_as: The name to record baselines under; None records only where there was none.
    """

    store: Store
    shelf: BaselineShelf
    rule: GateRule
    save_as: str | None = None

    def judge(self, benchmark: Benchmark) -> GateResult:
        """
        Judge one benchmark and store the verdict.

        Raises:
            StoreError: If the run cannot be read or the verdict not written.
        """
        result = self._result(benchmark)
        self.store.write_verdict(benchmark.name, dumps(result))
        return result

    def _result(self, benchmark: Benchmark) -> GateResult:
        plan = self.store.plan(benchmark.name)
        if plan is None:
            return GateResult(
                benchmark=benchmark.name, judgement=unplanned_run(self.store, benchmark.name), baseline=None
            )
        tallies = self.store.tallies(benchmark.name, k=plan.samples_per_problem)
        judgement, found, recorded = self._judged(benchmark, plan, tallies)
        return GateResult(
            benchmark=benchmark.name,
            judgement=judgement,
            baseline=found.source if found else None,
            n_samples=sum(tally.n_samples for tally in tallies),
            n_planned=plan.n_samples,
            n_cut_off=sum(tally.n_cut_off for tally in tallies),
            n_no_answer=sum(tally.n_no_answer for tally in tallies),
            n_tokens=sum(tally.n_tokens for tally in tallies),
            recorded=recorded,
        )

    def _judged(
        self, benchmark: Benchmark, plan: Plan, tallies: tuple[ProblemTally, ...]
    ) -> tuple[Judgement, FoundBaseline | None, str | None]:
        if (incomplete := incomplete_run(self.store, plan, tallies)) is not None:
            return incomplete, None, None
        try:
            found = self.shelf.find(benchmark.name)
            measured = measured_run(self.store, plan, tallies)
            name = self.save_as or (self.shelf.model_name if found is None else None)
            recorded = None if name is None else str(self.shelf.record(measured, name=name))
        except R1EvalError as error:
            return invalid(str(error), "Mend the baseline and judge again with --r1-resume."), None, None
        if found is None:
            return self._without_baseline(measured, recorded), None, recorded
        return self._compared(benchmark, plan, measured, found), found, recorded

    def _without_baseline(self, measured: MeasuredBaseline, recorded: str | None) -> Judgement:
        on_purpose = self.save_as is not None
        reason = "Recorded as asked; there was nothing to compare with." if on_purpose else "There is no baseline yet."
        return Judgement(
            verdict=Verdict.INCONCLUSIVE,
            passes=on_purpose,
            estimate=pass_at_1(measured.counts),
            reason=reason,
            next_step=f"Review {recorded} and commit it; the next run is compared with it.",
        )

    def _compared(
        self, benchmark: Benchmark, plan: Plan, measured: MeasuredBaseline, found: FoundBaseline
    ) -> Judgement:
        match found.baseline:
            case MeasuredBaseline() as baseline:
                return against_measured(measured, baseline, n_samples=plan.samples_per_problem, rule=self.rule)
            case PublishedBaseline() as baseline:
                return against_published(
                    measured, baseline, benchmark=benchmark, n_samples=plan.samples_per_problem, rule=self.rule
                )


def unplanned_run(store: Store, name: str) -> Judgement:
    """Say why a benchmark of a run has no plan."""
    if store.state(name) is BenchmarkState.FAILED:
        return invalid(store.error(name) or "planning failed", "Mend the cause and start the run again.")
    return invalid(
        "No worker got as far as planning it.", f"See the errors above, then --r1-resume {store.path.parent}."
    )


def incomplete_run(store: Store, plan: Plan, tallies: tuple[ProblemTally, ...]) -> Judgement | None:
    """Refuse a run in which something is missing or failed; None where everything planned is there."""
    if store.state(plan.benchmark) is BenchmarkState.FAILED:
        return invalid(store.error(plan.benchmark) or "planning failed", "Mend the cause and run again.")
    resume = f"Resume the run: --r1-resume {store.path.parent}."
    n_missing = plan.n_samples - sum(tally.n_samples for tally in tallies)
    if n_missing:
        return invalid(f"{n_missing} of {plan.n_samples} planned samples are missing.", resume)
    n_errors = sum(tally.n_error for tally in tallies)
    if n_errors:
        return invalid(
            f"The grader failed on {n_errors} of {plan.n_samples} samples ({_first_error(store, plan.benchmark)}).",
            "A failure of the grader is no wrong answer: mend it and start a new run.",
        )
    if len(store.harnesses) != 1:
        return invalid(
            f"The run's workers answered with {len(store.harnesses)} different harnesses.",
            "Use one engine version, dtype and kind of device per run.",
        )
    return None


def _first_error(store: Store, name: str) -> str:
    details = (sample.grade.detail for sample in store.samples(name) if sample.grade.detail)
    return next(details, "no detail recorded")


def measured_run(store: Store, plan: Plan, tallies: tuple[ProblemTally, ...]) -> MeasuredBaseline:
    """Take a complete run as what a baseline would record of it."""
    header, (harness,) = store.header, store.harnesses
    question = Question(exam=plan.exam, sampling=plan.sampling, system_prompt=plan.system_prompt)
    return MeasuredBaseline(
        benchmark=plan.benchmark,
        recorded=dt.datetime.fromisoformat(header.created),
        run=store.path.parent.name,
        seed=header.seed,
        fingerprint=Fingerprint(model=header.identity, question=question, harness=harness),
        counts=Counts.from_rows((tally.problem_id, tally.n_correct, tally.n_samples) for tally in tallies),
        health=HealthCounts(
            n_samples=sum(tally.n_samples for tally in tallies),
            n_truncated=sum(tally.n_cut_off for tally in tallies),
            n_no_answer=sum(tally.n_no_answer for tally in tallies),
            n_tokens=sum(tally.n_tokens for tally in tallies),
        ),
    )


def against_measured(
    measured: MeasuredBaseline, baseline: MeasuredBaseline, *, n_samples: int, rule: GateRule
) -> Judgement:
    """Judge a complete run of `n_samples` samples per problem against a measured baseline."""
    differences = measured.fingerprint.differences(baseline.fingerprint)
    asked = [str(difference) for difference in differences if difference.is_question]
    if asked:
        return invalid(f"The baseline was asked something else: {'; '.join(asked)}.", _MISMATCH)
    judgement = judge_measured(
        measured.counts,
        baseline.counts,
        tau=measured_tau(differences),
        rule=rule,
        n_samples=n_samples,
    )
    same_weights = measured.fingerprint.model.weights == baseline.fingerprint.model.weights
    if same_weights and measured.seed == baseline.seed:
        note = "The baseline holds the same weights drawn with the same seed: this is the same evidence twice."
        return replace(judgement, warnings=(*judgement.warnings, note))
    return judgement


def against_published(
    measured: MeasuredBaseline, baseline: PublishedBaseline, *, benchmark: Benchmark, n_samples: int, rule: GateRule
) -> Judgement:
    """Judge a complete run of `n_samples` samples per problem against a published number."""
    try:
        tau = published_tau(benchmark, made_with_lighteval=baseline.harness is PublishedHarness.LIGHTEVAL)
    except ValueError as error:
        return invalid(str(error), "Record a baseline of your own with --r1-save-baseline.")
    return judge_published(
        measured.counts,
        Published(value=baseline.pass_at_1, rounding=baseline.rounding_unit, n_samples=baseline.samples_per_problem),
        tau=tau,
        rule=rule,
        standard_samples=benchmark.samples_per_problem,
        n_samples=n_samples,
    )


_MISMATCH = "Ask the same, or judge against a baseline recorded this way (--r1-save-baseline)."


def dumps(result: GateResult) -> str:
    """Write a result as JSON, for other programs to read."""
    return json.dumps({"schema_version": VERDICT_SCHEMA_VERSION, **asdict(result)}, allow_nan=False, indent=2)
