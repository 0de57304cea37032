"""The gate as Markdown, for pull requests, job summaries and notebooks."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_r1eval.core.verdicts import Verdict
from pytest_r1eval.judge import GateResult
from pytest_r1eval.reports.terminal import TABLE_HEAD, family_words, gate_row, gate_words, health_words

_SIGNS = {
    Verdict.PASS: "🟢",
    Verdict.FAIL_REGRESSED: "🔴",
    Verdict.SUSPICIOUS_IMPROVED: "🟡",
    Verdict.INCONCLUSIVE: "🟡",
    Verdict.INVALID: "⛔",
}


def markdown(results: Sequence[GateResult], *, title: str) -> str:
    """
    Write verdicts as Markdown: a table, then the words behind each.

    Args:
        results: The verdicts.
        title: What was judged.
    """
    lines = [f"### {_cell(title)}", "", f"| {' | '.join(TABLE_HEAD)} |", f"|{' --- |' * len(TABLE_HEAD)}"]
    for result in results:
        *cells, verdict = map(_cell, gate_row(result))
        lines.append(f"| {' | '.join(cells)} | {_SIGNS[result.judgement.verdict]} {verdict} |")
    lines += ["", *family_words(results)]
    for result in results:
        lines += ["", f"<details><summary>{_cell(gate_words(result)[0])}</summary>", "", "```"]
        lines += [line.replace("```", "'''") for line in (*gate_words(result)[1:], *health_words(result))]
        lines += ["```", "", "</details>"]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Keep text from being read as markup."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
