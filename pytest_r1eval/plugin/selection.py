"""Benchmarks by name, as the expression of pytest's -m: for whoever starts a run and is not pytest."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pytest_r1eval.errors import PlanError
from pytest_r1eval.exams.catalog import build_catalog
from pytest_r1eval.plugin.items import marks_of

OPEN_R1_NAMES = {"math_500": "math500"}
"""Benchmarks that open-r1 calls by another name."""


def mark_expression(names: Iterable[str], *, tasks: Path | None, folder: Path | None = None) -> str:
    """
    Return the expression of -m for benchmarks, by their names here or in open-r1.

    Args:
        names: The benchmarks.
        tasks: A module that defines more of them, as of ``--r1-tasks``.
        folder: Where pyproject.toml may define more; None for the current one.

    Raises:
        PlanError: If there is no such benchmark, or none was named.
    """
    catalog = build_catalog(tasks=tasks, pyproject=(folder or Path()) / "pyproject.toml", contributed=())
    chosen = [OPEN_R1_NAMES.get(name.strip(), name.strip()) for name in names]
    unknown = [name for name in chosen if name not in catalog]
    if unknown or not chosen:
        raise PlanError(
            f"--benchmarks {unknown[0] if unknown else ''}: no such benchmark; expected some of {', '.join(catalog)}"
        )
    return " or ".join(dict.fromkeys(marks_of(catalog[name])[-1] for name in chosen))
