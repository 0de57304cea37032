"""
Which baseline is meant: `--r1-baseline`, `--r1-anchor` and arguments of commands, parsed here alone.

Each prints as it was written. The lookup, not the parser, finds whether the baseline exists.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from pytest_r1eval.config.values import located
from pytest_r1eval.core.records import RUN_FILE

PREVIOUS = "previous"
_PUBLISHED = "published"
_HUB_PREFIX = "hf://"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The number that was published for the model itself."""

    def __str__(self) -> str:
        return _PUBLISHED


@dataclass(frozen=True, slots=True, kw_only=True)
class Previous:
    """The last blessed checkpoint of the same training, else the newest run before this one."""

    def __str__(self) -> str:
        return PREVIOUS


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A model's baselines, by ``org/name``: the user's, else the shipped."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A baseline file, wherever it is."""

    text: str
    path: Path

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class OnHub:
    """A baseline file in a data set on the Hub, ``hf://datasets/ORG/REPO[@REVISION]/PATH.json``."""

    place: str

    def __str__(self) -> str:
        return self.place


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """A stored run."""

    text: str
    path: Path

    def __str__(self) -> str:
        return self.text


BaselineChoice: TypeAlias = Published | Previous | Named | File | OnHub | RunFolder


def baseline_choice(text: str, folder: Path) -> BaselineChoice:
    """
    Read which baseline is meant.

    Args:
        text: What was written.
        folder: Where a relative path starts.

    Raises:
        ValueError: If nothing was; the message says what is expected.
    """
    if not text.strip():
        raise ValueError("published, previous, org/name, a file, a run's folder, or hf://datasets/ORG/REPO/PATH.json")
    if text == _PUBLISHED:
        return Published()
    if text == PREVIOUS:
        return Previous()
    if text.startswith(_HUB_PREFIX):
        return OnHub(place=text)
    path = located(text, folder)
    if (path / RUN_FILE).is_file():
        return RunFolder(text=text, path=path)
    return File(text=text, path=path) if path.suffix == ".json" else Named(name=text)
