"""IFEval and IFBench: LightEval's programs check the answer behind the thought, and nothing is drawn without them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_r1eval.core.benchmarks import Benchmark, Problem
from pytest_r1eval.core.choices import CodeGrader
from pytest_r1eval.core.records import FinishReason, Grade, Outcome, Response
from pytest_r1eval.errors import ScoringError
from pytest_r1eval.sandbox import Limits
from pytest_r1eval.scoring.grading import CodeGrading
from pytest_r1eval.scoring.pool import GradingPool
from tests.exams.builder import Builder, write_rows
from tests.requirements import LIGHTEVAL, need
from tests.scoring.grades import grades_of
from tests.toys import BUILT_IN_BY_NAME, PROBE, said, toy

pytest_plugins = ["tests.scoring_fixtures"]

IFEVAL, IFBENCH = BUILT_IN_BY_NAME["ifeval"], BUILT_IN_BY_NAME["ifbench"]
FOLDERS = {"ifeval": "IFEval", "ifbench": "IFBench_test"}


@pytest.fixture
def builder(pool: GradingPool, tokenizer: str) -> Builder:
    """Build exams in the session's processes."""
    return Builder(pool, tokenizer)


def row(number: int, *rules: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """Make a row with the columns of both data sets; what an instruction does not take is None, as on the Hub."""
    every = dict.fromkeys(("num_words", "relation", "language", "N", "sep", "keyword1"))
    return {
        "key": str(number),
        "prompt": f"Write something, number {number}.",
        "instruction_id_list": [name for name, _ in rules],
        "kwargs": [every | values for _, values in rules],
    }


CORPUS: dict[str, list[tuple[dict[str, Any], list[str], list[str]]]] = {
    "ifeval": [
        (row(1, ("punctuation:no_comma", {})), ["No comma here.", "a"], ["One, two.", ""]),
        (
            row(2, ("length_constraints:number_words", {"num_words": 4, "relation": "at least"})),
            ["one two three four"],
            ["one two three"],
        ),
        (
            row(3, ("punctuation:no_comma", {}), ("startend:quotation", {})),
            ['"quoted without a comma"'],
            ['"quoted, with a comma"', "not quoted"],
        ),
        (
            row(4, ("language:response_language", {"language": "de"})),
            ["Das ist ein ganz gewöhnlicher Satz in deutscher Sprache."],
            ["This is quite an ordinary sentence in the English language."],
        ),
        (
            row(5, ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "at least"})),
            ["The cat sat. The dog ran away."],
            ["The cat sat."],
        ),
    ],
    "ifbench": [
        (row(1, ("count:numbers", {"N": 2})), ["There are 4 of 20."], ["There are 4."]),
        (row(2, ("words:vowel", {})), ["a cat sat at a mat"], ["a quick brown fox jumped over lazy dogs in autumn"]),
    ],
}
"""Rows of ours, and responses that follow their instructions and that do not."""


def problems_of(builder: Builder, benchmark: Benchmark, folder: Path) -> tuple[Problem, ...]:
    """Build the corpus of a benchmark."""
    rows = [given for given, _, _ in CORPUS[benchmark.name]]
    write_rows(folder / FOLDERS[benchmark.name] / "train.jsonl", rows)
    return builder.exam(benchmark, data_dir=folder).problems


@pytest.mark.parametrize("benchmark", [IFEVAL, IFBENCH], ids=lambda benchmark: benchmark.name)
class TestCorpus:
    """Prompts and grades of both."""

    def test_a_prompt_is_the_rows(self, builder: Builder, tmp_path: Path, benchmark: Benchmark) -> None:
        """The prompt is the row's own, and its instructions are kept for the grader."""
        problems = problems_of(builder, benchmark, tmp_path)
        assert [problem.query for problem in problems] == [given["prompt"] for given, _, _ in CORPUS[benchmark.name]]
        assert all("kwargs" in (problem.specific or "") for problem in problems)

    def test_followed_instructions_are_right(
        self, pool: GradingPool, builder: Builder, tmp_path: Path, benchmark: Benchmark
    ) -> None:
        """A response that follows each instruction of its prompt is right, and one that breaks one is wrong."""
        problems = problems_of(builder, benchmark, tmp_path)
        for problem, (_, right, wrong) in zip(problems, CORPUS[benchmark.name], strict=True):
            grades = grades_of(pool, benchmark, [(problem, said(text)) for text in (*right, *wrong)])
            expected = [Outcome.CORRECT] * len(right) + [Outcome.WRONG] * len(wrong)
            assert [grade.outcome for grade in grades] == expected, (problem.query, grades)


class TestThought:
    """A thought is left out before any instruction is checked."""

    @pytest.mark.parametrize(
        ("response", "expected"),
        [
            (said("<think>first, second</think>\n\nNo comma."), Grade(outcome=Outcome.CORRECT)),
            (said("first, second</think>\n\nNo comma."), Grade(outcome=Outcome.CORRECT)),
            (said("<think>none</think>One, two."), Grade(outcome=Outcome.WRONG)),
            (said("<think>no comma"), Grade(outcome=Outcome.NO_ANSWER, detail="its thought does not end")),
            (
                said("<think>no comma", finish_reason=FinishReason.LENGTH),
                Grade(outcome=Outcome.TRUNCATED, detail="its thought does not end"),
            ),
        ],
    )
    def test_what_follows_it_is_checked(
        self, pool: GradingPool, builder: Builder, tmp_path: Path, response: Response, expected: Grade
    ) -> None:
        """The instruction is checked on what follows the thought; an unfinished thought holds no answer."""
        problem = problems_of(builder, IFEVAL, tmp_path)[0]
        assert grades_of(pool, IFEVAL, [(problem, response)]) == [expected]


class TestSameGrade:
    """A response has one grade."""

    def test_a_guessed_language_is_guessed_alike(self, pool: GradingPool, builder: Builder, tmp_path: Path) -> None:
        """A text between two languages, which langdetect guesses by chance, has the same grade each time."""
        problem = problems_of(builder, IFEVAL, tmp_path)[3]
        grades = grades_of(pool, IFEVAL, [(problem, said("Internet Computer Software Hotel Taxi"))] * 40)
        assert len({grade.outcome for grade in grades}) == 1


class TestNamedMetric:
    """A benchmark names one of its task's metrics."""

    def test_an_unknown_name_is_refused(self, builder: Builder, tmp_path: Path) -> None:
        """A score that the group does not have is refused with those that it has."""
        problems_of(builder, IFEVAL, tmp_path)
        with pytest.raises(
            ScoringError, match="no metric 'strict' that scores one generated answer; expected one of p"
        ):
            builder.exam(replace(IFEVAL, metric="strict"), data_dir=tmp_path)

    def test_a_plain_metric_can_be_named(self, pool: GradingPool) -> None:
        """A task's metric that is no group grades where the benchmark names it."""
        named = replace(toy("toy:probe"), metric="toy")
        grades = grades_of(pool, named, [(PROBE, said("value 0")), (PROBE, said("value 1"))])
        assert [grade.outcome for grade in grades] == [Outcome.WRONG, Outcome.CORRECT]


def test_programs_fetch_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """NLTK fetches nothing where such a benchmark is graded, and is left alone elsewhere."""
    need(LIGHTEVAL)
    import nltk  # noqa: PLC0415 - comes with LightEval

    from pytest_r1eval.scoring.instructions import fetch_nothing  # noqa: PLC0415 - imports LightEval

    monkeypatch.setattr(nltk, "download", before := nltk.download)
    fetch_nothing(BUILT_IN_BY_NAME["aime24"])
    assert nltk.download is before
    fetch_nothing(IFEVAL)
    assert nltk.download("punkt") is False


WITHOUT_A_PACKAGE = """
import sys
from importlib import metadata

whole = metadata.distribution


def distribution(name):
    if name == {name!r}:
        raise metadata.PackageNotFoundError(name)
    return whole(name)


metadata.distribution = distribution
sys.modules[{name!r}] = None
"""
"""A process's sitecustomize.py that hides an installed package from it, as if it were not installed."""
WITHOUT_DATA = "import nltk.data\nnltk.data.path.clear()"
"""A process's sitecustomize.py that hides NLTK's data from it, wherever a machine has them."""


@pytest.fixture
def refusal(
    warm_graders: None,  # noqa: ARG001 - where the processes come from
    tokenizer: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., str]:
    """Return why an exam cannot be built by processes that begin with a program."""

    def refused(benchmark: Benchmark, *, beginning: str) -> str:
        (tmp_path / "sitecustomize.py").write_text(beginning)
        monkeypatch.syspath_prepend(tmp_path)
        code = CodeGrading(grader=CodeGrader.LIGHTEVAL, limits=Limits(), tests=tmp_path)
        with GradingPool(n_processes=1, code=code) as pool, pytest.raises(ScoringError) as caught:
            Builder(pool, tokenizer).exam(benchmark, data_dir=tmp_path)
        return str(caught.value)

    return refused


def test_what_lacks_is_named_with_its_command(builder: Builder, tmp_path: Path, refusal: Callable[..., str]) -> None:
    """Without NLTK's data an exam is refused before anything is drawn, with the command that gets it."""
    problems_of(builder, IFEVAL, tmp_path)
    found = refusal(IFEVAL, beginning=WITHOUT_DATA)
    assert re.search(r"ifeval: punkt_tab not found; .* Run python -m nltk\.downloader punkt_tab", found)


@pytest.mark.usefixtures("pool")
@pytest.mark.parametrize(("benchmark", "package"), [(IFEVAL, "langdetect"), (IFBENCH, "emoji")])
def test_a_package_that_lacks_is_named_with_its_command(
    refusal: Callable[..., str], benchmark: Benchmark, package: str
) -> None:
    """Without a package that the programs import, an exam is refused with the command that installs it."""
    found = refusal(benchmark, beginning=WITHOUT_A_PACKAGE.format(name=package))
    assert found.startswith(f"{benchmark.name}: {package}")
    assert found.endswith("Run python -m pip install 'pytest-r1eval[instructions]'")
