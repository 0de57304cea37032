"""The benchmarks that ship: DeepSeek's numbers, pinned data, and nothing that is made up."""

from __future__ import annotations

import pytest

from pytest_r1eval.core.benchmarks import AnswerForm, Benchmark, Grader
from pytest_r1eval.core.built_in import BUILT_IN, DEEPSEEKS, LIVECODEBENCH_WINDOWS
from tests.toys import BUILT_IN_BY_NAME

PINNED = {
    "aime26": ("MathArena/aime_2026", "d2de22f3"),
    "hmmt_feb25": ("MathArena/hmmt_feb_2025", "6fdc4277"),
    "hmmt_nov25": ("MathArena/hmmt_nov_2025", "118dbfb4"),
    "gsm8k": ("openai/gsm8k", "740312ad"),
    "ifeval": ("google/IFEval", "966cd895"),
    "ifbench": ("allenai/IFBench_test", "2e8a48de"),
    "mmlu_pro": ("TIGER-Lab/MMLU-Pro", "3373e0b3"),
    "mmlu_redux": ("edinburgh-dawg/mmlu-redux-2.0", "372ea425"),
    "lcb_v6": ("lighteval/code_generation_lite", "89e5fc5c"),
}
SIZES = {
    "aime24": 30, "aime25": 30, "math500": 500, "gpqa": 198, "lcb": 268, "aime26": 30, "hmmt_feb25": 30,
    "hmmt_nov25": 30, "gsm8k": 1319, "ifeval": 541, "ifbench": 300, "mmlu_pro": 12032, "mmlu_redux": 5330,
    "lcb_v6": 175,
}  # fmt: skip
"""Problems of each exam, as its authors state them."""


def test_samples_per_problem_are_the_fields() -> None:
    """AIME has 64 samples per problem, MATH-500 4, GPQA 8 and LiveCodeBench 16."""
    expected = {"aime24": 64, "aime25": 64, "math500": 4, "gpqa": 8, "lcb": 16}
    assert expected == {benchmark.name: benchmark.samples_per_problem for benchmark in DEEPSEEKS}


def test_newer_exams_have_samples_by_their_size() -> None:
    """Thirty problems get 64 samples each, hundreds of problems 4, and thousands one."""
    found = {name: BUILT_IN_BY_NAME[name].samples_per_problem for name in PINNED}
    assert found == {
        "aime26": 64, "hmmt_feb25": 64, "hmmt_nov25": 64, "gsm8k": 4, "ifeval": 4, "ifbench": 4,
        "mmlu_pro": 1, "mmlu_redux": 1, "lcb_v6": 16,
    }  # fmt: skip


def test_names_and_marks_are_unique() -> None:
    """A mark selects one benchmark; the marks are those that are documented."""
    marks = [benchmark.mark for benchmark in BUILT_IN]

    assert len(BUILT_IN) == len({benchmark.name for benchmark in BUILT_IN})
    expected = {
        *("aime", "aime25", "aime26", "math500", "gpqa", "lcb", "lcb6", "hmmt_feb25", "hmmt_nov25", "gsm8k"),
        *("ifeval", "ifbench", "mmlu_pro", "mmlu_redux"),
    }
    assert sorted(expected) == sorted(marks)


@pytest.mark.parametrize("benchmark", BUILT_IN, ids=lambda benchmark: benchmark.name)
class TestEach:
    """Every benchmark that ships."""

    def test_it_is_pinned(self, benchmark: Benchmark) -> None:
        """Each built-in benchmark is pinned to a whole commit."""
        assert benchmark.revision is not None
        assert len(benchmark.revision) == 40
        assert int(benchmark.revision, 16) > 0
        assert benchmark.max_new_tokens is None

    def test_it_has_a_card(self, benchmark: Benchmark) -> None:
        """Each built-in benchmark says its data set, its authors' number of problems, its grading and its use."""
        card = benchmark.card
        assert card is not None
        assert card.dataset.count("/") == 1
        assert card.grading
        assert card.shows
        assert card.n_problems == SIZES[benchmark.name]


@pytest.mark.parametrize("benchmark", DEEPSEEKS, ids=lambda benchmark: benchmark.name)
def test_deepseeks_are_plannable(benchmark: Benchmark) -> None:
    """DeepSeek's benchmarks have numbers for planning with their source."""
    assert benchmark.published_tau is not None
    assert 0 < benchmark.published_tau < 0.1
    assert benchmark.planning is not None
    # W cannot exceed the variance of one draw with the mean over all problems
    assert 0 < benchmark.planning.within_variance <= benchmark.planning.mean * (1 - benchmark.planning.mean)
    assert benchmark.planning.source
    assert benchmark.planning.n_problems == SIZES[benchmark.name]


@pytest.mark.parametrize("name", PINNED)
def test_newer_exams_are_what_they_say(name: str) -> None:
    """A newer exam has the data set and the commit of its public source, and no number that is not published."""
    benchmark = BUILT_IN_BY_NAME[name]
    assert benchmark.card is not None
    assert (benchmark.card.dataset, (benchmark.revision or "")[:8]) == PINNED[name]
    assert (benchmark.planning, benchmark.published_tau) == (None, None)


def test_strict_rules_are_for_forms_that_prompts_ask_for() -> None:
    """GSM8K and the instruction exams have no strict rule: their prompts ask for no form of an answer."""
    assert {name for name, one in BUILT_IN_BY_NAME.items() if not one.has_rules} == {"gsm8k", "ifeval", "ifbench"}
    letters = {name for name, one in BUILT_IN_BY_NAME.items() if one.answers is AnswerForm.LETTERS}
    assert letters == {"gpqa", "mmlu_pro", "mmlu_redux"}


def test_livecodebenchs_windows_are_exams_of_their_own() -> None:
    """LiveCodeBench's windows are separate exams of one commit, without numbers for planning."""
    lcb = BUILT_IN_BY_NAME["lcb"]
    windows = {window.name: window for window in LIVECODEBENCH_WINDOWS}
    assert {"lcb_v4", "lcb_v5", *(f"lcb_release_v{number}" for number in range(1, 7))} <= set(windows)
    of_task = {window.task for window in (lcb, BUILT_IN_BY_NAME["lcb_v6"], *LIVECODEBENCH_WINDOWS)}
    assert len(of_task) == len(LIVECODEBENCH_WINDOWS) + 2
    for window in LIVECODEBENCH_WINDOWS:
        assert (window.revision, window.grader, window.samples_per_problem) == (lcb.revision, Grader.CODE, 16)
        assert (window.planning, window.published_tau, window.mark) == (None, None, window.name)


def test_the_newest_window_has_a_mark_of_its_own() -> None:
    """LiveCodeBench's window v6 is selected by lcb6, and by its name."""
    assert BUILT_IN_BY_NAME["lcb_v6"].marks == ("lcb6", "lcb_v6")


def test_only_livecodebench_runs_code() -> None:
    """Only LiveCodeBench is graded by running code."""
    assert [benchmark.name for benchmark in BUILT_IN if benchmark.grader is Grader.CODE] == ["lcb", "lcb_v6"]
