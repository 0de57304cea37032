"""A run's numbers as OpenMetrics, read by a reader that is not ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.judging.release import Release, ReleaseVerdict
from pytest_r1eval.reports.metrics import report_metrics
from pytest_r1eval.reports.properties import numbers_of
from pytest_r1eval.reports.run_report import read_report
from tests.requirements import PROMETHEUS


@PROMETHEUS.mark
@pytest.mark.parametrize("name", ["green", "red", "holes"])
def test_prometheus_reads_every_number(examples: Mapping[str, Path], name: str) -> None:
    """Prometheus' strict reader finds each known number of each gate, and whether it passes."""
    from prometheus_client.openmetrics.parser import text_string_to_metric_families  # noqa: PLC0415 - may be absent

    report = read_report(examples[name])
    (gate,) = report.gates
    found = {}
    for family in text_string_to_metric_families(report_metrics(report)):
        (sample,) = family.samples
        assert sample.labels == {"benchmark": "smoke", "model": "local/toy"}
        found[family.name] = sample.value
    expected = {f"r1eval_{key}": float(value) for key, value in numbers_of(gate.result).items()}
    assert found == {"r1eval_passes": float(gate.result.passes), **expected}


def test_what_is_not_known_has_no_line(examples: Mapping[str, Path]) -> None:
    """An INVALID gate has no score among its metrics."""
    text = report_metrics(read_report(examples["holes"]))
    assert "pass_at_1" not in text
    assert 'r1eval_passes{benchmark="smoke",model="local/toy"} 0.0\n' in text


@pytest.mark.parametrize("answer", ReleaseVerdict)
def test_the_release_has_its_answer(examples: Mapping[str, Path], answer: ReleaseVerdict) -> None:
    """Under a policy whether the release ships is a number, and its verdict a label; without one there is neither."""
    report = read_report(examples["green"])
    assert "release" not in report_metrics(report)
    released = replace(report, release=Release(verdict=answer, policy="p" * 64, source="policy.toml", members=()))
    ships = 1.0 if answer is ReleaseVerdict.SHIP else 0.0
    line = f'r1eval_release_ships{{model="local/toy",policy="{"p" * 64}",verdict="{answer}"}} {ships}\n'
    assert f"# TYPE r1eval_release_ships gauge\n{line}" in report_metrics(released)
