"""
What one pytest process does in a run: works, judges, or both; what its end consists of is `reporting`'s.

Alone, a process works and judges. Under xdist the controller judges and the workers
work; they share nothing but the run's folder. The judge does not depend on who did what:
it knows which benchmarks were selected, and the store holds the rest.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from enum import Enum, auto
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest import runner

from pytest_r1eval.checkpoints.inspect import Checkpoint
from pytest_r1eval.config.settings import Settings, chosen_sampling
from pytest_r1eval.core.benchmarks import Benchmark
from pytest_r1eval.core.built_in import LIVECODEBENCH_WINDOWS
from pytest_r1eval.core.choices import Tier
from pytest_r1eval.core.texts import printable
from pytest_r1eval.engines.devices import Places
from pytest_r1eval.engines.engine import recording_of
from pytest_r1eval.engines.kept import EngineKeeper
from pytest_r1eval.engines.placement import Placement
from pytest_r1eval.errors import PlanError, R1EvalError, StoreError
from pytest_r1eval.exams.catalog import names_of
from pytest_r1eval.plugin import items
from pytest_r1eval.plugin.reporting import Reporting, Selection, ends_run
from pytest_r1eval.plugin.wiring import build_worker, check_references, terms_of
from pytest_r1eval.runs.lock import RunLock
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import FILE_NAME, Store
from pytest_r1eval.runs.work_queue import WorkQueue
from pytest_r1eval.sampling.open_run import open_run

if TYPE_CHECKING:
    from pytest_r1eval.config.policy import Policy
    from pytest_r1eval.judging.outlook import Foreseen
    from pytest_r1eval.ledger.book import Entry
    from pytest_r1eval.plugin.answering import Desk
    from pytest_r1eval.plugin.display import LiveProgress
    from pytest_r1eval.plugin.fail_fast import Barrier
    from pytest_r1eval.sampling.worker import Worker

ORPHAN_POLL_S = 0.5
"""How often a worker looks whether its controller still lives."""


class Role(Enum):
    """A process's part in a run."""

    ALONE = auto()
    CONTROLLER = auto()
    WORKER = auto()

    @property
    def judges(self) -> bool:
        """Whether this process judges."""
        return self is not Role.WORKER


class RunSession:
    """
    The hooks of one pytest process with ``--r1-model`` or ``--r1-judge-only``.

    Args:
        config: pytest's configuration.
        settings: What the user decided.
        catalog: Every benchmark, by name.
        checkpoint: What is judged.
        run: The run's folder, which need not exist yet.
        placement: Where engines run; None where this process starts none of its own.
        is_answered: Whether every question seems to have its verdict already.
        seen: By benchmark, what gates see and cost, where one may end the run; in that order they are drawn.
    """

    def __init__(  # noqa: PLR0913 - eight parts, named at the only call
        self,
        config: pytest.Config,
        *,
        settings: Settings,
        catalog: dict[str, Benchmark],
        checkpoint: Checkpoint,
        run: Path,
        placement: Placement | None = None,
        is_answered: bool = False,
        seen: Mapping[str, Foreseen] | None = None,
    ) -> None:
        self._config = config
        self._seen = seen or {}
        self._is_answered = is_answered
        self._placement = placement
        self._places = Places()
        self._settings = settings
        self._catalog = catalog
        self._checkpoint = checkpoint
        self._run = run
        self._role = role_of(config)
        self._worker: Worker | None = None
        self._selection = Selection()
        self._reporting = Reporting(config, settings=settings, catalog=catalog, checkpoint=checkpoint, run=run)
        self._lock: RunLock | None = None
        self._progress: LiveProgress | None = None
        self._barrier: Barrier | None = None
        self._is_interrupted = False
        self._is_counted = False
        self._must_judge = False
        self._has_run: set[str] = set()

    @cached_property
    def _desk(self) -> Desk:
        """The ledger, as this run sees it."""
        from pytest_r1eval.plugin.answering import Desk  # noqa: PLC0415 - imports the statistics

        return Desk(settings=self._settings, checkpoint=self._checkpoint, catalog=self._catalog)

    # Collection

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Note that tests are going to run, which exit code 0 needs a verdict for; --fixtures and its kin run none."""
        self._must_judge = self._role.judges and not self._config.option.collectonly

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        """Collect the benchmarks below the package's anchor file."""
        if file_path != items.ANCHOR:
            return None
        judging = self._settings.judge_only is not None
        return items.BenchmarkCollector.build(
            parent,
            benchmarks=self._offered(),
            n_shards=1 if judging else self._settings.n_workers,
            finish=self._finish,
        )

    def _offered(self) -> dict[str, Benchmark]:
        """Return what can be selected; of LiveCodeBench's two dozen other windows only what is named."""
        policy = self._settings.policy
        windows = (
            {window.name for window in LIVECODEBENCH_WINDOWS} - self._named() - {*(policy.names if policy else ())}
        )
        return {name: spec for name, spec in self._catalog.items() if name not in windows or self._settings.judge_only}

    def _named(self) -> set[str]:
        """Return the words of -m and -k, before what they select is known."""
        return set(re.findall(r"\w+", f"{self._config.option.markexpr} {self._config.option.keyword}"))

    def pytest_report_header(self) -> list[str]:
        """Return header lines: what is judged, and where the run is kept."""
        lines = [f"r1eval: {self._checkpoint.name} ({self._checkpoint.place})"]
        if (adapter := self._checkpoint.adapter) is not None:
            how = "merged into a copy of" if adapter.is_merged else f"of rank {adapter.rank} on"
            lines.append(f"r1eval: an adapter {how} {self._checkpoint.model}")
        lines.append("r1eval: judged before, nothing is drawn" if self._is_answered else f"r1eval: run {self._run}")
        if self._settings.goes_on:
            lines.append("r1eval: it goes on from what is stored")
        if self._settings.regrades:
            lines.append(f"r1eval: nothing is drawn; responses are graded again by --r1-grader {self._settings.grader}")
        if self._settings.policy is not None:
            lines += [f"r1eval: {line}" for line in self._policy_lines(self._settings.policy)]
        if self._placement is not None:
            lines += [f"r1eval: {line}" for line in self._placement.remarks]
        if self._settings.fail_fast:
            lines.append("r1eval: a benchmark begins when the one before it has not failed (--r1-fail-fast)")
        if self._settings.slice is not None:
            lines.append(f"r1eval: slice {self._settings.slice}; to be merged before it is judged")
        is_drawing = self._settings.judge_only is None and recording_of(self._settings) is None
        if self._config.option.collectonly or not is_drawing or self._is_answered:
            return lines
        return [*lines, *(f"r1eval: {line}" for line in (*self._sampling_lines(), *self._foreseen_lines()))]

    def _sampling_lines(self) -> Iterator[str]:
        """Print how responses are drawn; a policy's own sampling is in its table."""
        sampling = chosen_sampling(self._settings, recommended=self._checkpoint.recommended)
        source = "" if self._checkpoint.recommended is None else " (generation_config.json, and options before it)"
        yield f"sampling {sampling.summary}{source}"
        if (arguments := self._settings.template_arguments) is not None:
            yield f"its chat template is given {arguments}"
        tags = self._checkpoint.tags_for(self._settings.think_tags)
        yield "no tags of thoughts are known" if tags is None else f"its thoughts are in {tags}"
        if self._checkpoint.prints_date:
            date = self._settings.template_date
            yield f"its chat template prints the date and sees {date} (--r1-template-date)"

    def _policy_lines(self, policy: Policy) -> list[str]:
        """Name the policy; before the first token also what its gates see and cost."""
        first = f"release policy {policy.title} ({policy.path})"
        if self._is_answered or not self._seen:
            return [first]
        from pytest_r1eval.reports.policy import policy_lines  # noqa: PLC0415 - imports the statistics

        return [first, *policy_lines(policy, self._seen)[1:]]

    def _foreseen_lines(self) -> Iterable[str]:
        """Print what gates see before the first token; a policy has a table for that."""
        if self._settings.policy is not None:
            return ()
        from pytest_r1eval.judging.outlook import outlook_lines  # noqa: PLC0415 - imports the statistics

        named = self._named()
        asked = [spec for spec in self._catalog.values() if not named.isdisjoint(spec.marks)]
        terms = terms_of(self._settings, self._checkpoint, run=self._run, names=[spec.name for spec in asked])
        return outlook_lines(asked, terms=terms, settings=self._settings)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:  # noqa: ANN401 - xdist is untyped
        """Tell a worker its run, its place (a dead worker's for one that replaces it), and what is drawn in full."""
        node.workerinput["r1eval_run"] = str(self._run)
        node.workerinput["r1eval_in_full"] = sorted(self._settings.in_full)
        node.workerinput["r1eval_order"] = list(self._catalog) if self._seen else []
        node.workerinput["r1eval_policy"] = None if self._settings.policy is None else self._settings.policy.digest
        node.workerinput["r1eval_place"] = self._places.take(node.gateway.id)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Iterable[str]) -> None:
        """Start the run as soon as the first worker knows what is selected."""
        self._is_counted = False  # xdist sets pytest's total to what each worker collected
        if not self._selection.names:
            self._begin(list(ids))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:  # noqa: ANN401 - xdist is untyped
        """Free a dead worker's units for the others at once; its lease would last a minute."""
        self._places.leave(node.gateway.id)
        if self._selection.names and self._settings.judge_only is None:
            # An error here is the judge's to say: it reads the same file.
            with suppress(StoreError), closing(Store.open(self._run)) as store:
                WorkQueue(store).release_worker(node.gateway.id)

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport, sched: Any) -> None:  # noqa: ANN401
        """Run a dead worker's shard again; the judge, not the crash, decides whether a sample is missing."""
        if items.benchmark_of(crashitem) is None:
            return
        with suppress(NotImplementedError):  # loadscope and its kin hand it on by themselves
            sched.mark_test_pending(crashitem)
        report.outcome = items.WORKER_LOST  # type: ignore[assignment]  # pytest knows three, plugins have more

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.CollectReport | pytest.TestReport) -> tuple[str, str, str] | None:
        """Count a shard that lost its worker as lost: neither failed nor passed."""
        return ("worker lost", "L", "WORKER LOST") if report.outcome == items.WORKER_LOST else None

    # Running

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Run a shard once, in this process, even where a plugin forks tests or reruns them."""
        if not isinstance(item, items.ShardItem):
            return None
        return runner.pytest_runtest_protocol(item, nextitem)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Let a shard fail with a warning where a policy lets its benchmark do so; the judge says what is missing."""
        report = yield
        policy = self._settings.policy
        member = (
            policy.member(item.benchmark.name) if policy is not None and isinstance(item, items.ShardItem) else None
        )
        if member is not None and member.tier is not Tier.CRITICAL and report.failed:
            items.tolerate(report, str(report.longreprtext))
        return report

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Judge after the last item, except after a Ctrl-C; under xdist, work until nothing is left."""
        if self._config.option.collectonly:
            return (yield)
        if self._role is Role.WORKER:
            outcome = yield
            self._work_on(session)
            return outcome
        if self._role is Role.ALONE:
            self._begin([item.nodeid for item in session.items])
        try:
            try:
                outcome = yield
            finally:
                self._stop_watching()
        except KeyboardInterrupt as error:
            self._is_interrupted = not isinstance(error, session.Interrupted)
            if not self._is_interrupted:
                self._judge()
            raise
        except session.Failed:
            self._judge()
            raise
        self._judge()
        return outcome

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add the gates to pytest's total before it is counted against, and note which benchmarks ran a shard."""
        name = items.benchmark_of(report.nodeid)
        if name is not None and (report.when == "call" or report.failed):  # what pytest skipped has no call
            self._has_run.add(name)
        session = self._config.pluginmanager.get_plugin("session")
        if self._role.judges and not self._is_counted and isinstance(session, pytest.Session):
            session.testscollected += items.N_GATES * len(self._selection.names)
            is_whole = self._settings.slice is None
            session.testscollected += is_whole * (self._settings.upload_required + (self._settings.policy is not None))
            self._is_counted = True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Release the device and the leases, and see that what was not judged, or not released, is not exit code 0."""
        if self._worker is not None:
            self._worker.stop()
        outcome = yield
        session.exitstatus = self._exit_code(session.exitstatus)
        return outcome

    def _exit_code(self, found: int | pytest.ExitCode) -> int | pytest.ExitCode:
        """Return pytest's exit code, or the release's where that is worse; a run that pytest.exit ended is none."""
        if found not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
            return found
        if found == pytest.ExitCode.OK and self._must_judge and not self._reporting.is_done:
            return pytest.ExitCode.INTERRUPTED
        return max(found, self._reporting.exit_code or 0)

    def pytest_unconfigure(self) -> None:
        """Release the run."""
        if self._lock is not None:
            self._lock.release()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the gate."""
        if self._role.judges and self._is_interrupted and self._selection.names:
            slice_ = "" if self._settings.slice is None else f" --r1-slice {self._settings.slice}"
            terminalreporter.write_line(
                "r1eval: interrupted, nothing was judged. What was generated is stored; "
                f"go on with --r1-resume {self._run}{slice_}"
            )
        self._reporting.show(terminalreporter)

    def _begin(self, nodeids: list[str]) -> None:
        """Create or resume the run's store for what is selected."""
        names = [name for nodeid in nodeids if (name := items.benchmark_of(nodeid)) is not None]
        self._selection = Selection(names=tuple(name for name in self._catalog if name in names))
        if not self._selection.names:  # whatever else is selected: green tests without a gate would be exit code 0
            raise pytest.UsageError(f"{self._choice()} selects no benchmark; {marks_hint(self._catalog)}")
        policy = self._settings.policy
        beyond = [name for name in self._selection.names if policy is not None and policy.member(name) is None]
        if policy is not None and beyond:
            raise pytest.UsageError(
                f"{self._choice()} selects {beyond[0]}, which the release policy {policy.path} does not list; expected "
                "its benchmarks alone, as by -m release. Add it to the policy with a tier, or leave it out"
            )
        try:
            check_references(self._settings, self._checkpoint, run=self._run, benchmarks=self._selection.names)
            with self._desk.locked():
                self._selection = self._asked(self._selection.names)
                if self._selection.drawn:
                    self._open()
        except R1EvalError as error:
            raise pytest.UsageError(printable(str(error))) from error
        if self._settings.judge_only is None and self._selection.drawn:
            if self._settings.fail_fast:
                self._hold_back()
            from pytest_r1eval.plugin.display import start_progress  # noqa: PLC0415 - imports the statistics

            self._progress = start_progress(self._config, self._run, benchmarks=self._selection.drawn)

    def _hold_back(self) -> None:
        """Let no benchmark begin before the one in front of it; none at all after a stored verdict that is a FAIL."""
        from pytest_r1eval.plugin.fail_fast import Barrier, reason_after  # noqa: PLC0415 - imports the statistics

        selection = self._selection
        stored = {name: self._desk.stored(selection.inquiries[name], one) for name, one in selection.answers.items()}
        failed = next((name for name, result in stored.items() if ends_run(result)), None)
        if failed is not None:
            with closing(Store.open(self._run)) as store:
                WorkQueue(store).leave_out(reason_after(failed))
            return
        self._barrier = Barrier(
            self._run, has_failed=lambda name: self._reporting.has_failed(name, selection, self._desk)
        )
        self._barrier.start()

    def _choice(self) -> str:
        """Return the options that selected the benchmarks."""
        option = self._config.option
        keyword = f" with -k {option.keyword!r}" if option.keyword else ""
        deselected = " with --deselect" if option.deselect else ""
        return f"-m {option.markexpr!r}{keyword}{deselected}"

    def _asked(self, names: tuple[str, ...]) -> Selection:
        """
        Ask the ledger about what is selected.

        Raises:
            PlanError: If a run is to be gone on with that is not this one.
        """
        inquiries = self._desk.inquire(names, run=self._run)
        answers: dict[str, Entry] = {}
        goes_on = self._desk.ledger.name_of(self._run) if self._settings.goes_on else None
        for name, inquiry in inquiries.items():
            answer, unfinished = inquiry.answer, inquiry.goes_on
            if answer is not None and answer.run != goes_on:
                answers[name] = answer
            if unfinished is not None and unfinished.run != goes_on:
                run = self._desk.ledger.run_of(unfinished)
                raise PlanError(
                    f"{name}: a run of these weights is not finished, and is gone on with before another is drawn; "
                    f"expected --r1-resume {run}, with the same options"
                )
        return Selection(names=names, inquiries=inquiries, answers=answers)

    def _open(self) -> None:
        drawn = self._selection.drawn
        inquiries = [self._selection.inquiries[name] for name in drawn if name in self._selection.inquiries]
        opened = open_run(
            self._run,
            settings=self._settings,
            catalog=self._catalog,
            checkpoint=self._checkpoint,
            selected=drawn,
            seed=self._desk.seed(inquiries) if inquiries and not self._settings.goes_on else None,
            asked=self._desk.asked(drawn),
        )
        self._lock = opened.lock
        with closing(opened.store) as store:
            if self._settings.judge_only is None:
                WorkQueue(store).select(drawn)
            if inquiries:
                self._desk.begin(inquiries, run=self._run, seed=store.header.seed)

    def _finish(self, benchmark: str) -> None:
        """Wait until a benchmark is drawn; one that is stored, or whose question was answered, is."""
        if self._settings.judge_only is not None or not (self._run / FILE_NAME).is_file():
            return
        with closing(RunReader.open(self._run)) as run:
            selected = run.selected
        if benchmark in selected:
            self._start_worker().finish(benchmark)

    def _stop_watching(self) -> None:
        for watching in (self._barrier, self._progress):
            error = None if watching is None else watching.stop()
            if error is not None:
                self._config.get_terminal_writer().line(error)

    def _start_worker(self) -> Worker:
        if self._worker is None:
            self._worker = build_worker(
                self._settings,
                run=self._run,
                catalog=self._catalog,
                checkpoint=self._checkpoint,
                place=place_of(self._config),
                keeper=keeper_of(self._config),
            )
            self._worker.start()
            if self._role is Role.WORKER:
                threading.Thread(
                    target=stop_when_orphaned, args=(self._worker, os.getppid()), name="r1eval orphan", daemon=True
                ).start()
        return self._worker

    def _work_on(self, session: pytest.Session) -> None:
        """
        Keep the engine until no benchmark has a unit left, however few shards xdist gave this worker.

        xdist deals shards as it likes: both of one benchmark to one worker, under loadfile all of them.
        """
        if session.shouldfail or session.shouldstop:  # as by -x: xdist's loop returns, where pytest's own raises
            return
        if self._settings.judge_only is not None or not any(
            isinstance(item, items.ShardItem) for item in session.items
        ):
            return
        if not (self._run / FILE_NAME).is_file():  # every question has its verdict
            return
        try:
            error = self._start_worker().finish_all()
        except R1EvalError as refusal:
            error = refusal
        if error is not None:
            place = self._config.workerinput["workerid"]  # type: ignore[attr-defined]  # xdist is untyped
            warning = pytest.PytestWarning(
                printable(f"r1eval: {place} gave up, and left its part to the others: {error}")
            )
            self._config.issue_config_time_warning(warning, stacklevel=1)

    def _judge(self) -> None:
        if self._selection.names:
            left_out = [name for name in self._selection.names if name not in self._has_run]
            self._reporting.judge(self._selection, self._desk, left_out=left_out)


def stop_when_orphaned(worker: Worker, parent: int) -> None:
    """
    Stop a worker whose controller was killed.

    execnet lets it run on for up to ten seconds. It would hold a device that the resumed run needs, for samples that
    the resumed run draws as well.

    Args:
        worker: The worker.
        parent: The controller's process id.
    """
    while os.getppid() == parent:
        time.sleep(ORPHAN_POLL_S)
    worker.stop()


def role_of(config: pytest.Config) -> Role:
    """Return this process's part."""
    if hasattr(config, "workerinput"):
        return Role.WORKER
    return Role.CONTROLLER if config.getoption("dist", default="no") != "no" else Role.ALONE


def place_of(config: pytest.Config) -> int:
    """Return this worker's place among the devices, from 0, as the controller gave it."""
    return int(getattr(config, "workerinput", {}).get("r1eval_place", 0))


def keeper_of(config: pytest.Config) -> EngineKeeper | None:
    """Return what keeps an engine beyond this run; None where this process judges one checkpoint."""
    found = (plugin for plugin in config.pluginmanager.get_plugins() if isinstance(plugin, EngineKeeper))
    return next(found, None)


def marks_hint(catalog: dict[str, Benchmark]) -> str:
    """List what can be selected."""
    marks = dict.fromkeys(spec.mark for spec in catalog.values())
    return f"choose benchmarks by their marks, as in -m 'aime or math500': {names_of(marks)}"
