"""Files of prompt scores, made up: two models that were scored elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pytest_r1eval.core.codec import to_json
from pytest_r1eval.core.prompt_scores import PROMPT_SCORES, AskedPrompts, PromptScores
from tests.recordings import HARNESS, identity_of

IDS = ((5, 6, 7, 8), (5, 9, 9))
ASKED = AskedPrompts(prompts="p" * 64, texts="t" * 64, n_vocabulary=265, vocabulary="v" * 64, ids=IDS)
SCORES = PromptScores(
    model="models/base",
    identity=replace(identity_of(weights="w1"), files=()),
    harness=replace(HARNESS, dtype="bfloat16"),
    asked=ASKED,
    logprobs=((-0.5, -1.25, -3.0), (-0.125, -2.0)),
)


def moved(by: Callable[[int, int], float]) -> PromptScores:
    """Return another model's scores: each moved by what a function of prompt and place gives."""
    logprobs = tuple(
        tuple(value + by(number, place) for place, value in enumerate(values))
        for number, values in enumerate(SCORES.logprobs)
    )
    return replace(
        SCORES, model="models/export", identity=replace(identity_of(weights="w2"), files=()), logprobs=logprobs
    )


def save(scores: PromptScores, path: Path) -> Path:
    """Write a file, as `r1eval same --save` does."""
    path.write_text(to_json(PROMPT_SCORES, scores))
    return path
