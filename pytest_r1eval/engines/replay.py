"""
An engine that answers from a recorded run.

It answers what this gate would have decided, and serves tests of the plugin
that need a thousand runs and no model. Problem and sample index choose the
response, so a replayed run is the recorded run in every mode.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from pytest_r1eval.config.settings import Settings
from pytest_r1eval.engines.engine import EngineFactory, EngineIdentity, EngineParts, Generation, Request
from pytest_r1eval.errors import EngineError
from pytest_r1eval.runs.reading import RunReader


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """
    How a recording is played.

    Attributes:
        n_concurrent: Requests in flight.
        delay_s: How long every answer takes, so that a run lasts long enough to watch it or to kill it.
        start_s: How long its start takes, as a model's does that is loaded.
        regrade: Whether the recorded responses are graded again, by this process's graders.
        ledger: Whether the ledger is asked and told, as if the responses were drawn now.

    Raises:
        ValueError: If a value is not what it must be.
    """

    n_concurrent: int = 256
    delay_s: float = 0.0
    start_s: float = 0.0
    regrade: bool = False
    ledger: bool = False

    def __post_init__(self) -> None:
        if type(self.n_concurrent) is not int or self.n_concurrent < 1:
            raise ValueError(f"n_concurrent is {self.n_concurrent!r}; expected a whole number, 1 or more")
        for name, value in (("delay_s", self.delay_s), ("start_s", self.start_s)):
            if type(value) not in {int, float} or not 0 <= value < float("inf"):
                raise ValueError(f"{name} is {value!r}; expected seconds, 0 or more")
        if type(self.regrade) is not bool:
            raise ValueError(f"regrade is {self.regrade!r}; expected true or false")
        if type(self.ledger) is not bool:
            raise ValueError(f"ledger is {self.ledger!r}; expected true or false")

    @classmethod
    def parse(cls, arguments: Mapping[str, object]) -> Self:
        """
        Read the engine arguments of a command line.

        Raises:
            EngineError: If one is unknown or is not what it must be.
        """
        try:
            return cls(**arguments)  # type: ignore[arg-type]  # the constructor checks
        except (TypeError, ValueError) as error:
            given = " ".join(f"{key}={value}" for key, value in arguments.items())
            raise EngineError(
                f"--r1-engine-arg {given}: {error}; the replay engine takes n_concurrent=N, delay_s=SECONDS, "
                "start_s=SECONDS, regrade=true and ledger=true"
            ) from error


class ReplayEngine:
    """Answers every request with the sample that the recorded run holds for it, grade included; reads it when asked."""

    def __init__(self, run: Path, *, options: ReplayOptions | None = None) -> None:
        self._run = run
        self._options = options or ReplayOptions()
        self._store: RunReader | None = None

    @property
    def n_concurrent(self) -> int:
        """How many requests in flight keep it full."""
        return self._options.n_concurrent

    async def start(self) -> EngineIdentity:
        """
        Read the recorded run.

        Raises:
            EngineError: If the runs' workers disagreed about what answered, or nothing was recorded.
        """
        await asyncio.sleep(self._options.start_s)
        self._store = RunReader.open(self._run)
        harnesses = self._store.harnesses
        if len(harnesses) != 1:
            raise EngineError(
                f"the recorded run {self._run} names {len(harnesses)} harnesses; a replay needs exactly one, "
                "because its results are compared under that name"
            )
        (harness,) = harnesses
        recorded = EngineIdentity.of(harness)
        return replace(recorded, grader=None) if self._options.regrade else recorded

    async def generate(self, request: Request) -> Generation:
        """
        Look the sample up.

        Raises:
            EngineError: If the recorded run does not hold it.
        """
        found = self._store
        sample = (
            None
            if found is None
            else found.sample(request.benchmark, problem_id=request.problem_id, index=request.index)
        )
        if sample is None:
            raise EngineError(
                f"the recorded run {self._run} holds no sample {request.index} of problem {request.problem_id} "
                f"of {request.benchmark}; ask for no more samples than were recorded (--r1-samples)"
            )
        if self._options.delay_s:
            await asyncio.sleep(self._options.delay_s)
        return Generation(response=sample.response, grade=None if self._options.regrade else sample.grade)

    async def close(self) -> None:
        """Let the recorded run go."""
        store, self._store = self._store, None
        if store is not None:
            store.close()


def _options(settings: Settings) -> ReplayOptions:
    return ReplayOptions.parse(settings.engine_args)


def _check(settings: Settings) -> None:
    _options(settings)


def _build(parts: EngineParts) -> ReplayEngine:
    return ReplayEngine(Path(parts.settings.model), options=_options(parts.settings))


FACTORY = EngineFactory(
    build=_build,
    check=_check,
    plays_recording=True,
    grades_here=lambda settings: _options(settings).regrade,
    keeps_ledger=lambda settings: _options(settings).ledger,
)
