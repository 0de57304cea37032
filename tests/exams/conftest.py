"""The builder of exams, for every module of this folder."""

from __future__ import annotations

import pytest

from pytest_r1eval.scoring.pool import GradingPool
from tests.exams.builder import Builder


@pytest.fixture
def builder(pool: GradingPool, tokenizer: str) -> Builder:
    """Give tests a shorter call."""
    return Builder(pool, tokenizer)
