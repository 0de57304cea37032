"""
How fast programs are graded: LightEval's own scorer against ours, sandbox included, on one machine in one run.

A problem of LiveCodeBench's shape: 16 samples, 20 tests each, every program right, so that all tests run. LightEval's
metric is called as its pipeline calls it, once per problem with all samples. Ours runs as in a scoring process, every
program in the sandbox, which a run starts once: its start stands in a column of its own.

    python perf/code_scoring.py            # prints the table, writes perf/code_scoring.txt
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"  # its progress bar; standard error itself must stay, or LightEval scores 0

from lighteval.models.model_output import ModelResponse
from lighteval.tasks.requests import Doc
from lighteval.tasks.tasks.lcb.main import lcb_codegen_metric

from pytest_r1eval.core.benchmarks import Problem
from pytest_r1eval.core.choices import CodeGrader
from pytest_r1eval.core.code_tests import CodeTests
from pytest_r1eval.core.records import FinishReason, Outcome, Response
from pytest_r1eval.exams.code_test_cache import CodeTestCache
from pytest_r1eval.sandbox import Limits
from pytest_r1eval.scoring.code import ProgramScorer
from pytest_r1eval.scoring.grading import CodeGrading

PROGRAM = """import sys
def main():
    n = int(input())
    numbers = list(map(int, input().split()))
    best = current = numbers[0]
    for number in numbers[1:]:
        current = max(number, current + number)
        best = max(best, current)
    print(best)
main()
"""
ANSWER = f"```python\n{PROGRAM}```"
LIGHTEVALS = "LightEval's own scorer"
N_NUMBERS = 1000
N_THREADS = 2 * (os.cpu_count() or 1)


def problem_tests(n_tests: int) -> CodeTests:
    """Make tests of a list of whole numbers whose best slice is all of it."""
    numbers = [" ".join(str(1 + (test + place) % 7) for place in range(N_NUMBERS)) for test in range(n_tests)]
    sums = [sum(map(int, text.split())) for text in numbers]
    return CodeTests(
        inputs=tuple(f"{N_NUMBERS}\n{text}\n" for text in numbers), outputs=tuple(f"{total}\n" for total in sums)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds to grade a problem's samples, and to start what grades them."""

    grading_s: float
    start_s: float = 0.0


def lightevals(tests: CodeTests, n_samples: int) -> Timing:
    """Time LightEval's metric on one problem."""
    specific = {"inputs": list(tests.inputs), "outputs": list(tests.outputs), "fn_name": tests.function}
    doc = Doc(query="", choices=[""], gold_index=0, specific=specific)
    response = ModelResponse(text=[ANSWER] * n_samples)
    started = time.perf_counter()
    pass_at_1 = lcb_codegen_metric.sample_level_fn.compute(model_response=response, doc=doc)
    timing = Timing(grading_s=time.perf_counter() - started)
    if pass_at_1 != 1:
        raise SystemExit(f"LightEval's scorer says pass@1 = {pass_at_1}; expected 1: nothing was measured")
    return timing


def ours(tests: CodeTests, n_samples: int, *, grader: CodeGrader, folder: Path) -> Timing:
    """Time our scorer on one problem."""
    digest = CodeTestCache(folder=folder).write(tests)
    problem = Problem(id="p", query="", instruction=None, choices=("",), gold_index=0, tests=digest)
    response = Response(text=ANSWER, n_tokens=1, finish_reason=FinishReason.STOP)
    scorer = ProgramScorer(CodeGrading(grader=grader, limits=Limits(), tests=folder))
    started = time.perf_counter()
    scorer.start()
    ready = time.perf_counter()
    with ThreadPoolExecutor(N_THREADS) as threads:
        grades = list(threads.map(lambda _: scorer.grade(problem, response), range(n_samples)))
    timing = Timing(grading_s=time.perf_counter() - ready, start_s=ready - started)
    scorer.close()
    if any(grade.outcome is not Outcome.CORRECT for grade in grades):
        raise SystemExit(f"our scorer says {grades[0]}; expected all correct: nothing was measured")
    return timing


def table(n_samples: int, n_tests: int, n_rounds: int) -> list[str]:
    """Measure in turns and compare medians."""
    tests = problem_tests(n_tests)
    rows: dict[str, list[Timing]] = {}
    with tempfile.TemporaryDirectory() as folder:
        measured: dict[str, Callable[[], Timing]] = {LIGHTEVALS: lambda: lightevals(tests, n_samples)}
        for grader in CodeGrader:
            measured[f"ours, --r1-grader {grader}"] = partial(
                ours, tests, n_samples, grader=grader, folder=Path(folder)
            )
        for _ in range(n_rounds):
            for name, measure in measured.items():
                rows.setdefault(name, []).append(measure())
    reference = statistics.median(timing.grading_s for timing in rows[LIGHTEVALS])
    lines = [
        f"{n_samples} samples x {n_tests} tests of one problem, median of {n_rounds} rounds in turns",
        _machine(),
        "",
        f"{'scorer':<30}{'start s':>9}{'grading s':>11}{'tests/s':>9}{'times faster':>14}",
    ]
    for name, timings in rows.items():
        seconds = statistics.median(timing.grading_s for timing in timings)
        start_s = statistics.median(timing.start_s for timing in timings)
        rate = n_samples * n_tests / seconds
        lines.append(f"{name:<30}{start_s:>9.2f}{seconds:>11.2f}{rate:>9.0f}{reference / seconds:>14.1f}")
    return lines


def _machine() -> str:
    versions = f"LightEval {metadata.version('lighteval')}, Python {platform.python_version()}"
    return f"{versions}, {os.cpu_count()} cores, {_processor()}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def main() -> None:
    """Print the table and keep it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().partition("\n")[0])
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--tests", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".txt"))
    arguments = parser.parse_args()
    text = "\n".join(table(arguments.samples, arguments.tests, arguments.rounds)) + "\n"
    print(text, end="")
    arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
