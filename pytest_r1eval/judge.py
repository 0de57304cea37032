"""
The verdict on a benchmark, from the run's store and a baseline.

Nothing here depends on which process did the work or which items pytest ran: the
plan says what there must be, and what is missing makes the verdict INVALID.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pytest_r1eval.atomic_files import write_text
from pytest_r1eval.baseline_files import BaselineShelf, FoundBaseline
from pytest_r1eval.core.baselines import HealthCounts, MeasuredBaseline, PublishedBaseline
from pytest_r1eval.core.benchmarks import Benchmark
from pytest_r1eval.core.gates import SequentialGate
from pytest_r1eval.core.health import Health, judge_health
from pytest_r1eval.core.multiplicity import FallenProblems, Rearrangement, fallen_problems, rearrangement
from pytest_r1eval.core.plans import Plan
from pytest_r1eval.core.records import Counts, ProblemCounts, ProblemTally
from pytest_r1eval.core.sequential import Completions, SequentialPlan
from pytest_r1eval.core.stats import pass_at_1
from pytest_r1eval.core.verdicts import (
    GateRule,
    Judgement,
    Verdict,
    invalid,
    judge_measured,
    judge_published,
    under_holm,
)
from pytest_r1eval.errors import BaselineError, LowerBaselineError, R1EvalError, StoreError
from pytest_r1eval.looks import advance, gate_of
from pytest_r1eval.references import reference_for
from pytest_r1eval.runs import (
    graded_rows,
    incomplete_run,
    measured_run,
    missing_samples,
    unfit_run,
    ungraded_run,
    unplanned_run,
)
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
        samples_per_problem: How many the verdict is computed from; None where there was no plan.
        n_samples: Stored samples among these.
        n_planned: Planned samples; None where there was no plan.
        n_cut_off: Responses cut off at the token limit.
        n_no_answer: Responses without an answer.
        n_tokens: Generated tokens.
        recorded: The baseline file that this run wrote; None if it wrote none.
        health: Truncation, missing answers, length; None where the run cannot be judged.
        fallen: After a FAIL against a measured baseline, the problems that fell; else None.
        rearrangement: Against a measured baseline, whether problems moved more than chance moves them; else None.
        is_at_stop: Whether looks ended the run early, so that its pass@1 is biased by the stopping.
        gate: Digest of the sequential gate, reference and noise included; None for a fixed one.
        sequential_plan: Looks and bounds; None for a fixed gate.
        grader: What ran the programs, name and version; None where the task's metric graded.
        sandbox: What they ran in, in words; None where none ran.
        reference: The measured baseline's counts, for reports; None without one.
    """

    benchmark: str
    judgement: Judgement
    baseline: str | None
    samples_per_problem: int | None = None
    n_samples: int = 0
    n_planned: int | None = None
    n_cut_off: int = 0
    n_no_answer: int = 0
    n_tokens: int = 0
    recorded: str | None = None
    health: Health | None = None
    fallen: FallenProblems | None = None
    rearrangement: Rearrangement | None = None
    is_at_stop: bool = False
    gate: str | None = None
    sequential_plan: SequentialPlan | None = None
    grader: str | None = None
    sandbox: str | None = None
    reference: tuple[ProblemCounts, ...] | None = None

    @property
    def passes(self) -> bool:
        """Whether both gates, pass@1 and health, are green or were not judged."""
        return self.judgement.passes and self.is_healthy

    @property
    def is_healthy(self) -> bool:
        """Whether nothing speaks against the responses; where they cannot be judged, nothing does."""
        return self.health is None or self.health.passes


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """
    Judges the benchmarks of one run.

    Attributes:
        store: The run.
        shelf: Where baselines are.
        rule: How to decide.
        save_as: The name to record baselines under; None records only where there was none.
        is_holm: Whether fixed gates are judged as one family by Holm's procedure.
    """

    store: Store
    shelf: BaselineShelf
    rule: GateRule
    save_as: str | None = None
    is_holm: bool = False

    def judge(self, benchmarks: Sequence[Benchmark]) -> tuple[GateResult, ...]:
        """
        Judge the run's benchmarks and store the verdicts.

        Raises:
            StoreError: If the run cannot be read or a verdict not written.
        """
        results = tuple(self._with_grader(self._result(benchmark)) for benchmark in benchmarks)
        if self.is_holm and self.rule.family_size == 1:
            judged = under_holm([result.judgement for result in results], rule=self.rule)
            results = tuple(
                replace(result, judgement=judgement) for result, judgement in zip(results, judged, strict=True)
            )
        for result in results:
            self.store.write_verdict(result.benchmark, dumps(result))
        return results

    def _with_grader(self, result: GateResult) -> GateResult:
        """Add what ran programs, where a benchmark asks for them."""
        plan = self.store.plan(result.benchmark)
        if plan is None or plan.grader is None:
            return result
        return replace(result, grader=plan.grader, sandbox=self.store.sandbox)

    def _with_health(self, result: GateResult, found: FoundBaseline | None) -> GateResult:
        """Add what is judged and shown beside pass@1, where there is a pass@1, against what that was compared with."""
        k = result.samples_per_problem
        if k is None or result.judgement.estimate is None:
            return result
        observed = HealthCounts(
            n_samples=result.n_samples,
            n_truncated=result.n_cut_off,
            n_no_answer=result.n_no_answer,
            n_tokens=result.n_tokens,
        )
        tallies = self.store.tallies(result.benchmark, k=k)
        counts = Counts.from_rows(
            (id_, n_correct, n_samples) for id_, n_correct, n_samples in graded_rows(tallies) if n_samples
        )
        baseline = None if found is None else found.baseline
        return with_diagnostics(result, observed=observed, counts=counts, baseline=baseline, rule=self.rule)

    def _result(self, benchmark: Benchmark) -> GateResult:
        plan = self.store.plan(benchmark.name)
        if plan is None:
            return GateResult(
                benchmark=benchmark.name, judgement=unplanned_run(self.store, benchmark.name), baseline=None
            )
        gate = gate_of(self.store, benchmark.name)
        if gate is not None:
            return self._sequential(plan, gate)
        tallies = self.store.tallies(benchmark.name, k=plan.samples_per_problem)
        judgement, found, recorded = self._judged(benchmark, plan, tallies)
        result = _with_samples(benchmark.name, plan, tallies, judgement)
        return self._with_health(replace(result, baseline=found.source if found else None, recorded=recorded), found)

    def _sequential(self, plan: Plan, gate: SequentialGate) -> GateResult:
        """Judge by the looks; the last one is taken here if the worker that would have is gone."""
        advance(self.store, plan.benchmark, gate, shortcut=True)
        number = len(self.store.looks(plan.benchmark))
        is_closed = self.store.state(plan.benchmark) is BenchmarkState.CLOSED
        k = gate.plan.ks[number - 1] if is_closed and number else plan.samples_per_problem
        tallies = self.store.tallies(plan.benchmark, k=k)
        found = gate.look(number, tallies) if is_closed and number else None
        judgement = unfit_run(self.store, plan, tallies)
        n_errors = sum(tally.n_error for tally in tallies)
        if judgement is None and n_errors and (found is None or found.judgement is None):
            judgement = ungraded_run(self.store, plan, tallies, why=_MATTERS)
        elif judgement is None and found is not None and found.judgement is not None:
            judgement = found.judgement
            if self.save_as is not None:
                judgement = replace(judgement, warnings=(*judgement.warnings, self._not_recorded()))
        elif judgement is None:
            judgement = missing_samples(self.store, plan, tallies)
        result = replace(
            _with_samples(plan.benchmark, plan, tallies, judgement),
            samples_per_problem=k,
            baseline=gate.baseline,
            is_at_stop=found is not None and found.early,
            gate=gate.digest,
            sequential_plan=gate.plan,
        )
        return self._with_health(result, None if judgement.estimate is None else self.shelf.find(plan.benchmark))

    def _not_recorded(self) -> str:
        return (
            f"Not recorded as {self.save_as}: a baseline needs a fixed number of samples. Complete this run, nothing "
            f"is drawn twice: --r1-resume {self.store.path.parent} --r1-gate fixed."
        )

    def _judged(
        self, benchmark: Benchmark, plan: Plan, tallies: tuple[ProblemTally, ...]
    ) -> tuple[Judgement, FoundBaseline | None, str | None]:
        if (incomplete := incomplete_run(self.store, plan, tallies)) is not None:
            return incomplete, None, None
        try:
            found = self.shelf.find(benchmark.name)
            measured = measured_run(self.store, plan, tallies)
            is_candidate = found is None and self.shelf.choice != "previous"
            name = self.save_as or (self.shelf.model_name if is_candidate else None)
            is_whole = not any(tally.n_error for tally in tallies)
            if not is_whole and name is not None:
                why = "; a baseline holds none such"
                return ungraded_run(self.store, plan, tallies, why=why), None, None
            is_comparable = found is not None and is_same_question(measured, found)
            recorded, notes = self._recorded(measured, name, is_judged=is_comparable)
        except R1EvalError as error:
            return invalid(str(error), "Mend the baseline and judge again with --r1-resume."), None, None
        if found is None or (self.save_as is not None and not is_comparable):
            return self._without_baseline(measured, recorded), None, recorded
        judgement = self._decided(benchmark, plan, tallies, measured=measured, found=found)
        return replace(judgement, warnings=(*judgement.warnings, *notes)), found, recorded

    def _recorded(
        self, measured: MeasuredBaseline, name: str | None, *, is_judged: bool
    ) -> tuple[str | None, tuple[str, ...]]:
        """
        Record a run under a name; where that would lower a baseline, say so beside the verdict.

        Raises:
            LowerBaselineError: If there is no verdict to say it beside.
        """
        if name is None:
            return None, ()
        try:
            return str(self.shelf.record(measured, name=name)), ()
        except LowerBaselineError as error:
            if not is_judged:
                raise
            return None, (f"Not recorded. {error}.",)

    def _decided(
        self,
        benchmark: Benchmark,
        plan: Plan,
        tallies: tuple[ProblemTally, ...],
        *,
        measured: MeasuredBaseline,
        found: FoundBaseline,
    ) -> Judgement:
        """Compare; what the grader failed on is left out if the verdict is the same with all of it wrong or right."""
        k = plan.samples_per_problem
        if not any(tally.n_error for tally in tallies):
            return compared(measured, found, benchmark=benchmark, n_samples=k, rule=self.rule)
        judgement = compared(measured, found, benchmark=benchmark, n_samples=None, rule=self.rule)
        extremes = Completions.of(graded_rows(tallies), n_samples=k)
        for counts in (extremes.lowest, extremes.highest):
            health = replace(measured.health, n_samples=counts.n_samples)
            completed = replace(measured, counts=counts, health=health)
            extreme = compared(completed, found, benchmark=benchmark, n_samples=k, rule=self.rule)
            if extreme.verdict is not judgement.verdict:
                return ungraded_run(self.store, plan, tallies, why=_MATTERS)
        return replace(judgement, warnings=(*judgement.warnings, _ungraded_words(tallies)))

    def _without_baseline(self, measured: MeasuredBaseline, recorded: str | None) -> Judgement:
        on_purpose = self.save_as is not None
        reason = "Recorded as asked; there was nothing to compare with." if on_purpose else "There is no baseline yet."
        if recorded is None:
            reason = "There is no earlier run yet."
        return Judgement(
            verdict=Verdict.INCONCLUSIVE,
            passes=on_purpose or (recorded is None and self.rule.inconclusive_passes),
            estimate=pass_at_1(measured.counts),
            reason=reason,
            next_step="Nothing; the next run is compared with this one."
            if recorded is None
            else f"Review {recorded} and commit it; the next run is compared with it.",
        )


_MATTERS = "; counted all wrong or all right, they would change the verdict"


def _ungraded_words(tallies: Sequence[ProblemTally]) -> str:
    n_errors = sum(tally.n_error for tally in tallies)
    return f"{n_errors} samples that the grader failed on are left out; wrong or right, they would change nothing."


def _with_samples(name: str, plan: Plan, tallies: tuple[ProblemTally, ...], judgement: Judgement) -> GateResult:
    return GateResult(
        benchmark=name,
        judgement=judgement,
        baseline=None,
        samples_per_problem=plan.samples_per_problem,
        n_samples=sum(tally.n_samples for tally in tallies),
        n_planned=plan.n_samples,
        n_cut_off=sum(tally.n_cut_off for tally in tallies),
        n_no_answer=sum(tally.n_no_answer for tally in tallies),
        n_tokens=sum(tally.n_tokens for tally in tallies),
    )


def is_same_question(measured: MeasuredBaseline, found: FoundBaseline) -> bool:
    """Whether a baseline was asked what the run was asked; a published number counts as such."""
    if isinstance(found.baseline, PublishedBaseline):
        return True
    return not measured.fingerprint.question.differences(found.baseline.fingerprint.question)


def compared(
    measured: MeasuredBaseline,
    found: FoundBaseline,
    *,
    benchmark: Benchmark | None,
    n_samples: int | None,
    rule: GateRule,
) -> Judgement:
    """
    Judge a complete run against a baseline, by the fixed gate.

    Args:
        measured: The run.
        found: The baseline.
        benchmark: The benchmark's definition, which a published number needs; None where nobody has it.
        n_samples: Samples per problem that were planned; any other number is INVALID. None accepts what is there.
        rule: How to decide.
    """
    try:
        reference = reference_for(benchmark, found, fingerprint=measured.fingerprint)
    except BaselineError as error:
        return invalid(str(error), "Ask the same, or judge against a baseline recorded this way (--r1-save-baseline).")
    if isinstance(reference.side, Counts):
        judgement = judge_measured(measured.counts, reference.side, tau=reference.tau, rule=rule, n_samples=n_samples)
    else:
        judgement = judge_published(
            measured.counts,
            reference.side,
            tau=reference.tau,
            rule=rule,
            standard_samples=benchmark.samples_per_problem if benchmark else measured.counts.problems[0].n_samples,
            n_samples=n_samples,
        )
    if not is_same_evidence(measured, found):
        return judgement
    note = "The baseline holds the same weights drawn with the same seed: this is the same evidence twice."
    return replace(judgement, warnings=(*judgement.warnings, note))


def with_diagnostics(
    result: GateResult,
    *,
    observed: HealthCounts,
    counts: Counts,
    baseline: MeasuredBaseline | PublishedBaseline | None,
    rule: GateRule,
) -> GateResult:
    """
    Add what is judged and shown beside pass@1: health, the problems that fell, and rearrangement.

    Args:
        result: A result that has a pass@1.
        observed: The run's health counts.
        counts: The run's counts.
        baseline: What it was compared with; only a measured one knows of problems and health.
        rule: Whose alpha decides.
    """
    if not isinstance(baseline, MeasuredBaseline):
        return replace(result, health=judge_health(observed, baseline=None, rule=rule))
    health = judge_health(observed, baseline=baseline.health, rule=rule)
    result = replace(result, health=health, reference=baseline.counts.problems)
    if set(counts.ids) != set(baseline.counts.ids):
        return result
    has_failed = result.judgement.verdict is Verdict.FAIL_REGRESSED
    return replace(
        result,
        rearrangement=rearrangement(counts, baseline.counts),
        fallen=fallen_problems(counts, baseline.counts) if has_failed else None,
    )


def is_same_evidence(measured: MeasuredBaseline, found: FoundBaseline) -> bool:
    """Whether run and baseline are draws of the same weights by the same seed."""
    baseline = found.baseline
    return (
        isinstance(baseline, MeasuredBaseline)
        and measured.fingerprint.model.weights == baseline.fingerprint.model.weights
        and measured.seed == baseline.seed
    )


def dumps(result: GateResult) -> str:
    """Write a result as JSON, for other programs to read: `schema_version` and the attributes of `GateResult`."""
    return json.dumps({"schema_version": VERDICT_SCHEMA_VERSION, **asdict(result)}, allow_nan=False, indent=2)


def write_verdicts(folder: Path, results: Sequence[GateResult]) -> Path:
    """
    Write all results of a run beside its store, as ``verdicts.json``: `schema_version` and `gates`.

    Raises:
        StoreError: If the folder cannot be written.
    """
    path = folder / "verdicts.json"
    content = {"schema_version": VERDICT_SCHEMA_VERSION, "gates": [asdict(result) for result in results]}
    try:
        write_text(path, json.dumps(content, allow_nan=False, indent=2) + "\n", inside=folder)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}; the verdicts are in the run's store") from error
    return path
