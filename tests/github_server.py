"""GitHub's API of issue comments on this machine, as far as a comment on a pull request asks for it."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

ROBOT = "github-actions[bot]"


@dataclass(kw_only=True)
class StandInGitHub:
    """
    What it holds, and what it was asked.

    Attributes:
        url: Its address.
        token: The token that may write.
        reading_token: A token that may only read, as a fork's.
        login: Whose the tokens are; None for a job's own, which may not ask.
        moved_to: Where it sends every request instead; None for an API that answers.
        comments: Of pull request 7 of acme/models.
        asked: Method and path of each request.
    """

    url: str = ""
    token: str = "t0ken-that-may-write"  # noqa: S105 - made up
    reading_token: str = "t0ken-of-a-fork"  # noqa: S105 - made up
    login: str | None = None
    moved_to: str | None = None
    comments: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def add(self, body: str, *, by: str) -> dict[str, Any]:
        """Write a comment as some account."""
        number = len(self.comments) + 1
        url = f"https://github.test/acme/models/pull/7#issuecomment-{number}"
        self.comments.append({"id": number, "body": body, "user": {"login": by}, "html_url": url})
        return self.comments[-1]

    def answer(self, method: str, path: str, *, token: str, body: str | None) -> tuple[int, object]:
        """Answer one request."""
        parts = urlsplit(path)
        self.asked.append((method, parts.path))
        if token not in {self.token, self.reading_token}:
            return 401, {"message": "Bad credentials"}
        may_not_ask = parts.path == "/user" and self.login is None
        if may_not_ask or (method != "GET" and token == self.reading_token):
            return 403, {"message": "Resource not accessible by integration"}
        if parts.path == "/user":
            return 200, {"login": self.login}
        return self._of_comments(method, parts, body)

    def _of_comments(self, method: str, parts: SplitResult, body: str | None) -> tuple[int, object]:
        if method == "PATCH" and (one := re.fullmatch(r"/repos/acme/models/issues/comments/(\d+)", parts.path)):
            found = self.comments[int(one[1]) - 1]
            found["body"] = body
            return 200, found
        if parts.path != "/repos/acme/models/issues/7/comments":
            return 404, {"message": "Not Found"}
        if method == "POST":
            return 201, self.add(body or "", by=self.login or ROBOT)
        query = parse_qs(parts.query)
        size, page = int(query["per_page"][0]), int(query["page"][0])
        return 200, self.comments[(page - 1) * size : page * size]


@contextmanager
def github() -> Iterator[StandInGitHub]:
    """Serve GitHub's API for a while."""
    held = StandInGitHub()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length))["body"] if length else None
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            status, content = held.answer(self.command, self.path, token=token, body=body)
            text = json.dumps(content).encode()
            self.send_response(301 if held.moved_to else status)
            if held.moved_to:
                self.send_header("Location", f"{held.moved_to}{self.path}")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = _answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    held.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield held
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
