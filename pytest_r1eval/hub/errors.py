"""What the Hub's client raised, as a line that never holds the token."""

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Protocol
from urllib.parse import urlsplit

MAX_CHARS = 300
_QUERY = re.compile(r"(?<=\S)\?[^\s'\"]+")
"""Of an address: storage is written to by addresses that are signed there, and each holder of one may write."""


class Reply(Protocol):
    """What is asked of a reply; the client has changed its HTTP library more than once."""

    @property
    def status_code(self) -> int: ...  # noqa: D102
    @property
    def headers(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def url(self) -> object: ...  # noqa: D102


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from, innermost last."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def reply_behind(error: BaseException) -> Reply | None:
    """Return the reply behind an error; None without an answer."""
    return next((cause.response for cause in causes(error) if getattr(cause, "response", None) is not None), None)  # type: ignore[attr-defined]


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status behind an error; None without an answer."""
    reply = reply_behind(error)
    return None if reply is None else reply.status_code


def is_lapsed(reply: Reply) -> bool:
    """Whether storage refused an address that the Hub had signed: it has run out, and the token has no part in it."""
    return reply.status_code == HTTPStatus.FORBIDDEN and "signature=" in urlsplit(str(reply.url)).query.lower()


def scrubbed(error: BaseException) -> str:
    """Name an error in one line, without the token and without what signs an address."""
    from huggingface_hub import get_token  # noqa: PLC0415 - slow to import; where its error exists it is imported

    text = " ".join(f"{type(error).__name__}: {error}".split())
    token = get_token()
    return _QUERY.sub("", text.replace(token, "(the token)") if token else text)[:MAX_CHARS]
