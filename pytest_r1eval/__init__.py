"""
The gate that decides whether a reasoning model's checkpoint may ship.

Public names are `evaluate` and the `RunReport` that it returns, for scripts and notebooks, and
what another plugin needs to contribute benchmarks. What is slow to import is imported when
somebody asks for it: every pytest on the machine imports this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_r1eval.core.benchmarks import Benchmark, PlanningConstants, Sampling

if TYPE_CHECKING:
    from pytest_r1eval.evaluation import evaluate
    from pytest_r1eval.run_reports import RunReport

__all__ = ["Benchmark", "PlanningConstants", "RunReport", "Sampling", "__version__", "evaluate"]


def __getattr__(name: str) -> object:
    if name == "evaluate":
        from pytest_r1eval.evaluation import evaluate  # noqa: PLC0415 - imports the statistics

        return evaluate
    if name == "RunReport":
        from pytest_r1eval.run_reports import RunReport  # noqa: PLC0415 - the same

        return RunReport
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - a slow import, and few ask

        return version("pytest-r1eval")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
