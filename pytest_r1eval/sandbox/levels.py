"""How well a sandbox holds: the levels, the ways to reach them, and what its probe found."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

NO_SANDBOX = "not a sandbox"
"""What the record of a place begins with where nothing holds."""


class SandboxLevel(StrEnum):
    """What confines a solution; each level includes what the next one has."""

    BUBBLEWRAP = "bubblewrap"
    LANDLOCK = "landlock"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """
    What the start found out; goes into the result's record.

    Attributes:
        level: The level that holds.
        landlock_version: The kernel's version of Landlock, 0 where it has none.
        has_seccomp: Whether the system-call filter is on.
        runs_as_root: Whether programs have root's identity (without its capabilities), because an ordinary user
            could not read the interpreter.
        refused: For each better level, why it is not used.
        leaks: What the probe got away with; empty unless the level is NONE.
    """

    level: SandboxLevel
    landlock_version: int
    has_seccomp: bool
    runs_as_root: bool
    refused: tuple[str, ...]
    leaks: tuple[str, ...]

    @property
    def words(self) -> str:
        """Say it in one line."""
        layers = [f"Landlock {self.landlock_version}"] if self.landlock_version else []
        layers += ["seccomp"] if self.has_seccomp else []
        match self.level:
            case SandboxLevel.BUBBLEWRAP:
                return " + ".join(["bubblewrap", *layers])
            case SandboxLevel.LANDLOCK:
                why_not = [reason for reason in self.refused if reason.startswith(SandboxLevel.BUBBLEWRAP)]
                return f"{' + '.join(layers)} without bubblewrap ({'; '.join(why_not) or 'not asked for'})"
            case SandboxLevel.NONE:
                return f"{NO_SANDBOX}: {', '.join(self.leaks)}"
        assert_never(self.level)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One way to start a fork server."""

    level: SandboxLevel
    as_nobody: bool

    @property
    def words(self) -> str:
        """Name it for a message."""
        return f"{self.level}{' as nobody' if self.as_nobody else ''}"


def attempts(*, is_root: bool, levels: Iterable[SandboxLevel]) -> list[Attempt]:
    """List the ways to start at these levels, best first; root tries as the user `nobody` before it tries as it is."""
    identities = (True, False) if is_root else (False,)
    return [Attempt(level=level, as_nobody=as_nobody) for level in levels for as_nobody in identities]
