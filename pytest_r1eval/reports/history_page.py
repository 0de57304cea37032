"""The page of a training: pass@1 of its checkpoints, over its steps."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_r1eval.reports.page import document, figure, html_text, scrolling


@dataclass(frozen=True, slots=True, kw_only=True)
class HistorySection:
    """One benchmark of a training: its name, its picture, and its table, whose first row is the header."""

    benchmark: str
    picture: str
    table: Sequence[Sequence[str]]


def history_page(folder: Path, sections: Iterable[HistorySection], *, notes: Sequence[str] = ()) -> str:
    """
    Write the page of several checkpoints of one training.

    Args:
        folder: Where the runs are.
        sections: One for each benchmark.
        notes: What else a reader should know.
    """
    body = [f'<header><p class="soft">{html_text(folder.resolve().name)}</p><h1>pass@1 over training steps</h1>']
    body += [*(f'<p class="soft">{html_text(note)}</p>' for note in notes), "</header><main>"]
    for section in sections:
        head, *rows = section.table
        heads = "".join(f'<th scope="col">{html_text(cell)}</th>' for cell in head)
        lines = "".join(f"<tr><td>{'<td>'.join(map(html_text, row))}" for row in rows)
        table = f"<caption>In points</caption><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody>"
        body.append(
            f"<section><h2>{html_text(section.benchmark)}</h2>{figure(section.picture, _HISTORY)}"
            f"{scrolling(table, label=f'Steps of {section.benchmark}')}</section>"
        )
    return document("pass@1 over training steps", [*body, "</main>"])


_HISTORY = (
    "Across: training steps. "
    "Bars: the standard error on these problems. Dashed: baselines. Red: a gate that was not green."
)
