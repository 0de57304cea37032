"""Made-up benchmarks, responses, tokenizers, and a Hub to read data sets from."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import string
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

from pytest_r1eval.core.benchmarks import Benchmark, Problem
from pytest_r1eval.core.built_in import BUILT_IN
from pytest_r1eval.core.records import FinishReason, Response

DATE = dt.date(2025, 1, 1)
DATA = Path(__file__).parent / "data"
HUB_COMMIT = "0123456789abcdef0123456789abcdef01234567"
"""The commit of every data set on the `hub` fixture."""
BUILT_IN_BY_NAME = {benchmark.name: benchmark for benchmark in BUILT_IN}
PROBE = Problem(id="probe", query="", instruction=None, choices=("1",), gold_index=0)
"""For task toy:probe, which does what the response says."""

SECRETS = {
    "HF_TOKEN": "hf_made_up",
    "GITHUB_TOKEN": "made up",
    "OPENAI_API_KEY": "made up",
    "AWS_SECRET_ACCESS_KEY": "made up",
    "AWS_PROFILE": "made up",
    "DB_PASSWORD": "made up",
    "DEPLOY_KEY": "made up",
    "GH_PAT": "made up",
    "SOME_CLIENTS_LOGIN": f"hf_{'madeup' * 5}",
    "HTTPS_PROXY": "http://somebody:made-up@127.0.0.1:9",
}
"""What the environment of the `pool` fixture holds and no scoring process may see."""


def toy(task: str, *, module: str | None = None, revision: str | None = None) -> Benchmark:
    """Make a benchmark of one of the tasks in toy_tasks.py, or in another module."""
    return Benchmark(
        name=task.replace(":", "_"),
        mark="toy",
        task=task,
        task_module=str(DATA / "toy_tasks.py") if module is None else module,
        samples_per_problem=1,
        revision=revision,
    )


def said(text: str, *, finish_reason: FinishReason = FinishReason.STOP) -> Response:
    """Make a response."""
    return Response(text=text, n_tokens=len(text), finish_reason=finish_reason)


class Hub(ThreadingHTTPServer):
    """Speaks as much of the Hub's HTTP as its client needs to read a data set; one is gated, one hangs up."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _HubRequest)
        self.authorizations: set[str | None] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"


class _HubRequest(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    content = (DATA / "toy" / "test.jsonl").read_bytes()

    def do_GET(self) -> None:
        cast("Hub", self.server).authorizations.add(self.headers["Authorization"])
        if "unreachable" in self.path:
            self.close_connection = True
        elif "missing" in self.path:
            self._answer(401, x_error_code="RepoNotFound")
        elif "gated" in self.path and "/resolve/" in self.path:
            self._answer(401, x_error_code="GatedRepo")
        elif self.path.endswith("test.jsonl"):
            etag = hashlib.sha256(self.content).hexdigest()
            self._answer(200, self.content, etag=f'"{etag}"', x_repo_commit=HUB_COMMIT)
        elif "/resolve/" in self.path:
            self._answer(404, x_error_code="EntryNotFound")
        elif "/tree/" in self.path:
            self._answer(
                200, json.dumps([{"type": "file", "path": "test.jsonl", "size": len(self.content), "oid": "0" * 40}])
            )
        else:
            self._answer(200, json.dumps({"id": "made-up", "sha": HUB_COMMIT, "siblings": [], "tags": []}))

    do_HEAD = do_GET  # noqa: N815 - the name http.server looks for

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, status: int, body: bytes | str = b"", **headers: str) -> None:
        content = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def write_shard(path: Path, tensors: Sequence[str] = ("w",), *, n_bytes: int = 4) -> None:
    """Write a safetensors file of tensors of so many bytes each."""
    header = {
        name: {"dtype": "I8", "shape": [n_bytes], "data_offsets": [number * n_bytes, (number + 1) * n_bytes]}
        for number, name in enumerate(tensors)
    }
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + n_bytes * len(tensors))  # sparse


def write_tokenizer(folder: Path, *, chat_template: str | None) -> None:
    """Write tokenizer.json and tokenizer_config.json; a character's token id is its place in string.printable + 2."""
    special = {
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
    tokenizer = {
        "version": "1.0",
        "added_tokens": [{"id": id_, "content": name, **special} for id_, name in enumerate(("<unk>", "<bos>"))],
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<bos>": {"id": "<bos>", "ids": [1], "tokens": ["<bos>"]}},
        },
        "decoder": {"type": "Fuse"},
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "vocab": {name: id_ for id_, name in enumerate(("<unk>", "<bos>", *string.printable))},
            "merges": [],
        },
    }
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<bos>", "unk_token": "<unk>"}
    if chat_template is not None:
        config["chat_template"] = chat_template
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
