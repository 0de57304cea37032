"""
Shards as pytest items, and gates as pytest reports.

Items hang below one collector whose file is this package's own, reached through `config.args`. So pytest finds, counts,
deselects and lists them like any other test, in any folder. Their node ids do not name that file.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from _pytest._code.code import ReprEntryNative, ReprExceptionInfo, ReprFileLocation, ReprTraceback, TerminalRepr

from pytest_r1eval.core.benchmarks import Benchmark
from pytest_r1eval.core.texts import printable
from pytest_r1eval.errors import LeftOutError, R1EvalError

if TYPE_CHECKING:
    from _pytest._code.code import ExceptionInfo

ANCHOR = Path(__file__).parent / "benchmarks.r1eval"
"""The file that represents all benchmarks; pytest collects files, not ideas."""
ROOT_ID = "r1eval"
WORKER_LOST = "worker lost"
"""The outcome of a shard whose worker died under it."""

_Phase = Literal["setup", "call", "teardown"]
_Outcome = Literal["passed", "failed", "skipped"]


class BenchmarkCollector(pytest.File):
    """Collects the shards of every benchmark."""

    benchmarks: Mapping[str, Benchmark]
    n_shards: int
    finish: Callable[[str], None]

    @classmethod
    def build(
        cls,
        parent: pytest.Collector,
        *,
        benchmarks: Mapping[str, Benchmark],
        n_shards: int,
        finish: Callable[[str], None],
    ) -> BenchmarkCollector:
        """Make the collector under pytest's own for the folder."""
        collector: BenchmarkCollector = cls.from_parent(parent, path=ANCHOR, nodeid=ROOT_ID)
        collector.benchmarks, collector.n_shards, collector.finish = benchmarks, n_shards, finish
        return collector

    def collect(self) -> Iterator[ShardItem]:
        """Yield the shards, benchmark by benchmark."""
        for benchmark in self.benchmarks.values():
            for number in range(1, self.n_shards + 1):
                name = f"{benchmark.name}[shard {number}/{self.n_shards}]"
                item: ShardItem = ShardItem.from_parent(self, name=name)
                item.benchmark = benchmark
                for mark in (ROOT_ID, *benchmark.marks):
                    item.add_marker(mark)
                # An engine's import warns by the dozen, and a user's `filterwarnings = error` would stop it.
                item.add_marker(pytest.mark.filterwarnings("ignore"))
                for exemption in exemptions(self.config):
                    item.add_marker(exemption)
                yield item


class ShardItem(pytest.Item):
    """
    A worker's part of a benchmark; it passes when no worker has a unit of the benchmark left.

    It carries the attributes that conftests and plugins read of pytest's own items, as `DoctestItem` does. It asks
    for no fixture: an autouse fixture is written for tests, and a shard is hours of an engine's work.
    """

    benchmark: Benchmark
    cls = None
    instance = None
    module = sys.modules[__name__]

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401 - pytest's own
        super().__init__(**arguments)
        self.originalname = self.name.partition("[")[0]
        self.obj = self.runtest
        self.function = type(self).runtest
        self.fixturenames: list[str] = []
        self.funcargs: dict[str, object] = {}

    def runtest(self) -> None:
        """Work until the benchmark is settled."""
        collector = self.parent
        if not isinstance(collector, BenchmarkCollector):
            raise TypeError(f"{self.nodeid} hangs below {collector!r}; expected a BenchmarkCollector")
        try:
            collector.finish(self.benchmark.name)
        except LeftOutError as error:
            pytest.skip(str(error))

    def repr_failure(
        self,
        excinfo: ExceptionInfo[BaseException],
        style: str | None = None,  # noqa: ARG002 - pytest's signature
    ) -> str | TerminalRepr:
        """Show our own errors as one sentence."""
        if isinstance(excinfo.value, R1EvalError):
            return printable(str(excinfo.value))
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path | str, int | None, str]:
        """Show the benchmark instead of its file; pytest asks for the line of every skipped item."""
        return self.config.rootpath / ROOT_ID, 0, self.name


def registered_marks(config: pytest.Config) -> frozenset[str]:
    """Return the names of the marks that pytest, its plugins and the user have registered."""
    return frozenset(line.partition(":")[0].partition("(")[0].strip() for line in config.getini("markers"))


def exemptions(config: pytest.Config) -> Iterator[pytest.MarkDecorator]:
    """
    Yield the marks that exempt a shard from other plugins' rules for tests.

    A time limit of a test would end hours of an evaluation (``--r1-timeout`` is its own), and without
    sockets no engine starts.
    """
    registered = registered_marks(config)
    if "timeout" in registered:  # pytest-timeout's
        yield pytest.mark.timeout(0)
    if "enable_socket" in registered:  # pytest-socket's
        yield pytest.mark.enable_socket


def show_ids(config: pytest.Config) -> None:
    """
    Let pytest print our node ids unchanged, at any depth below rootdir.

    It takes what is before the ``::`` for a file and prints it relative to the user's folder, as in
    ``../r1eval::aime24``: another id on each machine.
    """
    relative: Callable[[Any], Any] = config.cwd_relative_nodeid

    def shown(nodeid: Any) -> Any:  # noqa: ANN401 - a text, or a NodeId since pytest 9.2
        return nodeid if str(nodeid).partition("::")[0] == ROOT_ID else relative(nodeid)

    config.cwd_relative_nodeid = shown  # type: ignore[method-assign]  # there is no hook


def benchmark_of(nodeid: str) -> str | None:
    """Return the benchmark that a shard's node id belongs to; None for other tests."""
    prefix, _, name = nodeid.partition("::")
    return name.partition("[shard ")[0] if prefix == ROOT_ID and "[shard " in name else None


N_GATES = 2
"""Reports per benchmark: pass@1 and health."""


class Ending(Enum):
    """How a gate ends, in pytest's terms."""

    PASSED = auto()
    FAILED = auto()
    ERROR = auto()
    SKIPPED = auto()
    TOLERATED = auto()
    """It fails or cannot be judged, and a release policy lets that pass with a warning."""

    @classmethod
    def of(cls, *, passes: bool) -> Ending:
        """Return how a gate ends that could be judged."""
        return cls.PASSED if passes else cls.FAILED


def red(message: str) -> ReprExceptionInfo:
    """
    Return a red gate's text in pytest's own form, which other plugins parse.

    All of it is shown where failures are; its first line is the message where pytest or a plugin wants one. A report
    whose text is a plain string has no first line: in CI, and under ``-vv``, pytest repeats every line of it in its
    short summary.
    """
    crash = ReprFileLocation(path=ROOT_ID, lineno=1, message=message.partition("\n")[0])
    trace = ReprTraceback(reprentries=[ReprEntryNative([f"{message}\n"])], extraline=None, style="native")
    return ReprExceptionInfo(reprtraceback=trace, reprcrash=crash)


def gate_reports(
    benchmark: Benchmark,
    gate: str,
    ending: Ending,
    *,
    message: str,
    properties: tuple[tuple[str, str], ...] = (),
) -> Iterator[pytest.TestReport]:
    """
    Make the reports of one gate, as pytest makes a test's.

    Args:
        benchmark: The benchmark that was judged.
        gate: Which of its gates: ``pass@1`` or ``health``.
        ending: How it ends; one that could not be judged is an error, not a failure.
        message: What a person reads.
        properties: What a program reads in JUnit's XML.
    """
    marks = (benchmark.mark,)
    yield from reports(f"{benchmark.name}::{gate}", ending, message=message, marks=marks, properties=properties)


def in_order(benchmarks: Mapping[str, Benchmark], order: Sequence[str]) -> dict[str, Benchmark]:
    """Put some benchmarks first, in their order; the others follow as they are."""
    first = [name for name in order if name in benchmarks]
    return {name: benchmarks[name] for name in dict.fromkeys([*first, *benchmarks])}


def reports(
    name: str,
    ending: Ending,
    *,
    message: str,
    marks: tuple[str, ...] = (),
    properties: tuple[tuple[str, str], ...] = (),
) -> Iterator[pytest.TestReport]:
    """Report on what is not a test: a gate, the release, the upload."""
    outcomes: dict[_Phase, _Outcome] = {"setup": "passed", "call": "passed", "teardown": "passed"}
    match ending:
        case Ending.FAILED:
            outcomes["call"] = "failed"
        case Ending.ERROR:
            outcomes = {"setup": "failed", "teardown": "passed"}
        case Ending.SKIPPED:
            outcomes = {"setup": "skipped", "teardown": "passed"}
        case Ending.TOLERATED:
            outcomes["call"] = "skipped"
        case Ending.PASSED:
            pass
    now = time.time()
    for phase, outcome in outcomes.items():
        report = pytest.TestReport(
            nodeid=f"{ROOT_ID}::{name}",
            location=(ROOT_ID, None, name),
            keywords=dict.fromkeys((name, *marks, ROOT_ID), 1),
            outcome=outcome,
            longrepr={"passed": None, "failed": red(message), "skipped": (ROOT_ID, 0, message)}[outcome],
            when=phase,
            user_properties=list(properties) if phase == "teardown" else [],
            sections=[("r1eval", message)] if phase == "call" and outcome == "passed" else [],
            duration=0.0,
            start=now,
            stop=now,
        )
        if ending is Ending.TOLERATED and phase == "call":
            tolerate(report, message)
        yield report


def tolerate(report: pytest.TestReport, message: str) -> None:
    """Let pytest count a failure as one that was allowed for, which is its word for what only warns."""
    report.outcome = "skipped"
    report.wasxfail = f"only warns. {message}"
