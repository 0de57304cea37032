"""
The pytest plugin: hooks, and nothing else.

Without ``--r1-model`` or ``--r1-judge-only`` it registers its options and marks and is silent; nothing
heavy is imported, and a test says so.
"""

import os
from collections.abc import Generator

import pytest

from pytest_r1eval.config import options, reading
from pytest_r1eval.plugin import hookspecs


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ``--r1-...`` options."""
    reading.add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Let other plugins contribute benchmarks."""
    pluginmanager.add_hookspecs(hookspecs)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None, object, object]:
    """Read the ini file of the user's folder where pytest read one above a model; before any other plugin looks."""
    if reading.is_named(args, os.environ) or reading.is_elsewhere(early_config):
        from pytest_r1eval.plugin.rootdir import settle  # noqa: PLC0415 - only for a process that judges

        settle(early_config, parser, args)
    return (yield)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Let ``-n auto`` count engines where a model is judged; None leaves it to xdist, and to its own variable."""
    if not reading.is_asked(config) or "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    from pytest_r1eval.plugin.startup import auto_workers  # noqa: PLC0415 - only for a process that judges

    return auto_workers(config)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the marks, and the run if a model is to be judged."""
    for mark in options.MARKS:
        config.addinivalue_line("markers", f"{mark}: a benchmark of pytest-r1eval; needs --r1-model")
    if reading.is_asked(config):
        from pytest_r1eval.plugin.startup import register  # noqa: PLC0415 - only for a process that judges

        register(config)
    elif config.getoption("r1_policy") is not None:
        raise pytest.UsageError(
            "--r1-policy without --r1-model: nothing would be judged; expected a model, or a stored "
            "run with --r1-judge-only"
        )
