"""
A PATH without what only some machines have: `python -m tests.bare_path FOLDER` fills FOLDER and prints the PATH.

Every program of the PATH is linked into the folder, bubblewrap, Chromium and Slurm left out.
"""

from __future__ import annotations

import os
import sys
from fnmatch import fnmatch
from pathlib import Path

from tests.requirements import BUBBLEWRAP, CHROMIUM, SLURM

LEFT_OUT = (*BUBBLEWRAP.programs, *CHROMIUM.programs, *SLURM.programs, "chromium-*", "s[bq]*", "slurm*", "srun")
"""Patterns of names; Slurm's programs have more names than the tests ask for."""


def bare_path(folder: Path, *, search_path: str) -> str:
    """
    Link every other program of a PATH into a folder.

    Args:
        folder: Where; made if it is not there.
        search_path: The PATH to take from; its first program of a name counts.

    Returns:
        The PATH that holds the folder alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for place in map(Path, search_path.split(os.pathsep)):
        for program in sorted(place.iterdir()) if place.is_dir() else ():
            link = folder / program.name
            if not link.is_symlink() and not any(fnmatch(program.name, pattern) for pattern in LEFT_OUT):
                link.symlink_to(program)
    return str(folder)


def main() -> None:
    """Fill the folder on the command line from this process's PATH."""
    sys.stdout.write(f"{bare_path(Path(sys.argv[1]).resolve(), search_path=os.environ['PATH'])}\n")


if __name__ == "__main__":
    main()
