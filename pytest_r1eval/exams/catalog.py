"""
Every benchmark that can be asked for by its mark.

Four sources, later ones may not redefine earlier ones: built in, the user's
`--r1-tasks` file, `[[tool.r1eval.benchmark]]` tables, and other plugins' hooks.
Pools come last, because they may name a benchmark of any source.
Reading them imports no LightEval: collection has to stay instant.
"""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytest_r1eval.core.benchmarks import AnswerForm, Benchmark, Grader
from pytest_r1eval.core.built_in import BUILT_IN, BUILT_IN_POOLS, LIVECODEBENCH_WINDOWS
from pytest_r1eval.core.choices import RELEASE_MARK
from pytest_r1eval.core.pools import pool_of
from pytest_r1eval.core.texts import hidden_in
from pytest_r1eval.errors import ExamError, PlanError
from pytest_r1eval.exams.tasks import task_names

SMOKE = Benchmark(
    name="smoke",
    mark="smoke",
    task="smoke",
    task_module=str(Path(__file__).parent / "smoke" / "task.py"),
    samples_per_problem=16,
    max_new_tokens=64,
    answers=AnswerForm.MATHEMATICS,
)

SMOKE_CODE = Benchmark(
    name="smoke_code",
    mark="smoke_code",
    task="smoke_code",
    task_module=str(Path(__file__).parent / "smoke" / "code_task.py"),
    samples_per_problem=4,
    max_new_tokens=1024,
    grader=Grader.CODE,
)

OPEN_R1_NAMES = {"math_500": "math500"}
"""Benchmarks that open-r1 calls by another name."""

PYTESTS_OWN_MARKS = frozenset({"filterwarnings", "parametrize", "r1eval", "skip", "skipif", "usefixtures", "xfail"})

CUSTOM_SAMPLES_PER_PROBLEM = 4
"""The smallest number the field gates on (MATH-500); fewer make a drop too cheap to miss."""

_TABLE_TYPES: dict[str, type] = {
    "name": str,
    "task": str,
    "task_module": str,
    "samples_per_problem": int,
    "mark": str,
    "max_new_tokens": int,
    "revision": str,
    "answers": str,
    "metric": str,
}
_TABLE_REQUIRED = ("name", "task_module")


def build_catalog(
    *, tasks: Path | None, pyproject: Path | None, contributed: Iterable[Benchmark]
) -> dict[str, Benchmark]:
    """
    Collect the benchmarks, by name.

    Args:
        tasks: A LightEval custom-task module.
        pyproject: The user's pyproject.toml.
        contributed: What other plugins returned from `pytest_r1eval_benchmarks`.

    Raises:
        ExamError: If a source is malformed or two benchmarks share a name.
    """
    found = [*BUILT_IN, *LIVECODEBENCH_WINDOWS, SMOKE, SMOKE_CODE]
    if tasks is not None:
        found += [_custom(task, tasks) for task in task_names(tasks)]
    ours = {} if pyproject is None or not pyproject.is_file() else _ours(pyproject)
    if pyproject is not None:
        found += _from_pyproject(ours, path=pyproject)
    found += contributed
    catalog: dict[str, Benchmark] = {}
    for benchmark in found:
        _refuse_hidden(benchmark)
        if benchmark.mark in PYTESTS_OWN_MARKS:
            raise ExamError(
                f"benchmark {benchmark.name!r} has the mark {benchmark.mark!r}, which means something to pytest; "
                "choose another"
            )
        if benchmark.name in catalog:
            raise ExamError(
                f"two benchmarks are named {benchmark.name!r} (tasks {catalog[benchmark.name].task!r} of "
                f"{catalog[benchmark.name].task_module} and {benchmark.task!r} of {benchmark.task_module}); rename one"
            )
        catalog[benchmark.name] = benchmark
    return catalog | _pools(catalog, ours, path=pyproject)


def _pools(catalog: dict[str, Benchmark], ours: dict[str, Any], *, path: Path | None) -> dict[str, Benchmark]:
    """Make the pools that ship, and those of pyproject.toml."""
    own = _pools_of(ours, path=path)
    pools: dict[str, Benchmark] = {}
    for name, members in [*BUILT_IN_POOLS.items(), *own.items()]:
        where = "" if name not in own else f"{path}: pool "
        if name in catalog or name in pools or name in PYTESTS_OWN_MARKS:
            raise ExamError(f"{where}{name!r} is taken already; expected a name of its own. Rename the pool")
        try:
            pools[name] = pool_of(name, members, catalog)
        except ValueError as error:
            raise ExamError(f"{where}{error}") from error
        _refuse_hidden(pools[name])
    return pools


def _pools_of(ours: dict[str, Any], *, path: Path | None) -> dict[str, list[str]]:
    """Read ``[tool.r1eval.pools]``: a list of benchmarks by the pool's name."""
    pools: dict[str, list[str]] = ours.get("pools", {})
    is_table = isinstance(pools, dict) and all(
        isinstance(members, list) and all(isinstance(member, str) for member in members) for members in pools.values()
    )
    if not is_table:
        raise ExamError(
            f"{path}: tool.r1eval.pools is not a table of lists of names; write [tool.r1eval.pools] and "
            'NAME = ["aime24", "aime25"]'
        )
    return pools


def _refuse_hidden(benchmark: Benchmark) -> None:
    """Refuse a control character in what is printed and stored of a benchmark."""
    for what in ("name", "mark", "task", "task_module", "metric", "revision"):
        if (hidden := hidden_in(text := str(getattr(benchmark, what)))) is not None:
            raise ExamError(
                f"a benchmark has the {what.replace('_', ' ')} {text!a}, with the character {hidden}; expected text "
                "that can be printed on one line. Rename it"
            )


def names_of(catalog: Iterable[str]) -> str:
    """List what there is for a message; LiveCodeBench's two dozen windows are named by one of them."""
    windows = {window.name for window in LIVECODEBENCH_WINDOWS}
    names = [name for name in catalog if name not in windows]
    return ", ".join(names) + (
        " (and lcb_v5, ...: other windows of LiveCodeBench)" if len(names) < len([*catalog]) else ""
    )


def mark_expression(names: Iterable[str], *, tasks: Path | None, folder: Path | None = None) -> str:
    """
    Return the expression of -m for benchmarks, by their names here or in open-r1; `release` is for those of a policy.

    Args:
        names: The benchmarks.
        tasks: A module that defines more of them, as of ``--r1-tasks``.
        folder: Where pyproject.toml may define more; None for the current one.

    Raises:
        PlanError: If there is no such benchmark, or none was named.
    """
    catalog = build_catalog(tasks=tasks, pyproject=(folder or Path()) / "pyproject.toml", contributed=())
    chosen = [OPEN_R1_NAMES.get(name.strip(), name.strip()) for name in names]
    marks = {name: spec.marks[-1] for name, spec in catalog.items()} | {RELEASE_MARK: RELEASE_MARK}
    unknown = [name for name in chosen if name not in marks]
    if unknown or not chosen:
        raise PlanError(
            f"--benchmarks {unknown[0] if unknown else ''}: no such benchmark; expected some of {', '.join(catalog)}"
        )
    return " or ".join(dict.fromkeys(marks[name] for name in chosen))


def _custom(task: str, module: Path) -> Benchmark:
    name = re.sub(r"\W|^(?=\d)", "_", task)  # a mark is an identifier: 24game becomes _24game
    return Benchmark(
        name=name, mark=name, task=task, task_module=str(module), samples_per_problem=CUSTOM_SAMPLES_PER_PROBLEM
    )


def _ours(path: Path) -> dict[str, Any]:
    """Read the part of a pyproject.toml that is ours."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ExamError(f"{path} cannot be read: {error}; expected TOML") from error
    tool = content.get("tool", {})
    ours = tool.get("r1eval", {}) if isinstance(tool, dict) else None
    return ours if isinstance(ours, dict) else {"benchmark": None}


def _from_pyproject(ours: dict[str, Any], *, path: Path) -> list[Benchmark]:
    tables = ours.get("benchmark", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ExamError(f"{path}: tool.r1eval.benchmark is not an array of tables; write [[tool.r1eval.benchmark]]")
    return [
        _from_table(table, where=f"{path}: benchmark {number}", folder=path.parent)
        for number, table in enumerate(tables, 1)
    ]


def _answer_form(name: str) -> AnswerForm:
    if name not in [*AnswerForm]:
        raise ValueError(f"answers is {name!r}; expected {' or '.join(AnswerForm)}")
    return AnswerForm(name)


def _from_table(table: dict[str, object], *, where: str, folder: Path) -> Benchmark:
    unknown = sorted(set(table) - set(_TABLE_TYPES))
    missing = [key for key in _TABLE_REQUIRED if key not in table]
    if unknown or missing:
        raise ExamError(
            f"{where}: " + (f"unknown key {unknown[0]!r}" if unknown else f"key {missing[0]!r} is missing")
            + f"; expected {', '.join(_TABLE_TYPES)} ({' and '.join(_TABLE_REQUIRED)} are required)"
        )  # fmt: skip
    for key, value in table.items():
        if type(value) is not _TABLE_TYPES[key]:
            raise ExamError(f"{where}: {key} is {value!r}; expected a {_TABLE_TYPES[key].__name__}")
    name, module = str(table["name"]), str(table["task_module"])
    usual: dict[str, object] = {
        "mark": re.sub(r"\W", "_", name),
        "task": name,
        "samples_per_problem": CUSTOM_SAMPLES_PER_PROBLEM,
    }
    given: dict[str, Any] = usual | table
    if module.endswith(".py"):
        given["task_module"] = str(folder / module)
    try:
        if "answers" in given:
            given["answers"] = _answer_form(given["answers"])
        return Benchmark(**given)
    except ValueError as error:
        raise ExamError(f"{where}: {error}") from error
