"""
Uploads to the Hugging Face Hub: the sole importer of huggingface_hub's write side.

One run is one commit. The client does not try a commit again, and rightly: a reply
can be lost after the commit landed. So every attempt here begins by reading the
head and its tree. If our files are there, from any source, the work is done;
if not, the commit names that head as its parent, and a Hub that has moved on refuses
it. Uploading a run twice is then one commit, as is losing every reply.

The token is the client's business (HF_TOKEN, or a login on this machine). It is read
here only to keep it out of messages. Nothing local is ever deleted.

The wait between attempts is our own loop and not stamina's: stamina logs the error and the arguments of each attempt as
they are, and these may hold a signed address. Its switches and hooks apply to the whole process, a user's conftest
included. There is no second loop: Slurm's commands try again by themselves.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_r1eval.core import uploads
from pytest_r1eval.errors import UploadError
from pytest_r1eval.hub.errors import Reply, causes, is_lapsed, reply_behind, scrubbed
from pytest_r1eval.hub.session import UNREACHABLE_S, failure_to_reach, quiet_client
from pytest_r1eval.upload.package import Package
from pytest_r1eval.upload.page_scores import PageScore

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile, RepoFolder

_CARD = "README.md"
_BLOCK_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """
    How long an upload is tried.

    Attributes:
        n_attempts: At most.
        first_wait_s: Before the second attempt; it doubles from one to the next.
        longest_wait_s: No wait of ours is longer, whatever the Hub asks for; the client repeats some requests itself.
        reply_timeout_s: For a reply to one request.
        unreachable_s: For the first answer of all; without one nothing is tried again.
    """

    n_attempts: int = 6
    first_wait_s: float = 2.0
    longest_wait_s: float = 60.0
    reply_timeout_s: float = 60.0
    unreachable_s: float = UNREACHABLE_S
    sleep: Callable[[float], None] = time.sleep


USUAL = Patience()


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """
    Where an upload is.

    Attributes:
        url: The repository's page.
        commit: A commit that holds the files.
        is_new: Whether this upload made it; a run that is there already makes none.
    """

    url: str
    commit: str
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Delivery:
    """
    Files for one repository: a path of this machine or bytes, by the path there.

    A package or a branch may make the repository, and a branch itself; None is the main one.
    """

    repo: str
    kind: Literal["dataset", "model"]
    files: Mapping[str, Path | bytes]
    title: str
    package: Package | None = None
    branch: str | None = None


def publish(package: Package, *, patience: Patience = USUAL) -> Receipt:
    """
    Upload a run's files in one commit; once, however often it is asked for.

    Args:
        package: What is sent.
        patience: How long it is tried.

    Raises:
        UploadError: If it cannot be done, with what to do about it.
    """
    delivery = _Delivery(
        repo=package.repo,
        kind="dataset",
        files={file.path: file.source for file in package.files},
        title=f"Run {package.run} of {package.key.model_name}",
        package=package,
    )
    return _delivered(delivery, patience=patience)


def publish_page(
    model: str,
    scores: Sequence[PageScore],
    *,
    source: str,
    patience: Patience = USUAL,
) -> Receipt:
    """
    Put scores into a model's repository, from where its page and the benchmark's leaderboard show them.

    Args:
        model: The model's repository, which must be there.
        scores: The scores; one file each, which replaces our older one.
        source: The page of the repository that holds the samples.
        patience: How long it is tried.

    Raises:
        UploadError: If it cannot be done, with what to do about it.
    """
    files = {
        f".eval_results/r1eval-{score.dataset.rpartition('/')[2]}.yaml": _page_file(score, source) for score in scores
    }
    delivery = _Delivery(repo=model, kind="model", files=files, title="Scores measured by pytest-r1eval")
    return _delivered(delivery, patience=patience)


def publish_checkpoint(
    folder: Path,
    repo: str,
    *,
    branch: str,
    patience: Patience = USUAL,
) -> Receipt:
    """
    Push a checkpoint to a branch of a model repository, which is made, private, where there is none.

    Args:
        folder: The checkpoint; every file in it is pushed.
        repo: The model repository.
        branch: The branch; it begins at the main one.
        patience: How long it is tried.

    Raises:
        UploadError: If it cannot be done, with what to do about it.
    """
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    delivery = _Delivery(repo=repo, kind="model", files=files, title=f"Checkpoint {folder.name}", branch=branch)
    return _delivered(delivery, patience=patience)


def _page_file(score: PageScore, source: str) -> bytes:
    _demand_client()
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml  # noqa: PLC0415 - see _demand_client
    from huggingface_hub.utils import yaml_dump  # noqa: PLC0415

    entry = EvalResultEntry(
        dataset_id=score.dataset,
        task_id=score.task,
        value=score.points,
        dataset_revision=score.dataset_revision,
        date=score.date,
        source_url=source,
        source_name="Samples and verdicts",
        notes=score.notes,
    )
    return str(yaml_dump(eval_result_entries_to_yaml([entry]))).encode()


def _demand_client() -> None:
    """Refuse to go on without the client, which takes 0.2 s to import and is needed nowhere else."""
    try:
        import huggingface_hub  # noqa: F401, PLC0415 - whether it is there
    except ImportError as error:
        raise UploadError(
            f"an upload needs huggingface_hub, which cannot be imported ({error}); install pytest-r1eval[hub]"
        ) from error


def _delivered(delivery: _Delivery, *, patience: Patience) -> Receipt:
    _demand_client()
    from huggingface_hub import HfApi  # noqa: PLC0415 - see _demand_client

    unreachable = failure_to_reach(within_s=patience.unreachable_s)
    if unreachable is not None:
        raise UploadError(
            f"{delivery.repo}: the Hub does not answer ({scrubbed(unreachable)}); expected any answer within "
            f"{patience.unreachable_s:g} s. Check the network, then try again"
        )
    api = HfApi()
    for attempt in range(1, patience.n_attempts + 1):
        try:
            with quiet_client(reply_timeout_s=patience.reply_timeout_s):
                return _attempted(api, delivery)
        except UploadError:
            raise
        except Exception as error:  # noqa: BLE001 - the client, its transport and Xet share no base class
            failure = _failure(error, delivery)
            if failure.advice is not None or attempt == patience.n_attempts:
                # No cause is attached: it may quote the request, and the request holds the token.
                raise UploadError(failure.message(n_attempts=attempt)) from None
            doubled = patience.first_wait_s * 2 ** (attempt - 1)
            patience.sleep(min(failure.wait_s or doubled, patience.longest_wait_s))
    raise UploadError(f"{delivery.repo}: no attempt was allowed; expected one or more")


def _attempted(api: HfApi, delivery: _Delivery) -> Receipt:
    from huggingface_hub import CommitOperationAdd  # noqa: PLC0415 - see _demand_client

    repo, kind, package = delivery.repo, delivery.kind, delivery.package
    if package is not None or delivery.branch is not None:
        is_public = package is not None and package.wishes.is_public
        api.create_repo(repo, repo_type=kind, private=not is_public, exist_ok=True)
    if delivery.branch is not None:
        api.create_branch(repo, branch=delivery.branch, repo_type=kind, exist_ok=True)
    info = api.repo_info(repo, repo_type=kind, revision=delivery.branch)
    head = str(info.sha)
    url = f"{api.endpoint}/{'' if kind == 'model' else 'datasets/'}{repo}"
    if package is not None and info.private is False and not package.wishes.is_public:
        raise UploadError(
            f"{repo} is public, and the upload was to be private; make the repository private, name another, or add "
            "--r1-upload-public"
        )
    tree = {entry.path: entry for entry in api.list_repo_tree(repo, recursive=True, revision=head, repo_type=kind)}
    if all(_is_there(source, tree.get(path)) for path, source in delivery.files.items()):
        return Receipt(url=url, commit=head, is_new=False)
    sources = dict(delivery.files)
    if package is not None:
        sources[_CARD] = _card(api, package, [*tree], head=head)
    operations = [
        CommitOperationAdd(path_in_repo=path, path_or_fileobj=source if isinstance(source, bytes) else str(source))
        for path, source in sources.items()
    ]
    commit = api.create_commit(
        repo,
        operations,
        commit_message=delivery.title,
        repo_type=kind,
        revision=delivery.branch,
        parent_commit=head,
    )
    return Receipt(url=url, commit=str(commit.oid), is_new=True)


def _is_there(source: Path | bytes, entry: RepoFile | RepoFolder | None) -> bool:
    """Compare a file with the tree's entry: by SHA-256 in large-file storage, by git's own hash elsewhere."""
    from huggingface_hub.hf_api import RepoFile  # noqa: PLC0415 - see _demand_client

    if not isinstance(entry, RepoFile):
        return False
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    if size != entry.size:
        return False
    if entry.lfs is not None:
        return _hashed(hashlib.sha256(), source) == entry.lfs.sha256
    git = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    return _hashed(git, source) == entry.blob_id


def _hashed(digest: hashlib._Hash, source: Path | bytes) -> str:
    if isinstance(source, bytes):
        digest.update(source)
        return digest.hexdigest()
    with source.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _card(api: HfApi, package: Package, paths: Sequence[str], *, head: str) -> bytes:
    """
    Write the card again: the configs of the head's card and this run's.

    Raises:
        UploadError: If the repository holds details that another program wrote, or a card that cannot be read.
    """
    from huggingface_hub import DatasetCardData  # noqa: PLC0415 - see _demand_client

    foreign = uploads.foreign_details(paths)
    if foreign is not None:
        raise UploadError(
            f"{package.repo} holds {foreign}, which another program wrote, with other columns; expected a repository "
            "of this plugin's runs: give another --r1-upload"
        )
    fields, text = dict[str, Any](), ""
    if _CARD in paths:
        path = api.hf_hub_download(package.repo, _CARD, repo_type="dataset", revision=head)
        fields, text = _read_card(Path(path), package.repo)
    configs = uploads.with_run(fields.get("configs") or [], package.tasks, package.key, package.wishes.layout)
    body = uploads.card_body(text, repo=package.repo, key=package.key, rows=package.rows)
    data = DatasetCardData(**{**fields, "configs": configs})
    return f"---\n{data.to_yaml()}\n---\n\n{body}".encode()


def _read_card(path: Path, repo: str) -> tuple[dict[str, Any], str]:
    """
    Read the fields and the text of a card that may be written by hand.

    Raises:
        UploadError: If it cannot be read: rewriting it would lose its content.
    """
    import yaml  # noqa: PLC0415 - the client, which is there, brings it
    from huggingface_hub import DatasetCard  # noqa: PLC0415 - see _demand_client

    try:
        card = DatasetCard(path.read_text(encoding="utf-8"), ignore_metadata_errors=True)
        fields: dict[str, Any] = card.data.to_dict()  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise _unreadable_card(repo, scrubbed(error)) from error
    configs = fields.get("configs") or []
    if not isinstance(configs, list) or not all(isinstance(config, dict) for config in configs):
        raise _unreadable_card(repo, "its configs are no list of configs")
    return fields, card.text


def _unreadable_card(repo: str, why: str) -> UploadError:
    return UploadError(
        f"{repo}: its {_CARD} cannot be read ({why}); expected UTF-8 that begins with valid YAML. Repair it there, or "
        "name another repository"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """
    What went wrong, and whether waiting helps.

    Attributes:
        repo: The repository.
        what: What was found, for people.
        advice: What to do; None where trying again may help.
        wait_s: How long the Hub asks to be left alone; None where it does not say.
    """

    repo: str
    what: str
    advice: str | None
    wait_s: float | None = None

    def message(self, *, n_attempts: int) -> str:
        """Say it in one line."""
        if self.advice is not None:
            return f"{self.repo}: {self.what}; {self.advice}"
        return f"{self.repo}: {self.what}, {n_attempts} times; expected the Hub to answer. Try again later"


def _failure(error: Exception, delivery: _Delivery) -> _Failure:
    from huggingface_hub.errors import (  # noqa: PLC0415 - see _demand_client
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    what = scrubbed(error)
    if any(isinstance(cause, OfflineModeIsEnabled) for cause in causes(error)):
        return _Failure(repo=delivery.repo, what="HF_HUB_OFFLINE is set", advice="unset it where runs are uploaded")
    if isinstance(error, HFValidationError):
        return _Failure(repo=delivery.repo, what=what, advice="expected org/name")
    reply = reply_behind(error)
    if reply is not None:
        return _refusal(reply, what, delivery)
    is_remote = isinstance(error, LocalEntryNotFoundError | json.JSONDecodeError)  # no answer, or a portal's page
    is_local = isinstance(error, FileNotFoundError | PermissionError | TypeError | ValueError) and not is_remote
    advice = "see that the run's files can be read" if is_local else None
    return _Failure(repo=delivery.repo, what=what, advice=advice)


def _refusal(reply: Reply, what: str, delivery: _Delivery) -> _Failure:
    wait_s = None
    advice: str | None = None
    status = reply.status_code
    if reply.headers.get("X-Error-Code") == "RepoNotFound":
        status = 404  # the Hub answers 401 to a caller that it does not know
    match status:
        case 401:
            what = "the Hub does not take the token: expired, revoked, or there is none"
            advice = "log in again (hf auth login), or set HF_TOKEN"
        case 403 if is_lapsed(reply):
            what = "storage refused an address that the Hub had signed (403)"
        case 403:
            what = "the token may not write there"
            advice = "use one with write access to it (huggingface.co/settings/tokens), or name another repository"
        case 404:
            what = f"there is no such {delivery.kind} repository"
            advice = "check its name, and that the token may see it"
        case 412:
            what = "another client committed at the same time"
        case 429:
            what, asked = "the Hub has had too many requests (429)", reply.headers.get("Retry-After", "")
            wait_s = float(asked) if asked.isdecimal() else None
        case _ if status >= 500 or status == 408:
            what = f"the Hub failed ({status})"
        case _:
            advice = "read the Hub's answer, and repair the cause"
    return _Failure(repo=delivery.repo, what=what, advice=advice, wait_s=wait_s)
