"""Which variables of an environment hold secrets: the one rule for everything that must not see them."""

import re
from collections.abc import Mapping

_NAME = re.compile(
    r"TOKEN(?!IZERS)|SECRET|PASSW|PASSPHRASE|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|^AWS_"
    r"|_(?:KEY|PASS|PAT|AUTH|JWT|COOKIE)$",
    re.IGNORECASE,
)
"""Names of variables that hold secrets; one that ends in _PATH holds a place instead."""
_TRACKER = re.compile(r"^_?(?:MLFLOW|WANDB|TRACKIO|DATABRICKS)_", re.IGNORECASE)
"""A tracker's variables: a name, a server and a key together open it, so none of them is shown to a model's text."""
_VALUE = re.compile(
    r"(?<=://)[^/?#\s:@]*:[^/?#\s@]+(?=@)"
    r"|(?<![\w/.-])(?:hf_|gh[pousr]_|github_pat_|glpat-|sk-(?:\w+-)*|xox[abp]-)[A-Za-z0-9]{20,}"
)
"""What secrets look like under any name: a password in an address, a token of the Hub, GitHub, GitLab and others."""
_SHORTEST = 6
"""Characters of a secret that is looked for in a text; a shorter one is part of ordinary words."""


def is_secret(name: str, value: str) -> bool:
    """Tell whether a variable holds a secret, or is a tracker's, by its name or by its look."""
    return _TRACKER.search(name) is not None or _is_named_so(name) or _VALUE.search(value) is not None


def _is_named_so(name: str) -> bool:
    return not name.endswith("_PATH") and _NAME.search(name) is not None


def redacted(text: str, environ: Mapping[str, str]) -> str:
    """Return a text without the secrets of an environment, and without what looks like one."""
    values = {value for name, value in environ.items() if _is_named_so(name) and len(value) >= _SHORTEST}
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, "***")
    return _VALUE.sub("***", text)


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the variables that hold secrets."""
    return {name: value for name, value in environ.items() if not is_secret(name, value)}
