"""What is read from a judged run's folder: the stored verdicts, and what a report shows beside them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from pytest_r1eval.core.records import ProblemCounts
from pytest_r1eval.errors import RunError, StoreError
from pytest_r1eval.reports.files import report_json, report_text
from pytest_r1eval.reports.run_report import outcomes_of, read_report, samples_at
from pytest_r1eval.runs.store import Store
from pytest_r1eval.runs.work_queue import WorkQueue
from pytest_r1eval.stats.verdicts import Verdict
from tests.judged_runs import judged, judged_against
from tests.recordings import HARNESS, record_run

Runs = Mapping[str, Path]


def test_a_green_run(examples: Runs) -> None:
    """The report of a green run has its problems beside the baseline's, and each response's length."""
    report = read_report(examples["green"])
    gate = report["smoke"]
    assert (report.passes, report.exit_code, report.harnesses) == (True, 0, (HARNESS,))
    assert (gate.verdict, gate.dataset, gate.looks) == (Verdict.PASS, "made up", ())
    assert [problem.id for problem in gate.problems] == [f"p{number:03d}" for number in range(20)]
    assert {problem.n_samples for problem in gate.problems} == {16}
    baseline = read_report(examples["base"])["smoke"].problems
    assert [problem.baseline for problem in gate.problems] == [
        ProblemCounts(problem_id=problem.id, n_correct=problem.n_correct, n_samples=16) for problem in baseline
    ]
    assert gate.lengths.stopped == (20,) * 320
    assert gate.lengths.truncated == ()


def test_a_red_run(examples: Runs) -> None:
    """The report of a red run has exit code 1 and marks the problems that fell."""
    report = read_report(examples["red"])
    gate = report["smoke"]
    assert (report.passes, report.exit_code, gate.verdict) == (False, 1, Verdict.FAIL_REGRESSED)
    fallen = {problem.id for problem in gate.problems if problem.has_fallen}
    assert gate.result.fallen is not None
    assert fallen == {row.candidate.problem_id for row in gate.result.fallen.problems}
    assert len(fallen) > 10


def test_an_invalid_run(examples: Runs) -> None:
    """The report of an INVALID run has neither score nor health, and still shows its samples."""
    report = read_report(examples["holes"])
    result = report["smoke"].result
    assert (report.passes, report["smoke"].verdict) == (False, Verdict.INVALID)
    assert (result.judgement.estimate, result.health, result.n_samples) == (None, None, 319)
    assert [problem.n_samples for problem in report["smoke"].problems][2:5] == [16, 15, 16]


def test_a_run_that_stopped_early(examples: Runs) -> None:
    """The report of a run that stopped early holds the samples up to its last look, and no later ones."""
    gate = read_report(examples["stopped"])["smoke"]
    last = gate.looks[-1]
    assert gate.result.is_at_stop
    assert last.verdict == gate.verdict.value == "fail_regressed"
    assert [look.number for look in gate.looks] == list(range(1, last.number + 1))
    k = last.samples_per_problem
    assert k < 16
    assert k == gate.result.samples_per_problem
    assert {problem.n_samples for problem in gate.problems} == {k}
    assert len(gate.lengths.stopped) == 20 * k
    assert {index for _, index, _ in outcomes_of(examples["stopped"], "smoke", k=k)} == set(range(k))


def test_samples_are_read_where_they_are_asked_for(examples: Runs) -> None:
    """Samples come in the order asked for, without those that were never drawn."""
    places = [("p003", 2), ("p001", 0), ("p001", 99)]
    found = [(sample.problem_id, sample.index) for sample in samples_at(examples["green"], "smoke", places)]
    assert found == places[:2]


def test_several_gates(tmp_path: Path) -> None:
    """A report lists several gates in the run's order, finds each by name, and states their family-wise error."""
    run = record_run(tmp_path / "run", benchmarks=("smoke", "aime24"))
    judged(run)
    report = read_report(run)
    assert [gate.result.benchmark for gate in report.gates] == ["smoke", "aime24"]
    assert report["aime24"] is report.gates[1]
    with pytest.raises(KeyError, match="was judged on smoke, aime24"):
        report["gpqa"]
    assert report.family_wise_error is None  # nothing was compared yet
    other = record_run(tmp_path / "other", benchmarks=("smoke", "aime24"), seed=2)
    judged_against(other, tmp_path / "root")
    assert read_report(other).family_wise_error == pytest.approx(0.0081, abs=1e-4)  # health included


def test_no_verdict_yet(tmp_path: Path) -> None:
    """A run that goes on has no report, and the reader is told how to get one."""
    run = record_run(tmp_path / "run")
    with pytest.raises(RunError, match=r"was not judged yet; judge it with pytest --r1-judge-only"):
        read_report(run)


def test_no_run(tmp_path: Path, examples: Runs) -> None:
    """A folder without a run is refused, and a copied run has the same gates."""
    with pytest.raises(StoreError, match="no run at"):
        read_report(tmp_path / "nowhere")
    shutil.copytree(examples["green"], tmp_path / "copy")
    assert read_report(tmp_path / "copy").gates == read_report(examples["green"]).gates


def test_a_run_that_was_judged_in_part_does_not_pass(tmp_path: Path) -> None:
    """A run with a benchmark that was not judged does not pass."""
    run = record_run(tmp_path / "run")
    judged(run)
    judged(run)
    assert read_report(run).passes
    with closing(Store.open(run)) as store:
        WorkQueue(store).select(("aime24",))
    report = read_report(run)
    assert (report.unjudged, report.passes, report.exit_code) == (("aime24",), False, 1)
    assert "aime24: not judged yet" in report_text(report)
    assert json.loads(report_json(report))["unjudged"] == ["aime24"]
