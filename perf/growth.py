"""
What a sample costs in runs of a thousand to a million samples, and how much memory that takes.

A made-up run is recorded and judged again by `pytest --r1-engine replay`: planning, claiming,
storing, progress, judgement, all but the model. Cost is linear where the microseconds per sample
do not grow; the slope is that of log time over log samples. CPU time counts the pytest process; on a
machine that others use it says more than the clock.

    python -m perf.growth --samples 1000 10000 100000 1000000
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from perf.machine import PYTEST, environment, machine_line, publish
from perf.made_up_runs import BENCHMARK, recorded_run

SAMPLES_PER_PROBLEM = 64
N_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a replay took; memory is the pytest process's highest."""

    n_samples: int
    wall_s: float
    cpu_s: float
    memory_mb: float


def replayed(recording: Path, folder: Path, *, n_samples: int) -> Cost:
    """Judge a recorded run by pytest."""
    command = [*PYTEST, "-q", "-m", BENCHMARK, "--r1-engine", "replay", "--r1-model", str(recording)]
    started = time.perf_counter()
    with (folder / "pytest.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - ours
            command, cwd=folder, env=environment(), stdout=log, stderr=subprocess.STDOUT
        )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - started
    printed = (folder / "pytest.log").read_text(encoding="utf-8")
    if f"samples: {n_samples} of {n_samples}" not in printed:
        raise SystemExit(f"the replay of {recording} did not end in a judgement:\n{printed}")
    return Cost(
        n_samples=n_samples, wall_s=wall_s, cpu_s=used.ru_utime + used.ru_stime, memory_mb=used.ru_maxrss / 1024
    )


def costs(sizes: Sequence[int], folder: Path) -> Iterator[Cost]:
    """Record and replay a run of every size."""
    for size in sizes:
        n_problems = max(1, size // SAMPLES_PER_PROBLEM)
        own = folder / str(size)  # a baseline of its own
        recording = own / "recorded"
        recorded_run(recording, n_problems=n_problems, n_samples=SAMPLES_PER_PROBLEM, n_chars=N_CHARS)
        yield replayed(recording, own, n_samples=n_problems * SAMPLES_PER_PROBLEM)


def slope(n_samples: Sequence[int], seconds: Sequence[float]) -> float:
    """Return the slope of log(time beyond the smallest run's) over log(samples), from the second size on."""
    if len(n_samples) < 3 or not seconds[0] < seconds[1] < seconds[-1]:
        return math.nan  # too small to tell from noise
    grown = (seconds[-1] - seconds[0]) / (seconds[1] - seconds[0])
    return math.log(grown) / math.log((n_samples[-1] - n_samples[0]) / (n_samples[1] - n_samples[0]))


def lines_of(found: Sequence[Cost]) -> Iterator[str]:
    """Set costs out; marginal is what the samples beyond the row above cost each."""
    yield f"{'samples':>10}{'wall s':>9}{'CPU s':>9}{'us/sample':>11}{'marginal':>10}{'memory MB':>11}"
    above = None
    for cost in found:
        marginal = (
            "" if above is None else f"{1e6 * (cost.wall_s - above.wall_s) / (cost.n_samples - above.n_samples):,.0f}"
        )
        yield (
            f"{cost.n_samples:>10,}{cost.wall_s:>9.2f}{cost.cpu_s:>9.2f}{1e6 * cost.wall_s / cost.n_samples:>11,.0f}"
            f"{marginal:>10}{cost.memory_mb:>11,.0f}"
        )
        above = cost
    sizes = [cost.n_samples for cost in found]
    wall, cpu = slope(sizes, [cost.wall_s for cost in found]), slope(sizes, [cost.cpu_s for cost in found])
    yield f"slope of log time over log samples, start-up taken off: {wall:.2f} by the clock, {cpu:.2f} by CPU time"
    yield "1 is linear"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--samples", nargs="+", type=int, default=[1_000, 10_000, 100_000])
    parser.add_argument("--dry", action="store_true", help="write no table")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        found = list(costs(asked.samples, Path(name)))
    publish("growth", [machine_line("pytest"), *lines_of(found)], write=not asked.dry)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
