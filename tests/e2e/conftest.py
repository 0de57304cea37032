"""Every test in this folder starts vLLM."""

from __future__ import annotations

import pytest

from tests.requirements import VLLM, need


@pytest.fixture(scope="session", autouse=True)
def _vllm() -> None:
    """Skip the folder where vLLM is not installed."""
    need(VLLM)
