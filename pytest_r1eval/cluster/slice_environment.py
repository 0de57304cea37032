"""The environment of a slice's job: what is sampled may run programs, so secrets are the judge's alone."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping

from pytest_r1eval.core.secrets import is_secret

_NEEDED = re.compile(r"R1_SERVER_API_KEY|(?:https?|all)_proxy", re.IGNORECASE)
"""A server's key is needed to ask it, and a proxy's address, which may hold a password, to read a data set."""


def hidden(environ: Mapping[str, str]) -> list[str]:
    """Return the names of the variables that a slice must not see."""
    return [name for name, value in environ.items() if is_secret(name, value) and not _is_needed(name, value)]


def _is_needed(name: str, value: str) -> bool:
    """Tell what a slice cannot work without; a number of tokens is a setting of the engine."""
    return _NEEDED.fullmatch(name) is not None or (name.endswith("_TOKENS") and value.isdigit())


def slice_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a slice may see of an environment."""
    secrets = set(hidden(environ))
    return {name: value for name, value in environ.items() if name not in secrets}


if __name__ == "__main__":
    sys.stdout.writelines(f"{name}\n" for name in hidden(os.environ))
