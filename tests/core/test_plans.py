"""Plans: seeds that no two samples share, units that cover each sample once, room for every answer."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.core.plans import (
    MAX_SAMPLES_PER_UNIT,
    MIN_ROOM,
    Plan,
    Slice,
    check_room,
    dealt,
    room,
    sample_seed,
    subset_ids,
)
from pytest_r1eval.core.thinking import ThinkTags
from pytest_r1eval.errors import PlanError

PLAN = Plan(
    benchmark="aime24",
    exam="digest",
    problem_ids=("a", "b", "c"),
    rounds=(8, 64),
    seed=7,
    sampling=Sampling(),
    template_date="2025-01-01",
    prompts="p",
)
IDS = tuple(f"problem {number}" for number in range(500))
ROUNDS = st.sets(st.integers(1, 80), min_size=1, max_size=4).map(lambda sizes: tuple(sorted(sizes)))


class TestSeeds:
    """A sample's seed follows from run, problem and index, and from nothing else."""

    def test_no_two_samples_of_a_run_slice_a_seed(self) -> None:
        """64 samples of 500 problems are 32,000 different draws."""
        seeds = {sample_seed(1, id_, index) for id_ in IDS for index in range(64)}

        assert len(IDS) * 64 == len(seeds)

    def test_runs_do_not_slice_seeds(self) -> None:
        """Two runs with different seeds have no sample's seed in common."""
        pairs = [(sample_seed(1, id_, index), sample_seed(2, id_, index)) for id_ in IDS[:50] for index in range(8)]

        assert all(one != other for one, other in pairs)
        assert len({seed for pair in pairs for seed in pair}) == 800

    def test_parts_do_not_run_together(self) -> None:
        """Run seed, problem and index are kept apart, so that 11 and 1 give another seed than 1 and 11."""
        seeds = {sample_seed(11, "1", 2), sample_seed(1, "11", 2), sample_seed(1, "1", 12), sample_seed(1, "", 112)}

        assert len(seeds) == 4

    def test_seeds_are_equal_in_every_process(self) -> None:
        """Seeds and subsets are equal in every process, whatever Python's hash seed is."""
        script = (
            "import json; from pytest_r1eval.core.plans import sample_seed, subset_ids\n"
            "ids = [f'problem {number}' for number in range(20)]\n"
            "seeds = [sample_seed(3, id_, index) for id_ in ids for index in range(4)]\n"
            "print(json.dumps([seeds, subset_ids(ids, n_problems=5)]))"
        )
        expected = [
            [sample_seed(3, id_, index) for id_ in IDS[:20] for index in range(4)],
            list(subset_ids(IDS[:20], n_problems=5)),
        ]

        for hash_seed in ("1", "2"):
            child = subprocess.run(
                [sys.executable, "-c", script],
                env={**os.environ, "PYTHONHASHSEED": hash_seed},
                capture_output=True,
                text=True,
                check=True,
            )
            assert expected == json.loads(child.stdout)

    def test_seeds_are_what_they_were(self) -> None:
        """Seeds keep their values over versions, so that a resumed run draws the same samples after an upgrade."""
        expected = (232800535249687, 131761787579749)
        assert expected == (sample_seed(0, "", 0), sample_seed(2**48 - 1, "p", 63))

    @given(st.integers(0, 2**63 - 1), st.text("0123456789abcdef"), st.integers(0, 2**31))
    def test_seeds_fit_everywhere(self, run_seed: int, problem_id: str, index: int) -> None:
        """Every seed fits into 48 bits, so a JSON double holds it exactly."""
        seed = sample_seed(run_seed, problem_id, index)

        assert 0 <= seed < 2**48
        assert seed == int(float(seed))


class TestUnits:
    """Units cut the plan into claims."""

    @given(st.integers(1, 6), ROUNDS)
    def test_every_sample_is_in_exactly_one_unit(self, n_problems: int, rounds: tuple[int, ...]) -> None:
        """Every sample of a plan is in exactly one unit."""
        plan = replace(PLAN, problem_ids=IDS[:n_problems], rounds=rounds)

        samples = [(unit.problem_id, index) for unit in plan.units() for index in unit.indices]

        assert sorted(itertools.product(plan.problem_ids, range(rounds[-1]))) == sorted(samples)
        assert plan.n_samples == len(samples)

    @given(st.integers(1, 6), ROUNDS)
    def test_units_stay_within_a_round(self, n_problems: int, rounds: tuple[int, ...]) -> None:
        """A unit is short and belongs to one round, and each round has a unit of every problem."""
        plan = replace(PLAN, problem_ids=IDS[:n_problems], rounds=rounds)
        borders = (0, *rounds)

        units = list(plan.units())

        assert sorted(unit.round for unit in units) == [unit.round for unit in units]
        for unit in units:
            assert borders[unit.round] <= unit.first < unit.last <= borders[unit.round + 1]
            assert 1 <= len(unit.indices) <= MAX_SAMPLES_PER_UNIT
        for number in range(len(rounds)):
            in_round = [unit.problem_id for unit in units if unit.round == number]
            assert list(plan.problem_ids) == list(dict.fromkeys(in_round))

    def test_claims_in_a_row_are_of_different_problems(self) -> None:
        """A worker that claims as many units as there are problems gets one of each, within a round."""
        units = list(PLAN.units())
        later = units[3:]

        assert [unit.problem_id for unit in units[:3]] == ["a", "b", "c"]
        assert all(
            {"a", "b", "c"} == {unit.problem_id for unit in later[start : start + 3]} for start in range(0, 21, 3)
        )

    def test_standard_aime_run_has_a_claim_for_everybody(self) -> None:
        """64 samples of 30 problems are 240 units."""
        plan = replace(PLAN, problem_ids=IDS[:30], rounds=(64,))

        assert len(list(plan.units())) == 240
        assert plan.samples_per_problem == 64
        assert plan.n_samples == 1920


class TestPlan:
    """A plan that cannot be carried out does not exist."""

    @pytest.mark.parametrize("rounds", [(), (0,), (-1,), (0, 4), (4, 4), (8, 4), (1, 3, 2)])
    def test_rounds_must_ascend(self, rounds: tuple[int, ...]) -> None:
        """Rounds that do not ascend from one sample per problem are refused."""
        with pytest.raises(ValueError, match="aime24") as caught:
            replace(PLAN, rounds=rounds)

        expected = f"aime24: rounds {rounds} must ascend from 1 sample per problem"
        assert expected == str(caught.value)

    def test_no_problems_is_no_plan(self) -> None:
        """A plan without problems is refused, because there is nothing to judge."""
        with pytest.raises(ValueError, match=r"^aime24: no problems to plan for$"):
            replace(PLAN, problem_ids=())

    @pytest.mark.parametrize(
        "changed",
        [
            {"benchmark": "aime25"},
            {"exam": "other"},
            {"problem_ids": ("a", "c", "b")},
            {"rounds": (64,)},
            {"seed": 8},
            {"sampling": Sampling(temperature=0.7)},
            {"sampling": Sampling(top_p=0.9)},
            {"sampling": Sampling(top_k=20)},
            {"sampling": Sampling(min_p=0.05)},
            {"sampling": Sampling(repetition_penalty=1.1)},
            {"sampling": Sampling(presence_penalty=1.5)},
            {"sampling": Sampling(thinking_budget=512)},
            {"sampling": Sampling(max_new_tokens=1)},
            {"sampling": Sampling(max_model_length=1)},
            {"system_prompt": ""},
            {"chat_template_kwargs": '{"enable_thinking": false}'},
            {"think_tags": ThinkTags(opening="<think>", closing="</think>")},
            {"template_date": "2026-01-01"},
            {"prompts": "q"},
            {"subset": 3},
            {"n_exam": 500},
            {"first_look": 1},
            {"rounds": (), "allocated": ((1, 1, 1), (8, 64, 2))},
        ],
        ids=str,
    )
    def test_digest_covers_every_field(self, changed: dict[str, object]) -> None:
        """Every field of a plan changes its digest."""
        assert {field.name for field in fields(Plan)} == {
            "benchmark", "exam", "problem_ids", "rounds", "seed", "sampling", "system_prompt", "grader",
            "template_date", "prompts", "subset", "n_exam", "chat_template_kwargs", "think_tags", "first_look",
            "allocated",
        }  # fmt: skip
        assert PLAN.digest != replace(PLAN, **changed).digest  # type: ignore[arg-type]

    def test_digest_of_equal_plans_is_equal(self) -> None:
        """Two plans with equal values have equal digests."""
        expected = PLAN.digest
        assert expected == replace(PLAN, sampling=Sampling()).digest


ALLOCATED = replace(PLAN, rounds=(), allocated=((1, 1, 1), (3, 12, 1), (20, 30, 2)))


class TestAllocated:
    """Rounds in which problems have unequal numbers of samples."""

    def test_every_sample_is_in_exactly_one_unit_of_its_round(self) -> None:
        """The units of an allocated plan hold each problem's own samples once, round by round."""
        units = list(ALLOCATED.units())
        drawn = [(unit.problem_id, index) for unit in units for index in unit.indices]

        expected = {(id_, index) for id_, k in zip("abc", (20, 30, 2), strict=True) for index in range(k)}
        assert len(drawn) == len(set(drawn)) == 52
        assert set(drawn) == expected
        assert [unit.round for unit in units] == sorted(unit.round for unit in units)
        assert {(unit.problem_id, unit.first) for unit in units if unit.round == 1} == {("a", 1), ("b", 1), ("b", 9)}

    def test_slices_hold_every_sample_once(self) -> None:
        """Slices of an allocated plan differ by one sample at most, and hold each sample once."""
        held = [dealt(ALLOCATED, Slice(number=number, total=5)) for number in range(1, 6)]
        sizes = [sum(map(len, each.values())) for each in held]

        assert sum(sizes) == 52
        assert max(sizes) - min(sizes) <= 1
        assert sum(len(each["b"]) for each in held) == 30

    def test_it_tells_its_size(self) -> None:
        """An allocated plan tells its samples at each round, and in all."""
        assert (ALLOCATED.n_rounds, ALLOCATED.depth, ALLOCATED.depth_at(0)) == (3, (20, 30, 2), (1, 1, 1))
        assert (ALLOCATED.n_samples, ALLOCATED.samples_per_problem) == (52, 30)
        assert PLAN.samples_text == "64 samples for each problem"
        assert ALLOCATED.samples_text.startswith("2 to 30 samples, ")
        assert (PLAN.n_rounds, PLAN.depth, PLAN.samples) == (2, 64, (64, 64, 64))

    @pytest.mark.parametrize(
        ("allocated", "message"),
        [
            ((), "rounds of 3 problems"),
            (((1, 1),), "rounds of 3"),
            (((2, 2, 2), (2, 1, 2)), "descend"),
            (((0, 1, 1),), "1 on"),
        ],
    )
    def test_impossible_rounds_are_refused(self, allocated: tuple[tuple[int, ...], ...], message: str) -> None:
        """Rounds of other problems, or in which a problem's samples descend, are refused."""
        with pytest.raises(ValueError, match=message):
            replace(PLAN, rounds=(), allocated=allocated)


class TestRoom:
    """What a prompt leaves for its answer."""

    @pytest.mark.parametrize(
        ("n_prompt_tokens", "expected"),
        [(0, 100), (50, 100), (100, 100), (101, 99), (199, 1), (200, 0), (250, -50)],
    )
    def test_room_is_what_is_asked_for_or_what_is_left(self, n_prompt_tokens: int, expected: int) -> None:
        """A prompt's room is what was asked for or what is left, and negative where the prompt alone is too long."""
        sampling = Sampling(max_new_tokens=100, max_model_length=200)

        assert expected == room(sampling, n_prompt_tokens=n_prompt_tokens)

    def test_papers_recipe_has_room(self) -> None:
        """The paper's recipe takes prompts of up to a tenth of its context."""
        longest = 32768 - 29492  # 90 % of 32,768 is 29,491.2

        check_room("gpqa", Sampling(), n_prompt_tokens={"a": longest, "b": 1})
        with pytest.raises(PlanError):
            check_room("gpqa", Sampling(), n_prompt_tokens={"a": longest + 1, "b": 1})

    def test_context_of_the_model_is_not_blamed_on_an_option(self) -> None:
        """The message does not advise a longer context where the model takes less than was asked for."""
        sampling = Sampling(max_new_tokens=100, max_model_length=200)

        with pytest.raises(
            PlanError, match=r"Lower --r1-max-new-tokens: by its config\.json the model takes no longer"
        ):
            check_room("gpqa", sampling, n_prompt_tokens={"a": 150}, asked_length=4096)
        with pytest.raises(PlanError, match=r"or raise --r1-max-model-len if the model can"):
            check_room("gpqa", sampling, n_prompt_tokens={"a": 150}, asked_length=200)

    @pytest.mark.parametrize(("n_prompt_tokens", "left"), [(111, 89), (200, 0), (300, 0)])
    def test_too_long_a_prompt_is_named(self, n_prompt_tokens: int, left: int) -> None:
        """A prompt that is too long is refused with its problem, its length, what is left and what to change."""
        sampling = Sampling(max_new_tokens=100, max_model_length=200)
        lengths = {"short": 1, "long": n_prompt_tokens, "other": 2}

        with pytest.raises(PlanError) as caught:
            check_room("gpqa", sampling, n_prompt_tokens=lengths)

        expected = (
            f"gpqa: the prompt of problem long has {n_prompt_tokens} tokens, which leaves {left} of the 100 asked for "
            f"in a context of 200; expected {MIN_ROOM:.0%} or more. Lower --r1-max-new-tokens, or raise "
            "--r1-max-model-len if the model can"
        )
        assert expected == str(caught.value)


class TestSubset:
    """A subset is drawn by hash."""

    def test_order_is_the_exams(self) -> None:
        """Problems keep their order, and each is one of the exam's."""
        drawn = subset_ids(IDS, n_problems=50)

        assert len(drawn) == 50
        assert [id_ for id_ in IDS if id_ in set(drawn)] == list(drawn)

    def test_it_is_not_the_first_ones(self) -> None:
        """A subset is drawn from the whole exam and is not its first problems."""
        drawn = subset_ids(IDS, n_problems=50)

        n_first_half = sum(IDS.index(id_) < 250 for id_ in drawn)
        assert IDS[:50] != drawn
        assert 10 < n_first_half < 40

    @given(st.permutations(IDS[:12]), st.integers(1, 12))
    def test_draw_does_not_depend_on_the_order(self, ids: list[str], n_problems: int) -> None:
        """Which problems are drawn follows from their ids alone, and a larger subset contains a smaller one."""
        drawn = set(subset_ids(ids, n_problems=n_problems))

        assert set(subset_ids(IDS[:12], n_problems=n_problems)) == drawn
        assert drawn <= set(subset_ids(ids, n_problems=n_problems + 1))

    @pytest.mark.parametrize("n_problems", [3, 4, 1000])
    def test_more_than_there_are_is_all(self, n_problems: int) -> None:
        """Asking for more problems than the exam has gives the exam."""
        expected = IDS[:3]
        assert expected == subset_ids(IDS[:3], n_problems=n_problems)


class TestSlices:
    """Every sample is one machine's, and no machine has more than its part."""

    @given(ROUNDS, st.integers(1, 30), st.integers(1, 9))
    def test_every_sample_is_in_exactly_one_slice(
        self, rounds: tuple[int, ...], n_problems: int, n_slices: int
    ) -> None:
        """Whatever the plan, the slices' units are disjoint, cover it, and differ by one sample at most."""
        plan = replace(PLAN, problem_ids=IDS[:n_problems], rounds=rounds)
        slices = [Slice(number=number, total=n_slices) for number in range(1, n_slices + 1)]
        drawn = [
            [(unit.problem_id, index) for unit in plan.units(part=part) for index in unit.indices] for part in slices
        ]

        together = [pair for part in drawn for pair in part]
        assert sorted(together) == sorted((id_, index) for id_ in plan.problem_ids for index in range(rounds[-1]))
        assert max(map(len, drawn)) - min(map(len, drawn)) <= 1
        held = [{(id_, index) for id_, indices in dealt(plan, part).items() for index in indices} for part in slices]
        assert held == [set(part) for part in drawn]

    def test_every_problem_is_spread(self) -> None:
        """Each of 8 slices has 8 of the 64 samples of every problem."""
        plan = replace(PLAN, rounds=(64,))
        parts = [dealt(plan, Slice(number=number, total=8)) for number in range(1, 9)]

        assert {8} == {len(part[id_]) for part in parts for id_ in plan.problem_ids}

    def test_units_stay_within_their_round(self) -> None:
        """The units of a slice stay within the plan's rounds and come in their order."""
        units = list(PLAN.units(part=Slice(number=2, total=3)))

        assert all(unit.last <= PLAN.rounds[unit.round] for unit in units)
        assert units == sorted(units, key=lambda unit: unit.round)

    def test_order_of_the_exam_does_not_matter(self) -> None:
        """Machines that list the problems otherwise draw the same slices."""
        other = replace(PLAN, problem_ids=PLAN.problem_ids[::-1])
        part = Slice(number=1, total=3)

        assert dealt(PLAN, part) == dealt(other, part)

    @pytest.mark.parametrize(("number", "total"), [(0, 2), (3, 2), (-1, 1), (1, 0)])
    def test_no_such_slice(self, number: int, total: int) -> None:
        """A slice whose number is not from 1 to the total is refused."""
        with pytest.raises(ValueError, match=f"slice {number} of {total} does not exist"):
            Slice(number=number, total=total)
