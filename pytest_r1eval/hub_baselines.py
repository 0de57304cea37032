"""
Baselines that live on the Hub: ``hf://datasets/ORG/REPO[@REVISION]/PATH.json``.

The file comes through the Hub's own client and cache; the commit it came from is part of what a report says.
"""

from __future__ import annotations

import re
from pathlib import Path

from pytest_r1eval.errors import BaselineError

HUB_PREFIX = "hf://"
_PLACE = re.compile(r"hf://datasets/(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?/(?P<path>.+\.json)")


def fetch(place: str) -> Path:
    """
    Download a baseline file, or find it in the client's cache.

    Raises:
        BaselineError: If the place is not written as above, or the file cannot be had.
    """
    found = _PLACE.fullmatch(place)
    if found is None:
        raise BaselineError(
            f"--r1-baseline {place}: expected hf://datasets/ORG/REPO/PATH.json, with @REVISION after REPO if you like"
        )
    from huggingface_hub import hf_hub_download  # noqa: PLC0415 - slow to import, and few ask

    repo, revision, path = found["repo"], found["revision"], found["path"]
    try:
        return Path(hf_hub_download(repo, path, repo_type="dataset", revision=revision))
    except Exception as error:  # the client, its transport and the file system share no base class
        cause = " ".join(str(error).split())[:200]
        raise BaselineError(
            f"--r1-baseline {place}: cannot be had from the Hub ({type(error).__name__}: {cause}); expected the file "
            f"{path} in the data set {repo}. Check the name, the network, and HF_TOKEN if it is private"
        ) from error


def commit_of(path: Path) -> str:
    """Return the commit that a fetched file is of: the client's cache keeps each below its own."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts[:-1] else "unknown"
