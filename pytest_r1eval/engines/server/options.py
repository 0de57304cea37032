"""What a server engine is made for."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_r1eval.engines.pacing import Patience
from pytest_r1eval.engines.server.key import ApiKey


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """
    Which server is asked, and for what.

    Attributes:
        url: Its address, without the ``/v1``.
        names: What the judged model may be called: as the user wrote it, resolved, ``org/name``.
        max_model_length: Tokens of prompt and response together that the run needs.
        patience: How long the server is waited for.
        key: The API key.
        needs_extras: Whether the run asks for more than OpenAI's protocol has words for.
    """

    url: str
    names: tuple[str, ...]
    max_model_length: int
    patience: Patience
    key: ApiKey
    needs_extras: bool = False
