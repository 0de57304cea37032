"""
The run store under load: writers in processes of their own, commits timed, the file's size, the judgement's time.

Each writer claims units and stores their samples as the plugin's workers do, eight at a time by
one transaction; with no engine in front of them they write as fast as they can. Goal: no lock
error, a median commit under 5 ms, judged and reported in 2 s.

    python -m perf.store --samples 100000 --chars 40000 --writers 8
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from perf.machine import PYTEST, environment, machine_line, publish
from perf.made_up_runs import BENCHMARK, Writer, planned_run, recorded_run, sample_of
from pytest_r1eval.reports.files import PAGE_NAME
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import FILE_NAME, Connection, Store
from pytest_r1eval.runs.work_queue import WorkQueue

SAMPLES_PER_PROBLEM = 64
N_TEXTS = 64
"""Different texts a writer prepares before it is timed; each stored one begins with its own number."""


class TimedStore(Store):
    """A store that notes how long each transaction took, the wait for other writers included."""

    transactions_s: list[float]

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Run one transaction and note how long it took."""
        started = time.perf_counter()
        with super().transaction() as db:
            yield db
        self.transactions_s.append(time.perf_counter() - started)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What one writer did: seconds to store each batch, compression included, of each commit, of each claim."""

    stored_s: list[float]

    commits_s: list[float]
    claims_s: list[float]
    error: str | None


def write(run: Path, number: int, n_chars: int, pause_s: float) -> Written:
    """Claim and store until nothing is left."""
    writer = Writer(number)
    texts = [writer.text(n_chars - 20) for _ in range(N_TEXTS)]
    stored_s, commits_s, claims_s, error = [], [], [], None
    try:
        with closing(TimedStore.open(run)) as store:
            store.transactions_s = []
            while True:
                found = WorkQueue(store).claim_samples(1, owner=f"writer-{number}")
                if not found:
                    break
                (claimed,) = found
                claims_s.append(store.transactions_s.pop())
                unit = claimed.unit
                drawn = [
                    (
                        claimed,
                        sample_of(unit.problem_id, index, text=f"{unit.problem_id} {index} {texts[index % N_TEXTS]}"),
                    )
                    for index in claimed.missing
                ]
                started = time.perf_counter()
                WorkQueue(store).add_drawn(drawn)
                stored_s.append(time.perf_counter() - started)
                commits_s.append(store.transactions_s.pop())
                time.sleep(pause_s)
    except Exception as caught:  # noqa: BLE001 - a lock error is what is looked for; it is printed
        error = str(caught)
    return Written(stored_s=stored_s, commits_s=commits_s, claims_s=claims_s, error=error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Seconds from pytest's start to the verdict and the run's page, and to its end: behind them come the details."""

    reported_s: float
    ended_s: float


def judged(run: Path) -> Judged:
    """Judge and report the run by pytest."""
    command = [*PYTEST, "-q", "-m", BENCHMARK, "--r1-judge-only", str(run)]
    started = time.time()
    done = subprocess.run(command, cwd=run.parent, env=environment(), capture_output=True, text=True, check=False)  # noqa: S603 - ours
    ended = time.time()
    page = run / PAGE_NAME
    if "pass@1" not in done.stdout or not page.exists():
        raise SystemExit(f"the run was not judged:\n{done.stdout}{done.stderr}")
    return Judged(reported_s=page.stat().st_mtime - started, ended_s=ended - started)


def measure(run: Path, *, n_samples: int, n_chars: int, n_writers: int, pause_s: float) -> Iterator[str]:
    """Write a run and judge it; the table's lines."""
    n_problems = max(1, n_samples // SAMPLES_PER_PROBLEM)
    n_samples = n_problems * SAMPLES_PER_PROBLEM
    planned_run(run, n_problems=n_problems, n_samples=SAMPLES_PER_PROBLEM).close()
    started = time.perf_counter()
    with mp.get_context("spawn").Pool(n_writers) as pool:
        found = pool.starmap(write, [(run, number, n_chars, pause_s) for number in range(n_writers)])
    wall_s = time.perf_counter() - started
    stored_s = [second for written in found for second in written.stored_s]
    commits_s = sorted(second for written in found for second in written.commits_s)
    claims_s = sorted(second for written in found for second in written.claims_s)
    with closing(Store.open(run)) as store:
        n_stored = RunReader(store).progress(BENCHMARK).n_stored
    size, raw = sum(path.stat().st_size for path in run.glob(f"{FILE_NAME}*")), n_samples * n_chars
    errors = [written.error for written in found if written.error]
    yield f"{n_stored:,} of {n_samples:,} samples of {n_chars:,} characters, {n_writers} writers, {wall_s:.1f} s"
    yield f"{'errors':34}{len(errors):>12}  {'; '.join(errors)}"
    yield f"{'commit of 8 samples, median ms':34}{1000 * statistics.median(commits_s):>12.2f}  goal: under 5"
    yield f"{'the same with compression':34}{1000 * statistics.median(stored_s):>12.2f}"
    yield f"{'commit, 99th percentile ms':34}{1000 * commits_s[int(len(commits_s) * 0.99)]:>12.2f}"
    yield f"{'claim of a unit, median ms':34}{1000 * statistics.median(claims_s):>12.2f}"
    yield f"{'file, MB':34}{size / 1e6:>12,.1f}"
    yield f"{'raw text, MB':34}{raw / 1e6:>12,.1f}"
    yield f"{'file / raw text':34}{size / raw:>12.3f}"
    judged(recorded_run(run.parent / "small" / "run", n_problems=2, n_samples=2, n_chars=100))  # leaves bytecode
    found_s = judged(run)
    yield f"{'judged and reported, s':34}{found_s.reported_s:>12.2f}  goal: under 2"
    details_s = found_s.ended_s - found_s.reported_s
    yield f"{'details files behind it, s':34}{details_s:>12.2f}  {raw / 1e6 / details_s:,.0f} MB of text a second"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--chars", type=int, default=40_000)
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds a writer rests between two batches")
    parser.add_argument("--dry", action="store_true", help="write no table")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "run"
        lines = measure(run, n_samples=asked.samples, n_chars=asked.chars, n_writers=asked.writers, pause_s=asked.pause)
        publish("store", [machine_line(), *lines], write=not asked.dry)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
