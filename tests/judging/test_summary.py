"""A judged run in one value, and its form in the results file."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path

import pytest

from pytest_r1eval.judging.summary import BenchmarkSummary, RunSummary, benchmark_summary
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.stats.verdicts import Verdict
from tests.judged_runs import judged, judged_run
from tests.recordings import record_run


def test_the_results_file_holds_its_fields_in_their_order(tmp_path: Path) -> None:
    """A reader of the JSON finds every field by its name, with the verdict by its value."""
    stored = json.loads(judged_run(tmp_path / "run").results.read_text())["r1eval"]
    assert [*stored] == [field.name for field in fields(RunSummary)]
    assert [*stored["benchmarks"]["smoke"]] == [field.name for field in fields(BenchmarkSummary)]
    assert stored["benchmarks"]["smoke"]["verdict"] == "inconclusive"


def test_a_benchmark_without_a_score_is_summarised(tmp_path: Path) -> None:
    """INVALID and stopped runs keep their counts and lose their mean."""
    run = record_run(tmp_path / "run")
    (result,) = judged(run)
    with closing(RunReader.open(run)) as reader:
        whole = benchmark_summary(reader, result, task="sums")
        stopped = benchmark_summary(reader, replace(result, is_at_stop=True), task="sums")
        judgement = replace(result.judgement, verdict=Verdict.INVALID)
        broken = benchmark_summary(reader, replace(result, judgement=judgement), task="sums")
    assert result.judgement.estimate is not None
    assert whole.score is not None
    assert whole.score.mean == pytest.approx(result.judgement.estimate.mean)
    assert (stopped.score, broken.score) == (None, None)
    assert whole.task == "sums|0"
    assert whole.n_samples == stopped.n_samples == broken.n_samples == result.n_samples
