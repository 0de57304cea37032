"""What the server engine asks of a tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Tokens(Protocol):
    """The judged model's tokenizer, for servers that take text alone."""

    def encode(self, text: str) -> tuple[int, ...]:
        """Return a text's token ids, without special tokens of the tokenizer's own."""
        ...

    def decode(self, ids: tuple[int, ...]) -> str:
        """Return the text that has exactly these ids."""
        ...

    @property
    def first_id(self) -> int | None:
        """The beginning-of-sequence token that a server may add by itself."""
        ...

    @property
    def library(self) -> Tokenizer | None:
        """The tokenizers library's own; None where it is another's."""
        ...
