"""A pickle that does something when it is read."""

from __future__ import annotations

from pathlib import Path


class Attack:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self._path,))
