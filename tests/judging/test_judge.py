"""A run by looks beside earlier attempts at its question, whose samples no look counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from pytest_r1eval.baselines.shelf import BaselineShelf
from pytest_r1eval.baselines.terms import Terms
from pytest_r1eval.core.measurements import Measurement
from pytest_r1eval.core.records import Counts
from pytest_r1eval.judging.judge import Judge
from pytest_r1eval.judging.result import GateResult
from pytest_r1eval.reports.run_report import read_report
from pytest_r1eval.reports.terminal import gate_lines
from pytest_r1eval.runs.finished import StoredRun
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import Store
from pytest_r1eval.stats.health import TRUNCATION
from pytest_r1eval.stats.pass_at_k import maj_at_k, pass_at_k
from pytest_r1eval.stats.verdicts import GateRule, Verdict
from tests.judged_runs import judged, sequential_gate
from tests.recordings import record_run
from tests.toys import toy

N_PROBLEMS, N_SAMPLES = 20, 16


def record(folder: Path, *, k: int = N_SAMPLES, **details: object) -> Path:
    """Record a run of which only the first k samples of each problem are there."""
    skip = frozenset((f"p{number:03}", index) for number in range(N_PROBLEMS) for index in range(k, N_SAMPLES))
    return record_run(folder, n_problems=N_PROBLEMS, n_samples=N_SAMPLES, skip=skip, **details)  # type: ignore[arg-type]


def judge(run: Path, root: Path, *, earlier: Sequence[Measurement]) -> GateResult:
    """Judge a run against the model's own baseline below a folder."""
    with closing(Store.open(run)) as store:
        shelf = BaselineShelf(root=root, choice=None, model_name=store.header.model_name)
        (result,) = Judge(
            store=store, terms={"smoke": Terms(shelf=shelf, rule=GateRule())}, earlier={"smoke": tuple(earlier)}
        ).judge([toy("smoke")])
    return result


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that holds a baseline."""
    judged(record(tmp_path / "base", seed=1), root=tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def earlier(tmp_path: Path) -> Measurement:
    """An attempt at the same question, by a lower model than the baseline's."""
    return StoredRun(folder=record(tmp_path / "earlier", seed=2, weights="w3", solve_rate=0.1)).measured("smoke")


def test_a_stop_beside_earlier_samples_is_no_verdict(tmp_path: Path, root: Path, earlier: Measurement) -> None:
    """A run that stopped at a look is INVALID beside earlier samples, until the rest is drawn."""
    gate = sequential_gate(tmp_path / "base", n_samples=N_SAMPLES)
    run = record(tmp_path / "run", k=4, seed=3, weights="w3", solve_rate=0.1, gate=gate)
    alone, together = judge(run, root, earlier=()), judge(run, root, earlier=[earlier])
    assert (alone.judgement.verdict, alone.is_at_stop) == (Verdict.FAIL_REGRESSED, True)
    assert together.judgement.verdict is Verdict.INVALID
    assert "looks count no earlier samples" in together.judgement.reason
    assert f"--r1-resume {run} --r1-gate fixed" in together.judgement.next_step


def test_a_completed_run_by_looks_counts_with_earlier_samples(tmp_path: Path, root: Path, earlier: Measurement) -> None:
    """A sequential run with every planned sample is judged together with earlier samples, as a fixed run is."""
    gate = sequential_gate(tmp_path / "base", n_samples=N_SAMPLES)
    run = record(tmp_path / "run", seed=3, weights="w3", solve_rate=0.1, gate=gate)
    result = judge(run, root, earlier=[earlier])
    assert result.judgement.verdict is Verdict.FAIL_REGRESSED
    assert not result.is_at_stop
    assert result.judgement.estimate is not None
    assert result.judgement.estimate.samples_per_problem == 2 * N_SAMPLES


def test_health_needs_no_shelf_at_the_verdict(tmp_path: Path, root: Path) -> None:
    """A sequential verdict judges health against the stored baseline, whether or not the shelf still holds it."""
    gate = sequential_gate(tmp_path / "base", n_samples=N_SAMPLES)
    truncated = frozenset((f"p{number:03}", 3) for number in range(10))
    run = record(tmp_path / "run", seed=7, weights="w3", gate=gate, truncated=truncated)

    shelved, bare = judge(run, root, earlier=()), judge(run, tmp_path / "empty", earlier=())

    assert bare.judgement.verdict is shelved.judgement.verdict is Verdict.PASS
    assert shelved.health is not None
    assert shelved.health.truncation.rate.value == 0.125 < TRUNCATION.limit
    assert shelved.health.truncation.verdict is Verdict.FAIL_REGRESSED
    assert not bare.passes
    assert bare.health == shelved.health


class TestOtherScores:
    """pass@k and maj@k of the same samples, beside the verdict and no part of it."""

    def test_they_are_those_of_the_stored_samples(self, tmp_path: Path) -> None:
        """pass@k comes from the counts, maj@k from the stored answers; the terminal says that neither is gated."""
        run = record_run(tmp_path / "run", n_problems=6, n_samples=8, solve_rate=0.6)
        (result,) = judged(run)
        with closing(RunReader.open(run)) as reader:
            counts = Counts.graded(reader.tallies("smoke", k=8))
            votes = reader.votes("smoke", k=8)
        assert result.pass_at_k == (pass_at_k(counts, k=2), pass_at_k(counts, k=4))
        assert [vote.n_correct for vote in votes] == [problem.n_correct for problem in counts.problems]
        assert result.maj_at_k == maj_at_k(votes)
        (line,) = (line for line in gate_lines(result) if "not gated" in line)
        assert line.startswith(f"  not gated: pass@2 {100 * result.pass_at_k[0].mean:.1f} ± ")
        assert "maj@8" in line

    def test_a_stopped_run_has_none(self, examples: Mapping[str, Path]) -> None:
        """A run that stopped early has neither pass@k nor maj@k, which its looks bias."""
        stopped = read_report(examples["stopped"])["smoke"].result
        assert stopped.is_at_stop
        assert (stopped.pass_at_k, stopped.maj_at_k) == ((), None)
