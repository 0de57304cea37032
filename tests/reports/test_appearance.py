"""One row for each verdict, which every report reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.judging.result import GateResult
from pytest_r1eval.reports import page as page_module
from pytest_r1eval.reports.appearance import APPEARANCES, RED_SIGN, JUnit, appearance_of, colour_of, sign_of, style_of
from pytest_r1eval.reports.github import workflow_commands
from pytest_r1eval.reports.markdown import markdown
from pytest_r1eval.reports.page import page
from pytest_r1eval.reports.properties import properties_of
from pytest_r1eval.reports.run_report import RunReport, read_report
from pytest_r1eval.reports.terminal import gate_lines, gate_row
from pytest_r1eval.stats.verdicts import Verdict

STYLE_SHEET = (Path(page_module.__file__).parent / "page.css").read_text("utf-8")


@pytest.fixture(scope="module")
def report(examples: Mapping[str, Path]) -> RunReport:
    """A judged run, whose verdict each test replaces."""
    return read_report(examples["green"])


def judged(report: RunReport, verdict: Verdict, *, passes: bool) -> GateResult:
    """Return the run's gate with another verdict."""
    result = report.gates[0].result
    return replace(result, judgement=replace(result.judgement, verdict=verdict, passes=passes))


def test_every_verdict_has_a_row_and_no_row_is_left_over() -> None:
    """Each verdict has a row in the table of appearances, and each row a verdict."""
    assert {*APPEARANCES} == {*Verdict}


def test_severity_is_the_order_of_the_verdicts(report: RunReport) -> None:
    """Of two verdicts on one run the worse counts, and a red one is worse than any green one."""
    order = [judged(report, verdict, passes=False).judgement.severity for verdict in Verdict]
    assert order == sorted(order)
    assert judged(report, Verdict.SUSPICIOUS_IMPROVED, passes=True).judgement.severity < order[0]


@pytest.mark.parametrize("verdict", list(Verdict))
class TestRow:
    """What reports make of each row."""

    def test_its_style_is_in_the_style_sheet(self, verdict: Verdict) -> None:
        """The style sheet has a class for each verdict's style."""
        assert re.search(rf"\.{appearance_of(verdict).style}\b", STYLE_SHEET)

    def test_every_report_shows_its_word(self, report: RunReport, verdict: Verdict) -> None:
        """Terminal, Markdown, page and JUnit show each verdict by the same word."""
        result = judged(report, verdict, passes=False)
        shown = page(replace(report, gates=(replace(report.gates[0], result=result),)))
        word = appearance_of(verdict).word
        assert gate_row(result)[-1] == word
        assert gate_lines(result)[0].startswith(f"smoke: {word}. ")
        assert f"{sign_of(result)} {word} |" in markdown([result], title="m")
        assert f'<span class="verdict {style_of(result)}">{word}</span>' in shown
        assert dict(properties_of(result, run="r"))["r1eval.verdict"] == word
        assert (appearance_of(verdict).finding or "") in shown

    def test_a_red_gate_is_red_everywhere(self, report: RunReport, verdict: Verdict) -> None:
        """A verdict that stops a checkpoint is an error on GitHub and red in the terminal; INVALID has its own sign."""
        result = judged(report, verdict, passes=False)
        (command,) = workflow_commands([result])
        assert command.startswith(f"::error title=smoke%3A {appearance_of(verdict).word}::")
        assert colour_of(result) == {"red": True}
        assert (sign_of(result) == RED_SIGN) == (appearance_of(verdict).junit is JUnit.FAILURE)
