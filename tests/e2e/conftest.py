"""Every test in this folder starts vLLM, with every installed plugin, as a user's run does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.requirements import VLLM, need
from tests.smollm2 import smollm2_in
from tests.warm_pytest import LEAN, Server, forking

FOLDER = Path(__file__).parent
LONGEST = (
    "test_real.py::TestLosses", "test_real.py::TestMainJob", "test_real.py", "test_smollm2.py", "test_training.py",
    "test_adapters.py", "test_server.py", "test_architectures.py", "test_real.py::TestRefusals", "test_release.py",
)  # fmt: skip
"""
What takes longest, the longest first, where a worker of xdist is given a class, or a module's functions, at a time.

What shares a start of vLLM is in one of them, or each worker would start it.
"""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin this folder with what takes longest, after any shuffling."""
    rank = {f"{FOLDER}/{name}": number for number, name in enumerate(LONGEST)}
    scopes = {item: "::".join([str(item.path), *item.nodeid.split("::")[1:-1]]) for item in items}
    items.sort(key=lambda item: rank.get(scopes[item], len(rank)) if item.path.parent == FOLDER else -1)


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


@pytest.fixture(scope="package", autouse=True)
def _own_processors() -> Iterator[None]:
    """Keep what a worker of xdist starts to its share of the processors, or two engines wait for each other's."""
    name, count = os.environ.get("PYTEST_XDIST_WORKER", "gw0"), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    everything = sorted(os.sched_getaffinity(0))
    own = everything[int(name.removeprefix("gw")) % count :: count]
    os.sched_setaffinity(0, own or everything)
    yield
    os.sched_setaffinity(0, everything)


@pytest.fixture(scope="session", autouse=True)
def _warm_processes() -> None:
    """Start every process fresh, where a test does not ask for `warm_engines` or fork by itself."""


@pytest.fixture(scope="session")
def engines() -> Iterator[Server]:
    """Import vLLM and LightEval once for the runs of `warm_engines`."""
    server = Server(has_engines=True)
    yield server
    server.close()


@pytest.fixture(scope="module")
def warm_engines(engines: Server) -> Iterator[None]:
    """
    Fork a module's runs, their graders and what vLLM starts: its core and its worker.

    What a start of a user's run is made of, the imports among it, is shown by `test_real.py`: the main job in one
    process and the run whose worker and engine are killed start every process fresh.
    """
    with forking(engines):
        yield


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a public chat model once, as a user would have it in a folder."""
    return smollm2_in(tmp_path_factory.mktemp("smollm2"))
