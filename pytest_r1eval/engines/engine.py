"""
The protocol every engine follows, the values that cross it, and how an engine is registered.

An engine is one `EngineFactory`, named as an entry point of the group `pytest_r1eval.engines`. All that the product
asks about an engine before it makes one is an attribute of its factory; no other module knows an engine by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Protocol, runtime_checkable

from pytest_r1eval.checkpoints.inspect import Checkpoint
from pytest_r1eval.config.registered import ENGINES
from pytest_r1eval.config.settings import Settings
from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.core.fingerprints import Harness
from pytest_r1eval.core.records import Grade, Response
from pytest_r1eval.core.thinking import ThinkTags
from pytest_r1eval.engines.devices import WorkerDevices
from pytest_r1eval.engines.placement import Placement
from pytest_r1eval.errors import EngineError


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
        think_tags: What encloses a thought, whose tokens are counted apart; None where the model has no such tags.
    """

    benchmark: str
    problem_id: str
    index: int
    prompt: tuple[int, ...]
    seed: int
    sampling: Sampling
    max_new_tokens: int
    think_tags: ThinkTags | None = None


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
    kv_cache: str | None = None
    speculative: str | None = None
    attention: str | None = None
    is_batch_invariant: bool = False

    def harness(self, *, grader: str) -> Harness:
        """
        Return what answered and graded.

        Args:
            grader: What grades responses that come without grades.
        """
        return Harness(**asdict(self) | {"grader": self.grader or grader})

    @classmethod
    def of(cls, harness: Harness) -> EngineIdentity:
        """Return what a recorded run's harness says, its grader included."""
        return cls(**asdict(harness))


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


@runtime_checkable
class PromptScorer(Engine, Protocol):
    """An engine that says how likely it finds a prompt, for `r1eval same`; it draws nothing at random."""

    async def prompt_logprobs(self, prompt: tuple[int, ...]) -> tuple[float, ...]:
        """
        Return the log-probability of each token of a prompt after the first, given those before it, in nats.

        Raises:
            EngineError: If the engine failed, or gives none.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineParts:
    """
    What an engine can be made of; each takes what it needs.

    Attributes:
        settings: What the user decided.
        checkpoint: What is judged.
        max_model_length: Tokens of prompt and response together, of the longest benchmark.
        devices: What this worker may use.
        placement: Where engines run; None where the factory loads no model here.
        log: Where processes of the engine may write what they have to say.
    """

    settings: Settings
    checkpoint: Checkpoint
    max_model_length: int
    devices: WorkerDevices
    placement: Placement | None
    log: Path


def _accept(_: Settings) -> None:
    """Find no fault."""


def _take(_: Checkpoint) -> None:
    """Find no fault."""


def _yes(_: Settings) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFactory:
    """
    What the product asks about an engine, and what makes one.

    Attributes:
        build: Makes an engine; nothing is loaded before its `start`.
        check: Refuses settings that it cannot work with, before anything is drawn.
        check_model: Refuses a checkpoint that it cannot serve, as far as that is known without loading it.
        loads_model: Whether it loads the model on this machine: workers are placed on GPUs or CPUs of their own, and
            ``-n auto`` counts engines. Else one worker asks what runs elsewhere.
        serves_adapters: Whether it serves `Checkpoint.adapter` on its base model.
        plays_recording: Whether ``--r1-model`` is a recorded run, which exam, prompts and seed come from, so that no
            checkpoint's files are needed.
        grades_here: Whether answers are graded by this process; a recording may bring its grades.
        keeps_ledger: Whether a verdict goes into the ledger, and answers the same question later.
        packages: Distributions whose versions decide which answers come.
        answering_arguments: The ``--r1-engine-arg`` that decide which answers come, so that another value is another
            question to the ledger; None for all of them.
        ends_thoughts: Whether it can end a thought after some tokens, for ``--r1-thinking-budget``.
        scores_prompts: Whether its engines are `PromptScorer`s.
        sizing_arguments: Those that change what memory holds, so that the engine alone knows whether it fits.
    """

    build: Callable[[EngineParts], Engine]
    check: Callable[[Settings], None] = _accept
    check_model: Callable[[Checkpoint], None] = _take
    loads_model: bool = False
    serves_adapters: bool = False
    plays_recording: bool = False
    grades_here: Callable[[Settings], bool] = _yes
    keeps_ledger: Callable[[Settings], bool] = _yes
    packages: tuple[str, ...] = ()
    answering_arguments: frozenset[str] | None = None
    ends_thoughts: bool = False
    scores_prompts: bool = False
    sizing_arguments: frozenset[str] = frozenset()

    def decides(self, argument: str, value: object) -> bool:
        """Whether an engine argument decides which answers come; a value that changes nothing does not."""
        known = self.answering_arguments
        return (known is None or argument in known) and value not in (None, {}, "", "auto")


@cache
def engine_named(name: str) -> EngineFactory:
    """
    Load the factory that is registered under a name.

    Raises:
        EngineError: If there is none or more than one, or if what is registered cannot be imported or is not a factory.
    """
    found = ENGINES.points(name)
    if len(found) != 1:
        packages = ", ".join(sorted({"?" if one.dist is None else one.dist.name for one in found}))
        what = f"is registered by {packages}; expected one of them" if found else "is not registered; expected one of "
        raise EngineError(f"--r1-engine {name} {what}{'' if found else ', '.join(ENGINES.names)}")
    (point,) = found
    try:
        factory = point.load()
    except (ImportError, AttributeError) as error:
        raise EngineError(
            f"--r1-engine {name}: {point.value} cannot be imported ({error}); expected an EngineFactory. "
            f"Repair the package that registers it in {ENGINES.group}"
        ) from error
    if not isinstance(factory, EngineFactory):
        raise EngineError(
            f"--r1-engine {name}: {point.value} is {type(factory).__name__}; expected an EngineFactory. "
            f"Repair the package that registers it in {ENGINES.group}"
        )
    return factory


def recording_of(settings: Settings) -> Path | None:
    """
    Return the recorded run that answers; None where a checkpoint does.

    Raises:
        EngineError: If there is no such engine.
    """
    return Path(settings.model) if engine_named(settings.engine).plays_recording else None
