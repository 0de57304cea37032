"""
A stand-in Hub on this machine, for the real huggingface_hub client.

It speaks the client's HTTP: create, info, pre-upload, commit, trees, paths, refs, files
(HEAD, GET, Range), LFS batches and Xet tokens. With Xet the client stores the bytes
itself, in a folder of this machine; with ``HF_HUB_DISABLE_XET=1`` they come here by LFS.

Faults are asked for by route. Those that stand for a lost reply do the work first.

`HF_ENDPOINT` is read when huggingface_hub is imported, so clients run in processes of
their own, with `environment()`.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub_repos import Blob, CommitRequest, Repo, blob_of, lfs_blob, xet_hash

TOKEN = "hf_StandInTokenForTests0123456789"  # noqa: S105 - what the stand-in alone takes
USER = "acme"
"""Who the token belongs to: the one name that repositories can be made under."""

_API = re.compile(r"/api/(?P<kind>model|dataset|space)s/(?P<name>[^/]+/[^/]+)(?:/(?P<route>[^/]+)(?:/(?P<rest>.*))?)?$")
_FILE = re.compile(r"/(?:(?P<kind>dataset|space)s/)?(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)$")
_BATCH = re.compile(r"/(?:(?:dataset|space)s/)?(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch$")


class Trouble(Enum):
    """What can go wrong with a request."""

    BROKEN = auto()
    """500, and nothing was done."""
    BUSY = auto()
    """429 with Retry-After, and nothing was done."""
    SILENT = auto()
    """No reply until the server is closed, and nothing was done."""
    HUNG_UP = auto()
    """The connection is closed without a reply, and nothing was done."""
    DROPPED = auto()
    """The connection is closed without a reply, after the work was done."""
    OVERTAKEN = auto()
    """Another client commits just before."""
    EXPIRED = auto()
    """401: the token is not taken."""
    MISSING = auto()
    """404: no such repository."""
    FORBIDDEN = auto()
    """403: the token may not write, or an address has run out."""
    PORTAL = auto()
    """A proxy answers 200 with a page of its own, and nothing was done."""
    TALKATIVE = auto()
    """400, and the reason quotes the request's Authorization header."""


@dataclass(slots=True, kw_only=True)
class Fault:
    """
    Trouble with the next requests of a route.

    Attributes:
        route: ``create``, ``info``, ``preupload``, ``commit``, ``tree``, ``paths-info``, ``resolve``, ``lfs``,
            ``storage``, ``xet``.
        trouble: What goes wrong.
        times: How often.
        retry_after_s: What a BUSY Hub asks for.
    """

    route: str
    trouble: Trouble
    times: int = 1
    retry_after_s: int = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it came, for tests to look at."""

    method: str
    path: str
    authorization: str | None


@dataclass(slots=True)
class _Reply:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class StandInHub(ThreadingHTTPServer):
    """
    The server and everything it holds.

    Args:
        folder: Where Xet's local storage may lie.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.repos: dict[tuple[str, str], Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self.lock = threading.RLock()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"

    def environment(self, cache: Path, *, xet: bool = False, token: str | None = TOKEN) -> dict[str, str]:
        """Return what a client's environment must hold, beside the usual, to talk to this Hub and no other."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(cache),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "0" if xet else "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            **({} if token is None else {"HF_TOKEN": token}),
        }

    def make_repo(self, name: str, *, kind: str = "dataset", files: dict[str, bytes] | None = None) -> Repo:
        """Make a repository that is there before the test."""
        repo = Repo(kind=kind, name=name)
        repo.add("initial commit", {path: blob_of(content) for path, content in (files or {}).items()})
        self.repos[kind, name] = repo
        return repo

    def repo(self, name: str, *, kind: str = "dataset") -> Repo:
        """Return a repository that must be there."""
        return self.repos[kind, name]

    def fail(self, route: str, trouble: Trouble, *, times: int = 1) -> None:
        """Let the next requests of a route go wrong."""
        self.faults.append(Fault(route=route, trouble=trouble, times=times))

    def reset(self) -> None:
        """Forget everything, for the next test."""
        for held in (self.repos, self.objects, self.faults, self.requests):
            held.clear()

    def taken(self, route: str) -> Fault | None:
        """Use up one of the faults that were asked for."""
        with self.lock:
            for fault in self.faults:
                if fault.route == route and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def n_requests(self, part: str) -> int:
        """Count the requests whose path holds some text."""
        return sum(part in request.path for request in self.requests)


@contextmanager
def serving(folder: Path) -> Iterator[StandInHub]:
    """Serve a stand-in Hub while the block runs."""
    hub = StandInHub(folder)
    thread = threading.Thread(
        target=hub.serve_forever, kwargs={"poll_interval": 0.02}, name="stand-in hub", daemon=True
    )
    thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        hub.shutdown()
        hub.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> StandInHub:
        return cast("StandInHub", self.server)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        self.hub.requests.append(
            Request(method=self.command, path=path, authorization=self.headers.get("Authorization"))
        )
        route = _route(path)
        fault = self.hub.taken(route)
        if fault is not None and (refusal := self._refusal(fault, path)) is not None:
            self._send(refusal)
            return
        if fault is not None and fault.trouble in {Trouble.SILENT, Trouble.HUNG_UP}:
            if fault.trouble is Trouble.SILENT:
                self.hub.closing.wait()
            self.close_connection = True
            return
        with self.hub.lock:
            reply = self._answer(path, parse_qs(parts.query), body)
        if fault is not None and fault.trouble is Trouble.DROPPED:
            self.close_connection = True
            return
        self._send(reply)

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 - the names http.server looks for

    def _send(self, reply: _Reply) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # a client that was killed
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if "Content-Length" not in reply.headers:
                self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body)

    def _refusal(self, fault: Fault, path: str) -> _Reply | None:  # noqa: C901, PLR0911 - a table of troubles
        match fault.trouble:
            case Trouble.BROKEN:
                return _error(500, "the stand-in is broken")
            case Trouble.BUSY:
                return _error(429, "too many requests", headers={"Retry-After": str(fault.retry_after_s)})
            case Trouble.PORTAL:
                return _Reply(200, b"<html>Welcome to our network</html>", {"Content-Type": "text/html"})
            case Trouble.EXPIRED:
                return _error(401, "Invalid credentials in Authorization header")
            case Trouble.MISSING:
                return _error(404, "Repository not found", headers={"X-Error-Code": "RepoNotFound"})
            case Trouble.FORBIDDEN:
                return _error(403, f"You don't have the rights to write to {path}")
            case Trouble.OVERTAKEN:
                if (match := _API.match(path)) is not None:
                    repo = self.hub.repos[match["kind"], match["name"]]
                    repo.add("somebody else's", {"theirs.txt": blob_of(str(len(repo.commits)).encode())})
            case Trouble.TALKATIVE:
                return _error(400, f"cannot take {self.headers.get('Authorization')}")
            case Trouble.SILENT | Trouble.HUNG_UP | Trouble.DROPPED:
                pass
        return None

    def _answer(self, path: str, query: dict[str, list[str]], body: bytes) -> _Reply:  # noqa: PLR0911 - a table of routes
        if path == "/api/whoami-v2":
            return _json({"type": "user", "name": USER, "orgs": []}) if self._is_known() else _expired()
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return _json({"errors": [], "warnings": []})
        if path.startswith("/lfs/"):
            return self._lfs_object(path.rpartition("/")[2], body)
        if _BATCH.match(path):
            return self._batch(json.loads(body))
        if (match := _FILE.match(path)) is not None:
            repo = self._visible(match["kind"] or "model", match["name"])
            return _missing() if repo is None else self._file(repo, match["revision"], match["path"])
        if (match := _API.match(path)) is not None:
            repo = self._visible(match["kind"], match["name"])
            return _missing() if repo is None else self._api(repo, match, query, body)
        return _error(404, f"no route {path}")

    def _is_known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _visible(self, kind: str, name: str) -> Repo | None:
        repo = self.hub.repos.get((kind, name))
        return None if repo is not None and repo.is_private and not self._is_known() else repo

    def _create(self, wanted: dict[str, Any]) -> _Reply:
        if not self._is_known():
            return _expired()
        owner, kind = wanted.get("organization") or USER, wanted.get("type", "model")
        name = f"{owner}/{wanted['name']}"
        url = f"{self.hub.url}/{'' if kind == 'model' else kind + 's/'}{name}"
        if owner != USER:
            return _error(403, f"You don't have the rights to create a {kind} under the namespace {owner!r}")
        if (kind, name) in self.hub.repos:
            return _error(409, "You already created this repo", url=url)
        self.hub.make_repo(name, kind=kind).is_private = wanted.get("visibility") == "private"
        return _json({"url": url, "name": name})

    def _api(  # noqa: C901, PLR0911 - a table of routes
        self, repo: Repo, match: re.Match[str], query: dict[str, list[str]], body: bytes
    ) -> _Reply:
        rest = match["rest"] or ""
        match match["route"]:
            case None | "revision":
                return self._info(repo, rest or "main")
            case "refs":
                heads = {"main": repo.head, **{name: line[-1] for name, line in repo.branches.items()}}
                branches = [_ref(name, commit.oid) for name, commit in heads.items()]
                return _json({"branches": branches, "tags": [], "converts": []})
            case "commits":
                rows = [
                    {"id": commit.oid, "title": commit.title, "message": "", "authors": [], "date": _DATE}
                    for commit in reversed(repo.commits)
                ]
                return _json(rows)
            case "tree":
                revision, _, folder = rest.partition("/")
                return self._tree(repo, revision, folder, is_recursive="recursive" in query)
            case "auth-check":
                return _json({})
            case "paths-info":
                return self._paths(repo, rest, parse_qs(body.decode())["paths"])
            case "preupload":
                return _json({"files": [_mode(repo, file) for file in json.loads(body)["files"]]})
            case "commit":
                return self._commit(repo, CommitRequest.loads(body), branch=rest, is_pull_request="create_pr" in query)
            case "branch":
                if repo.line(rest) is not None:
                    return _error(409, f"the branch {rest} exists")
                repo.branches[rest] = [repo.head]
                return _json({})
            case "xet-write-token" | "xet-read-token":
                return _json(
                    {"casUrl": self._xet_url, "exp": int(time.time()) + 3600, "accessToken": "xet"}, **self._xet_headers
                )
        return _error(404, f"no route {match['route']}")

    @property
    def _xet_url(self) -> str:
        return f"local://{self.hub.folder / 'xet'}"

    @property
    def _xet_headers(self) -> dict[str, str]:
        expiration = str(int(time.time()) + 3600)
        return {
            "X-Xet-Cas-Url": self._xet_url,
            "X-Xet-Access-Token": "xet",
            "X-Xet-Token-Expiration": expiration,
        }

    def _info(self, repo: Repo, revision: str) -> _Reply:
        commit = repo.at(revision)
        if commit is None:
            return _no_revision(revision)
        siblings = [{"rfilename": path} for path in sorted(commit.tree)]
        content = {"id": repo.name, "sha": commit.oid, "siblings": siblings, "tags": [], "private": repo.is_private}
        return _json({**content, "lastModified": _DATE, "createdAt": _DATE})

    def _tree(self, repo: Repo, revision: str, folder: str, *, is_recursive: bool) -> _Reply:
        commit = repo.at(revision)
        if commit is None:
            return _no_revision(revision)
        prefix = f"{folder}/" if folder else ""
        inside = [path for path in sorted(commit.tree) if path.startswith(prefix)]
        if folder and not inside:
            return _error(404, f"{folder} does not exist", headers={"X-Error-Code": "EntryNotFound"})
        tails = {path: path.removeprefix(prefix).split("/") for path in inside}
        files = [_entry(path, commit.tree[path]) for path in inside if is_recursive or len(tails[path]) == 1]
        depths = {path: len(tail) - 1 if is_recursive else min(1, len(tail) - 1) for path, tail in tails.items()}
        folders = {prefix + "/".join(tails[path][:depth]) for path in inside for depth in range(1, depths[path] + 1)}
        rows = [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in sorted(folders)]
        return _json([*rows, *files])

    def _paths(self, repo: Repo, revision: str, paths: list[str]) -> _Reply:
        commit = repo.at(revision)
        if commit is None:
            return _no_revision(revision)
        return _json([_entry(path, commit.tree[path]) for path in paths if path in commit.tree])

    def _commit(self, repo: Repo, wanted: CommitRequest, *, branch: str, is_pull_request: bool) -> _Reply:
        if not self._is_known():
            return _expired()
        head = repo.at(branch)
        if head is None:
            return _no_revision(branch)
        if wanted.parent is not None and wanted.parent != head.oid:
            return _error(412, "A commit has happened since. Please refresh and try again.")
        changes: dict[str, Blob | None] = {path: blob_of(content) for path, content in wanted.files.items()}
        for path, (sha256, size) in wanted.lfs_files.items():
            changes[path] = lfs_blob(sha256=sha256, size=size, content=self.hub.objects.get(sha256))
        changes |= dict.fromkeys(wanted.deleted)
        base = f"{self.hub.url}/{'' if repo.kind == 'model' else repo.kind + 's/'}{repo.name}"
        if is_pull_request:
            pull = {"pullRequestUrl": f"{base}/discussions/1"}
            return _json({"success": True, "commitOid": repo.head.oid, "commitUrl": f"{base}/commit/pr", **pull})
        commit = repo.add(wanted.title, changes, branch=branch)
        return _json({"success": True, "commitOid": commit.oid, "commitUrl": f"{base}/commit/{commit.oid}"})

    def _batch(self, wanted: dict[str, Any]) -> _Reply:
        objects = []
        for item in wanted["objects"]:
            sha256, size = item["oid"], item["size"]
            signed = f"{self.hub.url}/lfs/{sha256}?X-Amz-Signature=ab"
            missing = {} if sha256 in self.hub.objects else {"actions": {"upload": {"href": signed}}}
            objects.append({"oid": sha256, "size": size, **missing})
        return _json({"transfer": "basic", "objects": objects})

    def _lfs_object(self, sha256: str, body: bytes) -> _Reply:
        if self.command == "PUT":
            if hashlib.sha256(body).hexdigest() != sha256:
                return _error(400, "the content is not what its name says")
            self.hub.objects[sha256] = body
            return _Reply(200)
        return _Reply(200, self.hub.objects[sha256])

    def _file(self, repo: Repo, revision: str, path: str) -> _Reply:
        commit = repo.at(revision)
        if commit is None:
            return _no_revision(revision)
        blob = commit.tree.get(path)
        commit_header = {"X-Repo-Commit": commit.oid}
        if blob is None:
            return _error(404, f"no {path}", headers={"X-Error-Code": "EntryNotFound", **commit_header})
        headers = {"ETag": f'"{blob.lfs or blob.oid}"', "Accept-Ranges": "bytes", **commit_header}
        content = blob.content
        if content is None:
            return self._xet_file(repo, revision, blob, headers)
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if span is None:
            return _Reply(200, content, headers)
        first, last = int(span[1]), min(int(span[2] or len(content)), len(content) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return _Reply(206, content[first : last + 1], headers)

    def _xet_file(self, repo: Repo, revision: str, blob: Blob, headers: dict[str, str]) -> _Reply:
        """Say where the client finds the bytes that it stored without this server."""
        hash_ = xet_hash(self.hub.folder / "xet", blob.lfs or "")
        if hash_ is None:
            return _error(404, f"no content of {blob.lfs}", headers={"X-Error-Code": "EntryNotFound"})
        tokens = f"{self.hub.url}/api/{repo.kind}s/{repo.name}/xet-read-token/{revision}"
        where = {"X-Xet-Hash": hash_, "X-Xet-Refresh-Route": tokens}
        return _Reply(200, b"", {**headers, **where, "X-Linked-Size": str(blob.size), "Content-Length": "0"})


_DATE = "2025-01-20T00:00:00.000Z"
_POINTER_BYTES = 134
"""Of a typical LFS pointer; the client only carries the number about."""
_ROUTES = {"create": "create", "preupload": "preupload", "commit": "commit", "tree": "tree", "paths-info": "paths-info",
           "xet-write-token": "xet", "xet-read-token": "xet"}  # fmt: skip


def _route(path: str) -> str:
    """Name the route of a path, as faults do."""
    if path.startswith("/lfs/"):
        return "storage"
    if _BATCH.match(path):
        return "lfs"
    if _FILE.match(path):
        return "resolve"
    if path == "/api/repos/create":
        return "create"
    match = _API.match(path)
    return "other" if match is None else _ROUTES.get(match["route"] or "", "info")


def _mode(repo: Repo, file: dict[str, Any]) -> dict[str, Any]:
    is_large = file["path"].endswith(".parquet") or file["size"] > 10 * 2**20
    there = repo.head.tree.get(file["path"])
    return {
        "path": file["path"],
        "uploadMode": "lfs" if is_large else "regular",
        "shouldIgnore": False,
        "oid": None if there is None else there.lfs or there.oid,
    }


def _entry(path: str, blob: Blob) -> dict[str, Any]:
    lfs = {} if blob.lfs is None else {"lfs": {"oid": blob.lfs, "size": blob.size, "pointerSize": _POINTER_BYTES}}
    return {"type": "file", "path": path, "size": blob.size, "oid": blob.oid, **lfs}


def _ref(name: str, oid: str) -> dict[str, str]:
    return {"name": name, "ref": f"refs/heads/{name}", "targetCommit": oid}


def _json(content: object, **headers: str) -> _Reply:
    return _Reply(200, json.dumps(content).encode(), {"Content-Type": "application/json", **headers})


def _error(status: int, message: str, *, headers: dict[str, str] | None = None, **body: str) -> _Reply:
    content = json.dumps({"error": message, **body}).encode()
    return _Reply(status, content, {"Content-Type": "application/json", "X-Error-Message": message, **(headers or {})})


def _missing() -> _Reply:
    return _error(404, "Repository not found", headers={"X-Error-Code": "RepoNotFound"})


def _no_revision(revision: str) -> _Reply:
    return _error(404, f"no revision {revision}", headers={"X-Error-Code": "RevisionNotFound"})


def _expired() -> _Reply:
    return _error(401, "Invalid credentials in Authorization header")
