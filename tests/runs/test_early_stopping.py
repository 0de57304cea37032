"""The looks of a sequential run: a decision is the last one."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from shutil import copytree

import pytest

from pytest_r1eval.core.plans import Plan, sample_seed
from pytest_r1eval.core.records import FinishReason, Grade, Outcome, Response, Sample
from pytest_r1eval.reports.terminal import gate_lines
from pytest_r1eval.runs.early_stopping import advance
from pytest_r1eval.runs.finished import StoredRun
from pytest_r1eval.runs.progress import standing_of
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import BenchmarkState, Store
from pytest_r1eval.runs.work_queue import WorkQueue
from pytest_r1eval.stats.verdicts import Judgement, Verdict
from tests.judged_runs import allocated_gate, judged, judged_against, sequential_gate
from tests.recordings import add_sample, next_unit, record_run

SHAPE = {"n_problems": 30, "n_samples": 64}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record a baseline, and a fallen run of which every round is there before the first look."""
    folder = tmp_path_factory.mktemp("looks")
    base = record_run(folder / "base", seed=1, **SHAPE)  # type: ignore[arg-type]
    judged(base)
    gate = sequential_gate(base, n_samples=64)
    sick = {"solve_rate": 0.6, "finish_reason": FinishReason.LENGTH, "gate": gate}
    record_run(folder / "sick", seed=3, weights="w3", **sick, **SHAPE)  # type: ignore[arg-type]
    rates = tuple((number + 0.5) / 30 for number in range(30))
    spread = record_run(folder / "spread", seed=6, solve_rates=rates, **SHAPE)  # type: ignore[arg-type]
    allocated = allocated_gate(spread, n_samples=64)
    assert allocated.plan.allocation is not None
    again = {"weights": "w4", "solve_rates": rates, "gate": allocated}
    record_run(folder / "allocated", seed=7, **again, **SHAPE)  # type: ignore[arg-type]
    record_run(folder / "fallen", seed=2, weights="w2", solve_rate=0.4, gate=gate, **SHAPE)  # type: ignore[arg-type]
    return folder


def test_the_first_decision_stands(root: Path) -> None:
    """The first look that decides keeps its verdict, however much is drawn and judged later."""
    (first,) = judged_against(root / "fallen", root / "root")
    (again,) = judged_against(root / "fallen", root / "root")
    with closing(RunReader.open(root / "fallen")) as store:
        verdicts = [look.verdict for look in store.looks("smoke") if look.number]
        assert store.progress("smoke").n_stored == 30 * 64
    assert first == again
    assert first.judgement.verdict == verdicts[-1] == "fail_regressed"
    assert set(verdicts[:-1]) <= {None}
    assert first.is_at_stop
    assert first.n_samples == 30 * first.sequential_plan.ks[len(verdicts) - 1]  # type: ignore[union-attr]


def test_a_worker_that_comes_late_takes_no_further_look(root: Path) -> None:
    """A worker that looks after the benchmark was closed adds no look."""
    judged_against(root / "fallen", root / "root")
    with closing(Store.open(root / "fallen")) as store:
        run = RunReader(store)
        gate, before = run.gate("smoke"), run.looks("smoke")
        assert gate is not None
        advance(store, "smoke", gate, shortcut=True)
        assert run.looks("smoke") == before
        assert run.state("smoke") is BenchmarkState.CLOSED


def test_a_sick_run_ends_before_pass_at_1_is_looked_at(root: Path) -> None:
    """A run whose responses are all truncated ends after one sample of each problem, without a verdict on pass@1."""
    (result,) = judged_against(root / "sick", root / "root")
    (again,) = judged_against(root / "sick", root / "root")

    with closing(RunReader.open(root / "sick")) as store:
        (look,) = store.looks("smoke")
        assert store.state("smoke") is BenchmarkState.CLOSED
        assert store.n_looks("smoke") == 0
        standing = standing_of(store, "smoke")
    assert (look.number, look.is_sick, look.verdict) == (0, True, None)
    assert result == again
    assert (result.n_samples, result.n_planned, result.is_at_stop) == (30, 1920, True)
    assert result.judgement.verdict is Verdict.INCONCLUSIVE
    assert not result.passes
    assert result.health is not None
    assert result.health.truncation.verdict is Verdict.FAIL_REGRESSED
    assert standing.is_at_stop
    assert standing.score is not None
    assert standing.n_planned_looks == 12


def test_a_sample_without_a_grade_is_named_where_it_ends_a_run(root: Path) -> None:
    """A run that a failed grade ends at its first look at pass@1 is INVALID because of it, and misses no sample."""
    one = {
        "solve_rate": 0.6,
        "ungraded": frozenset({("p003", 2)}),
        "gate": sequential_gate(root / "base", n_samples=64),
    }
    record_run(root / "ungraded", seed=8, weights="w5", **one, **SHAPE)  # type: ignore[arg-type]

    (result,) = judged_against(root / "ungraded", root / "root")

    with closing(RunReader.open(root / "ungraded")) as store:
        assert [look.number for look in store.looks("smoke")] == [0]
    assert result.judgement.verdict is Verdict.INVALID
    assert result.judgement.reason.startswith("The grader failed on 1 of 1920 samples")


def test_an_allocated_run_is_judged_by_its_rounds(root: Path) -> None:
    """An allocated run stops at a look, is at stop whatever it drew, and reports unequal samples."""
    (result,) = judged_against(root / "allocated", root / "root")

    with closing(RunReader.open(root / "allocated")) as store:
        gate, looks, plan = store.gate("smoke"), store.looks("smoke"), store.plan("smoke")
        standing = standing_of(store, "smoke")
    assert gate is not None
    assert plan is not None
    assert plan.allocated == gate.allocated
    assert result.judgement.verdict is Verdict.PASS
    assert result.is_at_stop
    assert result.allocated == gate.plan.depth_at(looks[-1].number)
    assert result.n_samples == gate.plan.n_samples_at(looks[-1].number)
    assert result.n_planned == plan.n_samples == gate.plan.n_samples_at(12)
    assert result.samples_per_problem == min(result.allocated or ())
    assert result.health is not None
    assert result.health.truncation.rate.n_responses == 30 * min(result.allocated or ())
    assert standing.is_at_stop
    assert (standing.n_planned, standing.n_planned_looks) == (plan.n_samples, 12)
    lines = "\n".join(gate_lines(result))
    assert f"({min(result.allocated or ())} to {max(result.allocated or ())} per problem)" in lines
    assert "most samples: problem p0" in lines


def test_an_allocated_run_has_no_score_until_it_is_completed(root: Path, tmp_path: Path) -> None:
    """An allocated run is refused as a baseline, and as a fixed run it takes the first k samples of every problem."""
    folder = copytree(root / "allocated", tmp_path / "allocated")
    with closing(Store.open(folder)) as store:
        refusal = StoredRun(folder=folder).read("smoke")
        assert isinstance(refusal, Judgement)
        assert "--r1-gate fixed" in refusal.next_step
        WorkQueue(store).complete_as_fixed("smoke", k=64)
        run = RunReader(store)
        plan = run.plan("smoke")
        assert plan is not None
        assert (plan.rounds, plan.allocated, plan.first_look) == ((64,), None, 0)
        drawn = {
            id_: max(index for other, index, _ in run.drawn("smoke") if other == id_) + 1 for id_ in plan.problem_ids
        }
        missing = sum(max(0, 64 - k) for k in drawn.values())
        assert missing > 0
        assert max(drawn.values()) > 64
        n_open = 0
        while (claimed := next_unit(store, owner="late")) is not None:
            n_open += len(claimed.missing)
            for index in claimed.missing:
                add_sample(store, claimed, made_up_sample(plan, claimed.unit.problem_id, index))
        assert n_open == missing
    (result,) = judged_against(folder, root / "root")
    assert (result.n_samples, result.is_at_stop, result.allocated) == (30 * 64, False, None)
    left_out = sum(max(0, k - 64) for k in drawn.values())
    assert any(f"{left_out} samples that looks drew beyond 64" in warning for warning in result.judgement.warnings)


def made_up_sample(plan: Plan, problem_id: str, index: int) -> Sample:
    """Make a sample by its planned seed."""
    seed = sample_seed(plan.seed, problem_id, index)
    response = Response(text=f"{index} {seed}", n_tokens=20, finish_reason=FinishReason.STOP)
    grade = Grade(outcome=Outcome.CORRECT if seed % 2 else Outcome.WRONG, answer="4")
    return Sample(problem_id=problem_id, index=index, seed=seed, response=response, grade=grade)
