"""
What other packages can add, by name: engines and trackers; listing them imports none.

Each is an entry point of its group.
"""

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """
    The entry points of one group.

    Attributes:
        group: The group's name.
    """

    group: str

    @property
    def names(self) -> tuple[str, ...]:
        """What is registered, by name."""
        return tuple(sorted(entry_points(group=self.group).names))

    def checked(self, text: str) -> str:
        """
        Return a name that is registered.

        Raises:
            ValueError: If nothing of that name is; the message lists what is.
        """
        if text not in (known := self.names):
            raise ValueError(f"one of {', '.join(known)}")
        return text

    def points(self, name: str) -> tuple[EntryPoint, ...]:
        """Return what is registered under a name, which is one entry point unless two packages claim it."""
        return tuple(entry_points(group=self.group, name=name))


ENGINES = Registry(group="pytest_r1eval.engines")
TRACKERS = Registry(group="pytest_r1eval.trackers")
