"""
How fast answers to mathematics are graded: by each rule, behind walls and without, and among hostile ones.

Ordinary answers are made up: some kilobytes of prose with displays, each with a number or a fraction of its own, right
every second time. Hostile ones are what looping models write: a display with a box that is never closed, over and over,
1.5 to 120 KB. LightEval's own patterns take between a second and hours for one of them.

The first two tables grade in processes forked from this one, in turns, and count their processor time, so that
neighbours on the machine do not matter; the third sends answers through a pool of two scoring processes, as a run does.

    python -m perf.grading            # prints the tables, writes perf/grading.txt
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from perf.machine import ROOT, machine_line, publish
from pytest_r1eval.core.benchmarks import AnswerForm, Benchmark, Problem
from pytest_r1eval.core.records import FinishReason, Grade, Response
from pytest_r1eval.scoring import lighteval, strict
from pytest_r1eval.scoring.pool import GradingPool
from pytest_r1eval.scoring.walls import put_up

BENCHMARK = Benchmark(
    name="toy_pass",
    mark="toy",
    task="toy:pass",
    task_module=str(ROOT / "tests" / "data" / "toy_tasks.py"),
    samples_per_problem=1,
    answers=AnswerForm.MATHEMATICS,
)
PARAGRAPH = (
    "We write \\( x_{{{0}}} = {0} \\) and look at the sum.\n"
    "\\[ \\sum_{{k=1}}^{{{0}}} k = \\frac{{{0} \\cdot {1}}}{{2}} \\]\n"
    "So with $y = {1}$ it follows that $\\frac{{y}}{{x}} > 1$, which is what we wanted to see for step {0}.\n"
)
HOSTILE = ("\\[\n\\boxed{{{0}}}\n\n", "\\[\\boxed{{{0}}} ", "$$\\boxed{{{0}}} ")
Grader = Callable[..., Grade]
N_PROCESSES = 2
CPU_S = 20.0


def problem(number: int) -> Problem:
    """Make a problem whose answer is a fraction of the number."""
    return Problem(
        id=f"p{number}", query="", instruction=None, choices=(f"\\frac{{{number}}}{{{number + 7}}}",), gold_index=0
    )


def response(text: str) -> Response:
    """Wrap a text."""
    return Response(text=text, n_tokens=len(text) // 3, finish_reason=FinishReason.STOP)


def ordinary(number: int) -> Response:
    """Write an answer to the problem of that number, right for every second one."""
    steps = "".join(PARAGRAPH.format(number + step, number + step + 1) for step in range(12))
    found = number + number % 2
    return response(f"{steps}The answer is $\\boxed{{\\frac{{{found}}}{{{number + 7}}}}}$.")


def hostile(number: int) -> Response:
    """Write an answer that repeats itself."""
    piece = HOSTILE[number % len(HOSTILE)].format(number)
    return response(piece * (100 * 2 ** (number % 7)))


def grade_all(numbers: Sequence[int], *, grade: Grader = lighteval.grade) -> float:
    """Grade ordinary answers here; return the processor seconds that it took."""
    started = time.process_time()
    for number in numbers:
        grade(BENCHMARK, problem(number), ordinary(number), cpu_s=CPU_S)
    return time.process_time() - started


def in_a_process(before: Callable[[], None], numbers: Sequence[int], *, grade: Grader = lighteval.grade) -> float:
    """Grade ordinary answers in a fork of this process, which is warm."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        before()
        os.write(writing, str(grade_all(numbers, grade=grade)).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with open(reading, encoding="ascii") as pipe:  # noqa: PTH123 - a descriptor
        return float(pipe.read())


def walls_table(n_answers: int, n_rounds: int) -> list[str]:
    """Compare processes without and with walls, in turns."""
    lighteval.scorer(BENCHMARK)
    grade_all(range(20))
    kinds: dict[str, Callable[[], None]] = {"without walls": lambda: None, "behind walls": lambda: put_up([])}
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for round_ in range(n_rounds):
        numbers = range(100 + round_ * n_answers, 100 + (round_ + 1) * n_answers)
        for name, before in kinds.items():
            seconds[name].append(in_a_process(before, numbers))
    ratios = [with_ / without for without, with_ in zip(*seconds.values(), strict=True)]
    lines = [f"{n_answers} ordinary answers in one process, median of {n_rounds} rounds in turns", ""]
    lines.append(f"{'process':<16}{'processor ms an answer':>24}{'of without':>12}")
    for name, found in seconds.items():
        fraction = 1.0 if name == "without walls" else statistics.median(ratios)
        lines.append(f"{name:<16}{1000 * statistics.median(found) / n_answers:>24.2f}{fraction:>12.3f}")
    return lines


def graders_table(n_answers: int, n_rounds: int) -> list[str]:
    """Compare the two rules, in turns."""
    graders: dict[str, Grader] = {"lighteval": lighteval.grade, "strict": strict.grade}
    seconds: dict[str, list[float]] = {name: [] for name in graders}
    for grade in graders.values():
        grade_all(range(20), grade=grade)
    for round_ in range(n_rounds):
        numbers = range(100 + round_ * n_answers, 100 + (round_ + 1) * n_answers)
        for name, grade in graders.items():
            seconds[name].append(in_a_process(lambda: None, numbers, grade=grade))
    lines = [f"{n_answers} ordinary answers in one process, median of {n_rounds} rounds in turns", ""]
    lines.append(f"{'--r1-grader':<16}{'processor s for 1,000 answers':>32}")
    return lines + [f"{name:<16}{1000 * statistics.median(each) / n_answers:>32.2f}" for name, each in seconds.items()]


async def _graded(pool: GradingPool, answers: Sequence[tuple[int, Response]]) -> list[Grade]:
    grades = (pool.grade(BENCHMARK, problem(number), answer) for number, answer in answers)
    return await asyncio.gather(*grades)


def hostile_table(n_answers: int) -> list[str]:
    """Compare a pool's time for ordinary answers with its time for as many hostile ones among them."""
    first = [(number, ordinary(number)) for number in range(1000, 1000 + n_answers)]
    second = [(number, ordinary(number)) for number in range(100_000, 100_000 + n_answers)]
    mixed = [pair for number, one in enumerate(second) for pair in (one, (number, hostile(number)))]
    lines = [f"a pool of {N_PROCESSES} scoring processes", ""]
    lines.append(f"{'answers':<48}{'KB':>8}{'wall s':>9}{'ERROR':>7}")
    with GradingPool(n_processes=N_PROCESSES) as pool:
        asyncio.run(_graded(pool, [(number, ordinary(number)) for number in range(20)]))
        for name, answers in (
            (f"{n_answers:,} ordinary", first),
            (f"{n_answers:,} ordinary, {n_answers:,} hostile", mixed),
        ):
            started = time.perf_counter()
            grades = asyncio.run(_graded(pool, answers))
            wall_s = time.perf_counter() - started
            n_error = sum(grade.outcome == "error" for grade in grades)
            size = sum(len(answer.text) for _, answer in answers) / 1000
            lines.append(f"{name:<48}{size:>8,.0f}{wall_s:>9.1f}{n_error:>7}")
    return lines


def main() -> None:
    """Print the tables and keep them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().partition("\n")[0])
    parser.add_argument("--answers", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--dry", action="store_true", help="write no table")
    asked = parser.parse_args()
    n_answers = max(1, asked.answers // 5)
    lines = [machine_line("lighteval"), "", *graders_table(n_answers, asked.rounds), ""]
    lines += [*walls_table(n_answers, asked.rounds), ""]
    lines += hostile_table(asked.answers)
    publish(Path(__file__).stem, lines, write=not asked.dry)


if __name__ == "__main__":
    main()
