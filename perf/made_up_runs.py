"""Runs as large as wanted, with texts that compress as reasoning does: words drawn by Zipf's law, numbers, formulas."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from pytest_r1eval.core.benchmarks import Exam, Problem, Sampling
from pytest_r1eval.core.fingerprints import Harness, ModelIdentity
from pytest_r1eval.core.plans import Plan, sample_seed
from pytest_r1eval.core.records import FinishReason, Grade, Outcome, Response, Sample
from pytest_r1eval.runs.store import RunHeader, Store
from pytest_r1eval.runs.work_queue import WorkQueue

BENCHMARK = "smoke"
SEED = 11
N_WORDS = 6000
"""Different words; a few thousand make up nearly all of a reasoning trace."""
CHARS_PER_TOKEN = 4
HARNESS = Harness(engine="made up", dtype="none", quantization=None, device="none", n_devices=1, grader="made up")


class Writer:
    """Writes texts of a given length, each different."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - made-up text
        letters = random.Random(0)  # noqa: S311 - the same words for every writer
        self._words = [
            "".join(letters.choice("etaoinshrdlucmfw") for _ in range(letters.randint(1, 10))) for _ in range(N_WORDS)
        ]
        self._weights = [1 / rank for rank in range(1, N_WORDS + 1)]

    def text(self, n_chars: int) -> str:
        """Write one: one word in eight is a number or a formula."""
        drawn = self._chance.choices(self._words, self._weights, k=max(1, n_chars // 4))
        for place in range(0, len(drawn), 8):
            a, b = self._chance.randint(1, 999), self._chance.randint(1, 99)
            drawn[place] = f"{a} + {b} = {a + b}," if place % 16 else f"\\frac{{{a}}}{{{b}}}"
        return " ".join(drawn)[:n_chars]


def exam_of(n_problems: int) -> Exam:
    """Make an exam of sums."""
    problems = tuple(
        Problem(id=f"p{number:06d}", query=f"{number}+1", instruction=None, choices=(str(number + 1),), gold_index=0)
        for number in range(n_problems)
    )
    return Exam(benchmark=BENCHMARK, problems=problems, dataset="made up")


def planned_run(folder: Path, *, n_problems: int, n_samples: int, has_worker: bool = True) -> Store:
    """Create a run that is planned and has no samples."""
    identity = ModelIdentity(weights="w", tokenizer="t", chat_template="c", checkpoint="all")
    created = "2026-01-01T00:00:00+00:00"
    header = RunHeader(model="made-up", model_name="local/made-up", identity=identity, created=created, seed=SEED)
    store = Store.create(folder, header)
    exam = exam_of(n_problems)
    WorkQueue(store).select((BENCHMARK,))
    plan = Plan(
        benchmark=BENCHMARK,
        exam=exam.digest,
        problem_ids=tuple(problem.id for problem in exam.problems),
        rounds=(n_samples,),
        seed=SEED,
        sampling=Sampling(),
        template_date="2025-01-01",
        prompts="p",
    )
    WorkQueue(store).write_plan(exam, tuple((1, 2, 3) for _ in exam.problems), plan)
    if has_worker:
        store.add_worker("made-up", HARNESS)
    return store


def sample_of(problem_id: str, index: int, *, text: str) -> Sample:
    """Make a sample that is right three times in five, by its seed."""
    seed = sample_seed(SEED, problem_id, index)
    return Sample(
        problem_id=problem_id,
        index=index,
        seed=seed,
        response=Response(text=text, n_tokens=max(1, len(text) // CHARS_PER_TOKEN), finish_reason=FinishReason.STOP),
        grade=Grade(outcome=Outcome.CORRECT if seed % 5 < 3 else Outcome.WRONG, answer="1"),
    )


def recorded_run(folder: Path, *, n_problems: int, n_samples: int, n_chars: int) -> Path:
    """Record a whole run."""
    writer = Writer(1)

    def samples() -> Iterator[Sample]:
        for problem in exam_of(n_problems).problems:
            for index in range(n_samples):
                yield sample_of(problem.id, index, text=writer.text(n_chars))

    with closing(planned_run(folder, n_problems=n_problems, n_samples=n_samples)) as store:
        WorkQueue(store).add_samples(BENCHMARK, samples())
    return folder
