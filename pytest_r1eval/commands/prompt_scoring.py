"""What `r1eval same` compares: a model that is scored now, or scores that were saved elsewhere."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from pytest_r1eval.checkpoints.inspect import Checkpoint
from pytest_r1eval.config.settings import Settings
from pytest_r1eval.core.codec import from_json
from pytest_r1eval.core.fingerprints import ModelIdentity
from pytest_r1eval.core.prompt_scores import PROMPT_SCORES, AskedPrompts, PromptScores
from pytest_r1eval.engines.engine import EngineFactory, EngineIdentity, PromptScorer, engine_named
from pytest_r1eval.errors import EngineError, RunError
from pytest_r1eval.exams.fixed_prompts import asked_prompts
from pytest_r1eval.exams.prompts import PromptTokenizer
from pytest_r1eval.plugin.wiring import checkpoint_of, engine_parts

_UNGRADED = "nothing graded"


class Scored(Protocol):
    """One side of the comparison."""

    @property
    def model(self) -> str:
        """The folder or Hub id."""
        ...

    @property
    def identity(self) -> ModelIdentity:
        """Digests of the checkpoint."""
        ...

    @property
    def asked(self) -> AskedPrompts:
        """The prompts as it is asked them."""
        ...

    def scores(self) -> PromptScores:
        """
        Return its scores, which an engine may have to give.

        Raises:
            R1EvalError: If they cannot be had.
        """
        ...

    def text_of(self, prompt: int, position: int) -> str | None:
        """Return the text of a prompt's token, prompts from 1; None where no tokenizer is at hand."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedScores:
    """Scores of a file."""

    content: PromptScores

    @property
    def model(self) -> str:
        """The folder or Hub id of the model that was scored."""
        return self.content.model

    @property
    def identity(self) -> ModelIdentity:
        """Digests of that checkpoint."""
        return self.content.identity

    @property
    def asked(self) -> AskedPrompts:
        """The prompts as it was asked them."""
        return self.content.asked

    def scores(self) -> PromptScores:
        """Return what was saved."""
        return self.content

    def text_of(self, prompt: int, position: int) -> str | None:  # noqa: ARG002 - the protocol's
        """Return nothing: the file holds ids."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelToScore:
    """
    A model, inspected and asked nothing yet.

    Attributes:
        settings: What the user decided.
        checkpoint: The model.
        factory: Makes the engine.
        tokenizer: Its tokenizer.
        asked: The prompts as it is asked them.
    """

    settings: Settings
    checkpoint: Checkpoint
    factory: EngineFactory
    tokenizer: PromptTokenizer = field(repr=False)
    asked: AskedPrompts = field(repr=False)

    @property
    def model(self) -> str:
        """Where it is."""
        return self.checkpoint.place

    @property
    def identity(self) -> ModelIdentity:
        """Digests of the checkpoint."""
        return self.checkpoint.identity

    def scores(self) -> PromptScores:
        """
        Load the model and score the prompts, one at a time, so that no batch changes a rounding.

        Raises:
            EngineError: If the engine fails, scores no prompts, or the files changed while it read them.
        """
        parts = engine_parts(
            self.settings,
            self.checkpoint,
            max_model_length=max(map(len, self.asked.ids)) + 1,
            place=0,
            log=self.settings.output_dir / "logs" / f"same-{os.getpid()}.log",
        )
        engine = self.factory.build(parts)
        if not isinstance(engine, PromptScorer):
            raise _cannot_score(self.settings.engine)
        with redirect_stdout(sys.stderr):  # what an engine prints is no part of the answer
            identity, logprobs = asyncio.run(self._drawn(engine))
        return PromptScores(
            model=self.model,
            identity=replace(self.identity, files=()),
            harness=identity.harness(grader=_UNGRADED),
            asked=self.asked,
            logprobs=logprobs,
        )

    async def _drawn(self, engine: PromptScorer) -> tuple[EngineIdentity, tuple[tuple[float, ...], ...]]:
        try:
            identity = await engine.start()
            if changes := self.checkpoint.changes():
                raise EngineError(f"{self.model} changed while it was loaded ({changes}); expected a folder at rest")
            return identity, tuple([await engine.prompt_logprobs(prompt) for prompt in self.asked.ids])
        finally:
            await engine.close()

    def text_of(self, prompt: int, position: int) -> str | None:
        """Return the text of a prompt's token."""
        return self.tokenizer.text_of(self.asked.ids[prompt - 1][position])


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
            return SavedScores(content=from_json(PROMPT_SCORES, path.read_text(encoding="utf-8"), name=text))
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"{text} cannot be read; expected scores, as r1eval same --save writes them") from error
    asking = replace(settings, model=text)
    factory = engine_named(asking.engine)
    if not factory.scores_prompts:
        raise _cannot_score(asking.engine)
    factory.check(asking)
    checkpoint = checkpoint_of(asking)
    model, revision = checkpoint.asked_through
    tokenizer = PromptTokenizer(model=model, revision=revision)
    return ModelToScore(
        settings=asking,
        checkpoint=checkpoint,
        factory=factory,
        tokenizer=tokenizer,
        asked=asked_prompts(tokenizer, max_position=checkpoint.max_position),
    )


def _cannot_score(engine: str) -> EngineError:
    return EngineError(
        f"--engine {engine} gives no log-probabilities of a prompt; expected vllm, server or another engine whose "
        "factory has scores_prompts. Leave --engine out for vllm"
    )
