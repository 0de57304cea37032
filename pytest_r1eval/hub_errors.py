"""What the Hub's client raised, in words that never hold the token."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

MAX_CHARS = 300
_QUERY = re.compile(r"(?<=\S)\?[^\s'\"]+")
"""Of an address: storage is written to by addresses that are signed there, and whoever has one may write."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from, innermost last."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def is_signed(address: str) -> bool:
    """Whether an address lets in by itself, for a while: storage takes no token, and refuses one that has run out."""
    return "signature=" in urlsplit(address).query.lower()


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status behind an error; None where nobody answered."""
    responses = (getattr(cause, "response", None) for cause in causes(error))
    return next((int(response.status_code) for response in responses if response is not None), None)


def scrubbed(error: BaseException) -> str:
    """Name an error in one line, without the token and without what signs an address."""
    from huggingface_hub import get_token  # noqa: PLC0415 - slow to import; whoever has an error of its has it already

    text = " ".join(f"{type(error).__name__}: {error}".split())
    token = get_token()
    return _QUERY.sub("", text.replace(token, "(the token)") if token else text)[:MAX_CHARS]
