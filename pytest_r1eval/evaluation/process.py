"""
A gate from Python: `pytest_r1eval.evaluate`, for scripts and notebooks.

The run is a pytest of its own, in a process of its own, with the options of the command line: what
it judges, stores and decides is the same to the last digit. A notebook's process keeps its memory
and its CUDA context, an engine that dies takes no other process with it, and Ctrl-C stores what was drawn.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, overload

import pytest

from pytest_r1eval.config import values
from pytest_r1eval.config.option import Option
from pytest_r1eval.config.options import OPTIONS
from pytest_r1eval.errors import EvaluationError, EvaluationRefusedError, PlanError
from pytest_r1eval.evaluation.children import EvaluationProcess, EvaluationSeries
from pytest_r1eval.exams.catalog import mark_expression
from pytest_r1eval.reports.run_report import RunReport

Workers: TypeAlias = int | Literal["auto"] | None
"""Engines on this machine, as pytest-xdist's -n; None for one, in pytest's own process."""

OptionValue: TypeAlias = str | float | Path | Mapping[str, Any] | Sequence[str | Path] | None
"""
Of a `--r1-...` option, by its name with underscores; what each means is in the README and in `pytest --help`.

What may be given several times is a mapping (`samples={"aime24": 16}`) or, for `report`, a list of files.
"""


@overload
def evaluate(  # type: ignore[overload-overlap]  # a text is a sequence of texts too
    model: str | Path,
    benchmarks: Sequence[str],
    *,
    workers: Workers = None,
    gpus: Sequence[int | str] | None = None,
    folder: str | Path | None = None,
    timeout_s: float | None = None,
    **options: OptionValue,
) -> RunReport: ...


@overload
def evaluate(
    model: Sequence[str | Path],
    benchmarks: Sequence[str],
    *,
    workers: Workers = None,
    gpus: Sequence[int | str] | None = None,
    folder: str | Path | None = None,
    timeout_s: float | None = None,
    **options: OptionValue,
) -> tuple[RunReport, ...]: ...


def evaluate(  # noqa: PLR0913 - what is judged, where, and how long
    model: str | Path | Sequence[str | Path],
    benchmarks: Sequence[str],
    *,
    workers: Workers = None,
    gpus: Sequence[int | str] | None = None,
    folder: str | Path | None = None,
    timeout_s: float | None = None,
    **options: OptionValue,
) -> RunReport | tuple[RunReport, ...]:
    """
    Judge a checkpoint and return the report, whatever the verdict; of several checkpoints, a report of each.

    Several checkpoints are judged one after the other, each in a run of its own. Checkpoints of one architecture, and
    adapters of one base model, share one engine, which is started once; with `workers` every run starts its own.

    Args:
        model: The checkpoint: a folder or a Hub id; or a list of them.
        benchmarks: Names, as in `["aime24", "math500"]`.
        workers: Engines on this machine; "auto" for as many as pay, None for one.
        gpus: The GPUs it may use, as in CUDA_VISIBLE_DEVICES; None for all that this process sees, () for none.
        folder: Where baselines, pyproject.toml and relative paths are looked for; None for the current folder.
        timeout_s: Seconds after which a run is stopped; None for no limit.
        options: Any option of the command line, as in `max_new_tokens=4096` or `samples={"aime24": 16}`.

    Returns:
        The judged run: `report.passes`, `report["aime24"].verdict`, `report["aime24"].result.judgement.z`; of a list
        of checkpoints, a tuple in its order.

    Raises:
        TypeError: If there is no such option.
        PlanError: If there is no such benchmark, or no checkpoint.
        EvaluationError: If a run ended without a verdict; pytest's reason is part of it. The others of a list are
            judged all the same, and the same call again returns their verdicts from the ledger.
    """
    place = Path(folder) if folder is not None else Path.cwd()
    tasks = options.get("tasks")
    marks = mark_expression(benchmarks, tasks=None if tasks is None else place / str(tasks), folder=place)
    command = ["-m", marks, *([] if workers is None else ["-n", str(workers)]), *arguments_of(options)]
    if isinstance(model, str | Path):
        with EvaluationProcess.started(_model_argument(model), command, folder=place, gpus=gpus) as process:
            return process.report(timeout_s=timeout_s)
    models = [_model_argument(one) for one in model]
    with EvaluationSeries.started(folder=place, gpus=gpus) as series:
        return _reports(series, models, command, timeout_s=timeout_s)


def _reports(
    series: EvaluationSeries, models: Sequence[str], arguments: Sequence[str], *, timeout_s: float | None
) -> tuple[RunReport, ...]:
    """Judge each, whatever became of the others."""
    if not models:
        raise PlanError("evaluate() was given no checkpoint; expected a folder, a Hub id, or a list of them")
    reports: list[RunReport] = []
    failures: list[EvaluationError] = []
    for model in models:
        try:
            reports.append(series.report(model, arguments, timeout_s=timeout_s))
        except EvaluationError as error:
            failures.append(type(error)(f"{model}: {error}"))
    if not failures:
        return tuple(reports)
    kind = (
        EvaluationRefusedError if all(isinstance(one, EvaluationRefusedError) for one in failures) else EvaluationError
    )
    count = f"{len(failures)} of {len(models)} checkpoints have no verdict; " if len(models) > 1 else ""
    raise kind(f"{count}{'; '.join(map(str, failures))}")


def keywords() -> dict[str, Option]:
    """Return the options that are keywords here: the checkpoint is an argument, and a part of a run has no verdict."""
    return {option.keyword: option for option in OPTIONS if option.subject in {"gate", "place"}}


def arguments_of(options: Mapping[str, object]) -> list[str]:
    """
    Return options as the arguments of a command line.

    Raises:
        TypeError: If there is no such option, or its value has another form than the option takes.
    """
    known = keywords()
    arguments: list[str] = []
    for name, value in options.items():
        if name not in known:
            raise TypeError(f"evaluate() has no option {name!r}; expected some of {', '.join(known)}")
        if value is not None:
            arguments += _arguments(known[name], value)
    return arguments


def options_of(words: Sequence[str], *, without: Collection[str] = ()) -> dict[str, OptionValue]:
    """
    Return arguments of a command line as options, of which `arguments_of` makes the same arguments again.

    Args:
        words: As in ``--r1-samples aime24=16 --r1-fresh``.
        without: Options that have no place where they were given, by name.

    Raises:
        PlanError: If one is not an option of a gate, lacks its value, or has a wrong one.
    """
    known = {option.flag: option for option in keywords().values() if option.keyword not in without}
    found: dict[str, list[str]] = {}
    rest = list(words)
    while rest:
        flag, is_joined, text = rest.pop(0).partition("=")
        if (option := known.get(flag)) is None:
            raise PlanError(f"{flag}: no such option of a gate here; expected one of {', '.join(known)}")
        if not option.is_flag and not is_joined:
            if not rest:
                raise PlanError(f"{flag} has no value; expected {flag} {option.metavar or 'VALUE'}")
            text = rest.pop(0)
        found.setdefault(option.keyword, []).append("true" if option.is_flag and not is_joined else text)
    options = keywords()
    try:
        for name, texts in found.items():
            options[name].value(texts, Path.cwd())
    except pytest.UsageError as error:
        raise PlanError(str(error)) from error
    return {name: _as_option(options[name], texts) for name, texts in found.items()}


def _as_option(option: Option, texts: list[str]) -> OptionValue:
    if option.is_flag:
        return values.switch(texts[-1])
    return texts if option.is_repeatable else texts[-1]


def _arguments(option: Option, value: object) -> Iterator[str]:
    if option.is_flag:
        if not isinstance(value, bool):
            raise TypeError(f"{option.keyword} is {value!r}; expected True or False")
        yield from [option.flag] if value else []
    elif not option.is_repeatable:
        yield f"{option.flag}={value}"
    elif isinstance(value, Mapping):
        # JSON is read as JSON there, so that a text "1" stays a text.
        yield from (f"{option.flag}={key}={json.dumps(one) if option.is_json else one}" for key, one in value.items())
    elif isinstance(value, Sequence) and not isinstance(value, str):
        yield from (f"{option.flag}={one}" for one in value)
    else:
        raise TypeError(f"{option.keyword} is {value!r}; expected a mapping or a list")


def _model_argument(model: str | Path) -> str:
    """Name a folder in full: the run may be started elsewhere."""
    return str(Path(model).resolve()) if Path(model).is_dir() else str(model)
