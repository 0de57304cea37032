"""A run's numbers as OpenMetrics, read by a reader that is not ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

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
