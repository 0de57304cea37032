"""What the tests share: isolated environment, no network, recorded runs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.real_data import BESIDE, ENVIRON, TEST_DATA, real_data_in
from tests.recordings import record_run
from tests.requirements import (
    LIGHTEVAL,
    REAL_DATA,
    lacking,
    pytest_unconfigure,  # noqa: F401 - a hook: closes the suite with what was not run
)
from tests.warm_pytest import COLD, LEAN, Server, forking, remember_entry_points

if TYPE_CHECKING:
    from tests.hub_server import StandInHub

settings.register_profile("steady", deadline=None)  # the default 200 ms is a test of the machine, not of the code
settings.load_profile("steady")
remember_entry_points()

MODES = {"alone": (), "n0": ("-n0",), "n2": ("-n2",)}
LONGEST = (
    "slurm/test_jobs.py", "plugin/test_plugin.py", "plugin/test_faults.py", "evaluation/test_process.py",
    "sandbox/test_attacks.py", "plugin/test_answering.py", "stats/test_calibration.py", "trackers/test_delivery.py",
    "upload/test_publish.py", "commands/test_gates.py", "upload/test_pull_request.py", "reports/test_page.py",
    "training/test_runners.py", "test_documented_commands.py", "stats/test_real_samples.py", "plugin/test_rootdir.py",
    "runs/test_merge.py",
)  # fmt: skip
"""The files that take longest, the longest first: where they come last, a worker runs one while the others are done."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, after any shuffling."""
    rank = {Path(__file__).parent / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


@pytest.fixture(autouse=True, scope="session")
def _lean_inner_runs() -> Iterator[None]:
    """Load in the pytest processes that tests start only what a gate needs; `all_plugins` loads what is installed."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in LEAN.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(autouse=True, scope="session")
def _warm_processes() -> Iterator[None]:
    """Fork the runs of pytest that tests start from one server; `cold_processes` starts fresh ones."""
    server = Server()
    with forking(server):
        yield
    server.close()


@pytest.fixture
def cold_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pytest processes of a test start fresh."""
    monkeypatch.setattr(subprocess, "Popen", COLD)


@pytest.fixture(scope="session")
def graders() -> Iterator[Server]:
    """Import LightEval once, for `warm_graders`; the pool of `tests/scoring_fixtures.py` does so for itself."""
    server = Server(has_graders=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")  # the Hub's client reads it as it is imported
        server.start()
    yield server
    server.close()


@pytest.fixture
def warm_graders(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fork what a test starts from a process that has LightEval, where it is: its runs, graders and other programs."""
    with nullcontext() if LIGHTEVAL.absent() else forking(request.getfixturevalue("graders")):
        yield


@pytest.fixture
def all_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pytest processes of a test load every installed plugin, ours through its entry point."""
    for name in (*LEAN, "COVERAGE_PROCESS_CONFIG"):  # measuring, too, imports what a user's run does not
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def measured_inner_runs() -> Iterator[None]:
    """Measure the pytest processes of a module where coverage is measured; a third more CPU for each process."""
    coverage = sys.modules.get("coverage")
    measuring = None if coverage is None else coverage.Coverage.current()
    with pytest.MonkeyPatch.context() as patch:
        if measuring is not None:
            patch.setenv("COVERAGE_PROCESS_CONFIG", measuring.config.serialize())
        yield


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the caller's settings and the network out of every test."""
    for name in [name for name in os.environ if name.startswith("R1_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that leaves the machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: tuple[str, int] | str) -> None:
        if self.family in {socket.AF_INET, socket.AF_INET6} and address[0] not in {"127.0.0.1", "::1", "localhost"}:
            raise OSError(f"a test tried to reach {address}; tests stay on this machine")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def usual_digits() -> Iterator[None]:
    """Read numbers of as many digits as Python does by itself: LightEval raises the limit where it is imported."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(sys.int_info.default_max_str_digits)
    yield
    sys.set_int_max_str_digits(before)


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return pytest's arguments for each way to spread a run."""
    return MODES[request.param]


@pytest.fixture
def recorded(pytester: pytest.Pytester) -> Callable[..., Path]:
    """Record a made-up run in the test's folder."""

    def record(name: str, **details: object) -> Path:
        return record_run(pytester.path / name, **details)  # type: ignore[arg-type]

    return record


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Name the folder of AIME 2024 and MATH-500, as `--r1-data` takes it."""
    found = real_data_in(tmp_path_factory.mktemp("data"), given=TEST_DATA, beside=BESIDE, environ=ENVIRON)
    return lacking(REAL_DATA, detail=found) if isinstance(found, str) else found


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Record and judge one run of every ending, once; no test writes to them."""
    from tests.judged_runs import judged_examples  # noqa: PLC0415 - imports the statistics

    return judged_examples(tmp_path_factory.mktemp("examples"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandInHub]:
    """Serve one Hub to a whole module; what it holds is the module's to say."""
    from tests.hub_server import serving  # noqa: PLC0415 - three modules need it

    with serving(tmp_path_factory.mktemp("hub")) as hub:
        yield hub
