"""Manifests as YAML that people read: block style, scripts as literal blocks, other texts quoted as in JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pytest_r1eval.k8s.manifests import Manifest

_PLAIN_KEY = re.compile(r"(?!(?:y|n|yes|no|on|off|true|false|null)$)[a-z][a-z0-9._/-]*", re.IGNORECASE)
"""Names of the API; what YAML takes for another value is quoted."""
_WHOLE_LINES = re.compile(r"[^\s].*\n(?:.|\n)*[^\n]\n")
"""Two lines or more, the first without spaces before it and the last with its end."""
_INDENT = "  "


def documents(manifests: Sequence[Manifest]) -> str:
    """Write manifests as one stream, as `kubectl apply -f -` reads it."""
    return "".join(f"---\n{_text(manifest)}" for manifest in manifests)


def _text(manifest: Manifest) -> str:
    return "".join(f"{line}\n" for line in _lines(manifest))


def _lines(value: Manifest) -> Iterator[str]:
    """Yield the lines of a value; those after the first are indented by whatever holds it."""
    match value:
        case str() | int():
            yield from _scalar(value)
        case _ if not value:
            yield "{}" if isinstance(value, Mapping) else "[]"
        case Mapping():
            for key, item in value.items():
                yield from _entry(key if _PLAIN_KEY.fullmatch(key) else _quoted(key), item)
        case _:
            for item in value:
                first, *rest = _lines(item)
                yield f"- {first}"
                yield from _indented(rest)


def _entry(key: str, value: Manifest) -> Iterator[str]:
    match value:
        case str() | int():
            first, *rest = _scalar(value)
            yield f"{key}: {first}"
            yield from _indented(rest)
        case _ if not value:
            yield f"{key}: {next(_lines(value))}"
        case _:
            yield f"{key}:"
            yield from _indented(_lines(value))


def _scalar(value: str | int) -> list[str]:
    """Return a scalar; a text of whole lines as a literal block, which keeps it to the letter."""
    if isinstance(value, str) and _WHOLE_LINES.fullmatch(value):
        return ["|", *value.removesuffix("\n").split("\n")]
    return [_quoted(value)]


def _quoted(value: str | int) -> str:
    return json.dumps(value, ensure_ascii=False)


def _indented(lines: Iterable[str]) -> Iterator[str]:
    yield from (f"{_INDENT}{line}" if line else "" for line in lines)
