"""
What a run is going to do, fixed before the first token: rounds, units, seeds.

A round is a range of sample indices of *all* problems, so a look at its end never sees the short answers first. A unit
is a few samples of one problem. It is small, so that the last worker is not left alone for long, and large enough to
find the prompt in the engine's prefix cache. Units that follow each other are of different problems: a worker that
claims a few in a row gets easy and hard ones, not all samples of the one with the longest answers.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.core.codec import digest
from pytest_r1eval.core.fields import LeftOutIfEmpty
from pytest_r1eval.core.fingerprints import Question
from pytest_r1eval.core.texts import counted
from pytest_r1eval.core.thinking import ThinkTags
from pytest_r1eval.errors import PlanError

MAX_SAMPLES_PER_UNIT = 8
"""Samples of one problem claimed at once; at 64 samples, 30 problems and 8 engines that leaves 30 claims each."""

_SEED_BITS = 48
"""Seeds stay exact in JSON readers that know only doubles, and fit every engine's signed 64-bit field."""


def sample_seed(run_seed: int, problem_id: str, index: int) -> int:
    """
    Derive one sample's seed from the run, the problem and the sample index alone.

    Who draws the sample, and in which order, does not matter: shards that shared
    seeds would draw the same responses and count them as new evidence.

    Returns:
        An integer in [0, 2**48).
    """
    digest = hashlib.blake2b(f"{run_seed}\0{problem_id}\0{index}".encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "big") >> (64 - _SEED_BITS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """
    The smallest claim of work: sample indices [first, last) of one problem.

    Attributes:
        round: Index of the round that the samples belong to.
        problem_id: The problem.
        first: First sample index.
        last: One past the last sample index.
    """

    round: int
    problem_id: str
    first: int
    last: int

    @property
    def indices(self) -> range:
        """The sample indices."""
        return range(self.first, self.last)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """
    One machine's part of a run that is spread over several.

    Attributes:
        number: Which part, from 1.
        total: How many parts there are.

    Raises:
        ValueError: If there is no such part.
    """

    number: int
    total: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.total:
            raise ValueError(f"slice {self.number} of {self.total} does not exist")

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"


Depth = int | tuple[int, ...]
"""How many samples of each problem are meant, from the first: one number for all, or one for each in their order."""


def each_of(depth: Depth, n_problems: int) -> tuple[int, ...]:
    """Return a depth problem by problem."""
    return (depth,) * n_problems if isinstance(depth, int) else depth


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    What one benchmark's verdict will be computed from.

    Attributes:
        benchmark: The benchmark's name.
        exam: The exam's digest.
        problem_ids: Every problem that is asked, in the exam's order.
        rounds: Samples per problem at the end of each round, ascending; the last is the total. Empty where allocated.
        allocated: Samples of each problem at the end of each round, in the order of `problem_ids`; None for equal ones.
        seed: The run's seed.
        sampling: How responses are drawn.
        system_prompt: The system message, None for none.
        chat_template_kwargs: The chat template's further arguments, a JSON object; None for none.
        template_date: The date that chat templates see, ``YYYY-MM-DD``.
        prompts: Digest of the prompts' token ids.
        think_tags: What encloses a thought; None where the model has no such tags.
        grader: Name and version of what runs programs; None where answers are graded by the task's metric.
        subset: How many problems `--r1-subset` asked for; None for all of them.
        n_exam: Problems of the whole exam, where a subset is asked; None for all of them.
        first_look: The round, from 0, at whose end a sequential run first looks at pass@1.

    Raises:
        ValueError: If there is nothing to do, or the rounds do not ascend from 1.
    """

    benchmark: str
    exam: str
    problem_ids: tuple[str, ...]
    rounds: tuple[int, ...]
    seed: int
    sampling: Sampling
    template_date: str
    prompts: str
    system_prompt: str | None = None
    chat_template_kwargs: str | None = None
    think_tags: ThinkTags | None = None
    grader: str | None = None
    subset: int | None = None
    n_exam: int | None = None
    first_look: int = 0
    allocated: Annotated[tuple[tuple[int, ...], ...] | None, LeftOutIfEmpty()] = None

    def __post_init__(self) -> None:
        if not self.problem_ids:
            raise ValueError(f"{self.benchmark}: no problems to plan for")
        if self.allocated is not None:
            self._demand_allocation(self.allocated)
            return
        if not self.rounds or any(a >= b for a, b in zip((0, *self.rounds), self.rounds, strict=False)):
            raise ValueError(f"{self.benchmark}: rounds {self.rounds} must ascend from 1 sample per problem")

    @property
    def question(self) -> Question:
        """What is asked."""
        return Question(
            exam=self.exam,
            sampling=self.sampling,
            system_prompt=self.system_prompt,
            chat_template_kwargs=self.chat_template_kwargs,
            think_tags=None if self.think_tags is None else str(self.think_tags),
            template_date=self.template_date,
            prompts=self.prompts,
        )

    def _demand_allocation(self, rounds: tuple[tuple[int, ...], ...]) -> None:
        if self.rounds or not rounds or any(len(samples) != len(self.problem_ids) for samples in rounds):
            raise ValueError(f"{self.benchmark}: expected rounds of {len(self.problem_ids)} problems, and no others")
        if min(rounds[0]) < 1 or any(
            a > b for early, late in pairwise(rounds) for a, b in zip(early, late, strict=True)
        ):
            raise ValueError(f"{self.benchmark}: samples of a problem must not descend, from 1 on")

    @property
    def n_rounds(self) -> int:
        """How many rounds there are."""
        return len(self.rounds if self.allocated is None else self.allocated)

    def depth_at(self, number: int) -> Depth:
        """Return the samples that are there when a round, from 0, is complete."""
        return self.rounds[number] if self.allocated is None else self.allocated[number]

    @property
    def depth(self) -> Depth:
        """The samples that are there when every round is complete."""
        return self.depth_at(self.n_rounds - 1)

    @property
    def samples_per_problem(self) -> int:
        """Samples of the problem that has most of them when every round is complete."""
        return self.depth if isinstance(self.depth, int) else max(self.depth)

    @property
    def samples(self) -> tuple[int, ...]:
        """Samples of each problem when every round is complete."""
        return each_of(self.depth, len(self.problem_ids))

    @property
    def n_samples(self) -> int:
        """Samples over all problems when every round is complete."""
        return sum(self.samples)

    @property
    def samples_text(self) -> str:
        """Say how many samples are drawn of each problem."""
        few, many = min(self.samples), max(self.samples)
        text = (
            counted(many, "sample") if few == many else f"{few} to {many} samples, as the baseline's counts allocate,"
        )
        return f"{text} for each problem"

    @property
    def digest(self) -> str:
        """SHA-256 of the whole plan, stored before the first token."""
        return digest(self)

    def units(self, *, part: Slice | None = None) -> Iterator[Unit]:
        """Cut the plan, or one slice of it, into units: by round, first one of each problem, then another of each."""
        if part is None:
            yield from self._units()
            return
        held = dealt(self, part)
        for unit in self._units():
            yield from _runs(unit, held[unit.problem_id])

    def _units(self) -> Iterator[Unit]:
        starts = (0,) * len(self.problem_ids)
        for number in range(self.n_rounds):
            stops = each_of(self.depth_at(number), len(self.problem_ids))
            widest = max(stop - start for start, stop in zip(starts, stops, strict=True))
            for offset in range(0, widest, MAX_SAMPLES_PER_UNIT):
                for problem_id, start, stop in zip(self.problem_ids, starts, stops, strict=True):
                    first, last = start + offset, min(start + offset + MAX_SAMPLES_PER_UNIT, stop)
                    if first < last:
                        yield Unit(round=number, problem_id=problem_id, first=first, last=last)
            starts = stops


def dealt(plan: Plan, part: Slice) -> Mapping[str, frozenset[int]]:
    """
    Deal a plan's samples like cards: return the sample indices of each problem that one slice holds.

    Problems come in the order of their hashes, each with all its samples, and every slice gets one in turn. So every
    sample is in exactly one slice, and slices differ by one sample at most. Each holds its part of every long problem,
    whatever the order of the exam (easy to hard, by subject).
    """
    samples = dict(zip(plan.problem_ids, plan.samples, strict=True))
    held, before = {}, 0
    for id_ in in_hash_order(plan.problem_ids):
        k = samples[id_]
        held[id_] = frozenset(index for index in range(k) if (before + index) % part.total == part.number - 1)
        before += k
    return held


def _runs(unit: Unit, indices: Collection[int]) -> Iterator[Unit]:
    """Cut a unit into the runs of consecutive samples that a slice holds of it."""
    first = None
    for index in (*unit.indices, unit.last):
        is_held = index in indices and index < unit.last
        if is_held and first is None:
            first = index
        elif not is_held and first is not None:
            yield Unit(round=unit.round, problem_id=unit.problem_id, first=first, last=index)
            first = None


MIN_ROOM = 0.9
"""A response must have at least this share of the tokens asked for, or its truncation would be of our making."""


def room(sampling: Sampling, *, n_prompt_tokens: int) -> int:
    """Tokens a response may have after a prompt of the given length; may be negative."""
    return min(sampling.max_new_tokens, sampling.max_model_length - n_prompt_tokens)


def check_room(
    benchmark: str, sampling: Sampling, *, n_prompt_tokens: dict[str, int], asked_length: int | None = None
) -> None:
    """
    Check that every problem leaves room for its response.

    Args:
        benchmark: The benchmark's name, for the message.
        sampling: How responses are drawn.
        n_prompt_tokens: Prompt length per problem id.
        asked_length: The context that was asked for, where the model may have given a shorter one.

    Raises:
        PlanError: If the longest prompt leaves less than 90 % of the tokens asked for.
    """
    problem_id = max(n_prompt_tokens, key=lambda id_: n_prompt_tokens[id_])
    left = room(sampling, n_prompt_tokens=n_prompt_tokens[problem_id])
    if left < MIN_ROOM * sampling.max_new_tokens:
        is_the_models = asked_length is not None and sampling.max_model_length < asked_length
        advice = (
            "Lower --r1-max-new-tokens: by its config.json the model takes no longer context"
            if is_the_models
            else "Lower --r1-max-new-tokens, or raise --r1-max-model-len if the model can"
        )
        raise PlanError(
            f"{benchmark}: the prompt of problem {problem_id} has {n_prompt_tokens[problem_id]} tokens, which leaves "
            f"{max(left, 0)} of the {sampling.max_new_tokens} asked for in a context of {sampling.max_model_length}; "
            f"expected {MIN_ROOM:.0%} or more. {advice}"
        )


def subset_ids(problem_ids: Sequence[str], *, n_problems: int) -> tuple[str, ...]:
    """Draw problems by hash, keeping their order: the first N would be a biased sample of most exams."""
    drawn = in_hash_order(problem_ids)[:n_problems]
    return tuple(id_ for id_ in problem_ids if id_ in set(drawn))


def in_hash_order(problem_ids: Iterable[str]) -> list[str]:
    """Sort problems by the SHA-256 of their ids, which knows nothing of their order in the exam."""
    return sorted(problem_ids, key=lambda id_: hashlib.sha256(id_.encode()).digest())
