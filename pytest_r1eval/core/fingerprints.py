"""
What a number depends on besides the model's skill.

A fingerprint has three parts, because a difference means something else in each:
the model (what is being judged), the question (exam, sampling, system prompt:
must match a measured baseline) and the harness (engine, hardware, grader: may
differ, at the price of tau).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from pytest_r1eval.core.benchmarks import Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """Digests of the checkpoint: weights, tokenizer files, chat template."""

    weights: str
    tokenizer: str
    chat_template: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What was asked: the exam's digest, the sampling, the system prompt."""

    exam: str
    sampling: Sampling
    system_prompt: str | None

    def differences(self, other: Question) -> tuple[Difference, ...]:
        """List the fields in which two questions differ; any one forbids a comparison."""
        return _differences("question", asdict(self), asdict(other))


@dataclass(frozen=True, slots=True, kw_only=True)
class Harness:
    """
    What answered and what graded.

    Attributes:
        engine: Name and version, e.g. ``vllm 0.32.0``.
        dtype: The number format of the computation, e.g. ``bfloat16``.
        quantization: The scheme, None for none.
        device: Model name of the GPU or CPU.
        n_devices: Devices one engine spans (its tensor-parallel size).
        grader: Name and version, e.g. ``lighteval 0.13.0``.
    """

    engine: str
    dtype: str
    quantization: str | None
    device: str
    n_devices: int
    grader: str

    def graded_by(self, grader: str | None) -> Harness:
        """Return the same with another grader, as of a benchmark whose programs are run; None changes nothing."""
        return self if grader is None else replace(self, grader=grader)

    def differences(self, other: Harness) -> tuple[Difference, ...]:
        """List the fields in which two harnesses differ."""
        return _differences("harness", asdict(self), asdict(other))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """Everything a stored result must carry to be compared with another."""

    model: ModelIdentity
    question: Question
    harness: Harness

    def differences(self, other: Fingerprint) -> tuple[Difference, ...]:
        """List the fields in which two fingerprints differ, weights left out: they are what is judged."""
        ours, theirs = asdict(self), asdict(other)
        found = [difference for part in ours for difference in _differences(part, ours[part], theirs[part])]
        return tuple(difference for difference in found if difference.field != "model.weights")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One field in which two fingerprints differ."""

    field: str
    ours: str
    theirs: str

    @property
    def is_question(self) -> bool:
        """
        Whether the two runs asked something else, which no comparison survives.

        Another version of a grader is noise; another grader is another question, as
        what is right for one is wrong for the other.
        """
        if self.field == "harness.grader":
            return self.ours.rpartition(" ")[0] != self.theirs.rpartition(" ")[0]
        return self.field.startswith("question.")

    def __str__(self) -> str:
        return f"{self.field}: {_shortened(self.theirs)} in the baseline, {_shortened(self.ours)} here"


def _shortened(value: str) -> str:
    """Cut a SHA-256 to what people compare by eye."""
    return value[:12] if re.fullmatch("[0-9a-f]{64}", value) else value


def _differences(part: str, ours: Mapping[str, object], theirs: Mapping[str, object]) -> tuple[Difference, ...]:
    return tuple(
        Difference(field=f"{part}.{name}", ours=str(value), theirs=str(theirs[name]))
        for name, value in ours.items()
        if theirs[name] != value
    )
