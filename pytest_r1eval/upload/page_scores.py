"""
Which of a run's scores a model's page on the Hub can show, and why not the others.

A page shows scores on data sets that the Hub knows as benchmarks, by the task that the data set's eval.yaml names; a
file of another one is shown nowhere. So only those are written, each for a whole benchmark with the Hub's own problems.
"""

import re
from dataclasses import dataclass

from pytest_r1eval.core.built_in import BUILT_IN
from pytest_r1eval.core.texts import escaped
from pytest_r1eval.judging.summary import BenchmarkSummary, RunSummary

_CARDS = {f"{spec.task}|0": spec.card for spec in BUILT_IN if spec.card is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class PageScore:
    """
    One score for a model's page.

    Attributes:
        dataset: The benchmark's data set on the Hub.
        dataset_revision: Its commit.
        task: The task's name in the data set's eval.yaml.
        points: pass@1 in points of 100.
        date: When the run was started, ``YYYY-MM-DD``.
        notes: How it was measured.
    """

    dataset: str
    dataset_revision: str
    task: str
    points: float
    date: str
    notes: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PageScores:
    """A run's scores for a model's page, and those that it cannot show."""

    scores: tuple[PageScore, ...]
    gaps: tuple[str, ...]


def page_scores(summary: RunSummary) -> PageScores:
    """Choose the scores that a model's page can show."""
    found = {name: _score_or_reason(part, date=summary.created[:10]) for name, part in summary.benchmarks.items()}
    return PageScores(
        scores=tuple(one for one in found.values() if isinstance(one, PageScore)),
        gaps=tuple(f"{escaped(name)} ({escaped(one)})" for name, one in found.items() if isinstance(one, str)),
    )


def _score_or_reason(part: BenchmarkSummary, *, date: str) -> PageScore | str:
    """Return a benchmark's score for a page, or why a page cannot show it."""
    card, question = _CARDS.get(part.task), part.fingerprint.question
    if card is None:
        return "it is not a built-in benchmark, so that its size is not known here"
    if card.hub_task is None:
        return card.hub_gap or f"{card.dataset} is not registered as a benchmark on the Hub"
    pinned = re.fullmatch(r"([^/@\s]+/[^/@\s]+)@([0-9a-f]{40})", part.dataset or "")
    if pinned is None or pinned[1] != card.dataset:
        return f"its problems did not come from {card.dataset} on the Hub"
    if part.n_problems != card.n_problems:
        return f"{part.n_problems} of {card.n_problems} problems"
    if part.score is None or question is None:
        return "stopped early" if part.is_at_stop else "no score, see the verdict"
    return PageScore(
        dataset=card.dataset,
        dataset_revision=pinned[2],
        task=card.hub_task,
        points=round(100 * part.score.mean, 2),
        date=date,
        notes=(
            f"pass@1 over {part.samples_per_problem} samples per problem, {question.sampling.summary}, "
            f"{question.sampling.max_new_tokens} new tokens"
        ),
    )
