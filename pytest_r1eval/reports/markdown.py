"""The gate as Markdown, for pull requests, job summaries and notebooks."""

from collections.abc import Sequence

from pytest_r1eval.core.texts import printable
from pytest_r1eval.judging.release import Release
from pytest_r1eval.judging.result import GateResult
from pytest_r1eval.reports.appearance import appearance_of, sign_of
from pytest_r1eval.reports.release import release_lines, release_sign
from pytest_r1eval.reports.terminal import TABLE_HEAD, family_lines, gate_lines, gate_row, health_lines
from pytest_r1eval.stats.verdicts import Verdict


def markdown(
    results: Sequence[GateResult], *, title: str, unjudged: Sequence[str] = (), release: Release | None = None
) -> str:
    """
    Write verdicts as Markdown: a table, then the lines behind each.

    Args:
        results: The verdicts.
        title: What was judged.
        unjudged: Benchmarks of the run that have no verdict yet.
        release: The verdict under a policy; None without one.
    """
    answer = [] if release is None else [*_release(release), ""]
    lines = [f"### {_cell(title)}", "", *answer, f"| {' | '.join(TABLE_HEAD)} |", f"|{' --- |' * len(TABLE_HEAD)}"]
    for result in results:
        *cells, verdict = map(_cell, gate_row(result))
        lines.append(f"| {' | '.join(cells)} | {sign_of(result)} {verdict} |")
    lines += [
        f"| {_cell(name)} |{' - |' * (len(TABLE_HEAD) - 2)} {appearance_of(Verdict.INVALID).sign} not judged yet |"
        for name in unjudged
    ]
    lines += ["", *family_lines(results)]
    for result in results:
        lines += ["", f"<details><summary>{_cell(gate_lines(result)[0])}</summary>", "", "```"]
        lines += [line.replace("```", "'''") for line in (*gate_lines(result)[1:], *health_lines(result))]
        lines += ["```", "", "</details>"]
    return "\n".join(lines) + "\n"


def _release(release: Release) -> list[str]:
    """Write the answer, and a list of what each benchmark of the policy means for it."""
    first, *members = release_lines(release)
    return [f"**{release_sign(release)} {_cell(first)}**", "", *(f"- {_cell(line.strip())}" for line in members)]


def _cell(text: str) -> str:
    """Escape text, so that it is not read as markup."""
    return printable(text.replace("\n", " ")).replace("|", "\\|").replace("<", "&lt;")
