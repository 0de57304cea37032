"""
Which values a field takes: stated once, in its annotation, and asked by the constructor and the codec alike.

``pass_at_1: Fraction`` is a float to the type checker; `require` reads the range in a constructor, `core.codec` while
a file is read, where it names the field's path.
"""

import math
import re
import sys
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Protocol, TypeAlias, Union, cast, get_args, get_origin, get_type_hints


class Allowed(Protocol):
    """What a field's annotation states about its values."""

    def __contains__(self, value: Any) -> bool: ...  # noqa: ANN401 - a float or a text
    def expected(self, kind: type) -> str:
        """Name what is expected of a value of that type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Which numbers a field takes: from low (left out if `above`) to high."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False

    def __contains__(self, value: float) -> bool:
        finite = abs(value) <= sys.float_info.max  # false for NaN; a whole number may be larger than any float
        return finite and (self.low < value if self.above else self.low <= value) and value <= self.high

    def __str__(self) -> str:
        if math.isinf(self.low):
            return ""
        if math.isinf(self.high):
            return f" above {self.low}" if self.above else f" of {self.low} or more"
        return f" above {self.low} and at most {self.high}" if self.above else f" from {self.low} to {self.high}"

    def expected(self, kind: type) -> str:
        """Name the numbers, whole ones or any."""
        return f"a {'whole ' if kind is int else ''}number{self}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Which texts a field takes: those that match a pattern from end to end."""

    pattern: str
    name: str

    def __contains__(self, value: str) -> bool:
        return re.fullmatch(self.pattern, value) is not None

    def expected(self, kind: type) -> str:  # noqa: ARG002 - the protocol's
        """Name the texts."""
        return self.name


@dataclass(frozen=True, slots=True)
class LeftOutIfEmpty:
    """Of a field that a file has only where it holds something."""


ANY_NUMBER = Range()
Fraction: TypeAlias = Annotated[float, Range(low=0, high=1)]
PositiveFraction: TypeAlias = Annotated[float, Range(low=0, high=1, above=True)]
Positive: TypeAlias = Annotated[float, Range(low=0, above=True)]
Penalty: TypeAlias = Annotated[float, Range(low=-2, high=2)]
NotNegative: TypeAlias = Annotated[float, Range(low=0)]
Count: TypeAlias = Annotated[int, Range(low=0)]
AtLeastOne: TypeAlias = Annotated[int, Range(low=1)]
Label: TypeAlias = Annotated[str, Text(pattern=r"(?s:.*\S.*)", name="some text")]
MODEL_NAME = Text(pattern=r"[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*", name="org/name, as on the Hub")
ModelName: TypeAlias = Annotated[str, MODEL_NAME]


class FieldError(ValueError):
    """
    A value that a field does not take, with what the codec needs to name it in a file.

    Attributes:
        path: The field, from the value that was built: ``health.n_samples``.
        expected: What was expected.
        found: What was found; None for the value of the field.
    """

    def __init__(self, text: str, *, path: str, expected: str, found: str | None = None) -> None:
        super().__init__(text)
        self.path, self.expected, self.found = path, expected, found


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldKind:
    """A field's annotation, taken apart: its type, whether it may be None, and what it states about its values."""

    kind: Any
    is_optional: bool = False
    notes: tuple[object, ...] = field(default=())

    @property
    def allowed(self) -> Allowed | None:
        """Which values it takes; None for all of the type."""
        return next((note for note in self.notes if isinstance(note, Range | Text)), None)


def field_kind(hint: Any) -> FieldKind:  # noqa: ANN401 - an annotation
    """Take an annotation apart; what it states may be about the type, or about the type and None."""
    is_optional = False
    hint, notes = _unannotated(hint, ())
    if is_union(hint) and type(None) in get_args(hint):
        others = tuple(kind for kind in get_args(hint) if kind is not type(None))
        is_optional, hint = True, others[0] if len(others) == 1 else Union[others]  # noqa: UP007 - of a tuple
    hint, notes = _unannotated(hint, notes)
    return FieldKind(kind=hint, is_optional=is_optional, notes=notes)


def _unannotated(hint: Any, notes: tuple[object, ...]) -> tuple[Any, tuple[object, ...]]:  # noqa: ANN401 - an annotation
    if get_origin(hint) is not Annotated:
        return hint, notes
    kind, *added = get_args(hint)
    return kind, (*notes, *added)


def is_union(hint: object) -> bool:
    """Whether an annotation names several types."""
    return get_origin(hint) is Union or type(hint) is type(int | str)


def field_kinds(kind: type[Any]) -> Mapping[str, FieldKind]:
    """Return the annotations of a dataclass, taken apart, by field."""
    return _field_kinds(cast("Hashable", kind))


@cache
def _field_kinds(kind: Any) -> Mapping[str, FieldKind]:  # noqa: ANN401 - mypy takes no type for hashable
    return {name: field_kind(hint) for name, hint in get_type_hints(kind, include_extras=True).items()}


def require(value: object) -> None:
    """
    Check each field of a dataclass by its annotation.

    Raises:
        FieldError: If one holds what it does not take.
    """
    for name, known in field_kinds(type(value)).items():
        found = getattr(value, name)
        if known.allowed is not None and found is not None and found not in known.allowed:
            expected = known.allowed.expected(known.kind)
            shown = repr(found) if isinstance(found, str) else found
            raise FieldError(f"{name} is {shown}; expected {expected}", path=name, expected=expected)
