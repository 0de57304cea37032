"""Baselines on the Hub, through the real huggingface_hub client: found, cached, or refused in a line that helps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError

from pytest_r1eval.baselines.from_hub import commit_of, fetch
from pytest_r1eval.errors import BaselineError
from pytest_r1eval.hub.errors import MAX_CHARS
from tests.hub_client import Client, client
from tests.hub_server import TOKEN, StandInHub, Trouble
from tests.judged_runs import judged
from tests.recordings import record_run

REPO = "acme/baselines"
PLACE = f"hf://datasets/{REPO}/small/toy.json"


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Record a run as a baseline and return its file."""
    folder = tmp_path_factory.mktemp("base")
    judged(record_run(folder / "base", seed=1), root=folder)
    return (folder / "baselines/local/toy.json").read_bytes()


@pytest.fixture
def hub(served: StandInHub, content: bytes) -> StandInHub:
    """Put the baseline, and a file that is none, into a private data set."""
    served.reset()
    repo = served.make_repo(
        REPO, files={"small/toy.json": content, "broken.json": b"{", "other.json": b"{}", "late.json": b"{}"}
    )
    repo.is_private = True
    return served


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for the client's cache."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def online(served: StandInHub, home: Path) -> Iterator[Client]:
    """Start a client that may read."""
    with client(served.environment(home)) as found:
        yield found


class TestFetch:
    def test_a_private_file_with_its_commit(self, hub: StandInHub, online: Client, content: bytes) -> None:
        """A private file is read by its branch and by a pinned commit."""
        commit = hub.repo(REPO).head.oid
        for place in (PLACE, f"hf://datasets/{REPO}@{commit}/small/toy.json"):
            answer = online.fetch(place)
            assert answer["error"] is None
            assert (answer["text"].encode(), answer["commit"]) == (content, commit)

    @pytest.mark.parametrize(
        ("place", "words"),
        [
            (
                "hf://datasets/acme/nothing/toy.json",
                (
                    "there is no data set acme/nothing, or the token may not see it; check the name, and set HF_TOKEN "
                    "(or hf auth login) if it is private"
                ),
            ),
            (f"hf://datasets/{REPO}/toy.json", f"the data set {REPO} has no file toy.json at main; check the path"),
            (
                f"hf://datasets/{REPO}@v2/small/toy.json",
                f"the data set {REPO} has no revision v2; name a branch, a tag or a commit of it",
            ),
        ],
        ids=["repository", "file", "revision"],
    )
    def test_what_is_not_there(self, hub: StandInHub, online: Client, place: str, words: str) -> None:
        """A missing data set, file or revision is named with what to do."""
        assert hub.repos
        assert online.fetch(place)["error"] == f"{place}: {words}"

    @pytest.mark.parametrize(
        ("trouble", "words"),
        [
            (Trouble.FORBIDDEN, f"the token may not read the data set {REPO}; use one that may"),
            (Trouble.EXPIRED, "the Hub does not take the token: expired or revoked; log in again (hf auth login)"),
            (Trouble.TALKATIVE, "the Hub answers 400 ("),
        ],
    )
    def test_no_permission(self, hub: StandInHub, online: Client, trouble: Trouble, words: str) -> None:
        """A refused token is reported in one line, which does not contain the token and has no cause that could."""
        place = f"hf://datasets/{REPO}/{trouble.name}.json"  # nothing is in the cache under this name
        hub.fail("resolve", trouble, times=9)
        answer = online.fetch(place)
        assert answer["error"].startswith(f"{place}: {words}")
        assert "\n" not in answer["error"]
        assert len(answer["error"]) < MAX_CHARS + 250
        assert TOKEN not in answer["error"]
        assert answer["causes"] == ["None"]

    def test_nobody_logged_in(self, hub: StandInHub, tmp_path: Path) -> None:
        """A private data set does not exist for a stranger, and the line says that as well."""
        with client(hub.environment(tmp_path, token=None)) as stranger:
            assert "or the token may not see it" in stranger.fetch(PLACE)["error"]

    def test_offline_the_cache_answers(self, hub: StandInHub, online: Client, content: bytes, home: Path) -> None:
        """Offline, a fetched file comes from the cache, and another one is refused without asking the Hub."""
        fetched = online.fetch(PLACE)
        hub.requests.clear()
        with client({**hub.environment(home), "HF_HUB_OFFLINE": "1"}) as offline:
            answer = offline.fetch(PLACE)
            assert (answer["text"].encode(), answer["commit"]) == (content, fetched["commit"])
            place = f"hf://datasets/{REPO}/late.json"
            assert offline.fetch(place)["error"] == (
                f"{place}: it is not in the cache, and HF_HUB_OFFLINE is set; fetch it once with a network, or name a "
                "local file"
            )
        assert hub.requests == []

    @pytest.mark.parametrize("place", ["hf://acme/baselines/toy.json", "hf://datasets/acme/toy.json", f"{PLACE}l"])
    def test_a_place_that_is_none(self, place: str) -> None:
        """A malformed place is refused before the Hub is asked."""
        with pytest.raises(Exception, match=r"expected hf://datasets/ORG/REPO/PATH\.json, with @REVISION after REPO"):
            fetch(place)


def test_an_address_that_has_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A storage that refuses a signed address is reported as such, and the token is not blamed."""

    def refused(*_: object, **__: object) -> None:
        request = httpx.Request("GET", "https://storage/toy.json?Expires=1&Signature=ab")
        reply: Any = httpx.Response(403, request=request)  # whichever httpx the client has
        raise HfHubHTTPError("403", response=reply)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refused)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # the Hub is not asked whether it is there
    with pytest.raises(BaselineError, match=r"toy\.json: the Hub answers 403 \(.*\. Try again later"):
        fetch(PLACE)


def test_the_commit_of_a_file_that_is_no_download() -> None:
    """The commit of a file that was not downloaded is "unknown", not made up."""
    assert commit_of(Path("/a/b/toy.json")) == "unknown"


class TestCommand:
    def test_a_run_is_compared_with_it(self, hub: StandInHub, online: Client, tmp_path: Path) -> None:
        """`compare` prints the Hub's file and its commit as the source of the baseline."""
        record_run(tmp_path / "same", seed=2)
        code, printed = online.r1eval(tmp_path, "compare", "same", PLACE)
        assert code == 0, printed
        assert f"  baseline: {PLACE} at commit {hub.repo(REPO).head.oid[:12]}, run base" in printed.splitlines()

    def test_it_is_shown_and_diffed_but_not_written(self, hub: StandInHub, online: Client, tmp_path: Path) -> None:
        """A baseline on the Hub is shown and diffed, and commands that would write it are refused."""
        assert hub.repos
        code, printed = online.r1eval(tmp_path, "baseline", "show", PLACE, "--json")
        assert (code, json.loads(printed)["model"]) == (0, "local/toy")
        assert online.r1eval(tmp_path, "baseline", "diff", PLACE, PLACE) == (0, "no change\n")
        record_run(tmp_path / "run", seed=2)
        for command in (("record", "run", PLACE), ("bless", "run", PLACE), ("verify", PLACE)):
            code, printed = online.r1eval(tmp_path, "baseline", *command)
            assert (code, printed.count("\n")) == (2, 1)
            assert "expected org/name or a file here" in printed
        assert [path.name for path in tmp_path.iterdir()] == ["run"]

    @pytest.mark.parametrize(
        ("name", "words"),
        [("broken", "found no JSON (Expecting property name"), ("other", "schema_version"), ("absent", "has no file")],
    )
    def test_what_cannot_be_used_is_one_line(
        self, hub: StandInHub, online: Client, tmp_path: Path, name: str, words: str
    ) -> None:
        """A file that cannot be used is one line with its place on the Hub, not in the cache, and exit code 2."""
        assert hub.repos
        record_run(tmp_path / "same", n_samples=2)
        place = f"hf://datasets/{REPO}/{name}.json"
        code, printed = online.r1eval(tmp_path, "compare", "same", place)
        assert (code, printed.count("\n")) == (2, 1), printed
        assert f"{place}" in printed
        assert words in printed
        assert "snapshots" not in printed


def test_a_gate_against_the_hub(
    hub: StandInHub,
    pytester: pytest.Pytester,
    recorded: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`--r1-baseline hf://...` decides a gate and prints the commit; no token is printed or stored."""
    for name, value in hub.environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    recorded("worse", seed=2, weights="w2", solve_rate=0.1)
    options = ("-m", "smoke", "--r1-engine", "replay", "-p", "no:cacheprovider", "-p", "no:randomly")
    result = pytester.runpytest_subprocess("--r1-model", "worse", "--r1-baseline", PLACE, *options)
    assert result.ret == 1
    commit = hub.repo(REPO).head.oid[:12]
    result.stdout.fnmatch_lines(["smoke * FAIL_REGRESSED"])
    assert f"  baseline: {PLACE} at commit {commit}, run base" in result.stdout.str()
    kept = b"".join(path.read_bytes() for path in pytester.path.rglob("*") if path.is_file())
    assert TOKEN.encode() not in kept + result.stdout.str().encode() + result.stderr.str().encode()
