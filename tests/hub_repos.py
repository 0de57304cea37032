"""The repositories of a stand-in Hub: commits, trees and blobs in memory."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """One file's content; `lfs` is its SHA-256 where it went to large-file storage."""

    oid: str
    size: int
    content: bytes | None
    lfs: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One commit, and the whole tree after it."""

    oid: str
    title: str
    tree: dict[str, Blob]


@dataclass(slots=True, kw_only=True)
class Repo:
    """A repository; branches beside the main one begin at its head."""

    kind: str
    name: str
    is_private: bool = False
    commits: list[Commit] = field(default_factory=list)
    branches: dict[str, list[Commit]] = field(default_factory=dict)

    @property
    def head(self) -> Commit:
        """The newest commit."""
        return self.commits[-1]

    def at(self, revision: str) -> Commit | None:
        """Find a commit by the name of its branch or by its id."""
        if (line := self.line(revision.removeprefix("refs/heads/"))) is not None:
            return line[-1]
        commits = [commit for line in (self.commits, *self.branches.values()) for commit in line]
        return next((commit for commit in commits if commit.oid == revision), None)

    def line(self, branch: str) -> list[Commit] | None:
        """Return a branch's commits; None where there is no such branch."""
        return self.commits if branch == "main" else self.branches.get(branch)

    def add(self, title: str, changes: dict[str, Blob | None], *, branch: str = "main") -> Commit:
        """Commit changes; None deletes a file."""
        line = self.commits if branch == "main" else self.branches[branch]
        tree = dict(line[-1].tree) if line else {}
        for path, blob in changes.items():
            if blob is None:
                tree.pop(path, None)
            else:
                tree[path] = blob
        content = [self.name, branch, len(line), title, sorted((path, blob.oid) for path, blob in tree.items())]
        oid = hashlib.sha1(json.dumps(content).encode(), usedforsecurity=False).hexdigest()
        line.append(Commit(oid=oid, title=title, tree=tree))
        return line[-1]

    def read(self, path: str) -> bytes:
        """Return a file of the newest commit, as far as its bytes came here."""
        content = self.head.tree[path].content
        assert content is not None, f"{path} went to Xet storage"
        return content


def blob_of(content: bytes) -> Blob:
    """Make a file that git itself keeps."""
    oid = hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()
    return Blob(oid=oid, size=len(content), content=content)


def lfs_blob(*, sha256: str, size: int, content: bytes | None) -> Blob:
    """Make a file of the large-file storage; its git id is the pointer's."""
    oid = hashlib.sha1(f"pointer {sha256}".encode(), usedforsecurity=False).hexdigest()
    return Blob(oid=oid, size=size, content=content, lfs=sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitRequest:
    """What a client sends to be committed."""

    title: str
    parent: str | None
    files: dict[str, bytes]
    lfs_files: dict[str, tuple[str, int]]
    deleted: tuple[str, ...]

    @classmethod
    def loads(cls, body: bytes) -> CommitRequest:
        """Read the client's JSON Lines."""
        lines = [json.loads(line) for line in body.splitlines() if line.strip()]
        values: dict[str, list[dict[str, Any]]] = {}
        for line in lines:
            values.setdefault(line["key"], []).append(line["value"])
        (header,) = values["header"]
        return cls(
            title=header["summary"],
            parent=header.get("parentCommit"),
            files={value["path"]: base64.b64decode(value["content"]) for value in values.get("file", [])},
            lfs_files={value["path"]: (value["oid"], value["size"]) for value in values.get("lfsFile", [])},
            deleted=tuple(value["path"] for value in values.get("deletedFile", [])),
        )


_RECORD_BYTES = 48
"""A shard's header, and every record of it."""
_HAS_VERIFICATION, _HAS_SHA256 = 1 << 31, 1 << 30


def xet_hash(folder: Path, sha256: str) -> str | None:
    """
    Find what Xet calls a file, in the shards that its client left in local storage; None if it is not there.

    A shard lists files first: a header (hash, flags, number of segments), the segments, as many verification
    records where a flag says so, and a record with the SHA-256 where another does. Hashes are four
    little-endian words; a header of ones ends the list.
    """
    for shard in folder.rglob("shards/*.mdb"):
        content, place = shard.read_bytes(), _RECORD_BYTES
        while (record := content[place : place + 32]) != b"\xff" * 32 and len(record) == 32:
            flags, n_segments = struct.unpack_from("<II", content, place + 32)
            place += _RECORD_BYTES * (1 + n_segments * (2 if flags & _HAS_VERIFICATION else 1))
            if flags & _HAS_SHA256:
                if _hex(content[place : place + 32]) == sha256:
                    return _hex(record)
                place += _RECORD_BYTES
    return None


def _hex(hash_: bytes) -> str:
    return "".join(f"{word:016x}" for word in struct.unpack("<4Q", hash_))
