"""A place in the tokens of an answer: what comes next, and what is taken without being a value."""

import re
from dataclasses import dataclass

from pytest_r1eval.scoring.notation import Kind, Token, UnreadableError
from pytest_r1eval.scoring.values import Label

NOT_A_UNIT = frozenset(
    ["not", "no", "none", "never", "if", "unless", "except", "but", "maybe", "possibly", "is", "are", "wrong", "false"]
)
"""Words behind a value that say something of it."""
_LONGEST_NAME = 12
"""Tokens of a name like `f(2)`."""


@dataclass(slots=True, kw_only=True)
class Cursor:
    """
    A place in an answer.

    Attributes:
        tokens: The answer.
        at: Which of them is the next.
    """

    tokens: list[Token]
    at: int = 0

    @property
    def sign(self) -> str:
        """The next token, where it is a sign; else nothing."""
        if self.at >= len(self.tokens):
            return ""
        token = self.tokens[self.at]
        return token.text if token.kind is Kind.SIGN else ""

    def kind(self) -> Kind | None:
        """Return what the next token is; None at the end."""
        return self.tokens[self.at].kind if self.at < len(self.tokens) else None

    def command(self) -> str:
        """Return the next token, where it is a command; else nothing."""
        return self.tokens[self.at].text if self.kind() is Kind.COMMAND else ""

    def take(self) -> Token:
        """Take the next token."""
        if self.at >= len(self.tokens):
            raise UnreadableError("it ends too early")
        self.at += 1
        return self.tokens[self.at - 1]

    def expect(self, *signs: str) -> str:
        """Take one of some signs, which has to be the next."""
        if self.sign not in signs:
            raise UnreadableError(f"it lacks a closing {signs[0]}")
        return self.take().text

    def takes(self, *signs: str) -> bool:
        """Take one of some signs, if it is the next, and say so."""
        if self.sign in signs and self.sign:
            self.at += 1
            return True
        return False

    def following(self) -> str:
        """Return the text of the token behind the next one."""
        return self.tokens[self.at + 1].text if self.at + 1 < len(self.tokens) else ""

    def opens_words(self) -> bool:
        """Tell whether a group of words begins here."""
        behind = self.tokens[self.at + 1 : self.at + 2]
        return self.sign == "{" and bool(behind) and behind[0].kind is Kind.WORD

    def takes_degree(self) -> bool:
        """Take a degree sign, if it is all of an exponent, and say so."""
        if self.sign == "{" and [token.text for token in self.tokens[self.at + 1 : self.at + 3]] == ["°", "}"]:
            self.at += 3
            return True
        return self.takes("°")

    def first_digit(self) -> str | None:
        """Take the first digit of a number; the rest of it is the next token, also where this is read once more."""
        text = self.tokens[self.at].text if self.kind() is Kind.NUMBER else "."
        if text[0] == ".":
            return None
        pieces = [Token(kind=Kind.NUMBER, text=piece) for piece in (text[0], text[1:]) if piece]
        self.tokens[self.at : self.at + 1] = pieces
        return self.take().text

    def name(self) -> Label | None:
        """Take `f(2)` before an equals sign: a name there, not a product."""
        texts = [token.text for token in self.tokens[self.at : self.at + _LONGEST_NAME]]
        if self.kind() is not Kind.LETTER or texts[1:2] != ["("] or ")" not in texts:
            return None
        end = texts.index(")") + 1
        if texts[end : end + 1] != ["="]:
            return None
        self.at += end
        return Label(words=" ".join(texts[:end]))

    def label(self) -> Label | None:
        """Take words before an equals sign."""
        words: list[str] = []
        while self.kind() in {Kind.WORD, Kind.LETTER} or self.sign in {"{", "}", "_", "°"}:
            words.append(self.take().text)
        if NOT_A_UNIT.intersection(words):
            return None
        return Label(words=" ".join(words)) if words and self.sign == "=" else None

    def begins_fraction(self) -> bool:
        r"""Tell a mixed number, `1\frac{4}{5}` or `1 4/5`, from a product."""
        ahead = [token.text for token in self.tokens[self.at : self.at + 7]]
        if ahead[:1] == ["frac"]:
            return _is_proper(ahead[1:])
        return len(ahead) > 2 and ahead[0].isdigit() and ahead[1] == "/" and ahead[2].isdigit()

    def subscript(self) -> str:
        """Take what belongs to a letter, as a name."""
        if not self.takes("{"):
            return self.take().text
        words = []
        while not self.takes("}"):
            words.append(self.take().text)
        return " ".join(words)


def _is_proper(ahead: list[str]) -> bool:
    """Tell whether the arguments of a fraction are whole numbers, the first one smaller."""
    written = " ".join(ahead)
    match = re.match(r"(?:\{ (\d+) \}|(\d)) ?(?:\{ (\d+) \}|(\d))", written)
    if match is None:
        return False
    above, below = (int(digits) for digits in match.groups() if digits is not None)
    return above < below
