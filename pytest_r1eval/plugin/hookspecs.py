"""Hooks that other plugins may implement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_r1eval.core.benchmarks import Benchmark


@pytest.hookspec
def pytest_r1eval_benchmarks(config: pytest.Config) -> Sequence[Benchmark]:  # type: ignore[empty-body]
    """
    Contribute benchmarks; each is selected by its mark like a built-in one.

    Called once per process, and only when ``--r1-model`` is given. Import nothing
    heavy here: name the LightEval task module, it is imported when the exam is built.

    Args:
        config: The pytest configuration.

    Returns:
        Benchmarks whose names are not taken yet.
    """
