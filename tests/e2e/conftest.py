"""Every test in this folder starts vLLM, with every installed plugin, as a user's run does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.requirements import VLLM, need
from tests.smollm2 import smollm2_in
from tests.warm_pytest import LEAN, Server, forking


@pytest.fixture(scope="session", autouse=True)
def _vllm() -> None:
    """Skip the folder where vLLM is not installed."""
    need(VLLM)


@pytest.fixture(scope="package", autouse=True)
def _lean_inner_runs() -> Iterator[None]:
    """Load in the pytest processes of this folder every installed plugin; what another folder's load stays as it is."""
    with pytest.MonkeyPatch.context() as patch:
        for name in LEAN:
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _warm_processes() -> None:
    """Start every process fresh: an engine's imports and its own processes are part of what is tested."""


@pytest.fixture(scope="session")
def engines() -> Iterator[Server]:
    """Import vLLM and LightEval once for the runs of `warm_engines`."""
    server = Server(has_engines=True)
    yield server
    server.close()


@pytest.fixture(scope="module")
def warm_engines(engines: Server) -> Iterator[None]:
    """Fork a module's runs of pytest and their graders; an engine's own processes still start fresh."""
    with forking(engines):
        yield


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a public chat model once, as a user would have it in a folder."""
    return smollm2_in(tmp_path_factory.mktemp("smollm2"))
