"""
When a run reaches which stage: of pytest, of its store and of vLLM, seen from outside by looking every 20 ms.

A verdict is measured beside a bare engine: the same vLLM with the same arguments in a process that does nothing else.
Both start with an empty compile cache, and again with what the first one left. What pytest takes beyond a bare engine's
start and the time that it generates is the plugin's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from perf.machine import PYTEST, ROOT
from pytest_r1eval.checkpoints.inspect import inspect_checkpoint
from pytest_r1eval.config.settings import Settings, sampling_for
from pytest_r1eval.engines.vllm_options import VllmOptions, options_of
from pytest_r1eval.errors import StoreError
from pytest_r1eval.exams.catalog import SMOKE
from pytest_r1eval.plugin.wiring import engine_parts
from pytest_r1eval.runs.progress import STORED_VERDICT
from pytest_r1eval.runs.reading import Progress, RunReader
from pytest_r1eval.runs.store import FILE_NAME

MODEL = ROOT / "examples" / "r1eval" / "tiny-arithmetic"
OPENED, PLANNED, READY = "run opened", "exam and prompts planned", "engine ready"
FIRST, LAST, VERDICT = "first answer graded", "last answer graded", "verdict"
SUMMARY, ENDED = "reports written, engine ended", "process ended"
STORED: Mapping[str, Callable[[RunReader], bool]] = {
    OPENED: lambda run: bool(run.header),
    PLANNED: lambda run: any(run.plan(name) for name in run.selected),
    READY: lambda run: bool(run.harnesses),
    FIRST: lambda run: any(run.progress(name).n_stored for name in run.selected),
    LAST: lambda run: bool(run.selected) and all(is_whole(run.progress(name)) for name in run.selected),
    VERDICT: lambda run: any(run.verdict(name, STORED_VERDICT) for name in run.selected),
}
LOGGED: Mapping[str, bytes] = {
    "vLLM: core has imported": b"Initializing a V1 LLM engine",
    "vLLM: begins to load weights": b"Starting to load model",
    "vLLM: weights are loaded": b"Loading weights took",
    "vLLM: compiled, first run done": b"Initial profiling/warmup run took",
    "vLLM: graphs captured": b"Graph capturing finished",
    "vLLM: core is ready": b"init engine (profile",
}
"""What the engine's processes log at the level INFO, each when it is done."""
STAGES = (OPENED, PLANNED, *LOGGED, READY, FIRST, LAST, VERDICT, SUMMARY, ENDED)
PROCESSES: Mapping[str, Mapping[str, object]] = {"two": {}, "one": {"distributed_executor_backend": "uni"}}
"""Engine arguments by where vLLM schedules and steps: in two processes as the plugin sets it on a GPU, or in one."""
_HEADING = b"may this checkpoint ship?"
_READY = b"bare engine ready"
_BARE = """
import asyncio
from pathlib import PosixPath
from pytest_r1eval.engines.vllm import VllmEngine
from pytest_r1eval.engines.vllm_options import VllmOptions
async def load():
    engine = VllmEngine({options!r})
    await engine.start()
    print("bare engine ready", flush=True)
    await engine.close()
asyncio.run(load())
"""

Check = Callable[[], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where runs are measured, and the environment that they get."""

    folder: Path
    environ: Mapping[str, str]

    @property
    def output(self) -> Path:
        """What a measured process prints."""
        return self.folder / "output.log"

    def timed(self, command: Sequence[str], checks: Mapping[str, Check]) -> dict[str, float]:
        """Run a command to its end; return the seconds from its start until each check held, those that ever did."""
        reached: dict[str, float] = {}
        started = time.perf_counter()
        with self.output.open("wb") as log:
            process = subprocess.Popen(command, cwd=self.folder, env=self.environ, stdout=log, stderr=log)  # noqa: S603 - ours
            is_running = True
            while is_running:
                is_running = process.poll() is None  # once more after its end: all is written then
                found = [name for name, check in checks.items() if name not in reached and check()]
                reached |= dict.fromkeys(found, time.perf_counter() - started)
                time.sleep(0.02 * is_running)
        return reached | {ENDED: time.perf_counter() - started}

    def verdict(self, *, cache: Path, arguments: Mapping[str, object]) -> dict[str, float]:
        """Judge the small checkpoint by pytest, one sample a problem."""
        runs = self.folder / "evals"
        shutil.rmtree(runs, ignore_errors=True)
        command = [*PYTEST, "-m", "smoke", f"--r1-model={MODEL}", "--r1-samples", "smoke=1"]
        command += [f"--r1-engine-arg={name}={value}" for name, value in arguments.items()]
        stored = {stage: _found_in_run(runs, holds) for stage, holds in STORED.items()}
        logged = {stage: _found(runs, "logs/engine-*.log", mark) for stage, mark in LOGGED.items()}
        checks = {**stored, **logged, SUMMARY: _found(self.folder, self.output.name, _HEADING)}
        bench = Bench(folder=self.folder, environ={**self.environ, **_caches(cache)})
        return self._whole(bench.timed([*command, "--r1-output-dir", str(runs)], checks), (*STORED, SUMMARY))

    def bare(self, *, cache: Path, arguments: Mapping[str, object]) -> dict[str, float]:
        """Start the engine that pytest starts, and end it."""
        log = self.folder / "engine.log"
        log.unlink(missing_ok=True)
        options, environ = _bare_options(log, arguments)
        checks = {stage: _found(self.folder, log.name, mark) for stage, mark in LOGGED.items()}
        checks[READY] = _found(self.folder, self.output.name, _READY)
        bench = Bench(folder=self.folder, environ={**self.environ, **environ, **_caches(cache)})
        return self._whole(bench.timed([sys.executable, "-c", _BARE.format(options=options)], checks), (READY,))

    def _whole(self, reached: dict[str, float], stages: Sequence[str]) -> dict[str, float]:
        if missing := [stage for stage in stages if stage not in reached]:
            text = self.output.read_text(encoding="utf-8", errors="replace")
            raise SystemExit(f"ended without {', '.join(missing)}:\n{text[-4000:]}")
        return reached


@contextmanager
def watched(folder: Path) -> Iterator[dict[Path, dict[str, float]]]:
    """Note of each run below a folder when it reached which stage, in seconds since the one before it ended."""
    found: dict[Path, dict[str, float]] = {}
    has_ended = threading.Event()
    watching = threading.Thread(target=_watch, args=(folder, found, has_ended))
    watching.start()
    try:
        yield found
    finally:
        has_ended.set()
        watching.join()


def _watch(folder: Path, found: dict[Path, dict[str, float]], has_ended: threading.Event) -> None:
    begun = time.perf_counter()
    while not has_ended.wait(0.02):
        for path in folder.rglob(FILE_NAME):
            reached = found.setdefault(path.parent, {})
            with suppress(StoreError), closing(RunReader.open(path.parent)) as run:  # its tables come after the file
                stages = [stage for stage, holds in STORED.items() if stage not in reached and holds(run)]
                reached |= dict.fromkeys(stages, time.perf_counter() - begun)
                if VERDICT in stages:
                    begun = time.perf_counter()


def is_whole(progress: Progress) -> bool:
    """Tell whether every planned sample is stored."""
    return 0 < progress.n_planned == progress.n_stored


def added_s(reached: Mapping[str, float], *, bare_s: float, until: str) -> float:
    """Return what the plugin adds until a stage: beyond a bare engine's start and the time that it generates."""
    return reached[until] - bare_s - (reached[LAST] - reached[READY])


def verdict_lines(folder: Path, environ: Mapping[str, str], *, processes: Sequence[str]) -> Iterator[str]:
    """
    Measure a bare engine and a verdict, cold and warm, and set the stages out beside each other.

    Each measurement goes to standard error as it comes, so that one that is cut short keeps what it has.
    """
    bench = Bench(folder=folder, environ={**environ, "VLLM_LOGGING_LEVEL": "INFO", "PYTHONUNBUFFERED": "1"})
    for name in processes:
        found: dict[str, dict[str, float]] = {}
        for what, measure in {"bare": bench.bare, "pytest": bench.verdict}.items():
            for temperature in ("cold", "warm"):
                column = f"{what} {temperature}"
                found[column] = measure(cache=folder / f"cache-{what}-{name}", arguments=PROCESSES[name])
                print(name, column, {stage: round(at_s, 1) for stage, at_s in found[column].items()}, file=sys.stderr)
        yield from _table(f"s from the start; vLLM in {name} process{'es' * (name == 'two')}", found)


def _table(title: str, found: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    yield f"{title:46}" + "".join(f"{column:>13}" for column in found)
    for stage in STAGES:
        cells = [f"{reached[stage]:.1f}" if stage in reached else "-" for reached in found.values()]
        yield f"{'  ' + stage:46}" + "".join(f"{cell:>13}" for cell in cells)
    for temperature in ("cold", "warm"):
        bare, reached = found[f"bare {temperature}"], found[f"pytest {temperature}"]
        yield f"{temperature}, pytest beyond a bare start and generation"
        for until in (VERDICT, ENDED):
            goal = "  goal: at most 15" if (temperature, until) == ("warm", ENDED) else ""
            yield f"{'  until: ' + until:46}{added_s(reached, bare_s=bare[READY], until=until):>13.1f}{goal}"
        parts = ", ".join(f"{name} {part_s:.1f}" for name, part_s in added(bare, reached))
        yield f"  of that: {parts}"


def added(bare: Mapping[str, float], reached: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Take apart what pytest adds: the phases add up to all of it."""
    yield "before the run opens", reached[OPENED]
    yield "a later engine", reached[READY] - reached[OPENED] - bare[READY]
    yield "judging", reached[VERDICT] - reached[LAST]
    yield "reports and the engine's end", reached[SUMMARY] - reached[VERDICT]
    yield "Python's end", reached[ENDED] - reached[SUMMARY]


def _caches(folder: Path) -> dict[str, str]:
    """Say where vLLM and what it calls keep what they compile."""
    return {
        "VLLM_CACHE_ROOT": str(folder / "vllm"),
        "TRITON_CACHE_DIR": str(folder / "triton"),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
    }


def _bare_options(log: Path, arguments: Mapping[str, object]) -> tuple[VllmOptions, dict[str, str]]:
    """Return what pytest starts the small checkpoint's engine with, and the environment of its devices."""
    settings = Settings(model=str(MODEL), root=log.parent, output_dir=log.parent, engine_args=dict(arguments))
    checkpoint, before = inspect_checkpoint(str(MODEL), revision=None), dict(os.environ)
    length = sampling_for(SMOKE, settings, max_position=checkpoint.max_position).max_model_length
    try:
        parts = engine_parts(settings, checkpoint, max_model_length=length, place=0, log=log)
        return options_of(parts), parts.devices.environment()
    finally:
        os.environ.clear()
        os.environ.update(before)


def _found(folder: Path, pattern: str, mark: bytes) -> Check:
    """Look for a mark in the files of a name."""

    def is_there() -> bool:
        with suppress(FileNotFoundError):  # vLLM removes folders of its cache meanwhile
            return any(mark in path.read_bytes() for path in folder.rglob(pattern))
        return False

    return is_there


def _found_in_run(folder: Path, holds: Callable[[RunReader], bool]) -> Check:
    def look() -> bool:
        for path in folder.rglob(FILE_NAME):
            with suppress(StoreError), closing(RunReader.open(path.parent)) as run:  # its tables come after the file
                return holds(run)
        return False

    return look
