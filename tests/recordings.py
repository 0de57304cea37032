"""Recorded runs for the replay engine: real stores, made-up samples."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from itertools import cycle
from pathlib import Path

from pytest_r1eval.core.benchmarks import Exam, Problem, Sampling
from pytest_r1eval.core.fingerprints import FileDigest, Harness, ModelIdentity, checkpoint_digest, prompts_digest
from pytest_r1eval.core.plans import Plan, Slice, sample_seed
from pytest_r1eval.core.records import FinishReason, Grade, Outcome, Response, Sample
from pytest_r1eval.core.thinking import ThinkTags
from pytest_r1eval.runs.store import RunHeader, Store
from pytest_r1eval.runs.work_queue import ClaimedUnit, WorkQueue
from pytest_r1eval.stats.looks import SequentialGate

HARNESS = Harness(
    engine="vllm 0.0.test", dtype="float32", quantization=None, device="cpu", n_devices=1, grader="lighteval 0.0.test"
)


def make_exam(name: str, n_problems: int, *, parts: tuple[str, ...] = ()) -> Exam:
    """Make an exam of sums; of a pool, each part has as many of the problems."""
    prefixes = [f"{part}/" for part in parts] or [""]
    problems = tuple(
        Problem(
            id=f"{prefixes[number * len(prefixes) // n_problems]}p{number:03d}",
            query=f"{number}+{number}?",
            instruction=None,
            choices=(str(2 * number),),
            gold_index=0,
        )
        for number in range(n_problems)
    )
    return Exam(benchmark=name, problems=problems, dataset="made up")


def identity_of(*, weights: str, config: str = "c1", chat_template: str = "c") -> ModelIdentity:
    """Make up a checkpoint's identity from the digests of two files."""
    files = (FileDigest(name="config.json", digest=config), FileDigest(name="model.safetensors", digest=weights))
    return ModelIdentity(
        weights=weights, tokenizer="t", chat_template=chat_template, checkpoint=checkpoint_digest(files), files=files
    )


def next_unit(store: Store, *, owner: str, n_expected: int = 1) -> ClaimedUnit | None:
    """Claim one unit; None where none is free."""
    return next(iter(WorkQueue(store).claim_samples(1, owner=owner, n_expected=n_expected)), None)


def add_sample(store: Store, claimed: ClaimedUnit, sample: Sample) -> None:
    """Store one sample of a unit."""
    WorkQueue(store).add_drawn([(claimed, sample)])


def record_run(
    folder: Path,
    *,
    solve_rate: float = 0.6,
    solve_rates: tuple[float, ...] = (),
    rate_of: Mapping[str, float] | None = None,
    benchmarks: tuple[str, ...] = ("smoke",),
    n_problems: int = 12,
    n_samples: int = 8,
    seed: int = 1,
    model_name: str = "local/toy",
    weights: str = "w1",
    config: str = "c1",
    chat_template: str = "c",
    prompt: tuple[int, ...] = (1, 2, 3),
    skip: frozenset[tuple[str, int]] = frozenset(),
    skip_in: str | None = None,
    outcome: Outcome | None = None,
    n_tokens: int = 20,
    n_thought_tokens: int | None = None,
    think_tags: ThinkTags | None = None,
    n_random_bytes: int = 0,
    same_text: bool = False,
    text: str | None = None,
    solution: Callable[[Problem, bool], str] | None = None,
    answer: str | None = "4",
    detail: str | None = None,
    finish_reason: FinishReason = FinishReason.STOP,
    temperature: float = 0.6,
    temperature_of: Mapping[str, float] | None = None,
    ungraded: frozenset[tuple[str, int]] = frozenset(),
    truncated: frozenset[tuple[str, int]] = frozenset(),
    gate: SequentialGate | None = None,
    part: Slice | None = None,
    parts: tuple[str, ...] = (),
) -> Path:
    """
    Write a run whose samples are correct with the given rate, or with `solve_rates` in turn, problem by problem.

    `rate_of` and `temperature_of` give some benchmarks their own. `skip` leaves (problem id, index) pairs out, with
    `skip_in` of that benchmark alone; on `ungraded` ones the grader failed, and the `truncated` ones reached the token
    limit. With a `gate` the samples are
    planned in its rounds; all are there, and no look is taken. A `part` holds its part of them. A pool's problems are
    of its `parts`. Random bytes behind each text, in hexadecimal, take as much room in a store: they cannot be
    compressed. A `text` is every sample's, a `solution` is written for a problem and for whether it is right.
    """
    header = RunHeader(
        model="toy",
        model_name=model_name,
        identity=identity_of(weights=weights, config=config, chat_template=chat_template),
        created="2025-01-20T00:00:00+00:00",
        seed=seed,
        slice=part,
    )
    store = Store.create(folder, header)
    WorkQueue(store).select(benchmarks)
    store.add_worker("recorder", HARNESS)
    rng = random.Random(f"{seed}{weights}{solve_rate}")  # noqa: S311 - made-up outcomes
    for name in benchmarks:
        exam = make_exam(name, n_problems, parts=parts)
        plan = Plan(
            benchmark=name,
            exam=exam.digest,
            problem_ids=tuple(problem.id for problem in exam.problems),
            rounds=(n_samples,) if gate is None else gate.rounds,
            allocated=None if gate is None else gate.allocated,
            first_look=0 if gate is None else gate.first_look,
            seed=seed,
            sampling=Sampling(
                temperature=(temperature_of or {}).get(name, temperature), max_new_tokens=64, max_model_length=256
            ),
            template_date="2025-01-01",
            think_tags=think_tags,
            prompts=prompts_digest({problem.id: prompt for problem in exam.problems}),
        )
        WorkQueue(store).write_plan(exam, tuple(prompt for _ in exam.problems), plan, gate=gate)
        # Drawn before any claim, so that what is recorded does not depend on the order of the units.
        usual = solve_rates or ((rate_of or {}).get(name, solve_rate),)
        rates = dict(zip(plan.problem_ids, cycle(usual), strict=False))
        is_correct = {
            (id_, index): rng.random() < rate
            for id_, rate in rates.items()
            for index in range(max(n_samples, plan.samples_per_problem))
        }
        while (claimed := next_unit(store, owner="recorder")) is not None:
            drawn: list[tuple[ClaimedUnit, Sample]] = []
            for index in claimed.missing:
                is_solved = is_correct[claimed.unit.problem_id, index]
                grade = outcome or (Outcome.CORRECT if is_solved else Outcome.WRONG)
                if (claimed.unit.problem_id, index) in ungraded:
                    grade = Outcome.ERROR
                problem = exam.problems[plan.problem_ids.index(claimed.unit.problem_id)]
                solved = "" if solution is None else solution(problem, is_solved)
                is_truncated = (claimed.unit.problem_id, index) in truncated
                own_text = (
                    f"{index} {sample_seed(seed, claimed.unit.problem_id, index)}{rng.randbytes(n_random_bytes).hex()}"
                )
                sample = Sample(
                    problem_id=claimed.unit.problem_id,
                    index=index,
                    seed=sample_seed(seed, claimed.unit.problem_id, index),
                    response=Response(
                        text=solved or text or ("again" if same_text else own_text),
                        n_tokens=n_tokens,
                        finish_reason=FinishReason.LENGTH if is_truncated else finish_reason,
                        n_thought_tokens=n_thought_tokens,
                    ),
                    grade=Grade(outcome=grade, answer=answer, detail=detail),
                )
                is_skipped = (claimed.unit.problem_id, index) in skip and skip_in in {None, name}
                if not is_skipped:
                    drawn.append((claimed, sample))
            WorkQueue(store).add_drawn(drawn)
    store.close()
    return folder
