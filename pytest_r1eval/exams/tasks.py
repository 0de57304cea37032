"""
LightEval's task modules: found, imported, their tasks listed.

Decisions:

- One task module is imported and its `TASKS_TABLE` read; LightEval's `Registry` imports every task it has, and
  one of those downloads a file at import.
- Nothing heavy is imported with the modules of this folder: LightEval, datasets and transformers load inside the
  functions, which run in a child process (see `scoring.pool`). Only `task_names` is meant for the pytest process.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_r1eval.core.benchmarks import Benchmark
from pytest_r1eval.errors import ExamError, in_one_line

if TYPE_CHECKING:
    from types import ModuleType

    from lighteval.tasks.lighteval_task import LightevalTaskConfig

_IMPORT_TIMEOUT_S = 300
"""For importing a task file in a process of its own; LightEval alone takes 10 to 20 s."""


def task_names(path: Path) -> tuple[str, ...]:
    """
    List the tasks of a custom-task file without importing LightEval here.

    The file is read where its names are literal, and imported by a process of its own where they are computed.

    Raises:
        ExamError: If the file cannot be read, is not Python, or has no `TASKS_TABLE`.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ExamError(
            f"{path}: cannot be read ({in_one_line(error)}); expected a LightEval custom-task file. Check the path"
        ) from error
    except (SyntaxError, ValueError) as error:
        raise ExamError(
            f"{path}: is not Python ({in_one_line(error)}); expected a LightEval custom-task file"
        ) from error
    names = _literal_names(tree)
    return names if names is not None else _imported_names(path)


@functools.cache
def task_config(benchmark: Benchmark) -> LightevalTaskConfig:
    """
    Find a benchmark's LightEval task; once per process.

    Raises:
        ExamError: If the module cannot be imported, or its `TASKS_TABLE` does not hold the task.
    """
    table = _tasks_table(_task_module(benchmark.task_module), source=benchmark.task_module)
    for config in table:
        if config.name == benchmark.task:
            return config
    raise ExamError(
        f"{benchmark.name}: no task {benchmark.task!r} in {benchmark.task_module}; "
        f"its TASKS_TABLE has {', '.join(sorted(config.name for config in table)) or 'no task'}. Name one of these"
    )


def task_file(benchmark: Benchmark) -> Path | None:
    """
    Name the file of a benchmark's task module; None where it has none.

    Raises:
        ExamError: If the module cannot be imported.
    """
    found = _task_module(benchmark.task_module).__file__
    return None if found is None else Path(found)


@functools.cache
def _task_module(name: str) -> ModuleType:
    try:
        return _module_from_file(Path(name)) if name.endswith(".py") else importlib.import_module(name)
    except ExamError:
        raise
    except ModuleNotFoundError as error:
        raise ExamError(
            f"{name}: cannot be imported, no module named {error.name!r}; expected a module with a TASKS_TABLE. "
            "Install it (LightEval comes with pytest-r1eval[lighteval]) or correct the name"
        ) from error
    except Exception as error:  # a task module is the user's program and may raise anything at import
        raise ExamError(
            f"{name}: fails when imported ({in_one_line(error)}); expected a module with a TASKS_TABLE. Fix the module"
        ) from error


def _module_from_file(path: Path) -> ModuleType:
    """Import a file under a name that cannot shadow a real module (a task file may be called math.py)."""
    if not path.is_file():
        raise ExamError(f"{path}: no such file; expected a LightEval custom-task file. Check the path")
    spec = importlib.util.spec_from_file_location(f"_r1eval_tasks_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ExamError(f"{path}: cannot be imported; expected a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _tasks_table(module: ModuleType, *, source: str) -> list[LightevalTaskConfig]:
    table = getattr(module, "TASKS_TABLE", None)
    if table is None:
        raise ExamError(f"{source}: has no TASKS_TABLE; expected a list of LightevalTaskConfig under that name")
    return list(table)


def _literal_names(tree: ast.Module) -> tuple[str, ...] | None:
    """Read the names of `TASKS_TABLE`'s tasks off the source; None where one of them is computed."""
    values: dict[str, ast.expr] = {}
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value):
                values[target] = value
            case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value):
                values[target] = value
    table = values.get("TASKS_TABLE")
    if not isinstance(table, ast.List | ast.Tuple):
        return None
    names = [
        _literal_name(values.get(element.id) if isinstance(element, ast.Name) else element) for element in table.elts
    ]
    return None if None in names else tuple(name for name in names if name is not None)


def _literal_name(node: ast.expr | None) -> str | None:
    if isinstance(node, ast.Call):
        for keyword in node.keywords:
            match keyword:
                case ast.keyword(arg="name", value=ast.Constant(value=str(name))):
                    return name
    return None


def _imported_names(path: Path) -> tuple[str, ...]:
    program = "import sys; from pytest_r1eval.exams.tasks import print_task_names; print_task_names(sys.argv[1])"
    child = subprocess.run(  # noqa: S603 - our own program; the user named the file to be imported
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
        timeout=_IMPORT_TIMEOUT_S,
        check=False,
    )
    if child.returncode:
        raise ExamError(child.stdout.splitlines()[-1] if child.stdout else f"{path}: importing it ended the process")
    return tuple(json.loads(child.stdout.splitlines()[-1]))


def print_task_names(path: str) -> None:
    """Print the names of a task file's tasks as JSON, or one line that says what is wrong, as the last line."""
    try:
        names = [config.name for config in _tasks_table(_task_module(path), source=path)]
    except ExamError as error:
        print(error)  # noqa: T201 - the answer to the parent process
        sys.exit(1)
    print(json.dumps(names))  # noqa: T201 - the answer to the parent process
