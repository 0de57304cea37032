"""
Baselines that live on the Hub: ``hf://datasets/ORG/REPO[@REVISION]/PATH.json``.

The file comes through the Hub's own client and cache; a report names the commit that it came from.
"""

import re
from pathlib import Path

from pytest_r1eval.errors import BaselineError
from pytest_r1eval.hub.errors import causes, is_lapsed, reply_behind, scrubbed
from pytest_r1eval.hub.session import failure_to_reach, quiet_client

REPLY_TIMEOUT_S = 60.0
"""For a reply to one request."""
_PLACE = re.compile(r"hf://datasets/(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?/(?P<path>.+\.json)")


def fetch(place: str) -> Path:
    """
    Download a baseline file, or find it in the client's cache, where the Hub cannot be reached as well.

    Raises:
        BaselineError: If the place is not written as above, or the file cannot be had.
    """
    found = _PLACE.fullmatch(place)
    if found is None:
        raise BaselineError(
            f"{place}: not a place of a baseline; expected hf://datasets/ORG/REPO/PATH.json, with @REVISION after REPO "
            "if you like"
        )
    try:
        from huggingface_hub import hf_hub_download  # noqa: PLC0415 - slow to import, and few ask
    except ImportError as error:
        raise BaselineError(
            f"{place}: a baseline on the Hub needs huggingface_hub, which cannot be imported ({error}); install "
            "pytest-r1eval[hub], or name a local file"
        ) from error

    unreachable = failure_to_reach()
    try:
        with quiet_client(reply_timeout_s=REPLY_TIMEOUT_S):
            return Path(
                hf_hub_download(
                    found["repo"],
                    found["path"],
                    repo_type="dataset",
                    revision=found["revision"],
                    local_files_only=unreachable is not None,
                )
            )
    except Exception as error:  # noqa: BLE001 - the client, its transport and the file system share no base class
        # No cause is attached: it may quote the request, and the request holds the token.
        raise BaselineError(f"{place}: {_refusal(unreachable or error, found)}") from None


def _refusal(error: Exception, place: re.Match[str]) -> str:
    """Say why a file cannot be had, and what to do."""
    from huggingface_hub import errors  # noqa: PLC0415 - it is imported by now

    name, revision, path = place["repo"], place["revision"], place["path"]
    repo = f"the data set {name}"
    kinds: dict[type[BaseException], str] = {
        errors.GatedRepoError: f"{repo} is gated; ask for access on its page, with the account that HF_TOKEN is of",
        errors.RevisionNotFoundError: f"{repo} has no revision {revision}; name a branch, a tag or a commit of it",
        errors.RepositoryNotFoundError: (
            f"there is no data set {name}, or the token may not see it; check the name, and set HF_TOKEN "
            "(or hf auth login) if it is private"
        ),
        errors.RemoteEntryNotFoundError: f"{repo} has no file {path} at {revision or 'main'}; check the path",
        errors.OfflineModeIsEnabled: (
            "it is not in the cache, and HF_HUB_OFFLINE is set; fetch it once with a network, or name a local file"
        ),
    }
    statuses = {
        401: "the Hub does not take the token: expired or revoked; log in again (hf auth login), or set HF_TOKEN",
        403: f"the token may not read {repo}; use one that may (huggingface.co/settings/tokens)",
    }
    for kind, reason in kinds.items():
        if any(isinstance(cause, kind) for cause in causes(error)):
            return reason
    reply = reply_behind(error)
    if reply is not None and reply.status_code in statuses and not is_lapsed(reply):
        return statuses[reply.status_code]
    answer = "there is no answer" if reply is None else f"the Hub answers {reply.status_code}"
    return f"{answer} ({scrubbed(error)}); expected the file {path}. Try again later, or name a local file"


def commit_of(path: Path) -> str:
    """Return the commit that a fetched file is of: the client's cache keeps each below its own."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts[:-1] else "unknown"
