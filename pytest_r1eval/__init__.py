"""
The gate that decides whether a reasoning model's checkpoint may ship.

Public names are what another plugin needs to contribute benchmarks; the version
is looked up when somebody asks.
"""

from __future__ import annotations

from pytest_r1eval.core.benchmarks import Benchmark, PlanningConstants, Sampling

__all__ = ["Benchmark", "PlanningConstants", "Sampling", "__version__"]


def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version  # noqa: PLC0415 - a slow import, and few ask

    return version("pytest-r1eval")
