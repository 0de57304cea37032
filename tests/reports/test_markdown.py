"""The gate as Markdown: a table that stays a table, whatever stands in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pytest_r1eval.judging.result import GateResult
from pytest_r1eval.reports.files import report_markdown
from pytest_r1eval.reports.markdown import markdown
from pytest_r1eval.reports.run_report import read_report
from pytest_r1eval.stats.verdicts import Verdict

Runs = Mapping[str, Path]


def result_of(run: Path) -> GateResult:
    """Return the run's only verdict."""
    (gate,) = read_report(run).gates
    return gate.result


def test_a_row_for_each_gate_and_the_words_behind_it(examples: Runs) -> None:
    """The Markdown has a row with a sign for each gate, and folds the words behind it away."""
    results = [result_of(examples[name]) for name in ("green", "red", "holes", "stopped")]
    lines = markdown(results, title="org/model: may it ship?").splitlines()
    assert lines[:4] == [
        "### org/model: may it ship?",
        "",
        "| benchmark | pass@1 | baseline | difference | z | MDE80 | verdict |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    verdicts = [line.rpartition(" | ")[2] for line in lines[4:8]]
    assert verdicts == [
        "🟢 PASS |",
        "🔴 FAIL_REGRESSED, health FAIL |",
        "⛔ INVALID |",
        "🔴 FAIL_REGRESSED (at stop) |",
    ]
    assert lines[6] == "| smoke | - | - | - | - | - | ⛔ INVALID |"
    assert {line.count(" | ") for line in lines[4:8]} == {6}
    assert lines[9].startswith("An unchanged model turns one of these 3 gates red with probability 0.0121 at most")
    assert len([line for line in lines if line.startswith("<details><summary>smoke: ")]) == 4
    assert lines.count("</details>") == 4
    assert lines.count("```") == 8


def test_what_others_wrote_is_no_markup(examples: Runs) -> None:
    """Bars, tags, backticks and line breaks that others wrote are escaped in Markdown."""
    base = result_of(examples["green"])
    strange = "a|b <img src=x>\n```\n| c |"
    judgement = replace(base.judgement, reason=strange)
    result = replace(base, benchmark=strange, baseline=strange, judgement=judgement)
    text = markdown([result], title=strange)
    lines = text.splitlines()
    assert lines[0] == "### a\\|b &lt;img src=x> ``` \\| c \\|"
    assert lines[4].startswith("| a\\|b &lt;img src=x>\\n```\\n\\| c \\| | ")
    (summary,) = [line for line in lines if line.startswith("<details>")]
    assert summary.endswith("</summary>")
    assert summary.count("<") == 3
    assert lines.count("```") == 2


def test_red_is_what_stops_the_checkpoint(examples: Runs) -> None:
    """A gate that stops the checkpoint has a red sign, whether it is unhealthy or INCONCLUSIVE."""
    base, unhealthy = result_of(examples["green"]), result_of(examples["red"]).health

    def sign(result: GateResult) -> str:
        return markdown([result], title="m").splitlines()[4].rpartition(" | ")[2].split()[0]

    assert sign(base) == "🟢"
    assert sign(replace(base, health=unhealthy)) == "🔴"
    inconclusive = replace(base.judgement, verdict=Verdict.INCONCLUSIVE)
    assert sign(replace(base, judgement=replace(inconclusive, passes=False))) == "🔴"
    assert sign(replace(base, judgement=replace(inconclusive, passes=True))) == "🟡"


def test_what_has_no_verdict_has_a_row(examples: Runs) -> None:
    """A run that was judged in part is not green."""
    report = replace(read_report(examples["green"]), unjudged=("gpqa",))
    assert "| gpqa | - | - | - | - | - | ⛔ not judged yet |" in report_markdown(report).splitlines()
