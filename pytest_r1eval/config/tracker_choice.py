"""Which tracker a verdict goes to: `--r1-log` and `r1eval log --to`, parsed here alone."""

import re
from dataclasses import dataclass

from pytest_r1eval.config.registered import TRACKERS

_TARGET = re.compile(r"[^/:\s]+/\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerChoice:
    """
    A tracker, and the model version that a PASS is written on.

    Attributes:
        name: The tracker's registered name.
        version: ``MODEL/NUMBER`` of its model registry; None for a version of the tracker's own choice.
    """

    name: str
    version: str | None = None

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name}:{self.version}"


def tracker_choice(text: str) -> TrackerChoice:
    """
    Read which tracker is meant.

    Raises:
        ValueError: If no such tracker is registered, or what follows it names no model version.
    """
    name, colon, version = text.partition(":")
    TRACKERS.checked(name)
    if colon and not _TARGET.fullmatch(version):
        raise ValueError("TRACKER or TRACKER:MODEL/VERSION, as in mlflow:my-model/3")
    return TrackerChoice(name=name, version=version or None)
