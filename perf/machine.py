"""What every table says of the machine it was measured on, and where tables are kept."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata
from pathlib import Path

PYTEST = (sys.executable, "-m", "pytest", "-p", "xdist", "-p", "pytest_r1eval.plugin", "-p", "no:cacheprovider")
"""With `environment()`, this pytest loads what a user's would, and none of this repository's test plugins."""
HERE = Path(__file__).parent
ROOT = HERE.parent


def environment() -> dict[str, str]:
    """Return the environment of what is measured: this repository, its bytecode kept, no plugins of the caller's."""
    dropped = {"PYTHONDONTWRITEBYTECODE", "PYTEST_PLUGINS"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    paths = [str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
    return kept | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": os.pathsep.join(paths)}


def machine_line(*packages: str) -> str:
    """Name processor, cores, Python, SQLite and the packages that matter."""
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    versions = []
    for name in packages:
        with suppress(metadata.PackageNotFoundError):
            versions.append(f"{name} {metadata.version(name)}")
    parts = [found[1] if found else platform.machine(), f"{len(os.sched_getaffinity(0))} cores"]
    parts += [f"Python {platform.python_version()}", f"SQLite {sqlite3.sqlite_version}", *versions]
    return ", ".join(parts)


def publish(name: str, lines: Iterable[str], *, write: bool) -> None:
    """Print a table, and keep it beside its script."""
    text = "\n".join(line.rstrip() for line in lines) + "\n"
    print(text, end="", flush=True)
    if write:
        (HERE / f"{name}.txt").write_text(text, encoding="utf-8")
