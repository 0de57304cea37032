"""The protocol every engine follows, and the values that cross it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.core.records import Grade, Response


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """
    One sample that is asked for.

    Attributes:
        benchmark: The benchmark's name.
        problem_id: The problem.
        index: The sample index.
        prompt: Token ids, the chat template applied.
        seed: The seed of this sample alone.
        sampling: How it is drawn.
        max_new_tokens: The room that is left for the response after the prompt.
    """

    benchmark: str
    problem_id: str
    index: int
    prompt: tuple[int, ...]
    seed: int
    sampling: Sampling
    max_new_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A response, with its grade where the engine replays one that the same grader gave before."""

    response: Response
    grade: Grade | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineIdentity:
    """
    What the fingerprint records of an engine; the fields are those of `Harness`.

    Attributes:
        grader: Set where responses come with grades: who gave them.
    """

    engine: str
    dtype: str
    quantization: str | None
    device: str
    n_devices: int
    grader: str | None = None


class Engine(Protocol):
    """Answers prompts; created cheaply, started once, used from one asyncio loop."""

    @property
    def n_concurrent(self) -> int:
        """How many requests in flight keep it full."""
        ...

    async def start(self) -> EngineIdentity:
        """
        Load the model.

        Raises:
            EngineError: If it cannot be loaded, saying why and what to change.
        """
        ...

    async def generate(self, request: Request) -> Generation:
        """
        Draw one sample.

        Raises:
            EngineError: If the engine failed; never an empty response instead.
        """
        ...

    async def close(self) -> None:
        """Free the device; safe to call twice, and before `start`."""
        ...
