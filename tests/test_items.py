"""Gates as pytest's reports: what a person reads once, and what stands in one line."""

from __future__ import annotations

import pytest

EMITTING = """
import pytest
from pytest_r1eval.core.benchmarks import BUILT_IN
from pytest_r1eval.items import Ending, gate_reports

@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session):
    result = yield
    for gate, ending in (("pass@1", Ending.FAILED), ("health", Ending.ERROR)):
        words = f"aime24: {gate} is red.\\n  baseline: ours\\n  next: look"
        for report in gate_reports(BUILT_IN[0], gate, ending, words=words):
            session.config.hook.pytest_runtest_logreport(report=report)
    return result
"""


def test_a_red_gate_is_one_line_of_the_summary(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """In CI too, where pytest shortens nothing, as under `-vv`; above it stands every word, once."""
    monkeypatch.setenv("CI", "true")
    pytester.makeconftest(EMITTING)
    pytester.makepyfile("def test_mine(): pass")
    result = pytester.runpytest_subprocess()
    assert result.ret == 1
    text = result.stdout.str()
    summary = text.partition("short test summary info")[2].splitlines()[1:-1]
    assert summary == [
        "FAILED r1eval::aime24::pass@1 - aime24: pass@1 is red.",
        "ERROR r1eval::aime24::health - aime24: health is red.",
    ]
    assert text.count("  baseline: ours") == text.count("  next: look") == 2


def test_a_report_of_one_line_each(pytester: pytest.Pytester) -> None:
    """`--tb=line` shows the first line, and reports travel as JSON with every word."""
    pytester.makeconftest(
        EMITTING
        + """
def pytest_runtest_logreport(report):
    if report.failed:
        print("sent:", report._to_json()["longrepr"].splitlines()[-1])
"""
    )
    pytester.makepyfile("def test_mine(): pass")
    result = pytester.runpytest_subprocess("--tb=line")
    result.stdout.fnmatch_lines(["*sent:   next: look", "aime24: pass@1 is red."])
