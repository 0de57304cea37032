r"""
Read the letter of an answer to a multiple-choice question, by a rule that a user can predict.

The answer is one letter: `C`, `c`, `(C)`, `C.`, `**C**`, `\text{C}`, `Option C`. What follows it behind a dot, a
bracket, a colon, a semicolon, a dash or "because" is a remark: the option's text, or a reason. Two letters,
`A or C`, `A, C`, `A/C`, are two answers, and wrong. Anything else, such as `none of them`, counts as no answer.
"""

import re
from collections.abc import Sequence

_MARKUP = re.compile(
    r"\\(?:boxed|fbox|text(?:bf|it|rm|sf|tt|normal)?|math(?:bf|rm|it|sf|tt)|mbox|bf|rm|left|right|displaystyle)\b"
    r"|\\[()\[\],;:! ]|[${}*_`\"']"
)
_PREFIX = re.compile(r"\s*(?:(?:option|choice|letter)\s+)?", re.IGNORECASE)
_ONE = re.compile(
    r"[(\[]?(?P<letter>[A-Za-z])(?:(?P<mark>\s*[)\].:;]|\s+[-\u2013\u2014]\s|\s*\u2014|,)|\s+(?=because\b|since\b|as\b|\()|\s*$)"
)
_ANOTHER = re.compile(
    r"[\s)\].]*(?:,|;|/|&|\+|\bor\b|\band\b|\s)[\s,]*(?:or\s+|and\s+)?(?:(?:option|choice)\s+)?[(\[]?(?P<letter>[A-Za-z])"
    r"(?=[)\]]|[.,;:?]|\s*$|\s+(?:or|and)\b)",
    re.IGNORECASE,
)
_BEHIND_TEXT = re.compile(r"\b(?:or|and)\s+[(\[]?(?P<letter>[A-Z])[)\].:]")
"""A second option with its text, as in `A) 3 m or C) 5 m`."""


_LONGEST = 2_000
"""Characters of an answer that are read."""


class SeveralLettersError(ValueError):
    """An answer names more than one option."""


def letter_of(text: str, letters: Sequence[str]) -> str | None:
    """
    Read an answer.

    Args:
        text: The answer, out of its box or line.
        letters: The options' letters, capitals.

    Returns:
        A capital letter, of an option or not; None where the answer names none.

    Raises:
        SeveralLettersError: If it names two.
    """
    text = _MARKUP.sub("", text[:_LONGEST]).strip()
    text = text[_PREFIX.match(text).end() :]  # type: ignore[union-attr] # it matches nothing, too
    first = re.match(r"[(\[]?([A-Za-z])(?![A-Za-z])", text)
    if first is None:
        return None
    rest = text[first.end() :]
    another = _ANOTHER.match(rest) or _BEHIND_TEXT.search(rest)
    if another is not None and another["letter"].upper() in letters and another["letter"].upper() != first[1].upper():
        raise SeveralLettersError(f"it names {first[1].upper()} and {another['letter'].upper()}")
    one = _ONE.match(text)
    return None if one is None else one["letter"].upper()
