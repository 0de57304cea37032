"""What `r1eval same` compares: a model that is scored now, or scores that were saved elsewhere."""

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from pytest_r1eval.checkpoints.inspect import Checkpoint
from pytest_r1eval.config.settings import Settings
from pytest_r1eval.core.codec import from_json
from pytest_r1eval.core.fingerprints import ModelIdentity
from pytest_r1eval.core.prompt_scores import PROMPT_SCORES, AskedPrompts, PromptScores
from pytest_r1eval.engines.engine import EngineIdentity, PromptScorer, engine_named
from pytest_r1eval.errors import EngineError, RunError
from pytest_r1eval.exams.fixed_prompts import asked_prompts
from pytest_r1eval.exams.prompts import PromptTokenizer
from pytest_r1eval.plugin.wiring import checkpoint_of, engine_parts

_UNGRADED = "nothing graded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """
    One side of the comparison: a model that is asked nothing yet, or scores of a file.

    Attributes:
        model: The folder or Hub id.
        identity: Digests of the checkpoint.
        asked: The prompts as it is asked them.
        scores: Gives its scores, which an engine may have to compute; it raises an R1EvalError if they cannot be had.
        tokenizer: Its tokenizer; None for a file, which holds ids.
    """

    model: str
    identity: ModelIdentity
    asked: AskedPrompts = field(repr=False)
    scores: Callable[[], PromptScores]
    tokenizer: PromptTokenizer | None = field(default=None, repr=False)

    def text_of(self, prompt: int, position: int) -> str | None:
        """Return the text of a prompt's token, prompts from 1; None where no tokenizer is at hand."""
        return None if self.tokenizer is None else self.tokenizer.text_of(self.asked.ids[prompt - 1][position])


def _computed(settings: Settings, checkpoint: Checkpoint, asked: AskedPrompts) -> PromptScores:
    """
    Load the model and score the prompts, one at a time, so that no batch changes a rounding.

    Raises:
        EngineError: If the engine fails, scores no prompts, or the files changed while it read them.
    """
    parts = engine_parts(
        settings,
        checkpoint,
        max_model_length=max(map(len, asked.ids)) + 1,
        place=0,
        log=settings.output_dir / "logs" / f"same-{os.getpid()}.log",
    )
    engine = engine_named(settings.engine).build(parts)
    if not isinstance(engine, PromptScorer):
        raise _cannot_score(settings.engine)
    with redirect_stdout(sys.stderr):  # what an engine prints is no part of the answer
        identity, logprobs = asyncio.run(_drawn(engine, checkpoint, asked))
    return PromptScores(
        model=checkpoint.place,
        identity=replace(checkpoint.identity, files=()),
        harness=identity.harness(grader=_UNGRADED),
        asked=asked,
        logprobs=logprobs,
    )


async def _drawn(
    engine: PromptScorer, checkpoint: Checkpoint, asked: AskedPrompts
) -> tuple[EngineIdentity, tuple[tuple[float, ...], ...]]:
    try:
        identity = await engine.start()
        if changes := checkpoint.changes():
            raise EngineError(f"{checkpoint.place} changed while it was loaded ({changes}); expected a folder at rest")
        return identity, tuple([await engine.prompt_logprobs(prompt) for prompt in asked.ids])
    finally:
        await engine.close()


def scored_by(text: str, settings: Settings) -> Scored:
    """
    Return what an argument of the command names: a file of saved scores, or a model.

    Args:
        text: The argument.
        settings: What the user decided, for a model.

    Raises:
        RunError: If it is a file that holds no scores.
        ModelError: If it is neither a file nor a model.
        EngineError: If the engine scores no prompts, or cannot serve the model.
    """
    path = Path(text)
    if path.is_file():
        try:
            saved = from_json(PROMPT_SCORES, path.read_text(encoding="utf-8"), name=text)
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"{text} cannot be read; expected scores, as r1eval same --save writes them") from error
        return Scored(model=saved.model, identity=saved.identity, asked=saved.asked, scores=lambda: saved)
    asking = replace(settings, model=text)
    factory = engine_named(asking.engine)
    if not factory.scores_prompts:
        raise _cannot_score(asking.engine)
    factory.check(asking)
    checkpoint = checkpoint_of(asking)
    model, revision = checkpoint.asked_through
    tokenizer = PromptTokenizer(model=model, revision=revision)
    asked = asked_prompts(tokenizer, max_position=checkpoint.max_position)
    return Scored(
        model=checkpoint.place,
        identity=checkpoint.identity,
        asked=asked,
        scores=partial(_computed, asking, checkpoint, asked),
        tokenizer=tokenizer,
    )


def _cannot_score(engine: str) -> EngineError:
    return EngineError(
        f"--engine {engine} gives no log-probabilities of a prompt; expected vllm, server or another engine whose "
        "factory has scores_prompts. Leave --engine out for vllm"
    )
