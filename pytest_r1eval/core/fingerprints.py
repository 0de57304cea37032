"""
What a number depends on besides the model's skill.

A fingerprint has three parts, because a difference means something else in each:
the model (what is being judged), the question (exam, prompts, sampling: must match a
measured baseline) and the harness (engine, hardware, grader: may
differ, at the price of tau).

A checkpoint is its whole folder: an edited ``rope_theta`` in config.json changes the
answers as a training step does, and leaves the weights as they were.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated

from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.core.fields import AtLeastOne, LeftOutIfEmpty

MAX_NAMED_FILES = 3
"""How many files a message names; a new training step changes all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDigest:
    """One file of a checkpoint: its path within the folder, and its digest."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """
    Digests of a checkpoint.

    Attributes:
        weights: Of the weights alone.
        tokenizer: Of the tokenizer's files.
        chat_template: Of the chat template.
        checkpoint: Of every file that can change an answer; ``hub:COMMIT`` for a model on the Hub.
        files: Those files one by one, so that a message names the one that differs; empty for a model on the Hub and
            in a baseline. Not compared: `checkpoint` is their digest.
    """

    weights: str
    tokenizer: str
    chat_template: str
    checkpoint: str
    files: Annotated[tuple[FileDigest, ...], LeftOutIfEmpty()] = field(default=(), compare=False)

    def changes_since(self, earlier: ModelIdentity) -> str:
        """Say in words what became of an earlier checkpoint's files, nothing where the two are equal."""
        if self == earlier:
            return ""
        if not self.files or not earlier.files:
            return self._described_parts(earlier)
        ours, theirs = ({file.name: file.digest for file in each.files} for each in (self, earlier))
        changes = [
            f"{name} {_change(ours.get(name), theirs.get(name))}"
            for name in sorted({*ours, *theirs})
            if ours.get(name) != theirs.get(name)
        ]
        n_more = len(changes) - MAX_NAMED_FILES
        return ", ".join([*changes[:MAX_NAMED_FILES], *([f"and {n_more} more files"] if n_more > 0 else [])])

    def changed_parts(self, earlier: ModelIdentity) -> dict[str, tuple[str, str]]:
        """Return the digests before and now of the parts that differ, by what people call them."""
        parts = {"weights": "weights", "tokenizer": "tokenizer", "chat template": "chat_template"}
        digests = {part: (getattr(earlier, name), getattr(self, name)) for part, name in parts.items()}
        return {part: pair for part, pair in digests.items() if pair[0] != pair[1]}

    def _described_parts(self, earlier: ModelIdentity) -> str:
        changed = self.changed_parts(earlier) or {"whole checkpoint": (earlier.checkpoint, self.checkpoint)}
        return ", ".join(
            f"the digest of the {part} was {_shortened(before)} and is {_shortened(now)}"
            for part, (before, now) in changed.items()
        )


def _change(ours: str | None, theirs: str | None) -> str:
    if theirs is None:
        return "is new"
    return "is gone" if ours is None else "changed"


def checkpoint_digest(files: Iterable[FileDigest]) -> str:
    """Return the digest of a whole checkpoint from those of its files, in any order."""
    lines = sorted(f"{file.name}\0{file.digest}\n" for file in files)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """
    What was asked.

    Attributes:
        exam: The exam's digest.
        sampling: How responses are drawn.
        system_prompt: The system message, None for none.
        chat_template_kwargs: The chat template's further arguments, a JSON object; they matter as the date does.
        think_tags: What encloses a thought, ``OPEN,CLOSE``; None for nothing.
        template_date: The date that chat templates see, ``YYYY-MM-DD``; it matters where it changes a prompt.
        prompts: Digest of the token ids of all prompts, as `prompts_digest` makes it.
    """

    exam: str
    sampling: Sampling
    system_prompt: str | None
    chat_template_kwargs: str | None = field(default=None, compare=False)
    think_tags: str | None = None
    template_date: str = field(compare=False)
    prompts: str

    def differences(self, other: Question) -> tuple[Difference, ...]:
        """List the fields in which two questions differ; any one forbids a comparison."""
        found = _differences("question", asdict(self), asdict(other))
        has_other_prompts = self.prompts != other.prompts
        return tuple(each for each in found if has_other_prompts or each.field not in _SEEN_IN_PROMPTS)


_SEEN_IN_PROMPTS = frozenset({"question.chat_template_kwargs", "question.template_date"})
"""What matters as far as it changes the prompts, whose digest is compared."""


def prompts_digest(prompts: Mapping[str, Sequence[int]]) -> str:
    """Return the digest of the prompts' token ids, by problem id, in any order of the problems."""
    digest = hashlib.sha256()
    for problem_id, ids in sorted(prompts.items()):
        digest.update(f"{problem_id}\0{' '.join(map(str, ids))}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Harness:
    """
    What answered and what graded.

    Attributes:
        engine: Name and version, e.g. ``vllm 0.32.0``.
        dtype: The number format of the computation, e.g. ``bfloat16``.
        quantization: The scheme and its bits, e.g. ``awq 4-bit``; None for none.
        device: Model name of the GPU or CPU.
        n_devices: Devices one engine spans (its tensor-parallel size).
        grader: Name and version, e.g. ``lighteval 0.13.0``.
        kv_cache: The number format of the KV cache where it is not the computation's, e.g. ``fp8``.
        speculative: How tokens are guessed ahead, and how many, e.g. ``ngram 4``; None where they are not.
        attention: The attention backend that was asked for; None where engine, device and dtype decide.
        is_batch_invariant: Whether a response does not depend on its neighbours in the batch
            (``VLLM_BATCH_INVARIANT``).
    """

    engine: str
    dtype: str
    quantization: str | None
    device: str
    n_devices: AtLeastOne
    grader: str
    kv_cache: Annotated[str | None, LeftOutIfEmpty()] = None
    speculative: Annotated[str | None, LeftOutIfEmpty()] = None
    attention: Annotated[str | None, LeftOutIfEmpty()] = None
    is_batch_invariant: Annotated[bool, LeftOutIfEmpty()] = False

    def graded_by(self, grader: str | None) -> Harness:
        """Return the same with another grader, as of a benchmark whose programs are run; None changes nothing."""
        return self if grader is None else replace(self, grader=grader)

    @property
    def facts(self) -> tuple[str, ...]:
        """What people read of it."""
        devices = self.device if self.n_devices == 1 else f"{self.n_devices} x {self.device}"
        named = {"KV cache": self.kv_cache, "speculative": self.speculative, "attention": self.attention}
        further = [f"{name} {value}" for name, value in named.items() if value is not None]
        further += ["batch-invariant"] * self.is_batch_invariant
        return tuple(filter(None, (self.engine, self.dtype, self.quantization, *further, devices, self.grader)))

    def differences(self, other: Harness) -> tuple[Difference, ...]:
        """List the fields in which two harnesses differ."""
        return _differences("harness", asdict(self), asdict(other))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """Everything a stored result must carry to be compared with another."""

    model: ModelIdentity
    question: Question
    harness: Harness

    def changes_since(self, baseline: Fingerprint) -> tuple[str, ...]:
        """Name what differs from a baseline's fingerprint, for people; of equal questions, as others are not judged."""
        changed = [*self.model.changed_parts(baseline.model)]
        if not changed and self.model.checkpoint != baseline.model.checkpoint:
            changed = ["other files of the checkpoint"]
        harness = self.harness.differences(baseline.harness)
        return (*changed, *(f"{each.field.partition('.')[2]} {each.theirs} -> {each.ours}" for each in harness))

    def differences(self, other: Fingerprint) -> tuple[Difference, ...]:
        """List the fields in which two fingerprints differ, what is judged left out: weights and checkpoint."""
        ours, theirs = (
            {"tokenizer": model.tokenizer, "chat_template": model.chat_template} for model in (self.model, other.model)
        )
        return (
            *_differences("model", ours, theirs),
            *self.question.differences(other.question),
            *self.harness.differences(other.harness),
        )


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

    @property
    def changes_prompts(self) -> bool:
        """Whether it may be why two runs have other prompts."""
        return self.field in {
            "model.tokenizer",
            "model.chat_template",
            "question.system_prompt",
            *_SEEN_IN_PROMPTS,
        }

    def __str__(self) -> str:
        return f"{self.field}: {_shortened(self.theirs)} in the baseline, {_shortened(self.ours)} here"


def _shortened(value: str) -> str:
    """Cut a SHA-256 to what people compare by eye."""
    return value[:12] if re.fullmatch("[0-9a-f]{64}", value) else value


def _differences(part: str, ours: Mapping[str, object], theirs: Mapping[str, object]) -> tuple[Difference, ...]:
    found: list[Difference] = []
    for name, value in ours.items():
        other = theirs[name]
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            found += _differences(f"{part}.{name}", value, other)
        elif other != value:
            found.append(Difference(field=f"{part}.{name}", ours=str(value), theirs=str(other)))
    return tuple(found)
