"""
What one pytest process does in a run: works, judges, or both.

Alone, a process works and judges. Under xdist the controller judges and the workers
work; they share nothing but the run's folder. The judge never asks who did what:
it knows which benchmarks were selected, and the store knows the rest.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import re
import secrets
import threading
import time
from collections.abc import Generator, Iterable
from contextlib import closing, suppress
from enum import Enum, auto
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_r1eval import items
from pytest_r1eval.baseline_files import BaselineShelf
from pytest_r1eval.checkpoint import Checkpoint, inspect_checkpoint
from pytest_r1eval.core.benchmarks import Benchmark, Grader, Sampling
from pytest_r1eval.core.placement import Demand, Machine, Placement
from pytest_r1eval.core.placement import placement as placed
from pytest_r1eval.core.plans import Share
from pytest_r1eval.devices import Places, device_share, this_machine
from pytest_r1eval.errors import EngineError, R1EvalError, StoreError
from pytest_r1eval.run_lock import RunLock
from pytest_r1eval.settings import NEWEST, EngineKind, Family, GateKind, InconclusivePolicy, Settings, sampling_for
from pytest_r1eval.store import FILE_NAME, RunHeader, Store

if TYPE_CHECKING:
    from pytest_r1eval.core.verdicts import GateRule
    from pytest_r1eval.display import LiveProgress
    from pytest_r1eval.engines.engine import Engine
    from pytest_r1eval.execution import Worker
    from pytest_r1eval.judge import GateResult
    from pytest_r1eval.shares import ShareResult

N_SCORING_PROCESSES_PER_WORKER = 4
"""At most; grading takes milliseconds a response, so a few keep up with any engine."""

ORPHAN_POLL_S = 0.5
"""How often a worker looks whether its controller still lives."""


class Role(Enum):
    """Which part of a run a process plays."""

    ALONE = auto()
    CONTROLLER = auto()
    WORKER = auto()

    @property
    def judges(self) -> bool:
        """Whether the verdict is this process's to give."""
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
    """

    def __init__(  # noqa: PLR0913 - six parts, named at the only call
        self,
        config: pytest.Config,
        *,
        settings: Settings,
        catalog: dict[str, Benchmark],
        checkpoint: Checkpoint,
        run: Path,
        placement: Placement | None = None,
    ) -> None:
        self._config = config
        self._placement = placement
        self._places = Places()
        self._settings = settings
        self._catalog = catalog
        self._checkpoint = checkpoint
        self._run = run
        self._role = role_of(config)
        self._worker: Worker | None = None
        self._selected: tuple[str, ...] = ()
        self._results: list[GateResult] = []
        self._share_results: tuple[ShareResult, ...] = ()
        self._lock: RunLock | None = None
        self._progress: LiveProgress | None = None
        self._is_interrupted = False
        self._is_counted = False

    # Collection

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        """Collect the benchmarks below the package's anchor file."""
        if file_path != items.ANCHOR:
            return None
        judging = self._settings.judge_only is not None
        return items.BenchmarkCollector.build(
            parent,
            benchmarks={name: spec for name, spec in self._catalog.items() if spec.grader is not Grader.CODE},
            n_shards=1 if judging else self._settings.n_workers,
            worker=StoredWork if judging else self._start_worker,
        )

    def pytest_report_header(self) -> list[str]:
        """Say what is judged and where the run is kept."""
        lines = [f"r1eval: {self._checkpoint.name} ({self._checkpoint.model})", f"r1eval: run {self._run}"]
        if self._placement is not None:
            lines += [f"r1eval: {line}" for line in self._placement.remarks]
        if self._settings.share is not None:
            lines.append(f"r1eval: share {self._settings.share}; to be merged before it is judged")
        is_drawing = self._settings.judge_only is None and self._settings.engine is not EngineKind.REPLAY
        if self._config.option.collectonly or not is_drawing:
            return lines
        from pytest_r1eval.outlook import outlook_lines  # noqa: PLC0415 - imports the statistics

        words = set(re.findall(r"\w+", f"{self._config.option.markexpr} {self._config.option.keyword}"))
        asked = [spec for spec in self._catalog.values() if words & {*items.marks_of(spec)}]
        rule = rule_of(self._settings, n_gates=max(1, len(asked)))
        shelf = shelf_of(self._settings, self._checkpoint, run=self._run)
        return lines + [
            f"r1eval: {line}" for line in outlook_lines(asked, shelf=shelf, settings=self._settings, rule=rule)
        ]

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:  # noqa: ANN401 - xdist is untyped
        """Tell an xdist worker where the run is, and its place: one that replaces a dead one takes its devices over."""
        node.workerinput["r1eval_run"] = str(self._run)
        node.workerinput["r1eval_place"] = self._places.take(node.gateway.id)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Iterable[str]) -> None:
        """Begin the run as soon as the first worker knows what is selected."""
        if not self._selected:
            self._begin(list(ids))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:  # noqa: ANN401 - xdist is untyped
        """Hand a dead worker's units to the living at once; its lease would run for a minute."""
        self._places.leave(node.gateway.id)
        if self._selected and self._settings.judge_only is None:
            # An error here is the judge's to say: it reads the same file.
            with suppress(StoreError), closing(Store.open(self._run)) as store:
                store.release_worker(node.gateway.id)

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport, sched: Any) -> None:  # noqa: ANN401
        """Run a dead worker's shard again; whether a sample is missing is the judge's to say, not the crash's."""
        if items.benchmark_of(crashitem) is None:
            return
        with suppress(NotImplementedError):  # loadscope and its kin hand it on by themselves
            sched.mark_test_pending(crashitem)
        report.outcome = items.WORKER_LOST  # type: ignore[assignment]  # pytest knows three, plugins have more

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.CollectReport | pytest.TestReport) -> tuple[str, str, str] | None:
        """Count a shard that lost its worker as that: no failure, no pass."""
        return ("worker lost", "L", "WORKER LOST") if report.outcome == items.WORKER_LOST else None

    # Running

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Judge after the last item, whatever ended the loop but a Ctrl-C."""
        if not self._role.judges or self._config.option.collectonly:
            return (yield)
        if self._role is Role.ALONE:
            self._begin([item.nodeid for item in session.items])
        try:
            try:
                outcome = yield
            finally:
                self._stop_progress()
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

    def pytest_runtest_logstart(self) -> None:
        """Add the gates to pytest's total, once the total exists."""
        session = self._config.pluginmanager.get_plugin("session")
        if self._role.judges and not self._is_counted and isinstance(session, pytest.Session):
            session.testscollected += items.N_GATES * len(self._selected)
            self._is_counted = True

    def pytest_sessionfinish(self) -> None:
        """Give the device and the leases back."""
        if self._worker is not None:
            self._worker.stop()

    def pytest_unconfigure(self) -> None:
        """Let others have the run."""
        if self._lock is not None:
            self._lock.release()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the gate."""
        if self._role.judges and self._is_interrupted and self._selected:
            shard = "" if self._settings.share is None else f" --r1-shard {self._settings.share}"
            terminalreporter.write_line(
                "r1eval: interrupted, nothing was judged. What was generated is stored; "
                f"go on with --r1-resume {self._run}{shard}"
            )
        for line in [line for result in self._share_results for line in ("", *result.words)]:
            terminalreporter.write_line(line)
        if not self._results:
            return
        from pytest_r1eval.reports.terminal import gate_table, gate_words  # noqa: PLC0415 - imports the statistics

        terminalreporter.section("r1eval: may this checkpoint ship?")
        for line in gate_table(self._results):
            terminalreporter.write_line(line)
        passed = [result for result in self._results if result.judgement.passes]
        for line in [line for result in passed for line in ("", *gate_words(result))]:
            terminalreporter.write_line(line)
        terminalreporter.write_line("")
        terminalreporter.write_line(f"run: {self._run}")

    def _begin(self, nodeids: list[str]) -> None:
        """Create or resume the run's store for what is selected."""
        names = [name for nodeid in nodeids if (name := items.benchmark_of(nodeid)) is not None]
        self._selected = tuple(name for name in self._catalog if name in names)
        if not self._selected:
            if not nodeids:
                raise pytest.UsageError(
                    f"-m {self._config.option.markexpr!r} selects no benchmark; {marks_hint(self._catalog)}"
                )
            return
        try:
            with closing(self._opened()) as store:
                if self._settings.judge_only is None:
                    store.select(self._selected)
        except R1EvalError as error:
            raise pytest.UsageError(str(error)) from error
        if self._settings.judge_only is None:
            from pytest_r1eval.display import start_progress  # noqa: PLC0415 - imports the statistics

            self._progress = start_progress(self._config, self._run, benchmarks=self._selected)

    def _stop_progress(self) -> None:
        error = None if self._progress is None else self._progress.stop()
        if error is not None:
            self._config.get_terminal_writer().line(error)

    def _header(self) -> RunHeader:
        return RunHeader(
            model=self._checkpoint.model,
            model_name=self._checkpoint.name,
            identity=self._checkpoint.identity,
            created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            seed=seed_of(self._settings, self._checkpoint),
            share=self._settings.share,
        )

    def _opened(self) -> Store:
        """Open the run for this process alone: a new one, one to go on with, or one to judge."""
        is_new = self._settings.judge_only is None and self._settings.resume is None
        store = Store.create(self._run, self._header()) if is_new else Store.open(self._run)
        try:
            self._lock = RunLock.take(self._run)
            if not is_new:
                store.check()
            if self._settings.judge_only is not None:
                self._check_judgeable(store)
            elif self._settings.resume is not None:
                self._check_resumable(store)
                store.release_all()
        except BaseException:
            store.close()
            raise
        return store

    def _check_judgeable(self, store: Store) -> None:
        share = store.header.share
        if share is not None:
            raise pytest.UsageError(
                f"--r1-judge-only {self._run}: the run holds share {share} alone; "
                f"bring the {share.total} shares together first: r1eval merge RUN RUN ... --out RUN"
            )

    def _check_resumable(self, store: Store) -> None:
        header, settings = store.header, self._settings
        if header.identity != self._checkpoint.identity:
            raise pytest.UsageError(
                f"--r1-resume {self._run}: the run judged another checkpoint ({header.model}, weights "
                f"{header.identity.weights[:12]}, here {self._checkpoint.identity.weights[:12]}); start a new run"
            )
        if header.share != settings.share:
            raise pytest.UsageError(
                f"--r1-resume {self._run}: the run holds {_part(header.share)}, and {_part(settings.share)} is asked "
                "for now; resume with the --r1-shard it was started with, or start a new run"
            )
        for name in set(self._selected) & set(store.selected):
            self._check_unchanged(store, name)

    def _check_unchanged(self, store: Store, name: str) -> None:
        """Refuse to go on with a plan that is not the one asked for; a sequential run may become a fixed one."""
        from pytest_r1eval.looks import gate_of  # noqa: PLC0415 - imports the statistics

        settings, benchmark, plan = self._settings, self._catalog[name], store.plan(name)
        if plan is None:
            return
        gate = gate_of(store, name)
        if gate is not None and settings.gate is GateKind.FIXED:
            store.complete_as_fixed(name, k=settings.samples.get(name, gate.plan.design.n_samples))
            return
        k = settings.samples.get(name, benchmark.samples_per_problem)
        wanted: dict[str, object] = {"system prompt": settings.system_prompt}
        found: dict[str, object] = {"system prompt": plan.system_prompt}
        if settings.engine is not EngineKind.REPLAY:
            wanted["sampling"] = sampling_for(benchmark, settings, max_position=self._checkpoint.max_position)
            found["sampling"] = plan.sampling
        if settings.gate is GateKind.FIXED and (settings.engine is not EngineKind.REPLAY or name in settings.samples):
            wanted["samples per problem"], found["samples per problem"] = k, plan.samples_per_problem
        for what, value in wanted.items():
            if found[what] != value:
                raise pytest.UsageError(
                    f"--r1-resume {self._run}: the {what} of {name} was {found[what]}, and {value} is asked for now; "
                    "resume with the options the run was started with, or start a new run"
                )

    def _start_worker(self) -> Worker:
        if self._worker is None:
            self._worker = build_worker(
                self._settings,
                run=self._run,
                catalog=self._catalog,
                checkpoint=self._checkpoint,
                place=place_of(self._config),
            )
            self._worker.start()
            if self._role is Role.WORKER:
                threading.Thread(
                    target=stop_when_orphaned, args=(self._worker, os.getppid()), name="r1eval orphan", daemon=True
                ).start()
        return self._worker

    def _judge(self) -> None:
        from pytest_r1eval.judge import Judge, write_verdicts  # noqa: PLC0415 - imports the statistics

        if not self._selected:
            return
        if self._settings.share is not None:
            self._report_share(self._settings.share)
            return
        try:
            with closing(Store.open(self._run)) as store:
                judge = Judge(
                    store=store,
                    shelf=shelf_of(self._settings, self._checkpoint, run=self._run),
                    rule=rule_of(self._settings, n_gates=len(self._selected)),
                    save_as=self._settings.save_baseline,
                    is_holm=self._settings.family is Family.HOLM,
                )
                self._results += judge.judge([self._catalog[name] for name in self._selected])
            write_verdicts(self._run, self._results)
        except R1EvalError as error:
            raise pytest.UsageError(f"the run cannot be judged: {error}") from error
        for result in self._results:
            self._report(result)

    def _report_share(self, share: Share) -> None:
        """Say of a machine's share whether it is whole; the verdict is the merged run's."""
        from pytest_r1eval.shares import share_results  # noqa: PLC0415 - imports the statistics

        try:
            with closing(Store.open(self._run)) as store:
                self._share_results = share_results(store, share, self._selected)
        except R1EvalError as error:
            raise pytest.UsageError(f"the share cannot be read: {error}") from error
        for result in self._share_results:
            ending = items.Ending.SKIPPED if result.refusal is None else items.Ending.ERROR
            self._emit(result.benchmark, "pass@1", ending, result.words)
            words = [f"{result.benchmark}: health is judged with the merged run."]
            self._emit(result.benchmark, "health", items.Ending.SKIPPED, words)

    def _report(self, result: GateResult) -> None:
        """Emit the two reports of a benchmark, as pytest would of two tests."""
        from pytest_r1eval.core.verdicts import Verdict  # noqa: PLC0415 - imports the statistics
        from pytest_r1eval.reports.terminal import gate_words, health_words  # noqa: PLC0415

        judgement, health = result.judgement, result.health
        pass_at_1 = items.Ending.of(passes=judgement.passes)
        if judgement.verdict is Verdict.INVALID:
            pass_at_1 = items.Ending.ERROR
        healthy = items.Ending.SKIPPED if health is None else items.Ending.of(passes=health.passes)
        self._emit(result.benchmark, "pass@1", pass_at_1, gate_words(result))
        self._emit(result.benchmark, "health", healthy, health_words(result))

    def _emit(self, benchmark: str, gate: str, ending: items.Ending, words: list[str]) -> None:
        hook = self._config.hook
        for report in items.gate_reports(self._catalog[benchmark], gate, ending, words="\n".join(words)):
            if report.when == "setup":
                hook.pytest_runtest_logstart(nodeid=report.nodeid, location=report.location)
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=report.nodeid, location=report.location)


def stop_when_orphaned(worker: Worker, parent: int) -> None:
    """
    Stop a worker whose controller was killed.

    execnet lets it run on for up to ten seconds, on a device that the resumed run
    needs, for samples that the resumed run draws as well.

    Args:
        worker: The worker.
        parent: The controller's process id.
    """
    while os.getppid() == parent:
        time.sleep(ORPHAN_POLL_S)
    worker.stop()


class StoredWork:
    """The work of a stored run: done."""

    def finish(self, benchmark: str) -> None:
        """Wait for nothing; what is missing makes the verdict INVALID."""


def _part(share: Share | None) -> str:
    return "the whole run" if share is None else f"share {share}"


def rule_of(settings: Settings, *, n_gates: int) -> GateRule:
    """
    Make the rule that a run's gates decide by.

    Looks cannot be ordered by p-value afterwards, so a family of sequential gates
    divides alpha beforehand; fixed gates are ordered by Holm's procedure.
    """
    from pytest_r1eval.core.verdicts import GateRule  # noqa: PLC0415 - imports the statistics

    is_divided = settings.family is Family.HOLM and settings.gate is GateKind.SEQUENTIAL
    return GateRule(
        sigmas=settings.sigmas,
        two_sided=settings.two_sided,
        margin=settings.margin,
        exact=settings.exact,
        family_size=n_gates if is_divided else 1,
        inconclusive_passes=settings.inconclusive is InconclusivePolicy.PASS,
    )


def role_of(config: pytest.Config) -> Role:
    """Tell which part this process plays."""
    if hasattr(config, "workerinput"):
        return Role.WORKER
    return Role.CONTROLLER if config.getoption("dist", default="no") != "no" else Role.ALONE


def place_of(config: pytest.Config) -> int:
    """Return this worker's place among the devices, from 0, as the controller gave it."""
    return int(getattr(config, "workerinput", {}).get("r1eval_place", 0))


def checkpoint_of(settings: Settings) -> Checkpoint:
    """
    Inspect what is judged; a replay, and a stored run, judge what the recorded run judged.

    Raises:
        ModelError: If it is no checkpoint.
        StoreError: If it is no recorded run.
    """
    if settings.judge_only is None and settings.engine is not EngineKind.REPLAY:
        return inspect_checkpoint(settings.model, revision=settings.revision)
    with closing(Store.open(settings.judge_only or Path(settings.model))) as store:
        header = store.header
    return Checkpoint(
        model=header.model, revision=None, name=header.model_name, identity=header.identity, max_position=None
    )


_SIZING_ARGUMENTS = frozenset(
    (
        "cpu_offload_gb",
        "gpu_memory_utilization",
        "hf_overrides",
        "kv_cache_dtype",
        "kv_cache_memory_bytes",
        "max_model_len",
        "pipeline_parallel_size",
        "quantization",
        "tensor_parallel_size",
    )
)
"""Engine arguments that change what memory holds; vLLM alone then knows whether it fits."""


def placement_of(
    settings: Settings, checkpoint: Checkpoint, *, machine: Machine, n_workers: int | None
) -> Placement | None:
    """
    Decide where engines run; None where this process starts none of its own.

    Args:
        settings: What the user decided.
        checkpoint: What is judged.
        machine: What this process may use.
        n_workers: Engines on this machine; None for as many as pay.

    Raises:
        PlanError: If they cannot fit, with the arithmetic.
    """
    if settings.engine is not EngineKind.VLLM or settings.judge_only is not None:
        return None
    asked = settings.max_model_len or Sampling().max_model_length
    demand = Demand(
        model=checkpoint.name,
        size=checkpoint.size,
        dtype=settings.dtype,
        max_model_length=min(asked, checkpoint.max_position or asked),
        utilization=settings.gpu_memory_utilization,
        tensor_parallel_size=settings.tp,
        engines_per_gpu=settings.engines_per_gpu,
        is_sized_by_user=bool(_SIZING_ARGUMENTS & set(settings.engine_args)),
    )
    return placed(demand, machine, n_workers=n_workers)


def run_folder(config: pytest.Config, settings: Settings, checkpoint: Checkpoint) -> Path:
    """
    Decide where the run is kept: given by the controller, resumed, or new.

    Raises:
        StoreError: If there is nothing to resume.
    """
    workerinput = getattr(config, "workerinput", None)
    if workerinput is not None:
        return Path(workerinput["r1eval_run"])
    if settings.judge_only is not None:
        return settings.judge_only
    folder = settings.output_dir / checkpoint.name
    suffix = "" if settings.share is None else f"-share-{settings.share.number}-of-{settings.share.total}"
    if settings.resume is None:
        started = dt.datetime.now(dt.UTC).strftime("%Y%m%d-%H%M%S")
        return folder / f"{started}-{secrets.token_hex(2)}{suffix}"
    if settings.resume != NEWEST:
        return (config.invocation_params.dir / settings.resume).resolve()
    runs = sorted(path.parent for path in folder.glob(f"*{suffix}/{FILE_NAME}"))
    runs = [run for run in runs if suffix or "-share-" not in run.name]
    if not runs:
        raise pytest.UsageError(
            f"--r1-resume: no run of {checkpoint.name}{suffix and f', {_part(settings.share)},'} in {folder}; "
            "leave --r1-resume out for a new one"
        )
    return runs[-1]


def seed_of(settings: Settings, checkpoint: Checkpoint) -> int:
    """
    Return the run's seed: given, recorded, or derived from the weights.

    Judging one checkpoint twice then draws the same samples: a red gate cannot be
    rerun until it is green, and two checkpoints never share their luck.
    """
    if settings.seed is not None:
        return settings.seed
    if settings.engine is EngineKind.REPLAY:
        with closing(Store.open(Path(settings.model))) as store:
            return store.header.seed
    return int.from_bytes(hashlib.sha256(checkpoint.identity.weights.encode()).digest()[:6], "big")


def shelf_of(settings: Settings, checkpoint: Checkpoint, *, run: Path) -> BaselineShelf:
    """Say where a run's baselines are looked for."""
    return BaselineShelf(
        root=settings.root,
        choice=settings.baseline,
        model_name=checkpoint.name,
        output_dir=settings.output_dir,
        run=run,
    )


def marks_hint(catalog: dict[str, Benchmark]) -> str:
    """List what can be selected."""
    marks = dict.fromkeys(spec.mark for spec in catalog.values() if spec.grader is not Grader.CODE)
    return f"choose benchmarks by their marks, as in -m 'aime or math500': {', '.join(marks)}"


def build_worker(
    settings: Settings, *, run: Path, catalog: dict[str, Benchmark], checkpoint: Checkpoint, place: int
) -> Worker:
    """Put a worker together: engine, planner and graders; nothing is loaded yet."""
    from pytest_r1eval.engines.replay import ReplayEngine, ReplayOptions  # noqa: PLC0415 - not in a process that only collects
    from pytest_r1eval.engines.vllm import VllmEngine, VllmOptions  # noqa: PLC0415
    from pytest_r1eval.execution import Worker  # noqa: PLC0415
    from pytest_r1eval.planning import Planner, RecordedSource, SittingSource, TaskSource  # noqa: PLC0415
    from pytest_r1eval.scoring.pool import GradingPool  # noqa: PLC0415

    owner = f"{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}-{os.getpid()}-{secrets.token_hex(4)}"
    shelf = shelf_of(settings, checkpoint, run=run)
    with closing(Store.open(run)) as store:
        seed, selected = store.header.seed, store.selected
    rule = rule_of(settings, n_gates=len(selected))

    def planner_for(source: SittingSource) -> Planner:
        return Planner(
            settings=settings, identity=checkpoint.identity, source=source, shelf=shelf, rule=rule, seed=seed
        )

    if settings.engine is EngineKind.REPLAY:
        recorded = Path(settings.model)
        return Worker(
            run=run,
            owner=owner,
            benchmarks=catalog,
            planner=planner_for(RecordedSource(run=recorded)),
            engine=ReplayEngine(recorded, options=ReplayOptions.parse(settings.engine_args)),
            pool=None,
            grader="recorded",
            n_workers=settings.n_workers,
        )
    machine = this_machine(os.environ)
    is_local = settings.engine is not EngineKind.SERVER
    placement = placement_of(settings, checkpoint, machine=machine, n_workers=settings.n_workers)
    tensor_parallel_size = placement.tensor_parallel_size if placement is not None else 1
    share = device_share(
        worker=place,
        n_workers=settings.n_workers,
        tensor_parallel_size=tensor_parallel_size,
        gpus=tuple(gpu.name for gpu in machine.gpus) if is_local else (),
        cpus=machine.cpus,
    )
    os.environ.update(share.environment())
    lengths = [sampling_for(catalog[name], settings, max_position=checkpoint.max_position) for name in selected]
    options = VllmOptions(
        model=checkpoint.model,
        revision=checkpoint.revision,
        dtype=settings.dtype,
        max_model_length=max(sampling.max_model_length for sampling in lengths),
        gpu_memory_utilization=settings.gpu_memory_utilization / share.n_sharing,
        tensor_parallel_size=tensor_parallel_size,
        kv_cache_bytes=None if placement is None else placement.kv_cache_bytes,
        arguments=dict(settings.engine_args),
        log=run / "logs" / f"engine-{owner}.log",
    )
    pool = GradingPool(n_processes=max(1, min(N_SCORING_PROCESSES_PER_WORKER, len(share.cpus))))
    return Worker(
        run=run,
        owner=owner,
        benchmarks=catalog,
        planner=planner_for(TaskSource(settings=settings, checkpoint=checkpoint, pool=pool)),
        engine=VllmEngine(options)
        if is_local
        else server_engine(settings, checkpoint=checkpoint, max_model_length=options.max_model_length),
        pool=pool,
        grader=f"lighteval {metadata.version('lighteval')}",
        n_workers=settings.n_workers,
    )


def server_engine(settings: Settings, *, checkpoint: Checkpoint, max_model_length: int) -> Engine:
    """
    Make the engine that asks a server; workers divide the requests in flight among themselves.

    Raises:
        EngineError: If an engine argument or the key is not what it must be, or aiohttp is missing.
    """
    try:
        from pytest_r1eval.engines.server import ApiKey, ServerEngine, ServerOptions  # noqa: PLC0415
    except ImportError as error:
        raise EngineError(
            f"--r1-engine server needs aiohttp, which cannot be imported ({error}); install pytest-r1eval[server]"
        ) from error
    from pytest_r1eval.engines.pacing import Patience, patience_from  # noqa: PLC0415
    from pytest_r1eval.exams import PromptTokenizer  # noqa: PLC0415

    share = max(1, Patience().max_concurrent // settings.n_workers)
    options = ServerOptions(
        url=settings.server_url or "",
        names=tuple(dict.fromkeys((settings.model, checkpoint.model, checkpoint.name))),
        max_model_length=max_model_length,
        patience=patience_from(settings.engine_args, default=Patience(max_concurrent=share)),
        key=ApiKey.from_environment(os.environ),
    )
    return ServerEngine(options, tokens=lambda: PromptTokenizer(model=checkpoint.model, revision=checkpoint.revision))
