"""From a command line to a registered run: every check that needs no engine happens here."""

from __future__ import annotations

import pytest

from pytest_r1eval import items
from pytest_r1eval.catalog import build_catalog
from pytest_r1eval.core.benchmarks import Benchmark
from pytest_r1eval.errors import R1EvalError
from pytest_r1eval.session import RunSession, checkpoint_of, marks_hint, run_folder
from pytest_r1eval.settings import Settings, settings_from


def register(config: pytest.Config) -> None:
    """
    Check what was asked for and register the run's hooks.

    Raises:
        pytest.UsageError: If it cannot be done, with the reason in one line.
    """
    settings = settings_from(config)
    try:
        catalog = _catalog(config, settings)
        _check_choice(config, settings, catalog)
        checkpoint = checkpoint_of(settings)
        run = run_folder(config, settings, checkpoint)
    except R1EvalError as error:
        raise pytest.UsageError(str(error)) from error
    for benchmark in catalog.values():
        for mark in items.marks_of(benchmark):
            config.addinivalue_line("markers", f"{mark}: the benchmark {benchmark.name} of pytest-r1eval")
    config.pluginmanager.register(
        RunSession(config, settings=settings, catalog=catalog, checkpoint=checkpoint, run=run), "r1eval-run"
    )
    if config.args_source is not config.ArgsSource.ARGS:
        # Nobody named a path: judge, and leave the user's own tests and their marks alone.
        config.args.clear()
    config.args.append(str(items.ANCHOR))


def _catalog(config: pytest.Config, settings: Settings) -> dict[str, Benchmark]:
    contributed = [benchmark for found in config.hook.pytest_r1eval_benchmarks(config=config) for benchmark in found]
    return build_catalog(tasks=settings.tasks, pyproject=settings.root / "pyproject.toml", contributed=contributed)


def _check_choice(config: pytest.Config, settings: Settings, catalog: dict[str, Benchmark]) -> None:
    unknown = sorted(set(settings.samples) - set(catalog))
    if unknown:
        raise pytest.UsageError(
            f"--r1-samples {unknown[0]}=...: no such benchmark; expected one of {', '.join(catalog)}"
        )
    if config.pluginmanager.has_plugin("rerunfailures") and config.getoption("reruns", default=None):
        raise pytest.UsageError(
            "--reruns with --r1-model: a gate that is rerun until it passes has no error rate; "
            "leave --reruns out, and add samples (--r1-samples) where a verdict is too close"
        )
    if not (config.option.markexpr or config.option.keyword or config.option.collectonly):
        raise pytest.UsageError(f"--r1-model without -m would run everything; {marks_hint(catalog)}")
