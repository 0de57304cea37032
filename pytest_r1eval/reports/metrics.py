"""A run's numbers as OpenMetrics text: what GitLab's metrics reports, Prometheus and its textfile collector read."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_r1eval.core.texts import printable
from pytest_r1eval.judging.release import ReleaseVerdict
from pytest_r1eval.reports.properties import numbers_of
from pytest_r1eval.reports.run_report import USUAL, Embedding, RunReport


def report_metrics(report: RunReport, *, embedding: Embedding = USUAL) -> str:  # noqa: ARG001 - the table's
    """Write each gate's numbers, whether it passes, and whether the release ships; what is not known is left out."""
    by_name: dict[str, list[str]] = {}
    for gate in report.gates:
        labels = _labels({"benchmark": gate.result.benchmark, "model": report.header.model_name})
        for name, value in {"passes": float(gate.result.passes), **numbers_of(gate.result)}.items():
            by_name.setdefault(f"r1eval_{name}", []).append(f"r1eval_{name}{labels} {float(value)!r}")
    if report.release is not None:
        verdict = report.release.verdict
        labels = _labels({"model": report.header.model_name, "policy": report.release.policy, "verdict": str(verdict)})
        by_name["r1eval_release_ships"] = [f"r1eval_release_ships{labels} {float(verdict is ReleaseVerdict.SHIP)!r}"]
    lines = [line for name, values in by_name.items() for line in (f"# TYPE {name} gauge", *values)]
    return "\n".join([*lines, "# EOF"]) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items()) + "}"


def _escaped(text: str) -> str:
    return printable(text).replace("\\", "\\\\").replace('"', '\\"')
