"""
The verdict on a benchmark, from the run's store and a baseline.

The verdict does not depend on which process did the work or which items pytest ran: the
plan lists what must be there, and what is missing makes the verdict INVALID.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_r1eval.baselines.reference import health_reference
from pytest_r1eval.baselines.shelf import FoundBaseline, references
from pytest_r1eval.baselines.terms import Terms
from pytest_r1eval.config.baseline_choice import Previous
from pytest_r1eval.core.attempts import Attempt, Attempts
from pytest_r1eval.core.baselines import MeasuredBaseline
from pytest_r1eval.core.benchmarks import Benchmark
from pytest_r1eval.core.choices import CodeGrader, grades_programs
from pytest_r1eval.core.codec import to_json
from pytest_r1eval.core.evidence import Evidence
from pytest_r1eval.core.fingerprints import Fingerprint
from pytest_r1eval.core.measurements import Measurement
from pytest_r1eval.core.plans import Plan
from pytest_r1eval.core.records import Counts, ProblemTally
from pytest_r1eval.errors import LowerBaselineError, R1EvalError
from pytest_r1eval.judging.conformity import deviation
from pytest_r1eval.judging.decision import MATTERS, decided, is_own, is_same_question, weighed
from pytest_r1eval.judging.diagnostics import with_diagnostics, with_titles
from pytest_r1eval.judging.other_scores import with_other_scores
from pytest_r1eval.judging.parts import with_parts
from pytest_r1eval.judging.result import VERDICT, GateResult, ReferenceVerdict
from pytest_r1eval.runs.early_stopping import advance
from pytest_r1eval.runs.finished import (
    CompleteRun,
    baseline_from,
    complete_run,
    missing_samples,
    stopped_early,
    unfit_run,
    ungraded_of,
    unplanned_run,
    with_earlier,
)
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import BenchmarkState, Store
from pytest_r1eval.sandbox.levels import NO_SANDBOX
from pytest_r1eval.stats.health import HealthReference, added_health
from pytest_r1eval.stats.looks import SequentialGate
from pytest_r1eval.stats.pooling import added_counts
from pytest_r1eval.stats.tests import pass_at_1
from pytest_r1eval.stats.verdicts import (
    DO_NOT_SHIP,
    GateRule,
    Judgement,
    Verdict,
    invalid,
    under_holm,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keeping:
    """
    What became of a run as a baseline.

    Attributes:
        recorded: The baseline file that it was written to.
        candidate: The file beside the run that it was written to.
        refusal: Why it may be none.
    """

    recorded: Path | None = None
    candidate: Path | None = None
    refusal: Judgement | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """
    Judges the benchmarks of one run.

    Attributes:
        store: The run.
        terms: By benchmark, by what it is judged.
        save_as: The name to record baselines under; None records none.
        earlier: By benchmark, what earlier attempts on these weights measured; a verdict rests on all samples.
        attempts: By benchmark, what a report shows of them.
        repeated: By benchmark, an attempt that did not pass and has other samples under the same seed.
    """

    store: Store
    terms: Mapping[str, Terms]
    save_as: str | None = None
    earlier: Mapping[str, tuple[Measurement, ...]] = field(default_factory=dict)
    attempts: Mapping[str, Attempts] = field(default_factory=dict)
    repeated: Mapping[str, Attempt] = field(default_factory=dict)

    def judge(self, benchmarks: Sequence[Benchmark]) -> tuple[GateResult, ...]:
        """
        Judge the run's benchmarks and store the verdicts.

        Raises:
            StoreError: If the run cannot be read or a verdict not written.
        """
        family = {each.name: self.terms[each.name] for each in benchmarks if self.terms[each.name].is_holm}
        n_tests = sum(1 if terms.anchor is None else 2 for terms in family.values())
        results = tuple(
            self._of(each.name).result(each, n_tests=n_tests if each.name in family else 1) for each in benchmarks
        )
        results = _as_family(results, {name: terms.rule for name, terms in family.items()})
        results = tuple(self._with_attempts(self._drawn_once(result)) for result in results)
        for result in results:
            self.store.write_verdict(result.benchmark, to_json(VERDICT, result))
        return results

    def alone(self, benchmark: Benchmark) -> GateResult:
        """Judge one benchmark before the others are drawn, so that they cannot lift it; store and record nothing."""
        judge = self._of(benchmark.name)
        strict = replace(judge.terms.rule.first_of_holm, n_holm=1)
        terms = replace(judge.terms, rule=strict, is_holm=False)
        return replace(judge, terms=terms, save_as=None).result(benchmark, n_tests=1)

    def _of(self, benchmark: str) -> BenchmarkJudge:
        return BenchmarkJudge(
            store=self.store,
            terms=self.terms[benchmark],
            save_as=self.save_as,
            earlier=self.earlier.get(benchmark, ()),
        )

    def _drawn_once(self, result: GateResult) -> GateResult:
        """Let no samples pass that share the seed of red ones: on a GPU they differ, and are one attempt."""
        first, judgement = self.repeated.get(result.benchmark), result.judgement
        if first is None or not judgement.passes:
            return result
        doubted = replace(
            judgement,
            verdict=Verdict.INCONCLUSIVE,
            passes=False,
            reason=f"These weights were drawn with the same seed in run {first.run}, and the verdict was "
            f"{first.verdict}: samples under one seed are one attempt, and the first ones count.",
            next_step="Draw another attempt, by --r1-fresh or with a new --r1-seed; it is judged on all samples.",
        )
        return replace(result, judgement=doubted)

    def _with_attempts(self, result: GateResult) -> GateResult:
        """Add which attempt it is."""
        attempts, earlier = self.attempts.get(result.benchmark), self.earlier.get(result.benchmark, ())
        if attempts is None or not earlier:
            return replace(result, attempts=attempts)
        n_earlier = sum(measured.counts.n_samples for measured in earlier)
        told = replace(attempts, n_added=len(earlier), n_samples=n_earlier + result.n_samples)
        return replace(result, attempts=told)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkJudge:
    """
    Judges one benchmark by its own terms, before its family and the ledger count.

    Attributes:
        store: The run.
        terms: By what it is judged.
        save_as: The name to record its baseline under; None records none.
        earlier: What earlier attempts on these weights measured.
    """

    store: Store
    terms: Terms
    save_as: str | None
    earlier: tuple[Measurement, ...]

    @property
    def run(self) -> RunReader:
        """What is judged, to read."""
        return RunReader(self.store)

    def result(self, benchmark: Benchmark, *, n_tests: int) -> GateResult:
        """
        Judge the benchmark.

        Args:
            benchmark: The benchmark.
            n_tests: Tests that Holm's procedure orders together afterwards; 1 for none.
        """
        result, policy = self._with_grader(self._result(benchmark, n_tests=n_tests)), self.terms.policy
        return result if policy is None else replace(result, policy=policy.digest, tier=policy.tier)

    def _with_grader(self, result: GateResult) -> GateResult:
        """Add what graded unless it is the task's own metric, what it graded in, and where another grader differs."""
        plan = self.run.plan(result.benchmark)
        if plan is None:
            return result
        if plan.grader is not None and grades_programs(plan.grader):
            sandbox = self.run.sandbox
            cautions = [rule.caution for rule in CodeGrader if plan.grader.startswith(f"{rule.scorer} ")]
        else:
            sandbox = " and ".join(self.run.walls) or None
            cautions = [f"Answers were graded in {sandbox}." if NO_SANDBOX in (sandbox or "") else None]
        judgement = result.judgement.warned(*filter(None, cautions))
        differences = self.run.grader_differences(result.benchmark)
        return replace(result, grader=plan.grader, sandbox=sandbox, judgement=judgement, grader_differences=differences)

    def _with_health(
        self, result: GateResult, found: FoundBaseline | None, *, health: HealthReference, alpha: float
    ) -> GateResult:
        """Add health at a level for each rate, and diagnostics against the baseline, where there is a pass@1."""
        k, depth = result.samples_per_problem, result.depth
        if k is None or depth is None or result.judgement.estimate is None:
            return result
        tallies = self.run.tallies(result.benchmark, k=depth)
        equal = tallies if result.allocated is None else self.run.tallies(result.benchmark, k=k)
        observed, counts = added_health(equal), Counts.graded(tallies)
        if self.earlier:
            observed = added_health([*(measured.health for measured in self.earlier), observed])
            counts = added_counts([*(measured.counts for measured in self.earlier), counts])
        baseline = None if found is None else found.baseline
        plan = self.run.plan(result.benchmark)
        result = with_diagnostics(
            result,
            observed=observed,
            counts=counts,
            baseline=baseline,
            health=health,
            alpha=alpha,
            ungraded=None if plan is None else ungraded_of(self.run, plan, tallies),
        )
        if isinstance(baseline, MeasuredBaseline):
            result = replace(result, changes=self._changes(result.benchmark, baseline), baseline_run=baseline.run)
        result = with_parts(with_other_scores(result, Counts.graded(tallies), self.run), counts)
        return with_titles(result, self.run)

    def _changes(self, name: str, baseline: MeasuredBaseline) -> tuple[str, ...]:
        """Name what differs from a measured baseline, where one harness answered."""
        plan, harnesses = self.run.plan(name), self.run.harnesses
        if plan is None or len(harnesses) != 1:
            return ()
        harness = harnesses[0].graded_by(plan.grader)
        fingerprint = Fingerprint(model=self.run.header.identity, question=plan.question, harness=harness)
        return fingerprint.changes_since(baseline.fingerprint)

    def _result(self, benchmark: Benchmark, *, n_tests: int) -> GateResult:
        plan = self.run.plan(benchmark.name)
        if plan is None or self.run.state(benchmark.name) is BenchmarkState.LEFT_OUT:
            return _result_of(benchmark.name, unplanned_run(self.run, benchmark.name))
        gate = self.run.gate(benchmark.name)
        if (deviating := self._deviation(plan, gate, benchmark)) is not None:
            return _result_of(benchmark.name, deviating)
        if gate is not None and (self.terms.anchor is not None or self.terms.rule.claims_same):
            judgement = invalid(
                "The looks of this run were planned to see a fall, and --r1-claim same must exclude a rise as well."
                if self.terms.rule.claims_same
                else "The looks of this run were planned around one baseline, and --r1-anchor names a second.",
                f"Complete it first, nothing is drawn twice: --r1-resume {self.run.path.parent} --r1-gate fixed.",
            )
            return _result_of(benchmark.name, judgement, baseline=gate.baseline)
        tallies = self.run.tallies(benchmark.name, k=plan.depth)
        if gate is not None and not self.earlier:
            return self._sequential(plan, gate)
        if gate is not None and stopped_early(plan, tallies, run=self.run.path.parent) is not None:
            judgement = invalid(
                "These weights were judged on this question before, and looks count no earlier samples.",
                f"Complete the run, nothing is drawn twice: --r1-resume {self.run.path.parent} --r1-gate fixed.",
            )
            return _result_of(benchmark.name, judgement, baseline=gate.baseline)
        result, found = self._judged(benchmark, plan, tallies, n_tests=n_tests)
        if left_out := self.run.progress(benchmark.name).n_stored - sum(tally.n_samples for tally in tallies):
            note = f"{left_out} samples that looks drew beyond {plan.depth} of a problem are left out, by their index."
            judgement = result.judgement.warned(note)
            result = replace(result, judgement=judgement)
        health = health_reference(found, result.judgement.tau, limits=self.terms.limits)
        return self._with_health(
            _with_samples(result, plan, tallies), found, health=health, alpha=self.terms.rule.alpha
        )

    def _deviation(self, plan: Plan, gate: SequentialGate | None, benchmark: Benchmark) -> Judgement | None:
        """Refuse what a policy asks for otherwise, or looks whose baseline is not there to compare."""
        try:
            return deviation(plan, gate, benchmark, self.terms)
        except R1EvalError as error:
            return invalid(str(error), "Repair the baseline and judge again.")

    def _sequential(self, plan: Plan, gate: SequentialGate) -> GateResult:
        """Judge by the looks; take the last one here if its worker is gone."""
        advance(self.store, plan.benchmark, gate, shortcut=True)
        looks = self.run.looks(plan.benchmark)
        is_closed = self.run.state(plan.benchmark) is BenchmarkState.CLOSED
        last = looks[-1] if is_closed and looks and looks[-1].ends else None
        number = gate.plan.n_looks if last is None else last.number
        depth, k = gate.depth_at(number), gate.n_judged_for_health(number)
        tallies = self.run.tallies(plan.benchmark, k=depth)
        is_sick = last is not None and last.is_sick
        found = gate.look_at_score(last.number, tallies) if last is not None and not is_sick else None
        kept = _Keeping()
        judgement = unfit_run(self.run, plan, tallies)
        ungraded = ungraded_of(self.run, plan, tallies)
        if judgement is None and is_sick:
            judgement = _sick(tallies, k=k)
        elif judgement is None and ungraded is not None and (found is None or found.judgement is None):
            judgement = ungraded.refusal(MATTERS)
        elif judgement is None and found is not None and found.judgement is not None:
            judgement = found.judgement
            if gate.evidence is not None:
                judgement = weighed(judgement, ours=self._evidence, theirs=gate.evidence)
            if ungraded is not None:
                judgement = judgement.warned(ungraded.note)
            kept = self._kept_of_looks(plan)
            if kept.refusal is not None:
                note = f"Not recorded as {self.save_as}. {kept.refusal.reason} {kept.refusal.next_step}"
                judgement = judgement.warned(note.rstrip())
        elif judgement is None:
            judgement = missing_samples(self.run, plan, tallies)
        result = replace(
            _with_samples(_result_of(plan.benchmark, judgement, baseline=gate.baseline), plan, tallies),
            samples_per_problem=k,
            allocated=None if isinstance(depth, int) else depth,
            is_at_stop=is_sick or (found is not None and found.early),
            recorded=None if kept.recorded is None else str(kept.recorded),
            gate=gate.digest,
            sequential_plan=gate.plan,
        )
        baseline = None if judgement.estimate is None else self.terms.shelf.find(plan.benchmark)
        alpha = gate.health_alpha(number, is_last=not is_sick)
        return self._with_health(result, baseline, health=gate.health.within(self.terms.limits), alpha=alpha)

    def _kept_of_looks(self, plan: Plan) -> _Keeping:
        """Record a sequential run on request: with every planned sample it equals a fixed one."""
        if self.save_as is None:
            return _Keeping()
        tallies = self.run.tallies(plan.benchmark, k=plan.depth)
        early = stopped_early(plan, tallies, run=self.run.path.parent)
        try:
            return self._saved(early or complete_run(self.run, plan, tallies), plan.benchmark, name=self.save_as)
        except R1EvalError as error:
            return _Keeping(refusal=invalid(f"{error}.", ""))

    @property
    def _evidence(self) -> Evidence:
        header = self.run.header
        return Evidence(model=header.identity, seeds=(header.seed,))

    def _judged(
        self, benchmark: Benchmark, plan: Plan, tallies: tuple[ProblemTally, ...], *, n_tests: int
    ) -> tuple[GateResult, FoundBaseline | None]:
        """Judge a fixed gate, and return its baseline; the caller adds the counts of samples."""
        name, run = benchmark.name, complete_run(self.run, plan, tallies)
        if isinstance(run, Judgement):
            return _result_of(name, run), None
        whole = with_earlier(run, self.earlier)
        if isinstance(whole, Judgement):
            return _result_of(name, whole), None
        try:
            found, anchor = references(self.terms.shelf, self.terms.anchor, name)
            is_comparable = found is not None and is_same_question(run.measured, found)
            is_comparable = is_comparable and not (self.save_as is not None and is_own(run.measured, found))
            kept = self._kept(run, found, is_judged=is_comparable)
        except R1EvalError as error:
            return _result_of(name, invalid(str(error), "Repair the baseline and judge again with --r1-resume.")), None
        if found is None or (self.save_as is not None and not is_comparable):
            found, anchor, judgement = None, None, self._without_baseline(run, kept)
        else:
            rule = self._rule_against(found, is_of_two=anchor is not None)
            judgement = decided(whole, found, benchmark=benchmark, rule=rule, n_tests=n_tests)
            if kept.refusal is not None:
                note = f"Not recorded. {kept.refusal.reason}"
                judgement = judgement.warned(note)
        result = GateResult(
            benchmark=name,
            judgement=judgement,
            baseline=None if found is None else found.source,
            recorded=None if kept.recorded is None else str(kept.recorded),
            candidate=None if kept.candidate is None else str(kept.candidate),
        )
        if found is None or anchor is None:
            return result, found
        rule = self._rule_against(anchor, is_of_two=True)
        second = decided(whole, anchor, benchmark=benchmark, rule=rule, n_tests=n_tests)
        verdicts = (
            ReferenceVerdict(role="baseline", baseline=found.source, judgement=judgement),
            ReferenceVerdict(role="anchor", baseline=anchor.source, judgement=second),
        )
        result = result.with_references(verdicts)
        return result, anchor if result.judgement is second else found

    def _rule_against(self, found: FoundBaseline, *, is_of_two: bool) -> GateRule:
        """Return the rule against a baseline; of two half of alpha each, or two members of Holm's family."""
        rule = self.terms.rule_against(found)
        if not is_of_two:
            return rule
        return replace(rule, n_holm=2 * rule.n_holm) if self.terms.is_holm else rule.shared_by(2)

    def _kept(self, run: CompleteRun, found: FoundBaseline | None, *, is_judged: bool) -> _Keeping:
        """
        Record a run on request; without any baseline, keep it beside the run as a candidate.

        Raises:
            LowerBaselineError: If it would lower a baseline and there is no verdict to say it beside.
        """
        if self.save_as is None and (found is not None or isinstance(self.terms.shelf.choice, Previous)):
            return _Keeping()
        if self.save_as is None:
            fit = baseline_from(run, replaced=None, reason=None)
            if isinstance(fit, Judgement):
                return _Keeping(refusal=fit)
            return _Keeping(candidate=self.terms.shelf.keep_candidate(fit, run=self.run.path.parent))
        try:
            return self._saved(run, run.measured.benchmark, name=self.save_as)
        except LowerBaselineError as error:
            if not is_judged:
                raise
            return _Keeping(refusal=invalid(f"{error}.", ""))

    def _saved(self, run: CompleteRun | Judgement, benchmark: str, *, name: str) -> _Keeping:
        """
        Record a run under a name, if it may be a baseline.

        Raises:
            BaselineError: If it would lower a baseline, or the file cannot be read or written.
        """
        fit = baseline_from(run, replaced=self.terms.shelf.entry(benchmark, name=name), reason=None)
        if isinstance(fit, Judgement):
            return _Keeping(refusal=fit)
        return _Keeping(recorded=self.terms.shelf.record(fit, name=name))

    def _without_baseline(self, run: CompleteRun, kept: _Keeping) -> Judgement:
        """Judge a run that has nothing to compare with, and name the command that makes it a baseline."""
        name, refusal = run.measured.benchmark, kept.refusal
        if refusal is not None and refusal.verdict is Verdict.INVALID:
            return refusal
        reason, next_step = "There is no earlier run yet.", "Nothing; the next run is compared with this one."
        if kept.recorded is not None:
            reason = "Recorded as asked; there was nothing to compare with."
            next_step = f"Review {kept.recorded} and commit it; the next run is compared with it."
        elif refusal is not None:
            head = "There is no baseline yet." if self.save_as is None else f"Not recorded as {self.save_as}."
            reason, next_step = f"{head} {refusal.reason}", refusal.next_step
        elif kept.candidate is not None:
            only = name if len(self.run.selected) > 1 else None
            command = self.terms.shelf.command_to_record(self.run.path.parent, benchmark=name, only=only)
            reason = "There is no baseline yet."
            next_step = f"Review {kept.candidate}; if it is to be the baseline: {command}"
        return Judgement(
            verdict=Verdict.INCONCLUSIVE,
            passes=kept.recorded is not None or (kept == _Keeping() and self.terms.rule.inconclusive_passes),
            estimate=pass_at_1(run.measured.counts),
            reason=reason,
            next_step=next_step,
        )


def _result_of(name: str, judgement: Judgement, *, baseline: str | None = None) -> GateResult:
    return GateResult(benchmark=name, judgement=judgement, baseline=baseline)


def _sick(tallies: Sequence[ProblemTally], *, k: int) -> Judgement:
    """Say that a look at health ended a run before pass@1 was decided; nothing lets such a checkpoint through."""
    samples = "one sample" if k == 1 else f"{k} samples"
    return Judgement(
        verdict=Verdict.INCONCLUSIVE,
        passes=False,
        estimate=pass_at_1(Counts.graded(tallies)),
        reason=f"The responses are not healthy after {samples} of each problem, which ended the run; pass@1 was not "
        "decided.",
        next_step=f"{DO_NOT_SHIP}; see health below, and repair the model, the token limit or the chat template.",
        warnings=("This pass@1 is at stop, biased by the stopping, and no score.",),
    )


def _as_family(results: Sequence[GateResult], rules: Mapping[str, GateRule]) -> tuple[GateResult, ...]:
    """Judge the tests of a family's members, against anchors too, together; where looks divide alpha, they did so."""
    members = [result for result in results if result.benchmark in rules and rules[result.benchmark].family_size == 1]
    if not members:
        return tuple(results)
    tests = [test for result in members for test in result.tests]
    judged = iter(under_holm(tests, rule=rules[members[0].benchmark]))
    corrected = {
        result.benchmark: result.with_references(
            [replace(reference, judgement=next(judged)) for reference in result.references]
        )
        if result.references
        else replace(result, judgement=next(judged))
        for result in members
    }
    return tuple(corrected.get(result.benchmark, result) for result in results)


def _with_samples(result: GateResult, plan: Plan, tallies: tuple[ProblemTally, ...]) -> GateResult:
    """Add what was planned and drawn."""
    return replace(
        result,
        samples_per_problem=min(plan.samples),
        n_samples=sum(tally.n_samples for tally in tallies),
        n_planned=plan.n_samples,
        part=None if plan.n_exam is None else f"{len(plan.problem_ids)} of {plan.n_exam} problems",
        n_truncated=sum(tally.n_truncated for tally in tallies),
        n_truncated_correct=sum(tally.n_truncated_correct for tally in tallies),
        n_no_answer=sum(tally.n_no_answer for tally in tallies),
        n_tokens=sum(tally.n_tokens for tally in tallies),
    )
