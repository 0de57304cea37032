r"""
Find the answer that a response gives, for the strict grader: in the form that the prompt asked for, and nowhere else.

- A thought is left out: what counts follows the last closing tag, with or without an opening one: the model's own
  (`core.thinking`), or what others write. A thought that was opened and not closed holds no answer, whether the
  response opened it or its prompt. Of a model without known tags, a response that the token limit ended before any
  closing tag was still thinking.
- An answer is in a box, `\boxed{...}` or `\fbox{...}`, or in an answer line: `ANSWER: ...`, `**Answer:** ...`, `The
  final answer is: ...`; an empty line's is the next. Capitals and bold do not matter; the colon does.
- The last one counts. Boxes that only a comma, "and" or "or" divides are one answer of several values. An empty box is
  none, and neither is one whose brace is not closed.
- Of an answer line everything counts, up to the end of its sentence; a box in it alone, where the rest is words.
"""

import re
from dataclasses import dataclass
from functools import cache

from pytest_r1eval.core.records import FinishReason, Response
from pytest_r1eval.core.thinking import ThinkTags

UNFINISHED = "its thought does not end"
"""Why a response without anything behind its thought has no answer."""

_NAMES = r"(?:\w+:)?(?:think|thinking|thought|thoughts|reasoning|analysis)"
_CLOSING = re.compile(
    rf"</{_NAMES}>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|<\|channel\|>final<\|message\|>", re.IGNORECASE
)
_OPENING = re.compile(rf"<{_NAMES}>|\[THINK\]|◁think▷|<\|begin_of_thought\|>", re.IGNORECASE)
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s*(?:(?P<brace>\{)|(?P<number>-?\d+(?:\.\d+)?))")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BETWEEN = re.compile(
    r"(?:[\s$*_]|\\[()\[\],;! ]|\\q?quad|(?P<divides>[,;]|\b(?:or|and)\b|\\text\s*\{\s*(?:or|and|,)\s*\}))*"
)
_LONGEST_BETWEEN = 40
_LINE = re.compile(
    r"^[ \t>#*_`-]*(?:(?:therefore|thus|so|hence)\b[, \t]*)?(?:(?:the|my)[ \t]+)?(?:(?:final|correct)[ \t]+)?"
    r"answer(?:[ \t]+is)?[ \t*_]*:(?P<rest>[^\n]*)",
    re.IGNORECASE | re.MULTILINE,
)
_SENTENCE_END = re.compile(r"[.]\s+(?=[A-Z])")
_DISPLAY = re.compile(r"[\s*_]*(?:\\\[(?P<bracket>.{0,2000}?)\\\]|\$\$(?P<dollar>.{0,2000}?)\$\$)", re.DOTALL)
_NEXT_LINE = re.compile(r"\s*(?P<line>[^\n]*)")
_DECORATION = " \t\n*_`"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalAnswer:
    """
    An answer, as it is written.

    Attributes:
        text: All of it.
        box: The box in it, where an answer line has one beside other words.
    """

    text: str
    box: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A piece of a text, and where it is."""

    start: int
    end: int
    text: str


def after_thought(response: Response, tags: ThinkTags | None) -> str | None:
    """
    Return what follows the thought.

    Args:
        response: A response.
        tags: What encloses a thought of its model; None where it has no known tags.

    Returns:
        None where the response has not ended to think.
    """
    closing, opening = _patterns(tags)
    text, closed = response.text, list(closing.finditer(response.text))
    begins_in_thought = response.finish_reason is FinishReason.LENGTH if tags is None else tags.is_open
    if not closed and begins_in_thought:
        return None
    rest = text[closed[-1].end() :] if closed else text
    opened = opening.search(rest)
    if opened is None:
        return rest
    before = rest[: opened.start()]
    return before if before.strip() else None


@cache
def _patterns(tags: ThinkTags | None) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return what ends a thought and what begins one: a model's own tags, and those that others write."""
    if tags is None:
        return _CLOSING, _OPENING
    return (
        re.compile(f"{re.escape(tags.closing)}|{_CLOSING.pattern}", re.IGNORECASE),
        re.compile(f"{re.escape(tags.opening)}|{_OPENING.pattern}", re.IGNORECASE),
    )


def final_answer(text: str) -> FinalAnswer | None:
    """Find the answer in what follows the thought; None where there is none."""
    box, line = _last_boxes(text), _last_line(text)
    if line is None or (box is not None and box.start >= line.end):
        return None if box is None else FinalAnswer(text=box.text)
    return FinalAnswer(text=line.text, box=box.text if box is not None and box.start >= line.start else None)


def _last_line(text: str) -> _Found | None:
    for match in reversed(list(_LINE.finditer(text))):
        found = _content(text, match)
        if found.text:
            return found
    return None


def _content(text: str, match: re.Match[str]) -> _Found:
    """Take what follows the colon: in its line, in a display that begins there, or in the next line."""
    start, end = match.start("rest"), match.end()
    content = match["rest"].strip(_DECORATION)
    display = _DISPLAY.match(text, start)
    if display is not None:
        content, end = display["bracket"] or display["dollar"] or "", max(end, display.end())
    elif not content and (following := _NEXT_LINE.match(text, end)) is not None:
        content, end = following["line"], following.end()
    sentence = _SENTENCE_END.search(content)
    content = content[: sentence.start()] if sentence else content
    return _Found(start=match.start(), end=end, text=content.strip(_DECORATION))


def _last_boxes(text: str) -> _Found | None:
    """Find the last box, and those that belong to it."""
    boxes = _boxes(text)
    if not boxes:
        return None
    last = boxes.pop()
    texts = [last.text]
    start = last.start
    while boxes and (divider := _divider(text[boxes[-1].end : start])) is not None:
        box = boxes.pop()
        texts[:0] = [box.text, divider]
        start = box.start
    return _Found(start=start, end=last.end, text=" ".join(texts))


def _divider(between: str) -> str | None:
    """Return the word or comma between two boxes of one answer; None where they are two."""
    match = _BETWEEN.fullmatch(between) if len(between) <= _LONGEST_BETWEEN else None
    return None if match is None or match["divides"] is None else ","


def _boxes(text: str) -> list[_Found]:
    """Find all boxes with something in them that are in no other box, in their order."""
    closing = _closing_braces(text)
    found: list[_Found] = []
    for match in _BOX.finditer(text):
        if found and match.start() < found[-1].end:
            continue
        if match["number"] is not None:
            found.append(_Found(start=match.start(), end=match.end(), text=match["number"]))
            continue
        opening = match.start("brace")
        end = closing.get(opening)
        if end is not None and text[opening + 1 : end].strip():
            found.append(_Found(start=match.start(), end=end + 1, text=text[opening + 1 : end].strip()))
    return found


def _closing_braces(text: str) -> dict[int, int]:
    r"""Pair the braces of a text in one pass; `\{` does not count."""
    pairs: dict[int, int] = {}
    opened: list[int] = []
    for match in _BRACE.finditer(text):
        if match.group() == "{":
            opened.append(match.start())
        elif match.group() == "}" and opened:
            pairs[opened.pop()] = match.start()
    return pairs
