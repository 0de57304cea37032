"""
A process with the real huggingface_hub client, which does what it is told, line by line.

`HF_ENDPOINT` and `HF_HUB_DISABLE_XET` are read when the client is imported, so it
cannot run in the tests' own process; one process serves a whole module of tests.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from pytest_r1eval.core.choices import UploadLayout
from pytest_r1eval.core.uploads import UploadWishes


class Client:
    """The tests' end of such a process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def upload(self, run: Path, wishes: UploadWishes, **patience: float) -> dict[str, Any]:
        """Upload a run's folder; say what came of it, and how long it would have waited."""
        return self._ask("upload", run=str(run), wishes=asdict(wishes), patience=patience)

    def push(self, folder: Path, repo: str, *, branch: str, **patience: float) -> dict[str, Any]:
        """Push a checkpoint; say what came of it."""
        return self._ask("push", folder=str(folder), repo=repo, branch=branch, patience=patience)

    def load(self, repo: str, config: str, split: str) -> list[dict[str, Any]]:
        """Load a split through datasets, as anybody would."""
        rows: list[dict[str, Any]] = self._ask("load", repo=repo, config=config, split=split)["rows"]
        return rows

    def fetch(self, place: str) -> dict[str, Any]:
        """Fetch a baseline from the Hub; say what is in it and of which commit it is."""
        return self._ask("fetch", place=place)

    def r1eval(self, folder: Path, *arguments: str) -> tuple[int, str]:
        """Run the command in a folder; return its exit code and what it printed, on either stream."""
        answer = self._ask("r1eval", folder=str(folder), arguments=arguments)
        return answer["code"], answer["printed"]

    def splits(self, repo: str, config: str) -> list[str]:
        """List the splits that datasets finds."""
        found: list[str] = self._ask("splits", repo=repo, config=config)["splits"]
        return found

    def _ask(self, command: str, **arguments: object) -> dict[str, Any]:
        into, out = self._process.stdin, self._process.stdout
        assert into is not None
        assert out is not None
        into.write(json.dumps({"command": command, **arguments}) + "\n")
        into.flush()
        line = out.readline()
        assert line, "the client's process died"
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextlib.contextmanager
def client(environment: Mapping[str, str]) -> Iterator[Client]:
    """Start a client; `environment` is added to the usual one."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.hub_client"],
        cwd=Path(__file__).parents[1],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Client(process)
    finally:
        process.communicate(timeout=60)


def serve(lines: IO[str], out: IO[str]) -> None:
    """Answer each line."""
    for line in lines:
        asked = json.loads(line)
        print(json.dumps(_COMMANDS[asked.pop("command")](**asked)), file=out, flush=True)


def _upload(run: str, wishes: dict[str, Any], patience: dict[str, Any]) -> dict[str, Any]:
    from pytest_r1eval.errors import R1EvalError  # noqa: PLC0415
    from pytest_r1eval.upload import publish  # noqa: PLC0415 - not in the tests' process
    from pytest_r1eval.upload.package import pack  # noqa: PLC0415

    slept: list[float] = []
    wished = UploadWishes(**{**wishes, "layout": UploadLayout(wishes["layout"])})
    try:
        package = pack(Path(run), wished)
        how = publish.Patience(**patience, sleep=slept.append)
        receipt = publish.publish(package, patience=how)
        page = None
        if wished.model_page is not None:
            scores, source = package.page.scores, receipt.url
            page = publish.publish_page(wished.model_page, scores, source=source, patience=how)
    except R1EvalError as error:
        return {"error": str(error), "receipt": None, "slept": slept}
    return {"error": None, "receipt": asdict(receipt), "page": page and asdict(page), "slept": slept}


def _push(folder: str, repo: str, branch: str, patience: dict[str, Any]) -> dict[str, Any]:
    from pytest_r1eval.errors import R1EvalError  # noqa: PLC0415
    from pytest_r1eval.upload import publish  # noqa: PLC0415 - not in the tests' process

    slept: list[float] = []
    try:
        how = publish.Patience(**patience, sleep=slept.append)
        receipt = publish.publish_checkpoint(Path(folder), repo, branch=branch, patience=how)
    except R1EvalError as error:
        return {"error": str(error), "receipt": None, "slept": slept}
    return {"error": None, "receipt": asdict(receipt), "slept": slept}


def _load(repo: str, config: str, split: str) -> dict[str, Any]:
    import datasets  # noqa: PLC0415 - not in the tests' process

    return {"rows": list(datasets.load_dataset(repo, config, split=split))}


def _splits(repo: str, config: str) -> dict[str, Any]:
    import datasets  # noqa: PLC0415 - not in the tests' process

    return {"splits": datasets.get_dataset_split_names(repo, config)}


def _fetch(place: str) -> dict[str, Any]:
    from pytest_r1eval.baselines.from_hub import commit_of, fetch  # noqa: PLC0415
    from pytest_r1eval.errors import R1EvalError  # noqa: PLC0415 - not in the tests' process

    try:
        path = fetch(place)
    except R1EvalError as error:
        return {"error": str(error), "causes": [repr(error.__cause__)]}
    return {"error": None, "text": path.read_text(encoding="utf-8"), "commit": commit_of(path)}


def _r1eval(folder: str, arguments: list[str]) -> dict[str, Any]:
    from pytest_r1eval.commands.cli import main  # noqa: PLC0415 - not in the tests' process

    printed = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = main(arguments)
    return {"code": code, "printed": printed.getvalue()}


_COMMANDS: Mapping[str, Callable[..., dict[str, Any]]] = {
    "upload": _upload,
    "push": _push,
    "load": _load,
    "splits": _splits,
    "fetch": _fetch,
    "r1eval": _r1eval,
}


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    serve(sys.stdin, answers)
