"""Which variables of an environment hold secrets: the one rule for everything that must not see them."""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = re.compile(
    r"TOKEN(?!IZERS)|SECRET|PASSW|PASSPHRASE|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|^AWS_"
    r"|_(?:KEY|PASS|PAT|AUTH|JWT|COOKIE)$",
    re.IGNORECASE,
)
"""Names of variables that hold secrets; one that ends in _PATH holds a place instead."""
_VALUE = re.compile(
    r"://[^/?#\s:@]*:[^/?#\s@]+@"
    r"|(?<![\w/.-])(?:hf_|gh[pousr]_|github_pat_|glpat-|sk-(?:\w+-)*|xox[abp]-)[A-Za-z0-9]{20}"
)
"""What secrets look like under any name: a password in an address, a token of the Hub, GitHub, GitLab and others."""


def is_secret(name: str, value: str) -> bool:
    """Tell whether a variable holds a secret, by its name or by its look."""
    is_named_so = not name.endswith("_PATH") and _NAME.search(name) is not None
    return is_named_so or _VALUE.search(value) is not None


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the variables that hold secrets."""
    return {name: value for name, value in environ.items() if not is_secret(name, value)}
