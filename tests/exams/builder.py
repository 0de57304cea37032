"""Builds exams in the session's scoring processes, for the tests of this folder."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

from pytest_r1eval.core.benchmarks import Benchmark, Exam
from pytest_r1eval.exams.prompts import BuiltExam
from pytest_r1eval.scoring.pool import GradingPool
from tests.toys import DATE


class Builder:
    """Builds exams in the session's processes."""

    def __init__(self, pool: GradingPool, tokenizer: str) -> None:
        self._pool = pool
        self._tokenizer = tokenizer

    def build(
        self,
        benchmark: Benchmark,
        *,
        data_dir: Path | None = None,
        model: str | None = None,
        system_prompt: str | None = None,
        template_date: dt.date = DATE,
        chat_template_kwargs: dict[str, Any] | None = None,
    ) -> BuiltExam:
        """Build an exam and its prompts."""
        return self._pool.build_exam(
            benchmark,
            data_dir=data_dir,
            model=self._tokenizer if model is None else model,
            revision=None,
            system_prompt=system_prompt,
            template_date=template_date,
            chat_template_kwargs=chat_template_kwargs,
        ).result(timeout=120)

    def exam(self, benchmark: Benchmark, *, data_dir: Path | None = None) -> Exam:
        """Build an exam."""
        return self.build(benchmark, data_dir=data_dir).exam


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Read JSON Lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write JSON Lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
