"""Grades of responses to one question about spiders."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from pytest_r1eval.core.benchmarks import Benchmark, Problem
from pytest_r1eval.core.records import Grade, Response
from pytest_r1eval.scoring.pool import GradingPool
from tests.toys import toy

SPIDERS = Problem(id="spiders", query="How many legs?", instruction=None, choices=("16",), gold_index=0)


def grades_of(pool: GradingPool, benchmark: Benchmark, answers: Iterable[tuple[Problem, Response]]) -> list[Grade]:
    """Grade all at once."""

    async def gather() -> list[Grade]:
        return await asyncio.gather(*(pool.grade(benchmark, problem, response) for problem, response in answers))

    return asyncio.run(gather())


def grade_of(pool: GradingPool, task: str, response: Response, *, problem: Problem = SPIDERS) -> Grade:
    """Grade one response to a toy problem."""
    return grades_of(pool, toy(task), [(problem, response)])[0]
