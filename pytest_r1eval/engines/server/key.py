"""
The API key of a server: it goes into a header and is removed from everything that a server answers.

A traceback, a log or an error's text is read by others; the key is in none of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from pytest_r1eval.errors import EngineError

KEY_VARIABLES = ("R1_SERVER_API_KEY", "OPENAI_API_KEY")

_BLOT = "[API key]"


class ApiKey:
    """A secret: it goes into a header and nowhere else, least of all into a repr."""

    __slots__ = ("_text",)

    def __init__(self, text: str | None) -> None:
        self._text = text

    def __repr__(self) -> str:
        return f"ApiKey({'none' if self._text is None else 'hidden'})"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> ApiKey:
        """
        Take the key from the first variable that holds one.

        Raises:
            EngineError: If it cannot be sent as a header.
        """
        for name in KEY_VARIABLES:
            text = environment.get(name, "").strip()
            if text and not (text.isascii() and text.isprintable() and " " not in text):
                raise EngineError(
                    f"{name} holds characters that no API key has; expected one word in ASCII. Set it again"
                )
            if text:
                return cls(text)
        return cls(None)

    @property
    def is_given(self) -> bool:
        """Whether there is one."""
        return self._text is not None

    def headers(self) -> dict[str, str]:
        """Return the header that carries it."""
        return {} if self._text is None else {"Authorization": f"Bearer {self._text}"}

    def blotted(self, text: str) -> str:
        """Return a text without the key."""
        return text if self._text is None else text.replace(self._text, _BLOT)

    def blotted_bytes(self, content: bytes) -> bytes:
        """Return a server's answer without the key."""
        return content if self._text is None else content.replace(self._text.encode(), _BLOT.encode())
