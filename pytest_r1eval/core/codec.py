"""
JSON of ours: one way to write a value and to read it again, for every file, row and line of output.

Decisions:

- A value is written by its fields, in their order. What is read has those fields and no others. An unknown, missing or
  repeated key, another type, a value out of range and ``NaN`` are errors. Each names the field's path, what was found
  and what was expected.
- ``NaN`` and duplicate keys survive Python's JSON parser; they are refused here, where their path is known.
- Text is written in ASCII escapes, so that any string that was read can be written again.
- Own code and not msgspec: of plain frozen dataclasses msgspec drops unknown keys, takes the last of two equal ones,
  and does not say what it found. Either takes about as long to import, and an idle pytest imports neither.

Known trade-offs (accepted): dates must be in the form that ``isoformat`` writes, so ``Z`` for UTC is refused;
exactness of the round trip is worth more.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any, Generic, TypeAlias, TypeVar, cast, get_args, get_origin

from pytest_r1eval.core.fields import (
    ANY_NUMBER,
    AtLeastOne,
    FieldError,
    FieldKind,
    LeftOutIfEmpty,
    Range,
    field_kind,
    field_kinds,
    is_union,
)
from pytest_r1eval.core.records import Counts
from pytest_r1eval.core.texts import whole

T = TypeVar("T")
Moment = TypeVar("Moment", dt.date, dt.datetime)
T_co = TypeVar("T_co", covariant=True)
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_SHOWN_CHARACTERS = 60  # of an offending value: enough to find it, short enough for one line
_VERSION = "schema_version"


class Layout(Enum):
    """How JSON is laid out."""

    LINE = "line"
    """On one line."""
    CANONICAL = "canonical"
    """On one line without spaces. Nothing else is read: what was written is what is read, to the letter."""
    INDENTED = "indented"
    """Two spaces a level."""
    REVIEWED = "reviewed"
    """The same, with lists of plain values on one line, so that reviews diff well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[T_co]):
    """
    A kind of JSON: what it holds and how it is written.

    Attributes:
        of: The type of its value, a dataclass.
        version: Of its form, written as the first key; None for a part of something that has one.
        layout: How it is laid out.
        is_excerpt: Whether the text holds more than is asked for, which is left alone.
        error: What is raised where a text is not of the kind.
        advice: What an error's message ends with.
    """

    of: type[T_co]
    version: int | None = None
    layout: Layout = Layout.LINE
    is_excerpt: bool = False
    error: type[Exception] = ValueError
    advice: str = ""


def to_json(kind: Kind[T] | type[T], value: T) -> str:
    """
    Write a value.

    Args:
        kind: What it is; a type by itself is a part of something, on one line.
        value: The value.

    Raises:
        ValueError: If a number is not finite.
    """
    known = _kind(kind)
    content = cast("dict[str, Json]", plain(value))
    return _text(content if known.version is None else {_VERSION: known.version, **content}, known.layout)


def document(content: Mapping[str, object], *, layout: Layout = Layout.INDENTED, version: int = 1) -> str:
    """
    Write what other programs read and we do not: named values, after the version of their form.

    Raises:
        ValueError: If a number is not finite.
    """
    return _text(plain({_VERSION: version, **content}), layout)


def _kind(kind: Kind[T] | type[T]) -> Kind[T]:
    return kind if isinstance(kind, Kind) else Kind(of=kind)


def _text(content: Json, layout: Layout) -> str:
    match layout:
        case Layout.LINE:
            return json.dumps(content, allow_nan=False)
        case Layout.CANONICAL:
            return json.dumps(content, allow_nan=False, separators=(",", ":"))
        case Layout.INDENTED:
            return json.dumps(content, allow_nan=False, indent=2)
        case Layout.REVIEWED:
            return _reviewed(content, indent="") + "\n"


def digest(value: object) -> str:
    """Return the SHA-256 of a value as JSON with sorted keys."""
    text = json.dumps(plain(value), allow_nan=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def plain(value: object) -> Json:
    """Return a value as JSON's own types: a dataclass as its fields, counts as pairs, an enum as its value."""
    match value:
        case Enum():
            return plain(value.value)
        case None | bool() | int() | float() | str():
            return value
        case dt.date():
            return value.isoformat()
        case list() | tuple() | frozenset():
            return [plain(item) for item in value]
        case _:
            return {key: plain(item) for key, item in _members(value)}


def _members(value: object) -> Iterator[tuple[str, object]]:
    match value:
        case Counts():
            yield from ((problem.problem_id, (problem.n_correct, problem.n_samples)) for problem in value.problems)
        case Mapping():
            yield from ((str(key), item) for key, item in value.items())
        case _ if is_dataclass(value):
            for name, known in field_kinds(type(value)).items():
                item = getattr(value, name)
                if item or LeftOutIfEmpty() not in known.notes:
                    yield name, item
        case _:
            raise TypeError(f"{type(value).__name__} has no form in JSON")


def _reviewed(value: Json, *, indent: str) -> str:
    inner = indent + "  "
    match value:
        case dict() if value:
            lines = [f"{inner}{json.dumps(key)}: {_reviewed(item, indent=inner)}" for key, item in value.items()]
            return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
        case [dict(), *_]:
            return "[\n" + ",\n".join(inner + _reviewed(item, indent=inner) for item in value) + f"\n{indent}]"
        case _:
            return json.dumps(value, allow_nan=False)


def from_json(kind: Kind[T] | type[T], text: str, *, name: str = "") -> T:
    """
    Read a value.

    Args:
        kind: What the text is to hold; a type by itself is a part of something.
        text: The JSON.
        name: The file's name, for messages.

    Raises:
        ValueError: Or the kind's own error, if the text does not hold it: file, path, found and expected.
    """
    known = _kind(kind)
    try:
        return _read(known, text)
    except _MismatchError as error:
        place = ": ".join(filter(None, (name, str(error))))
        raise known.error(f"{place}{known.advice}") from error


def _read(kind: Kind[T], text: str) -> T:
    node = _Node(path="", value=_parsed(text), is_excerpt=kind.is_excerpt)
    if kind.version is not None:
        node = _of_version(node, kind.version)
    value = _dataclass(kind.of, node, first=() if kind.version is None else (_VERSION,))
    if kind.layout is Layout.CANONICAL and to_json(kind, value) != text:
        raise _mismatch("", found="another form of it", expected="canonical JSON, as it was written")
    return value


class _MismatchError(ValueError):
    """Something in a text that is not as expected: its path, what was found and what was expected."""


def _mismatch(path: str, *, found: str, expected: str) -> _MismatchError:
    return _MismatchError(": ".join(filter(None, (path, f"found {found}; expected {expected}"))))


class _Object(list[tuple[str, object]]):
    """A JSON object as its pairs, so that a key that is there twice is still there twice."""


def _parsed(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_Object)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise _mismatch(place, found=f"no JSON ({error.msg})", expected="a JSON document") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; thousands of brackets
        raise _mismatch("", found=f"JSON beyond what can be read ({error})", expected="less of it") from error


def _of_version(top: _Node, version: int) -> _Node:
    """Look at the version before anything else: another version's keys mean nothing to us."""
    node = top.members().get(_VERSION)
    if node is not None and (found := node.integer(field_kind(AtLeastOne))) != version:
        raise node.error(f"{version}; update pytest-r1eval to read this file", found=str(found))
    return top  # its absence is reported with the other keys


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """A JSON value that knows its path."""

    path: str
    value: object
    is_excerpt: bool = False

    def error(self, expected: str, *, found: str | None = None) -> _MismatchError:
        return _mismatch(self.path, found=found or _shown(self.value), expected=expected)

    def members(self) -> dict[str, _Node]:
        """Return an object's members in order; a key that is there twice is an error."""
        if not isinstance(self.value, _Object):
            raise self.error("an object")
        members: dict[str, _Node] = {}
        for key, value in self.value:
            node = _Node(path=self.path_of(key), value=value, is_excerpt=self.is_excerpt)
            if key in members:
                raise node.error("it once", found="the key twice")
            members[key] = node
        return members

    def items(self) -> list[_Node]:
        if not isinstance(self.value, list) or isinstance(self.value, _Object):
            raise self.error("a list")
        return [
            _Node(path=f"{self.path}[{index}]", value=item, is_excerpt=self.is_excerpt)
            for index, item in enumerate(self.value)
        ]

    def text(self, known: FieldKind) -> str:
        if not isinstance(self.value, str):
            raise self.error("a string")
        if known.allowed is not None and self.value not in known.allowed:
            raise self.error(known.allowed.expected(str))
        return whole(self.value)

    def integer(self, known: FieldKind) -> int:
        """Return a whole number; true and false are none."""
        allowed = known.allowed or ANY_NUMBER
        if not isinstance(self.value, int) or isinstance(self.value, bool) or self.value not in allowed:
            raise self.error(allowed.expected(int))
        return self.value

    def number(self, known: FieldKind) -> float:
        """Return a finite number as a float; JSON does not tell 1 from 1.0."""
        allowed = known.allowed or ANY_NUMBER
        if not isinstance(self.value, int | float) or isinstance(self.value, bool) or self.value not in allowed:
            raise self.error(allowed.expected(float))
        return float(self.value)

    def boolean(self, _known: FieldKind) -> bool:
        if not isinstance(self.value, bool):
            raise self.error("true or false")
        return self.value

    def date(self, known: FieldKind) -> dt.date:
        return self._moment(dt.date, known, f"a date such as 2025-01-20{', or null' if known.is_optional else ''}")

    def date_time(self, known: FieldKind) -> dt.datetime:
        expected = "a date-time with its offset, such as 2025-01-20T09:30:00+00:00"
        moment = self._moment(dt.datetime, known, expected)
        if moment.utcoffset() is None:
            raise self.error(expected)
        return moment

    def _moment(self, kind: type[Moment], known: FieldKind, expected: str) -> Moment:
        text = self.text(known)
        try:
            moment = kind.fromisoformat(text)
        except ValueError:
            raise self.error(expected) from None
        if moment.isoformat() != text:
            raise self.error(expected)
        return moment

    def counts(self, _known: FieldKind) -> Counts:
        members = self.members()
        if not members:
            raise self.error("at least one problem")
        return Counts.from_mapping({whole(id_): node.pair() for id_, node in members.items()})

    def pair(self) -> tuple[int, int]:
        items = self.items()
        if len(items) != 2:
            raise self.error("[correct, samples]")
        n_samples = items[1].integer(field_kind(AtLeastOne))
        return items[0].integer(FieldKind(kind=int, notes=(Range(low=0, high=n_samples),))), n_samples

    def path_of(self, key: str) -> str:
        if not key.isidentifier():
            return f"{self.path}[{json.dumps(key)}]"
        return f"{self.path}.{key}" if self.path else key

    def below(self, path: str) -> _Node:
        """Return the node at a path of keys, as a constructor names it; the nearest above it that is there."""
        node = self
        for key in path.split("."):
            node = (node.members() if isinstance(node.value, _Object) else {}).get(key, node)
        return node


_SCALARS: Mapping[object, Callable[[_Node, FieldKind], object]] = {
    str: _Node.text,
    int: _Node.integer,
    float: _Node.number,
    bool: _Node.boolean,
    dt.date: _Node.date,
    dt.datetime: _Node.date_time,
    Counts: _Node.counts,
}


def _value(known: FieldKind, node: _Node) -> Any:  # noqa: ANN401 - any field's type
    if known.is_optional and node.value is None:
        return None
    scalar = _SCALARS.get(known.kind)
    return _composite(known.kind, node) if scalar is None else scalar(node, known)


def _composite(kind: Any, node: _Node) -> Any:  # noqa: ANN401 - any field's type
    origin = get_origin(kind)
    if is_union(kind):
        return _of_union(get_args(kind), node)
    if origin is tuple:
        return _tuple(get_args(kind), node)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        item = field_kind(get_args(kind)[1])
        return {whole(key): _value(item, member) for key, member in node.members().items()}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _member(kind, node)
    if is_dataclass(kind):
        return _dataclass(cast("type[object]", kind), node)
    raise TypeError(f"{kind} has no form in JSON")


def _member(kind: type[Enum], node: _Node) -> Enum:
    values = [member.value for member in kind]
    if all(isinstance(value, str) for value in values):
        node.text(FieldKind(kind=str))
    if node.value not in values or isinstance(node.value, bool):
        raise node.error(" or ".join(map(json.dumps, values)))
    return kind(node.value)


def _of_union(hints: Sequence[Any], node: _Node) -> Any:  # noqa: ANN401 - any field's type
    errors = []
    for hint in hints:
        try:
            return _value(field_kind(hint), node)
        except _MismatchError as error:
            errors.append(str(error))
    raise node.error(f"one of {len(hints)} kinds ({'; '.join(errors)})")


def _tuple(hints: Sequence[Any], node: _Node) -> tuple[Any, ...]:
    items = node.items()
    if len(hints) == 2 and hints[1] is Ellipsis:
        return tuple(_value(field_kind(hints[0]), item) for item in items)
    if len(items) != len(hints):
        raise node.error(f"a list of {len(hints)}")
    return tuple(_value(field_kind(hint), item) for hint, item in zip(hints, items, strict=True))


def _dataclass(kind: type[T], node: _Node, *, first: Sequence[str] = ()) -> T:
    known, members = field_kinds(kind), node.members()
    names = [*first, *(field.name for field in fields(cast("Any", kind)))]
    for key, member in members.items():
        if key not in names and not node.is_excerpt:
            raise member.error(f"one of {', '.join(names)}", found="an unknown key")
    for name in names:
        if name not in members and (name in first or LeftOutIfEmpty() not in known[name].notes):
            raise _mismatch(node.path_of(name), found="no such key", expected="it to be there")
    given = {name: _value(known[name], members[name]) for name in names if name in members and name not in first}
    try:
        return kind(**given)
    except FieldError as error:
        path = f"{node.path}.{error.path}" if node.path else error.path
        found = error.found or _shown(node.below(error.path).value)
        raise _mismatch(path, found=found, expected=error.expected) from error
    except ValueError as error:
        raise _MismatchError(": ".join(filter(None, (node.path, str(error))))) from error


def _shown(value: object) -> str:
    match value:
        case _Object():
            return f"an object of {len(value)}"
        case list():
            return f"a list of {len(value)}"
        case _:
            text = json.dumps(value)
            return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
