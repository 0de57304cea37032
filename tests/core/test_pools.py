"""Pools: what may be judged as one exam, and whose problem is whose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_r1eval.core.benchmarks import AnswerForm, Benchmark, Grader, Problem
from pytest_r1eval.core.built_in import BUILT_IN_POOLS
from pytest_r1eval.core.pools import part_name, part_of, pool_of, pooled
from pytest_r1eval.stats.tests import Design, minimum_detectable_effect
from tests.toys import BUILT_IN_BY_NAME

PROBLEM = Problem(id="p1", query="1+1?", instruction=None, choices=("2",), gold_index=0)


def pool(*members: str, catalog: dict[str, Benchmark] | None = None) -> Benchmark:
    """Make a pool of built-in benchmarks."""
    return pool_of("hard", members, BUILT_IN_BY_NAME if catalog is None else catalog)


class TestPool:
    """A pool is a benchmark of several data sets."""

    def test_it_is_selected_and_sampled_as_one(self) -> None:
        """A pool has its own name and mark, and its parts' samples, grading and forms of answers."""
        both = pool("aime24", "hmmt_nov25")
        assert (both.marks, both.samples_per_problem, both.answers) == (("hard",), 64, AnswerForm.MATHEMATICS)
        assert [part.name for part in both.parts] == ["aime24", "hmmt_nov25"]
        assert both.members == both.parts
        assert (both.revision, both.published_tau, both.card) == (None, None, None)

    def test_constants_are_those_of_all_problems(self) -> None:
        """The constants for planning are the means over all problems where each part has its own."""
        both = pool("aime24", "aime25").planning
        assert both is not None
        assert both.n_problems == 60
        assert both.mean == pytest.approx(0.508)
        assert both.within_variance == pytest.approx(0.120)

    def test_a_third_of_the_tokens_sees_the_same_fall(self) -> None:
        """One gate on three exams' 90 problems sees the fall of three gates on 30 with a third of the responses."""
        alone = BUILT_IN_BY_NAME["aime24"].planning
        assert alone is not None
        known = {**BUILT_IN_BY_NAME, "aime26": replace(BUILT_IN_BY_NAME["aime26"], planning=alone)}
        together = pool("aime24", "aime25", "aime26", catalog=known).planning
        assert together is not None
        pooled_gate, single_gate = (
            Design.from_planning(constants, n_samples=k, n_baseline_samples=k)
            for constants, k in ((together, 20), (alone, 60))
        )
        falls = [minimum_detectable_effect(gate) for gate in (pooled_gate, single_gate)]
        assert falls[0] == pytest.approx(falls[1], rel=1e-9)
        n_responses = [gate.n_problems * gate.n_samples for gate in (pooled_gate, single_gate)]
        assert n_responses == [1_800, 1_800]  # of one gate, and of each of three

    def test_unknown_constants_stay_unknown(self) -> None:
        """A pool with a part whose constants are not published has none: no number is made up."""
        assert pool("aime24", "aime26").planning is None

    @pytest.mark.parametrize("name", BUILT_IN_POOLS)
    def test_pools_that_ship_fit(self, name: str) -> None:
        """Each pool that ships can be made: its parts share samples, grading and answers."""
        made = pool_of(name, BUILT_IN_POOLS[name], BUILT_IN_BY_NAME)
        assert [part.name for part in made.parts] == [*BUILT_IN_POOLS[name]]

    def test_aime_all_is_three_years(self) -> None:
        """aime_all is AIME 2024, 2025 and 2026, which are 90 problems."""
        cards = [BUILT_IN_BY_NAME[name].card for name in BUILT_IN_POOLS["aime_all"]]
        assert [card.n_problems for card in cards if card is not None] == [30, 30, 30]


class TestProblems:
    """A problem's id keeps its exam."""

    def test_an_id_keeps_its_exam(self) -> None:
        """The pool's id of a problem names the part, and the part of the id is found again."""
        both = pool("aime24", "aime25")
        problem = pooled(PROBLEM, BUILT_IN_BY_NAME["aime25"])
        assert problem == replace(PROBLEM, id="aime25/p1")
        assert part_name(problem.id) == "aime25"
        assert part_of(both, problem.id) is BUILT_IN_BY_NAME["aime25"]

    def test_a_benchmark_of_its_own_grades_itself(self) -> None:
        """A problem of no pool is graded by its benchmark."""
        assert part_name("p1") is None
        assert part_of(BUILT_IN_BY_NAME["aime24"], "p1") is BUILT_IN_BY_NAME["aime24"]

    def test_a_strange_problem_is_refused(self) -> None:
        """A problem of none of a pool's parts is refused."""
        with pytest.raises(ValueError, match="hard: problem gpqa/p1 is of none of its parts"):
            part_of(pool("aime24", "aime25"), "gpqa/p1")


class TestRefused:
    """A pool whose mean would be of nothing is refused in one line."""

    @pytest.mark.parametrize(
        ("members", "expected"),
        [
            (("aime24", "aime23"), "hard: no benchmark 'aime23' to pool; expected some of aime24, "),
            (("aime24", "aime25", "aime24"), "hard: 'aime24' is in the pool twice; expected each benchmark once"),
            (("aime24",), "hard: a pool of 1; expected two benchmarks or more"),
            ((), "hard: a pool of 0; expected two benchmarks or more"),
            (
                ("aime24", "math500"),
                "hard: aime24 and math500 have different standard samples (64 and 4); expected benchmarks of one kind",
            ),
            (("aime24", "lcb"), "hard: aime24 and lcb have different kinds of grading (task and code); expected"),
            (
                ("math500", "ifeval"),
                "hard: math500 and ifeval have different forms of answers (mathematics and none); expected",
            ),
            (("gsm8k", "ifeval"), "hard: gsm8k and ifeval have different metrics (none and prompt_level_strict_acc)"),
        ],
    )
    def test_built_in_ones(self, members: tuple[str, ...], expected: str) -> None:
        """A bad pool is refused with what was found and what was expected, in one line."""
        with pytest.raises(ValueError, match="hard: ") as caught:
            pool(*members)
        assert str(caught.value).startswith(expected)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("changed", [{"max_new_tokens": 64}, {"grader": Grader.CODE, "answers": None}])
    def test_other_kinds(self, changed: dict[str, Any]) -> None:
        """Benchmarks of other token limits or grading do not fit one pool."""
        other = replace(BUILT_IN_BY_NAME["aime25"], name="other", **changed)
        with pytest.raises(ValueError, match=r"hard: aime24 and other have different .*Judge them apart"):
            pool("aime24", "other", catalog={**BUILT_IN_BY_NAME, "other": other})

    def test_a_pool_of_pools(self) -> None:
        """A pool holds benchmarks, not pools."""
        catalog = {**BUILT_IN_BY_NAME, "hard": pool("aime24", "aime25")}
        with pytest.raises(ValueError, match="more: 'hard' is a pool itself; name its benchmarks"):
            pool_of("more", ["hard", "aime26"], catalog)

    def test_a_name_that_m_cannot_select(self) -> None:
        """A pool needs a name that -m can select."""
        with pytest.raises(ValueError, match="my-pool: mark 'my-pool' is not a Python identifier"):
            pool_of("my-pool", ["aime24", "aime25"], BUILT_IN_BY_NAME)
