"""
What goes over the wire to an OpenAI-compatible server and back: forms of requests, and bodies taken apart.

Nothing here asks anything: `client` does. A malformed body is a setback: after a proxy's page or a truncated response
the next one may be good. A completion without its count of tokens is final.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.core.thinking import ThinkTags
from pytest_r1eval.errors import EngineError


def extras_of(sampling: Sampling) -> dict[str, float]:
    """Return what OpenAI's protocol has no words for, as vLLM and SGLang name it; top-k -1 is all tokens there."""
    return {
        "top_k": sampling.top_k or -1,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
    }


def keeping(tags: ThinkTags | None) -> dict[str, bool]:
    """Ask for what tells a thought from its answer: the tokens, and special ones in the text, as vLLM names them."""
    return {
        "return_token_ids": tags is not None,
        "skip_special_tokens": tags is None or not tags.special,
    }


SCORING: Mapping[str, object] = {"max_tokens": 1, "temperature": 0.0, "seed": 0, "prompt_logprobs": 0}
"""Asks for the log-probabilities of the prompt's own tokens, as vLLM names them."""

NEUTRAL: Mapping[str, float] = extras_of(Sampling())
"""Values that change nothing."""

_GIVEN_UP = "abort"
"""How vLLM ends what it was working on when it is told to stop; its successor can be asked again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a server says about itself; equal as long as it is the same server."""

    name: str
    root: str | None
    max_model_length: int | None
    owner: str | None
    version: str | None

    @property
    def engine(self) -> str:
        """Its name in the fingerprint: vLLM's with its version, else who owns the model."""
        if self.version is not None:
            return f"vllm {self.version}"
        return f"{self.owner or 'openai-compatible'} server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How requests are put to this server."""

    is_text: bool
    has_extras: bool
    server_adds_first: bool = False

    @property
    def notes(self) -> str:
        """What the fingerprint adds, because it may change answers."""
        notes = ["prompts as text"] * self.is_text + ["its own top-k"] * (not self.has_extras)
        return f" ({', '.join(notes)})" if notes else ""


FORMS = tuple(Form(is_text=is_text, has_extras=has_extras) for is_text in (False, True) for has_extras in (True, False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An HTTP response, read."""

    status: int
    body: bytes
    retry_after_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """The one choice of a completions response."""

    text: str
    finish_reason: str | None
    n_tokens: int
    n_prompt_tokens: int | None
    ids: tuple[int, ...] | None = None
    prompt_logprobs: tuple[object, ...] = ()

    def logprobs_of(self, prompt: tuple[int, ...]) -> tuple[float, ...] | None:
        """Return the log-probability of each token of the prompt after the first; None where one is not told."""
        if len(self.prompt_logprobs) != len(prompt):
            return None
        entries = zip(prompt[1:], self.prompt_logprobs[1:], strict=True)
        found = [entry.get(str(token)) if isinstance(entry, dict) else None for token, entry in entries]
        values = [each.get("logprob") if isinstance(each, dict) else None for each in found]
        told = tuple(float(value) for value in values if isinstance(value, int | float))
        return told if len(told) == len(values) else None


class SetbackError(Exception):
    """A failure that may pass; never leaves the client."""

    def __init__(self, reason: str, *, is_busy: bool = False, pause_s: float | None = None) -> None:
        super().__init__(reason)
        self.is_busy = is_busy
        self.pause_s = pause_s


class RefusalError(Exception):
    """A server's definite no to one request; never leaves the client."""


def is_plausible(served: Served, names: tuple[str, ...]) -> bool:
    """
    Whether what a server tells about its only model fits the judged one, or tells nothing.

    A path or Hub id names a model by its last part; in the Hub's cache by
    ``models--org--name``. A bare name (``prod``) may stand for anything.
    """
    told = [text for text in (served.root, served.name) if text is not None and "/" in text]
    parts = {part.lower() for text in told for part in re.split(r"/|--", text)}
    return not told or any(name.rstrip("/").rpartition("/")[2].lower() in parts for name in names)


def retry_after_s(header: str | None) -> float | None:
    """Read ``Retry-After``: seconds, or a date."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        until = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (until - datetime.now(UTC)).total_seconds()) if until.tzinfo is not None else None


def object_in(body: bytes) -> dict[str, object]:
    """
    Read a JSON object.

    Raises:
        SetbackError: If it is none.
    """
    try:
        content = json.loads(body)
    except ValueError as error:
        raise SetbackError(f"it answered {len(body)} bytes that are no JSON") from error
    if not isinstance(content, dict):
        raise SetbackError(f"it answered a JSON {type(content).__name__} instead of an object")
    return content


def message_in(body: bytes) -> str:
    """Find the sentence in an error's body: OpenAI's form, vLLM's older one, or the body itself."""
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    if isinstance(content, dict):
        error = content.get("error", content)
        message = error.get("message") if isinstance(error, dict) else error
        if isinstance(message, str):
            return message
    return body.decode("utf-8", errors="replace") or "nothing more"


def models_in(body: bytes) -> tuple[Served, ...]:
    """
    Read the list of models.

    Raises:
        SetbackError: If it is none.
    """
    models = object_in(body).get("data")
    if not isinstance(models, list):
        raise SetbackError("/v1/models gave no list of models")
    return tuple(
        Served(
            name=model["id"],
            root=text_or_none(model.get("root")),
            max_model_length=_count_or_none(model.get("max_model_len")),
            owner=text_or_none(model.get("owned_by")),
            version=None,
        )
        for model in models
        if isinstance(model, dict) and isinstance(model.get("id"), str)
    )


def completion_in(body: bytes) -> Completion:
    """
    Read a completions response.

    Raises:
        SetbackError: If it is none; a proxy's page, a response cut off in the middle.
        EngineError: If it does not say how many tokens were generated.
    """
    content = object_in(body)
    match content.get("choices"):
        case [{"text": str(text), **choice}]:
            reason, ids = text_or_none(choice.get("finish_reason")), choice.get("token_ids")
            scores = choice.get("prompt_logprobs")
        case _:
            raise SetbackError("it answered JSON without exactly one choice with text")
    if reason == _GIVEN_UP:
        raise SetbackError(f"it gave the request up (finish reason {reason!r})")
    usage = content.get("usage")
    counts: dict[str, object] = usage if isinstance(usage, dict) else {}
    n_tokens = _count_or_none(counts.get("completion_tokens"))
    if n_tokens is None:
        raise EngineError(
            "the server does not say how many tokens it generated; expected usage.completion_tokens in its "
            "answer. Use a server that counts them (vLLM does)"
        )
    return Completion(
        text=text,
        finish_reason=reason,
        n_tokens=n_tokens,
        n_prompt_tokens=_count_or_none(counts.get("prompt_tokens")),
        ids=_ids(ids, n_tokens=n_tokens),
        prompt_logprobs=tuple(scores) if isinstance(scores, list) else (),
    )


def text_or_none(value: object) -> str | None:
    """Return a text; anything else is as good as nothing."""
    return value if isinstance(value, str) else None


def _count_or_none(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _ids(value: object, *, n_tokens: int) -> tuple[int, ...] | None:
    """Take token ids that are as many as were counted; None for anything else."""
    if not isinstance(value, list) or len(value) != n_tokens:
        return None
    ids = tuple(one for each in value if (one := _count_or_none(each)) is not None)
    return ids if len(ids) == n_tokens else None
