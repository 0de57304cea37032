"""
The gate that decides whether a reasoning model's checkpoint may ship.

Public names are `evaluate` and the `RunReport` that it returns, for scripts and notebooks, and
what another plugin needs to contribute benchmarks. What is slow to import is imported on
first use: every pytest on the machine imports this module.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_r1eval.core.benchmarks import AnswerForm, Benchmark, PlanningConstants, Sampling
    from pytest_r1eval.evaluation.process import evaluate
    from pytest_r1eval.reports.run_report import RunReport

__all__ = ["AnswerForm", "Benchmark", "PlanningConstants", "RunReport", "Sampling", "__version__", "evaluate"]

_MODULES = {
    "AnswerForm": "core.benchmarks",
    "Benchmark": "core.benchmarks",
    "PlanningConstants": "core.benchmarks",
    "RunReport": "reports.run_report",
    "Sampling": "core.benchmarks",
    "evaluate": "evaluation.process",
}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - a slow import, and few ask

        return version("pytest-r1eval")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
