"""`r1eval baseline`: baselines recorded, looked at, checked and replaced, as files that are reviewed like code."""
# ruff: noqa: PLC0415 - see the package

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from pytest_r1eval.commands.arguments import (
    EXIT_FAILED,
    EXIT_PASSED,
    Benchmarks,
    Json,
    Run,
    answer,
    root_here,
    show,
)
from pytest_r1eval.core.texts import counted
from pytest_r1eval.errors import BaselineError

if TYPE_CHECKING:
    from pytest_r1eval.config.baseline_choice import BaselineChoice
    from pytest_r1eval.core.baselines import BaselineFile, MeasuredBaseline, PublishedBaseline

app = typer.Typer(name="baseline", help="Record, list, show, compare, check and replace baselines.")

Name: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="NAME", help="org/name, a file, or hf://datasets/ORG/REPO/PATH.json to look at"),
]
Parent: TypeAlias = Annotated[
    str | None, typer.Option(metavar="NAME", help="the checkpoint that this one was trained from")
]
Step: TypeAlias = Annotated[
    int | None, typer.Option(metavar="N", min=0, help="its training step (what the model's name ends in)")
]
Others: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--other",
        metavar="RUN",
        help="another run of the same checkpoint by another seed: how far its runs move is stored, and the gate allows "
        "for it; repeatable",
    ),
]
Commit: TypeAlias = Annotated[str | None, typer.Option(metavar="SHA", help="the commit of the training code")]


@app.command()
def record(  # noqa: PLR0913 - a command's options
    run: Run,
    name: Name,
    *,
    benchmark: Benchmarks = None,
    other: Others = None,
    reason: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="why a run whose responses are not healthy is recorded; kept in the file"),
    ] = None,
    parent: Parent = None,
    step: Step = None,
    commit: Commit = None,
    json: Json = False,
) -> int:
    """Record a stored run as a first baseline; one that is there is replaced by bless alone."""
    from pytest_r1eval.core.blessings import recorded

    chosen = _Chosen(
        run=run, benchmarks=benchmark or (), others=other or (), reason=reason, parent=parent, step=step, commit=commit
    )
    return _kept(name, chosen, recorded, done="recorded", json=json)


@app.command()
def bless(  # noqa: PLR0913 - a command's options
    run: Run,
    name: Name,
    *,
    benchmark: Benchmarks = None,
    other: Others = None,
    reason: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="why the number may become lower, or the responses may be unhealthy; kept in the file"
        ),
    ] = None,
    parent: Parent = None,
    step: Step = None,
    commit: Commit = None,
    json: Json = False,
) -> int:
    """Replace a baseline by a stored run: a higher number freely, a lower one by a new run and with a reason."""
    from pytest_r1eval.core.blessings import blessed

    chosen = _Chosen(
        run=run, benchmarks=benchmark or (), others=other or (), reason=reason, parent=parent, step=step, commit=commit
    )
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    return _kept(name, chosen, partial(blessed, when=now, reason=reason), done="blessed", json=json)


@app.command(name="list")
def list_(*, json: Json = False) -> int:
    """List the baselines that a run here would find."""
    from pytest_r1eval.baselines.shelf import BaselineShelf, read_file

    paths = BaselineShelf(root=root_here(), choice=None, model_name="").paths()
    rows = [row for path in paths for row in _rows(read_file(path), path)]
    lines = (
        f"{row['model']:<48} {row['benchmark']:<12} {row['kind']:<10} {100 * float(str(row['pass_at_1'])):5.1f}  "
        f"{row['source']}"
        for row in rows
    )
    answer({"baselines": rows}, lines, json=json)
    return EXIT_PASSED


@app.command(name="show")
def show_(name: Name, *, json: Json = False) -> int:
    """Show one model's baselines, with lineage and history."""
    from pytest_r1eval.core.baselines import BASELINE_FILE
    from pytest_r1eval.core.codec import to_json

    path, file = _file_of(name, must_exist=True)
    if json:
        show(to_json(BASELINE_FILE, file).rstrip())
        return EXIT_PASSED
    show(f"{file.model} ({path})")
    for entry in file.published:
        show(f"  {entry.benchmark}: {100 * entry.pass_at_1:.1f} published, {entry.source}")
    for measured in file.measured:
        show("\n".join(_measured_lines(measured)))
    return EXIT_PASSED


@app.command()
def diff(old: Name, new: Name, *, json: Json = False) -> int:
    """Print what changed between two baseline files: numbers, and the problems that moved."""
    from pytest_r1eval.baselines.diff import change_lines, changes

    found = changes(_file_of(old, must_exist=True)[1], _file_of(new, must_exist=True)[1])
    lines = [line for change in found for line in change_lines(change)]
    answer({"changes": found}, lines or ["no change"], json=json)
    return EXIT_PASSED


@app.command()
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME...", help="org/name or files (all in baselines/)"),
    ] = None,
    *,
    run: Annotated[
        Path | None, typer.Option(metavar="RUN", help="a stored run whose counts must be those of the file")
    ] = None,
    json: Json = False,
) -> int:
    """Check baseline files: format, form, and against a run if one is given; exit code 1 if one is wrong."""
    paths = [_place_of(name) for name in names] if names else sorted(_own_folder().glob("*/*.json"))
    if not paths:
        raise BaselineError("no baseline to verify; expected baselines/ORG/MODEL.json here, or a NAME")
    wrong = {str(path): mistake for path in paths if (mistake := _mistake(path, run)) is not None}
    if run is not None and not wrong and not any(_entries_of(run, path) for path in paths):
        raise BaselineError(
            f"none of {', '.join(map(str, paths))} holds the run {run.resolve().name}; expected the run that was "
            "recorded there, in a folder of its name"
        )
    lines = [*(f"{path}: {mistake}" for path, mistake in wrong.items()), f"{counted(len(paths), 'file')} checked"]
    answer({"checked": [str(path) for path in paths], "wrong": wrong}, lines, json=json)
    return EXIT_FAILED if wrong else EXIT_PASSED


def _own_folder() -> Path:
    """Return the folder of the user's baselines, as a run here has it."""
    folder, here = root_here() / "baselines", Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _place_of(name: str) -> Path:
    """Return where a baseline is, or would be, as a file here."""
    from pytest_r1eval.config.baseline_choice import File, OnHub

    match _choice_of(name):
        case OnHub():
            raise BaselineError(
                f"{name}: expected org/name or a file here; a file on the Hub can be shown, compared and judged against"
            )
        case File():
            return Path(name)
        case _:
            return _own_folder() / f"{name}.json"


def _choice_of(name: str) -> BaselineChoice:
    from pytest_r1eval.config.baseline_choice import baseline_choice

    try:
        return baseline_choice(name, Path.cwd())
    except ValueError as error:
        raise BaselineError(f"{name!r}; expected {error}") from error


def _file_of(name: str, *, must_exist: bool = False) -> tuple[Path, BaselineFile]:
    """Return a name's file and what it holds; nothing where it is not there yet, or the shipped one to look at."""
    from pytest_r1eval.baselines.from_hub import fetch
    from pytest_r1eval.baselines.shelf import BaselineShelf, read_file
    from pytest_r1eval.config.baseline_choice import OnHub
    from pytest_r1eval.core.baselines import BaselineFile

    if must_exist and isinstance(_choice_of(name), OnHub):
        return (fetched := fetch(name)), read_file(fetched, name=name)
    path = _place_of(name)
    if path.is_file():
        return path, read_file(path)
    if must_exist:
        shipped = [found for found in BaselineShelf(root=root_here(), choice=None, model_name="").paths()
                   if f"{found.parent.name}/{found.stem}" == name]  # fmt: skip
        if not shipped:
            raise BaselineError(f"{name}: no such baseline ({path} is not there); see r1eval baseline list")
        return shipped[0], read_file(shipped[0])
    model = name if not name.endswith(".json") else f"{path.parent.name or 'local'}/{path.stem}"
    try:
        return path, BaselineFile(model=model)
    except ValueError as error:
        raise BaselineError(f"{name}: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """What is to be recorded: a run, and what the command line tells of it."""

    run: Path
    benchmarks: Sequence[str]
    others: Sequence[Path]
    reason: str | None
    parent: str | None
    step: int | None
    commit: str | None


def _kept(
    name: str,
    chosen: _Chosen,
    add: Callable[[BaselineFile, MeasuredBaseline], BaselineFile],
    *,
    done: str,
    json: bool,
) -> int:
    """Write what was chosen of a run into a baseline's file."""
    from pytest_r1eval.baselines.shelf import write_file

    path, file = _file_of(name)
    entries = [_with_correlation(entry, chosen) for entry in _measured(chosen, file)]
    for entry in entries:
        file = add(file, entry)
    write_file(path, file)
    names = [entry.benchmark for entry in entries]
    written = [row for row in _rows(file, path) if row["kind"] == "measured" and row["benchmark"] in names]
    answer({"file": str(path), "baselines": written}, [f"{done} in {path}: review it and commit it"], json=json)
    return EXIT_PASSED


def _measured(chosen: _Chosen, file: BaselineFile) -> list[MeasuredBaseline]:
    """Read a run as baselines; one that is not whole, stopped early or is not healthy is refused with the reason."""
    from pytest_r1eval.core.lineage import lineage_from
    from pytest_r1eval.runs.finished import StoredRun, chosen_benchmarks

    reason, parent, step, commit = chosen.reason, chosen.parent, chosen.step, chosen.commit
    if reason is not None and not reason.strip():
        raise BaselineError(f"--reason is {reason!r}; expected some text: why the run is the baseline")
    stored = StoredRun(folder=chosen.run)
    try:
        said = lineage_from(stored.model_name, parent=parent, step=step, commit=commit)
    except ValueError as error:
        raise BaselineError(f"--{error}") from error
    names = chosen_benchmarks(stored, asked=chosen.benchmarks)
    entries = [stored.as_baseline(name, replaced=file.measured_for(name), reason=reason) for name in names]
    if (parent, step, commit) == (None, None, None):  # what the run itself says, else what the name does
        return [replace(entry, lineage=entry.lineage or said) for entry in entries]
    return [replace(entry, lineage=said) for entry in entries]


def _with_correlation(entry: MeasuredBaseline, chosen: _Chosen) -> MeasuredBaseline:
    """Add how far runs of the checkpoint move beyond sampling, where there is more than one."""
    from pytest_r1eval.judging.aggregate import aggregate, read_runs
    from pytest_r1eval.runs.finished import StoredRun

    if not chosen.others:
        return entry
    runs = [StoredRun(folder=folder) for folder in (chosen.run, *chosen.others)]
    found = aggregate(read_runs(runs, entry.benchmark))
    if len(found.groups) > 1:
        raise BaselineError(
            f"--other: the runs differ in {', '.join(found.differing)}; expected runs of one checkpoint under one "
            "harness, which differ in their seeds alone"
        )
    moved = found.groups[0].over_dispersion
    return replace(entry, correlation=0.0 if moved is None else min(1.0, moved.correlation))


def _rows(file: BaselineFile, path: Path) -> list[dict[str, object]]:
    entries: list[tuple[str, PublishedBaseline | MeasuredBaseline, str]] = [
        *(("published", entry, entry.source) for entry in file.published),
        *(("measured", entry, f"run {entry.run}, {entry.counts.n_samples} samples") for entry in file.measured),
    ]
    return [
        {"model": file.model, "benchmark": entry.benchmark, "kind": kind, "pass_at_1": entry.pass_at_1,
         "source": source, "file": str(path)}
        for kind, entry, source in entries
    ]  # fmt: skip


def _measured_lines(measured: MeasuredBaseline) -> list[str]:
    counts, lineage = measured.counts, measured.lineage
    evidence = f"{counts.n_samples} samples of {counts.n_problems} problems, run {measured.run}, seed {measured.seed}"
    lines = [f"  {measured.benchmark}: {100 * measured.pass_at_1:.1f} measured, {evidence}"]
    if lineage is not None:
        known = {"step": lineage.step, "parent": lineage.parent, "commit": lineage.commit}
        lines.append("    " + ", ".join(f"{key} {value}" for key, value in known.items() if value is not None))
    lines += [f"    reason: {measured.reason}"] if measured.reason else []
    if measured.correlation is not None:
        lines.append(
            f"    its runs move beyond sampling by rho = {measured.correlation:.2g}, and the gate allows for it"
        )
    for blessing in measured.history:
        because = f": {blessing.reason}" if blessing.reason else ""
        lines.append(
            f"    {blessing.blessed:%Y-%m-%d}: {100 * blessing.replaced_pass_at_1:.1f} -> "
            f"{100 * blessing.pass_at_1:.1f}{because}"
        )
    return lines


def _mistake(path: Path, run: Path | None) -> str | None:
    """Say what is wrong with a file; None where nothing is."""
    from pytest_r1eval.baselines.shelf import read_file
    from pytest_r1eval.core.baselines import BASELINE_FILE
    from pytest_r1eval.core.codec import to_json
    from pytest_r1eval.runs.finished import StoredRun

    try:
        file = read_file(path)
    except BaselineError as error:
        return str(error)
    if to_json(BASELINE_FILE, file) != path.read_text(encoding="utf-8"):
        return "is not in the form that diffs well; expected what r1eval writes (order, indentation, one number a line)"
    unlike = [words for entry in file.measured if (words := _broken_history(entry)) is not None]
    if unlike or run is None:
        return unlike[0] if unlike else None
    stored = StoredRun(folder=run)
    for entry in _entries_of(run, path):
        measured = stored.measured(entry.benchmark)
        names = ("recorded", "seed", "fingerprint", "counts", "health")
        if other := [name for name in names if getattr(entry, name) != getattr(measured, name)]:
            return f"{entry.benchmark}: {', '.join(other)} not as in the run {run}; expected the same"
    return None


def _entries_of(run: Path, path: Path) -> list[MeasuredBaseline]:
    """List the entries that name one run as what measured them."""
    from pytest_r1eval.baselines.shelf import read_file

    return [entry for entry in read_file(path).measured if entry.run == run.resolve().name]


def _broken_history(entry: MeasuredBaseline) -> str | None:
    """Say where an entry is not what its history leads to; None where it is."""
    runs = [blessing.replaced_run for blessing in entry.history[1:]] + [entry.run]
    for blessing, run in zip(entry.history, runs, strict=False):
        if blessing.run != run:
            return f"{entry.benchmark}: its history goes from run {blessing.run} to {run}; expected what bless writes"
    if entry.history and entry.history[-1].pass_at_1 != entry.pass_at_1:
        last = entry.history[-1].pass_at_1
        return (
            f"{entry.benchmark}: {100 * entry.pass_at_1:.1f} by its counts, {100 * last:.1f} by its history; expected "
            "one number"
        )
    return None
