"""Which scores a model's page can show."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pytest_r1eval.core.built_in import BUILT_IN
from pytest_r1eval.core.codec import Kind, from_json
from pytest_r1eval.judging.summary import BenchmarkSummary, RunSummary
from pytest_r1eval.upload.page_scores import PageScore, page_scores
from tests.judged_runs import judged_run

CARDS = {spec.name: (spec, spec.card) for spec in BUILT_IN if spec.card is not None}
REGISTERED = {
    "gpqa": ("Idavidrein/gpqa", "diamond"),
    "aime26": ("MathArena/aime_2026", "MathArena/aime_2026"),
    "gsm8k": ("openai/gsm8k", "gsm8k"),
    "mmlu_pro": ("TIGER-Lab/MMLU-Pro", "mmlu_pro"),
}
"""Data sets with a leaderboard on the Hub, and their tasks."""
REVISION = "1" * 40


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> RunSummary:
    """Summarise a judged run, once."""
    files = judged_run(tmp_path_factory.mktemp("page") / "run", n_problems=4, n_samples=4)
    content = json.loads(files.results.read_text())["r1eval"]
    return from_json(Kind(of=RunSummary), json.dumps(content))


def part_of(summary: RunSummary, name: str) -> BenchmarkSummary:
    """Return the run's part as if it were a whole built-in benchmark from the Hub."""
    spec, card = CARDS[name]
    return replace(
        summary.benchmarks["smoke"],
        task=f"{spec.task}|0",
        n_problems=card.n_problems,
        dataset=f"{card.dataset}@{REVISION}",
    )


def gap_of(summary: RunSummary, name: str, part: BenchmarkSummary) -> str:
    """Return why a page cannot show a benchmark."""
    found = page_scores(replace(summary, benchmarks={name: part}))
    assert found.scores == ()
    (gap,) = found.gaps
    return str(gap)


@pytest.mark.parametrize("name", CARDS)
def test_registered_benchmarks_are_shown_and_no_others(summary: RunSummary, name: str) -> None:
    """A page has the scores of benchmarks that the Hub has registered, by its task; another one's gap is named."""
    part = part_of(summary, name)
    found = page_scores(replace(summary, benchmarks={name: part}))
    if name in REGISTERED:
        dataset, task = REGISTERED[name]
        assert part.score is not None
        assert found.gaps == ()
        assert found.scores == (
            PageScore(
                dataset=dataset,
                dataset_revision=REVISION,
                task=task,
                points=round(100 * part.score.mean, 2),
                date="2025-01-20",
                notes="pass@1 over 4 samples per problem, temperature 0.6, top-p 0.95, 64 new tokens",
            ),
        )
    else:
        _, card = CARDS[name]
        reason = card.hub_gap or f"{card.dataset} is not registered as a benchmark on the Hub"
        assert gap_of(summary, name, part) == f"{name} ({reason})"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"n_problems": 12}, "12 of 198 problems"),
        ({"dataset": "/data/gpqa"}, "its problems did not come from Idavidrein/gpqa on the Hub"),
        ({"dataset": f"acme/gpqa@{REVISION}"}, "its problems did not come from Idavidrein/gpqa on the Hub"),
        ({"score": None, "is_at_stop": True}, "stopped early"),
        ({"score": None}, "no score, see the verdict"),
        ({"task": "my_task|0"}, "it is not a built-in benchmark, so that its size is not known here"),
    ],
)
def test_what_is_not_the_whole_benchmark_is_named(summary: RunSummary, changes: dict[str, object], reason: str) -> None:
    """A part of a benchmark, other problems, a run without a score and a task of one's own are each a reason."""
    part = replace(part_of(summary, "gpqa"), **changes)  # type: ignore[arg-type]
    assert gap_of(summary, "gpqa", part) == f"gpqa ({reason})"


def test_a_model_page_has_some_and_not_others(summary: RunSummary) -> None:
    """Of a run of several benchmarks the page has what it can show, and the rest is named."""
    found = page_scores(replace(summary, benchmarks={name: part_of(summary, name) for name in ("gpqa", "math500")}))
    assert [score.dataset for score in found.scores] == ["Idavidrein/gpqa"]
    assert [gap.partition(" (")[0] for gap in found.gaps] == ["math500"]


def test_ifbench_says_which_score_the_hub_wants(summary: RunSummary) -> None:
    """IFBench is registered with another score than is measured here, and the reason says so."""
    assert "prompt_level_loose" in gap_of(summary, "ifbench", part_of(summary, "ifbench"))
