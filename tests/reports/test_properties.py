"""A verdict in JUnit's XML, as a CI server reads it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_r1eval.reports.properties import properties_of
from pytest_r1eval.reports.run_report import read_report
from tests.judged_runs import judged


def test_a_real_file(pytester: pytest.Pytester, recorded: Callable[..., Path]) -> None:
    """The gate's test case in JUnit holds every number of the stored verdict, and its failure is one line."""
    options = ("-m", "smoke", "--r1-engine", "replay", "-p", "no:cacheprovider", "-p", "no:randomly")
    judged(recorded("base", seed=1), root=pytester.path)
    recorded("worse", seed=2, weights="w2", solve_rate=0.05)
    result = pytester.runpytest_subprocess("--r1-model", "worse", "--junitxml=gate.xml", *options)
    assert result.ret == 1
    run = max((pytester.path / "data/evals/local/toy").iterdir())
    suite = ET.parse(pytester.path / "gate.xml").getroot()[0]  # noqa: S314 - our own file
    cases = {case.get("name"): case for case in suite}
    found = {str(each.get("name")): each.get("value") for each in cases["pass@1"].iter("property")}
    (gate,) = read_report(run).gates
    judgement = gate.result.judgement
    assert judgement.estimate is not None
    assert found == {
        "r1eval.pass_at_1": f"{judgement.estimate.mean:.6g}",
        "r1eval.standard_error": f"{judgement.estimate.standard_error:.6g}",
        "r1eval.exam_standard_error": f"{judgement.estimate.exam_standard_error:.6g}",
        "r1eval.baseline_pass_at_1": f"{judgement.baseline_mean:.6g}",
        "r1eval.difference": f"{judgement.difference:.6g}",
        "r1eval.z": f"{judgement.z:.6g}",
        "r1eval.p_value": f"{judgement.p_value:.6g}",
        "r1eval.mde_80": f"{judgement.mde_80:.6g}",
        "r1eval.verdict": "FAIL_REGRESSED",
        "r1eval.baseline": gate.result.baseline,
        "r1eval.run": str(run),
        "r1eval.samples_per_problem": "8",
        "r1eval.samples": "96",
        "r1eval.tokens": str(gate.result.n_tokens),
    }
    (failure,) = cases["pass@1"].iter("failure")
    assert failure.get("message") == f"smoke: FAIL_REGRESSED. {judgement.reason}"
    assert "  next: Do not ship" in str(failure.text)
    assert not list(cases["health"].iter("property"))


def test_what_is_not_known_is_no_property(examples: dict[str, Path]) -> None:
    """An INVALID run has a verdict and a count, and no number that a reader could take for a score."""
    (gate,) = read_report(examples["holes"]).gates
    assert dict(properties_of(gate.result, run="here")) == {
        "r1eval.verdict": "INVALID",
        "r1eval.run": "here",
        "r1eval.samples_per_problem": "16",
        "r1eval.samples": "319",
        "r1eval.tokens": str(gate.result.n_tokens),
    }
