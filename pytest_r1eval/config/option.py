"""
What an option is: its name, kind, default, help and phase, and how its text becomes a value.

`options` holds the table. A dataclass takes half a millisecond to make, so there is one for all options.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pytest

from pytest_r1eval.config import values

Phase: TypeAlias = Literal["draw", "grade", "judge", "upload", "both"]
"""What an option decides: samples, the grades of programs, the verdict, the upload, or something in every part."""

Subject: TypeAlias = Literal["gate", "checkpoint", "place", "part"]
"""What an option is about: the gate itself, what is judged, where its run is kept, or one part of a run alone."""

UnderPolicy: TypeAlias = Literal["set", "beside", "refused"]
"""
What a release policy does with an option: it alone sets it, for each benchmark; it leaves it to the command line; or
it forbids it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """
    One option, by its dashed name without the ``--r1-`` in front.

    Attributes:
        name: The name.
        phase: The part of a run that it is about; a stored run is judged without what decided its drawing.
        help: What it does, in a line.
        subject: What it is about; a cluster's jobs set all but the gate's themselves.
        parse: Makes a value of its text.
        locate: Makes a value of a text that may be a path, and the folder that this starts from; in place of `parse`.
        collect: Makes one value of those of an option that is given several times.
        policy: What becomes of it under a release policy.
        is_of_benchmark: Whether its text names a benchmark first, as in ``aime24=64``.
        field: The field of `Settings`; None for its name.
        may_have_lines: Whether its text is put to a model and printed nowhere, so that it may have line ends.
        is_json: Whether values of `KEY=VALUE` are JSON.
        alias: An earlier name, understood on the command line and shown nowhere.
    """

    name: str
    phase: Phase
    help: str
    subject: Subject = "gate"
    parse: Callable[[str], object] = values.text
    locate: Callable[[str, Path], object] | None = None
    collect: Callable[[list[Any]], object] | None = None
    choices: type[StrEnum] | None = None
    policy: UnderPolicy = "beside"
    is_of_benchmark: bool = False
    field: str | None = None
    metavar: str | None = None
    default: str | None = None
    is_flag: bool = False
    is_bare_allowed: bool = False
    may_have_lines: bool = False
    is_json: bool = False
    alias: str | None = None

    @property
    def dest(self) -> str:
        """The name in pytest's namespace, and of the ini key."""
        return f"r1_{self.keyword}"

    @property
    def keyword(self) -> str:
        """The name in Python."""
        return self.name.replace("-", "_")

    @property
    def key(self) -> str:
        """The field of `Settings` that it sets."""
        return self.field or self.keyword

    @property
    def flag(self) -> str:
        """The name on the command line."""
        return f"--r1-{self.name}"

    @property
    def flags(self) -> tuple[str, ...]:
        """The name on the command line, and the earlier one."""
        return (self.flag,) if self.alias is None else (self.flag, f"--r1-{self.alias}")

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be given several times."""
        return self.collect is not None

    def value(self, texts: list[str], folder: Path) -> object:
        """
        Return what was written as a value.

        Args:
            texts: What was written, each by itself.
            folder: Where relative paths start.

        Raises:
            pytest.UsageError: If it is not what it must be; the message names the option.
        """
        found = [self._value(text, folder) for text in texts]
        if self.collect is None:
            return found[-1]
        try:
            return self.collect(found)
        except ValueError as error:
            raise pytest.UsageError(f"{self.flag}: {error}") from error

    def _value(self, text: str, folder: Path) -> object:
        try:
            if self.choices is not None:
                return _chosen(self.choices, text)
            if self.locate is not None:
                return self.locate(text, folder)
            return values.switch(text) if self.is_flag else self.parse(text)
        except values.PrivateTextError as error:
            raise pytest.UsageError(f"{self.flag} {error}") from error
        except ValueError as error:
            raise pytest.UsageError(f"{self.flag} is {text!r}; expected {error}") from error


def _chosen(choices: type[StrEnum], text: str) -> StrEnum:
    if text not in list(choices):
        raise ValueError(f"one of {', '.join(choices)}")
    return choices(text)


drawn = partial(Option, phase="draw")
drawn_by_policy = partial(Option, phase="draw", policy="set")
judged_by_policy = partial(Option, phase="judge", policy="set")
uploaded = partial(Option, phase="upload")
"""What most rows of the table begin with: their phase, and that a release policy sets them."""
