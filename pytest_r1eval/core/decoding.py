"""From JSON back to a value: the reverse of `dataclasses.asdict` for the plain data of `core`."""
# ruff: noqa: TRY004 - a value of another type is a wrong file, not a wrong call

from __future__ import annotations

import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pytest_r1eval.core.texts import whole

T = TypeVar("T")
_SHOWN_CHARACTERS = 60


def decoded(kind: type[T], value: object) -> T:
    """
    Build a dataclass from what `asdict` and JSON made of it.

    A field that is not there takes its default, so that what an earlier version wrote can be read.

    Args:
        kind: The dataclass; its fields are plain values, enums, tuples, mappings, unions with None, and dataclasses.
        value: What a JSON parser returned.

    Raises:
        ValueError: If the value is not of that shape.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"found {type(value).__name__}; expected an object with the fields of {kind.__name__}")
    hints = get_type_hints(kind)
    if not is_dataclass(kind):
        raise ValueError(f"{kind.__name__} is no dataclass")
    given = {field.name: _value(hints[field.name], value[field.name]) for field in fields(kind) if field.name in value}
    try:
        return kind(**given)
    except TypeError as error:
        raise ValueError(f"{kind.__name__}: {error}") from error


def _value(hint: Any, value: object) -> Any:  # noqa: ANN401 - any field's type
    origin = get_origin(hint)
    if origin in {Union, types.UnionType}:
        return _of_union(get_args(hint), value)
    if origin in {tuple, Mapping}:
        return (_tuple if origin is tuple else _mapping)(get_args(hint), value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    if isinstance(hint, type) and is_dataclass(hint):
        return decoded(hint, value)
    if hint is float and type(value) is int:
        return float(value)
    is_odd = isinstance(value, bool) != (hint is bool) or (isinstance(value, float) and not math.isfinite(value))
    if isinstance(hint, type) and (is_odd or not isinstance(value, hint)):
        raise ValueError(f"found {_shown(value)}; expected a value of {hint.__name__}")
    return whole(value) if isinstance(value, str) else value


def _shown(value: object) -> str:
    """Write a value as Python does, in ASCII and cut."""
    text = ascii(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _of_union(kinds: Sequence[Any], value: object) -> Any:  # noqa: ANN401 - any field's type
    if value is None and type(None) in kinds:
        return None
    errors = []
    for kind in kinds:
        try:
            return _value(kind, value)
        except ValueError as error:
            errors.append(str(error))
    raise ValueError("; ".join(errors))


def _mapping(kinds: Sequence[Any], value: object) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"found {_shown(value)}; expected an object")
    key_kind, kind = kinds
    return {_value(key_kind, key): _value(kind, item) for key, item in value.items()}


def _tuple(kinds: Sequence[Any], value: object) -> tuple[Any, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(f"found {_shown(value)}; expected a list")
    each = kinds[0] if len(kinds) == 2 and kinds[1] is Ellipsis else None
    if each is None and len(kinds) != len(value):
        raise ValueError(f"found {len(value)} values; expected {len(kinds)}")
    return tuple(_value(each or kind, item) for kind, item in zip(kinds if each is None else value, value, strict=True))
