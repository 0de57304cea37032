"""Finished runs read back: whole ones as what they measured, others with the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.core.baselines import MeasuredBaseline
from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.core.measurements import Measurement
from pytest_r1eval.core.plans import Plan
from pytest_r1eval.core.records import FinishReason, Outcome, ProblemTally
from pytest_r1eval.errors import RunError, StoreError
from pytest_r1eval.runs.finished import (
    CompleteRun,
    StoredRun,
    baseline_from,
    chosen_benchmarks,
    previous_run,
    stopped_early,
)
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import Store
from pytest_r1eval.runs.work_queue import WorkQueue
from pytest_r1eval.stats.verdicts import Judgement, Verdict
from tests.judged_runs import judged_against, sequential_gate
from tests.recordings import record_run


def refusal(run: StoredRun, benchmark: str = "smoke") -> str:
    """Return why a run counts for nothing."""
    read = run.read(benchmark)
    assert isinstance(read, Judgement)
    assert read.verdict is Verdict.INVALID
    return read.reason


def test_a_whole_run_is_what_it_measured(tmp_path: Path) -> None:
    """A complete run gives back its counts, seed and fingerprint."""
    run = StoredRun(folder=record_run(tmp_path / "run", seed=7))
    measured = run.read("smoke")
    assert isinstance(measured, Measurement)
    assert (measured.seed, measured.run, measured.counts.n_samples) == (7, "run", 96)
    assert run.measured("smoke") == measured
    assert (run.exists, run.model_name, run.benchmarks) == (True, "local/toy", ("smoke",))


def test_what_fell_or_rose_is_no_previous_run(tmp_path: Path) -> None:
    """The previous run is the newest one that neither fell nor rose suspiciously, even if it was not judged."""
    runs = tmp_path / "local" / "toy"
    record_run(tmp_path / "base", seed=1, n_samples=16)
    for name, rate, seed in (("r1", 0.6, 2), ("r2", 0.05, 3), ("r3", 0.99, 4)):
        run = record_run(runs / name, seed=seed, weights=name, solve_rate=rate, n_samples=16)
        judged_against(run, tmp_path, choice="base")

    assert [StoredRun(folder=runs / name).verdict("smoke") for name in ("r1", "r2", "r3")] == [
        "pass",
        "fail_regressed",
        "suspicious_improved",
    ]
    assert previous_run(tmp_path, "smoke", before=runs / "r9") == StoredRun(folder=runs / "r1")
    record_run(runs / "r4", seed=5, weights="r4")
    assert previous_run(tmp_path, "smoke", before=runs / "r9") == StoredRun(folder=runs / "r4")


def test_what_is_not_whole_is_invalid(tmp_path: Path) -> None:
    """An incomplete or ungraded run is refused with the judge's reason."""
    holes = StoredRun(folder=record_run(tmp_path / "holes", skip=frozenset({("p003", 5)})))
    assert refusal(holes) == "1 of 96 planned samples are missing."
    broken = StoredRun(folder=record_run(tmp_path / "broken", outcome=Outcome.ERROR))
    assert refusal(broken).startswith("The grader failed on 96 of 96 samples")
    assert refusal(broken, "aime24") == f"The run {broken.folder} holds no aime24, only smoke."


def test_one_failure_of_the_grader_in_two_hundred_may_be_judged(tmp_path: Path) -> None:
    """Two ungraded samples of 480 are left out of a candidate's counts; a third makes the run unusable."""
    few = frozenset({("p003", 5), ("p004", 5)})
    run = StoredRun(folder=record_run(tmp_path / "few", n_samples=40, ungraded=few)).complete("smoke")
    assert isinstance(run, CompleteRun)
    assert (run.measured.counts.n_samples, run.health.n_samples, run.samples_per_problem) == (478, 480, 40)
    assert [counts.n_samples for counts in run.extremes] == [480, 480]
    many = few | {("p005", 5)}
    refused = refusal(StoredRun(folder=record_run(tmp_path / "many", n_samples=40, ungraded=many)))
    assert refused == "The grader failed on 3 of 480 samples (no detail recorded)."


def test_an_ungraded_sample_is_in_no_number_that_others_rest_on(tmp_path: Path) -> None:
    """Baselines and aggregates refuse a run of 320 samples with one ungraded, in the gate's words."""
    run = StoredRun(folder=record_run(tmp_path / "run", n_problems=20, n_samples=16, ungraded=frozenset({("p003", 5)})))
    words = "The grader failed on 1 of 320 samples (no detail recorded); a baseline or an aggregate leaves none out."
    assert refusal(run) == words
    for ask in (run.measured, lambda name: run.as_baseline(name, replaced=None, reason="on purpose")):
        with pytest.raises(RunError, match=r"failed on 1 of 320 samples .* --r1-resume .* grades them once more"):
            ask("smoke")


class TestUnhealthy:
    """A run whose responses are not healthy is a baseline only where a person says why."""

    def test_without_a_reason_it_is_refused(self, tmp_path: Path) -> None:
        """An unhealthy run is refused as a baseline with its rate, the limit, and the option for a reason."""
        run = StoredRun(folder=record_run(tmp_path / "sick", finish_reason=FinishReason.LENGTH))
        with pytest.raises(
            RunError, match=r"100\.0 % of the responses were truncated.* at most 15 % may.*--reason TEXT"
        ):
            run.as_baseline("smoke", replaced=None, reason=None)

    def test_a_reason_is_kept(self, tmp_path: Path) -> None:
        """The reason for recording an unhealthy run is in its baseline's entry."""
        run = StoredRun(folder=record_run(tmp_path / "mute", outcome=Outcome.NO_ANSWER))
        assert run.as_baseline("smoke", replaced=None, reason="a base model").reason == "a base model"

    def test_the_entry_that_is_replaced_counts_too(self, tmp_path: Path) -> None:
        """A run with 12 % of responses without an answer replaces a baseline with none only for a reason."""
        before = StoredRun(folder=record_run(tmp_path / "before", seed=1, n_samples=25)).measured("smoke")
        after = replace(before, health=replace(before.health, n_no_answer=36), seed=2)
        run = CompleteRun(
            measured=after,
            samples_per_problem=25,
            health=after.health,
            ungraded=None,
            extremes=(),
            n_truncated_correct=0,
        )
        assert isinstance(baseline_from(run, replaced=None, reason=None), MeasuredBaseline)
        refused = baseline_from(run, replaced=before.as_baseline(), reason=None)
        assert isinstance(refused, Judgement)
        assert "12.0 % of the responses hold no answer, 0.0 % in the baseline" in refused.reason
        assert isinstance(
            baseline_from(run, replaced=before.as_baseline(), reason="answers are shorter"), MeasuredBaseline
        )

    def test_no_reason_makes_a_stopped_run_a_baseline(self, tmp_path: Path) -> None:
        """A run that stopped early is refused as a baseline even with a reason."""
        base = record_run(tmp_path / "base", n_problems=30, n_samples=64)
        gate = sequential_gate(base, n_samples=64)
        stopped = record_run(
            tmp_path / "stopped", seed=2, n_problems=30, n_samples=64, gate=gate, skip=frozenset({("p003", 60)})
        )
        with pytest.raises(RunError, match="a pass@1 at stop is not a score"):
            StoredRun(folder=stopped).as_baseline("smoke", replaced=None, reason="we are in a hurry")


def test_a_problem_without_a_grade_is_no_evidence(tmp_path: Path) -> None:
    """A run is refused where every sample of a problem is ungraded, however small its part is."""
    ungraded = frozenset({("p003", 0)})
    run = StoredRun(folder=record_run(tmp_path / "run", n_problems=200, n_samples=1, ungraded=ungraded))
    refused = "The grader failed on 1 of 200 samples (no detail recorded), among them every sample of a problem."
    assert refusal(run) == refused


def test_an_unplanned_benchmark_is_invalid(tmp_path: Path) -> None:
    """A run that ended before planning holds nothing."""
    whole = Store.open(record_run(tmp_path / "whole"))
    store = Store.create(tmp_path / "bare", whole.header)
    whole.close()
    WorkQueue(store).select(("smoke",))
    store.close()
    assert refusal(StoredRun(folder=tmp_path / "bare")) == "No worker got as far as planning it."


def test_asking_for_counts_of_a_broken_run_is_an_error(tmp_path: Path) -> None:
    """Asking a run with a missing sample for its counts is an error with the command that resumes it."""
    run = StoredRun(folder=record_run(tmp_path / "holes", skip=frozenset({("p003", 5)})))
    with pytest.raises(RunError) as caught:
        run.measured("smoke")
    assert str(caught.value) == (
        f"{run.folder}, smoke: 1 of 96 planned samples are missing. Resume the run: --r1-resume {run.folder}."
    )


def test_no_run_is_an_error(tmp_path: Path) -> None:
    """Reading a folder without a store is an error."""
    run = StoredRun(folder=tmp_path)
    assert not run.exists
    with pytest.raises(StoreError, match="no run at"):
        run.read("smoke")


def test_a_stopped_sequential_run_is_told_to_be_completed(tmp_path: Path) -> None:
    """A sequential run that stopped early is refused because it stopped, not for missing samples."""
    whole = Store.open(record_run(tmp_path / "whole"))
    header, exam, plan = whole.header, RunReader(whole).exam("smoke"), RunReader(whole).plan("smoke")
    whole.close()
    assert plan is not None
    gate = sequential_gate(tmp_path / "whole", n_samples=8)
    store = Store.create(tmp_path / "stopped", header)
    WorkQueue(store).select(("smoke",))
    WorkQueue(store).write_plan(exam, tuple((1, 2) for _ in exam.problems), replace(plan, rounds=(4, 8)), gate=gate)
    store.close()
    assert refusal(StoredRun(folder=tmp_path / "stopped")) == (
        "The run stopped after 0 of 96 planned samples, and a pass@1 at stop is not a score."
    )


@pytest.mark.parametrize("n_there", [4, 8])
def test_a_run_that_stopped_early_is_no_score(n_there: int) -> None:
    """A run of 4 of its 8 planned samples is refused as a score, and a complete one is not."""
    plan = Plan(
        benchmark="smoke",
        exam="e",
        problem_ids=("p",),
        rounds=(4, 8),
        seed=1,
        sampling=Sampling(),
        template_date="2025-01-01",
        prompts="p",
    )
    tally = ProblemTally(
        problem_id="p",
        n_samples=n_there,
        n_correct=1,
        n_no_answer=0,
        n_error=0,
        n_truncated=0,
        n_truncated_correct=0,
        n_tokens=9,
    )
    found = stopped_early(plan, (tally,), run=Path("r"))
    if n_there == 8:
        assert found is None
    else:
        assert found is not None
        assert found.reason == "The run stopped after 4 of 8 planned samples, and a pass@1 at stop is not a score."
        assert found.next_step == "Complete it, nothing is drawn twice: --r1-resume r --r1-gate fixed."


class TestChoice:
    def test_everything_unless_asked(self, tmp_path: Path) -> None:
        """A run's benchmarks are all chosen in its order, or those asked for, once each."""
        run = StoredRun(folder=record_run(tmp_path / "run", benchmarks=("smoke", "aime24")))
        assert chosen_benchmarks(run, asked=()) == ("smoke", "aime24")
        assert chosen_benchmarks(run, asked=("aime24", "aime24")) == ("aime24",)

    def test_what_the_run_does_not_hold(self, tmp_path: Path) -> None:
        """A benchmark that the run lacks is refused with those that it holds."""
        run = StoredRun(folder=record_run(tmp_path / "run"))
        with pytest.raises(RunError) as caught:
            chosen_benchmarks(run, asked=("smoky",))
        assert str(caught.value) == f"{run.folder} holds no smoky; expected one of smoke"


class TestRepeatedText:
    REASONING = "\n".join(
        f"Step {n}: {n * n * 7919} less {n * 104729} leaves {n * n * 7919 - n * 104729}." for n in range(60)
    )

    def test_a_model_stuck_on_one_token_is_judged(self, tmp_path: Path) -> None:
        """Equal responses that the token limit ended prove nothing about seeds: the model measured is a bad one."""
        stuck = record_run(
            tmp_path / "stuck",
            text="the " * 256,
            n_tokens=256,
            finish_reason=FinishReason.LENGTH,
            outcome=Outcome.WRONG,
        )
        measured = StoredRun(folder=stuck).measured("smoke")
        assert sum(problem.n_correct for problem in measured.counts.problems) == 0
        assert measured.health.n_truncated == 96

    def test_a_loop_that_ends_by_itself_is_judged(self, tmp_path: Path) -> None:
        """A text that says a short piece again and again agrees with itself without equal seeds."""
        looping = record_run(tmp_path / "run", text="Wait, let me check. " * 80, n_tokens=300, outcome=Outcome.WRONG)
        assert StoredRun(folder=looping).measured("smoke").health.n_samples == 96

    def test_equal_reasoning_is_reused_seeds(self, tmp_path: Path) -> None:
        """A long response that one problem has several times means reused seeds, and the message quotes it."""
        run = StoredRun(folder=record_run(tmp_path / "run", text=f"{self.REASONING}\x1b[2J", n_tokens=900))
        assert refusal(run) == (
            "Problem p000 has one response of 900 tokens 8 times, which begins "
            '"Step 0: 0 less 0 leaves 0. Step 1: 7919 less 104729 leave..."; the run has 12 such: seeds were reused.'
        )

    def test_the_shown_start_is_one_harmless_line(self, tmp_path: Path) -> None:
        """Control characters and a runner's commands within the text are escaped."""
        text = f"\x1b[2J\n::error::##[group]{self.REASONING}"
        reason = refusal(StoredRun(folder=record_run(tmp_path / "run", text=text, n_tokens=900)))
        assert r'"\x1b[2J : :error: :# #[group]Step 0' in reason

    def test_equal_responses_at_temperature_0_are_expected(self, tmp_path: Path) -> None:
        """Equal responses at temperature 0 are accepted, because greedy decoding repeats its text."""
        run = record_run(tmp_path / "run", text=self.REASONING, n_tokens=900, temperature=0.0)
        assert StoredRun(folder=run).measured("smoke").health.n_samples == 96
