"""What is read of a run: tallies, progress and samples, while others write."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from pytest_r1eval.core.records import FinishReason, Outcome, ProblemTally, Response
from pytest_r1eval.core.thinking import ThoughtCounts
from pytest_r1eval.runs.reading import Progress, RunReader
from pytest_r1eval.runs.store import (
    Store,
)
from pytest_r1eval.runs.work_queue import LEASE_S
from tests.open_stores import Clock, claim, open_benchmark, sample_of
from tests.recordings import add_sample, next_unit


class TestSamples:
    """A sample is stored once, and a unit is done when all of its samples are."""

    def test_second_copy_is_ignored(self, store: Store) -> None:
        """A second copy of a stored sample is ignored."""
        open_benchmark(store, "smoke", n_problems=1)
        claimed = claim(store)
        first = sample_of(claimed, 0)

        add_sample(store, claimed, first)
        add_sample(store, claimed, sample_of(claimed, 0, outcome=Outcome.WRONG))

        assert [first] == list(RunReader(store).samples("smoke"))
        assert RunReader(store).progress("smoke").n_open_units == 1

    def test_unit_is_done_with_its_last_sample(self, store: Store, clock: Clock) -> None:
        """A unit is done with its last sample, in whatever order the samples come."""
        open_benchmark(store, "smoke", n_problems=1, rounds=(3,))
        claimed = claim(store)
        for index in (2, 0):
            add_sample(store, claimed, sample_of(claimed, index))
            assert RunReader(store).progress("smoke").n_open_units == 1

        add_sample(store, claimed, sample_of(claimed, 1))

        clock.now_s += LEASE_S + 1
        assert RunReader(store).progress("smoke").n_open_units == 0
        assert next_unit(store, owner="w2") is None

    def test_units_of_one_problem_are_done_separately(self, store: Store) -> None:
        """A problem's second unit does not complete its first."""
        open_benchmark(store, "smoke", n_problems=1, rounds=(1, 2))
        _, second = claim(store), claim(store)

        add_sample(store, second, sample_of(second, 1))

        assert Progress(n_stored=1, n_planned=2, n_open_units=1) == RunReader(store).progress("smoke")

    def test_progress_is_per_benchmark(self, store: Store) -> None:
        """Problems of the same name in two exams are not mixed up."""
        open_benchmark(store, "a", n_problems=3, rounds=(2, 4))
        open_benchmark(store, "b", n_problems=1, rounds=(1,))
        claimed = claim(store)
        add_sample(store, claimed, sample_of(claimed, 0))
        add_sample(store, claimed, sample_of(claimed, 1))

        assert Progress(n_stored=2, n_planned=12, n_open_units=5) == RunReader(store).progress("a")
        assert Progress(n_stored=0, n_planned=1, n_open_units=1) == RunReader(store).progress("b")

    def test_tallies(self, store: Store) -> None:
        """The first k samples are counted by outcome and finish reason; a problem without any is there with 0."""
        open_benchmark(store, "smoke", n_problems=2, rounds=(6,))
        claimed = claim(store)
        outcomes = (Outcome.CORRECT, Outcome.WRONG, Outcome.NO_ANSWER, Outcome.TRUNCATED, Outcome.ERROR)
        for index, outcome in enumerate((*outcomes, Outcome.CORRECT)):
            reason = FinishReason.LENGTH if index in {0, 3} else FinishReason.STOP
            response = Response(text="", n_tokens=10**index, finish_reason=reason)
            add_sample(store, claimed, replace(sample_of(claimed, index, outcome=outcome), response=response))
        known = ThoughtCounts(n_tokens=0, n_unfinished=0)
        nothing = ProblemTally(
            problem_id="p001",
            n_samples=0,
            n_correct=0,
            n_no_answer=0,
            n_error=0,
            n_truncated=0,
            n_truncated_correct=0,
            n_tokens=0,
            thoughts=known,
        )
        unknown = replace(nothing, thoughts=None)
        first_five = replace(
            unknown,
            problem_id="p000",
            n_samples=5,
            n_correct=1,
            n_no_answer=1,
            n_error=1,
            n_truncated=2,
            n_truncated_correct=1,
            n_tokens=11111,
        )

        assert (first_five, nothing) == RunReader(store).tallies("smoke", k=5)
        assert (replace(first_five, n_samples=6, n_correct=2, n_tokens=111111), nothing) == RunReader(store).tallies(
            "smoke", k=64
        )
        assert (
            replace(
                unknown, problem_id="p000", n_samples=1, n_correct=1, n_truncated=1, n_truncated_correct=1, n_tokens=1
            )
            == (RunReader(store).tallies("smoke", k=1)[0])
        )

    def test_thoughts_are_tallied_where_each_is_known(self, store: Store) -> None:
        """Responses that are all thought are unfinished; one whose thought is unknown leaves the sum unknown."""
        open_benchmark(store, "smoke", n_problems=1, rounds=(4,))
        claimed = claim(store)
        for index, n_thought in enumerate((7, 0, 10, None)):
            response = Response(text="", n_tokens=10, finish_reason=FinishReason.STOP, n_thought_tokens=n_thought)
            add_sample(store, claimed, replace(sample_of(claimed, index), response=response))

        (three,), (four,) = (RunReader(store).tallies("smoke", k=k) for k in (3, 4))
        assert (three.thoughts, four.thoughts) == (ThoughtCounts(n_tokens=17, n_unfinished=1), None)
        assert [one.response.n_thought_tokens for one in RunReader(store).samples("smoke")] == [7, 0, 10, None]

    def test_reading_goes_on_while_another_writes(self, run: Path, store: Store) -> None:
        """A reader in the middle of the samples neither blocks a worker nor sees its new ones."""
        open_benchmark(store, "smoke", n_problems=1, rounds=(3,))
        claimed = claim(store)
        add_sample(store, claimed, sample_of(claimed, 0))
        add_sample(store, claimed, sample_of(claimed, 1))

        with closing(Store.open(run)) as reader:
            reading = RunReader(reader).samples("smoke")
            first = next(reading)
            add_sample(store, claimed, sample_of(claimed, 2))
            rest = list(reading)

        assert [sample.index for sample in (first, *rest)] == [0, 1]
