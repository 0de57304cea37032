"""
All runs below a folder as one page: which checkpoint, which verdict, and pass@1 over time.

The page is read from the runs' stores and written again after every run, so a row never outlives its run. A run that
cannot be read is named at the end of the page and hides none of the others.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import quote

from pytest_r1eval.core.texts import counted
from pytest_r1eval.errors import RunError
from pytest_r1eval.judging.release import RELEASE, Release, may_ship
from pytest_r1eval.judging.result import GateResult, stored_results
from pytest_r1eval.reports import charts
from pytest_r1eval.reports.appearance import style_of
from pytest_r1eval.reports.files import PAGE_NAME, write_text
from pytest_r1eval.reports.page import begun, document, figure, html_text, number_class, scrolling
from pytest_r1eval.reports.terminal import TABLE_HEAD, gate_row
from pytest_r1eval.runs.reading import RunReader, runs_below

INDEX_NAME = "index.html"
"""The page beside the runs, in their output folder."""
_PICTURE = (
    "Across: the runs by their number. "
    "Bars: the standard error on these problems. Dashed: baselines. Red: a gate that was not green."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedRun:
    """
    One run of the folder.

    Attributes:
        number: Its place in time, from 1 for the oldest.
        folder: Where it is, relative to the indexed folder.
        model: ``org/name``.
        step: Its training step, from its lineage or its name; None where neither tells it.
        created: When it began, ISO date and time.
        gates: Its stored verdicts; empty where it has none yet.
        unjudged: Its benchmarks that have no verdict yet.
        has_page: Whether its report is there.
        release: Its stored verdict under a release policy; None without one.
    """

    number: int = 0
    folder: Path
    model: str
    step: int | None
    created: str
    gates: tuple[GateResult, ...]
    unjudged: tuple[str, ...]
    has_page: bool
    release: Release | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunIndex:
    """
    The runs below a folder.

    Attributes:
        folder: The folder.
        runs: Oldest first.
        unreadable: Why each run that cannot be read was left out.
    """

    folder: Path
    runs: tuple[IndexedRun, ...]
    unreadable: tuple[str, ...] = ()


def read_index(folder: Path) -> RunIndex:
    """
    Read every run below a folder.

    Raises:
        RunError: If there is no run that can be read.
    """
    read = runs_below(folder, partial(_indexed, folder))
    if not read.found:
        lost = read.unreadable
        found = f"{counted(len(lost), 'run')}, none of which can be read: {lost[0]}" if lost else "no run"
        raise RunError(f"{folder} holds {found}; expected the output folder of runs (--r1-output-dir)")
    numbered = (replace(run, number=number) for number, run in enumerate(read.found, 1))
    return RunIndex(folder=folder, runs=tuple(numbered), unreadable=read.unreadable)


def _indexed(folder: Path, run: Path) -> IndexedRun:
    with closing(RunReader.open(run)) as store:
        header, results, selected = store.header, stored_results(store), store.selected
        release = store.release(RELEASE)
    return IndexedRun(
        folder=run.relative_to(folder),
        model=header.model_name,
        step=header.step,
        created=header.created,
        gates=tuple(results.values()),
        unjudged=tuple(name for name in selected if name not in results),
        has_page=(run / PAGE_NAME).is_file(),
        release=release,
    )


def write_index(folder: Path) -> Path:
    """
    Write the page of all runs below a folder into it.

    Raises:
        RunError: If there is no run that can be read.
        ReportError: If the page cannot be written.
    """
    page = index_page(read_index(folder))
    return write_text(folder / INDEX_NAME, page, again=f"r1eval index {folder} writes it again")


def index_page(index: RunIndex) -> str:
    """Write the page of all runs: the newest first, then pass@1 over time for each benchmark."""
    title = f"Runs in {index.folder.resolve().name}"
    body = [f'<header><h1>{html_text(title)}</h1><p class="soft">{html_text(_count(index.runs))}</p></header><main>']
    body.append(_table(index.runs))
    benchmarks = {gate.benchmark for run in index.runs for gate in run.gates}
    body += [_over_time(name, index.runs) for name in sorted(benchmarks)]
    if index.unreadable:
        items = "".join(f"<li>{html_text(reason)}</li>" for reason in index.unreadable)
        body.append(f"<section><h2>Left out</h2><ul>{items}</ul></section>")
    return document(title, [*body, "</main>"], is_wide=True)


def _count(runs: Sequence[IndexedRun]) -> str:
    judged = [run for run in runs if run.gates and not run.unjudged]
    n_green = sum(may_ship(run.gates, run.release) for run in judged)
    n_open = len(runs) - len(judged)
    n_runs = counted(len(runs), "run")
    return f"{n_runs}: {n_green} green, {len(judged) - n_green} not green, {n_open} without all verdicts"


_SHOWN = ("verdict", "benchmark", "pass@1", "baseline", "difference")
"""The verdict comes first, where a narrow screen shows it."""
_HEAD = ("checkpoint", *_SHOWN, "attempt", "step", "run", "begun")


def _table(runs: Sequence[IndexedRun]) -> str:
    head = "".join(f'<th scope="col"{number_class(name)}>{name}</th>' for name in _HEAD)
    rows = "".join(row for run in reversed(runs) for row in _rows(run))
    table = f"<caption>Newest first, in points</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody>"
    return scrolling(table, label="Runs", attributes=' class="runs"')


def _rows(run: IndexedRun) -> Iterator[str]:
    for gate in run.gates:
        cells = dict(zip(TABLE_HEAD, map(html_text, gate_row(gate)), strict=True))
        cells["verdict"] = f'<span class="verdict {style_of(gate)}">{cells["verdict"]}</span>'
        attempt = "-" if gate.attempts is None else str(gate.attempts.number)
        yield _row(run, [*(cells[name] for name in _SHOWN), attempt])
    for name in run.unjudged:
        yield _row(run, ["none yet", html_text(name), "-", "-", "-", "-"])


def _row(run: IndexedRun, cells: Sequence[str]) -> str:
    model = html_text(run.model)
    if run.has_page:
        model = f'<a href="{quote((run.folder / PAGE_NAME).as_posix())}">{model}</a>'
    step = "-" if run.step is None else str(run.step)
    values = (model, *cells, step, str(run.number), html_text(begun(run.created)))
    shown = (f"<td{number_class(name)}>{value}</td>" for name, value in zip(_HEAD, values, strict=True))
    return f"<tr>{''.join(shown)}</tr>"


def _over_time(name: str, runs: Sequence[IndexedRun]) -> str:
    """Draw one benchmark over the runs that have a score; runs that stopped early have none."""
    scored = [
        (run, gate, gate.judgement.estimate)
        for run in runs
        for gate in run.gates
        if gate.benchmark == name and gate.judgement.estimate is not None and not gate.is_at_stop
    ]
    if not scored:
        return ""
    points = [
        (
            run.number,
            charts.Estimated(
                label=run.model, mean=estimate.mean, standard_error=estimate.standard_error, is_red=not gate.passes
            ),
        )
        for run, gate, estimate in scored
    ]
    baselines = charts.baselines_of(gate.judgement.baseline_mean for _, gate, _ in scored)
    picture = charts.history(points, baselines, unit="run")
    return f"<section><h2>{html_text(name)}</h2>{figure(picture, _PICTURE)}</section>"
