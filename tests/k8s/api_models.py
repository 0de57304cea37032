"""
Checks of manifests by the models of the Kubernetes client, which are generated from the API's OpenAPI document.

A model names the type of each of its keys and refuses a required one that is missing. It ignores an unknown key, and
takes a value of any type: those are checked here, by what it names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

_PLAIN: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "bool": (bool,), "float": (int, float)}
_LIST = re.compile(r"list\[(.+)\]")
_DICT = re.compile(r"dict[(\[]str, (.+)[)\]]")


def check(value: object, kind: str, *, path: str = "") -> None:
    """
    Refuse what the API would not take.

    Args:
        value: A manifest, or a part of one.
        kind: The type that the client names.
        path: Where it is, for messages.

    Raises:
        ValueError: With the path of the first key or value that is wrong.
    """
    if (types := _PLAIN.get(kind)) is not None:
        if not isinstance(value, types) or (isinstance(value, bool) and kind != "bool"):
            raise ValueError(f"{path} is {value!r}; expected {kind}")
    elif (found := _LIST.fullmatch(kind)) is not None:
        if not isinstance(value, list):
            raise ValueError(f"{path} is {value!r}; expected a list")
        for number, item in enumerate(value):
            check(item, found[1], path=f"{path}[{number}]")
    elif (found := _DICT.fullmatch(kind)) is not None:
        for key, item in _mapping(value, path).items():
            check(item, found[1], path=f"{path}.{key}")
    else:
        _check_model(_mapping(value, path), kind, path=path)


def _check_model(value: dict[str, Any], kind: str, *, path: str) -> None:
    client = import_module("kubernetes.client")  # a second, and only where it is
    model: Callable[..., object] = getattr(client, kind)
    types: dict[str, str] = getattr(model, "openapi_types")  # noqa: B009 - generated
    names = {name: attribute for attribute, name in getattr(model, "attribute_map").items()}  # noqa: B009 - the same
    for key, item in value.items():
        if key not in names:
            raise ValueError(f"{path}.{key} is not part of {kind}")
        check(item, types[names[key]], path=f"{path}.{key}")
    try:
        model(**{names[key]: item for key, item in value.items()})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _mapping(value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{path} is {value!r}; expected a mapping")  # noqa: TRY004 - one error for what the API refuses
    return value
