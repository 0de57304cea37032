"""Uploads, by the real huggingface_hub client, to a Hub on this machine that can be made to fail."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import LocalEntryNotFoundError

from pytest_r1eval.core.choices import UploadLayout
from pytest_r1eval.core.records import Outcome
from pytest_r1eval.core.uploads import UploadWishes
from pytest_r1eval.errors import UploadError
from pytest_r1eval.hub.errors import scrubbed
from pytest_r1eval.upload.package import pack
from pytest_r1eval.upload.paths import RunFiles
from pytest_r1eval.upload.publish import Patience, publish
from pytest_r1eval.upload.record import UploadRecord, write_record
from tests.hub_client import Client, client
from tests.hub_repos import Repo
from tests.hub_server import TOKEN, StandInHub, Trouble
from tests.judged_runs import judged, judged_run

REPO = "acme/runs"
TEMPLATE = "additional_chat_templates/tool_use.jinja"
WISHES = UploadWishes(repo=REPO)
R1EVAL = "from pytest_r1eval.commands.cli import main; raise SystemExit(main())"
Record = Callable[..., Path]


@pytest.fixture
def hub(served: StandInHub) -> StandInHub:
    """Empty the Hub."""
    served.reset()
    return served


@pytest.fixture(scope="module")
def lfs(served: StandInHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Start a client that sends large files by LFS."""
    with client(served.environment(tmp_path_factory.mktemp("home"))) as found:
        yield found


@pytest.fixture
def run(tmp_path: Path) -> RunFiles:
    """Record and judge a run."""
    return judged_run(tmp_path / "20250120-100000-ab12", n_problems=3, n_samples=4)


def content_of(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def n_runs(repo: Repo) -> int:
    """Count the commits that uploads made."""
    return sum(commit.title.startswith("Run ") for commit in repo.commits)


class TestCommit:
    def test_one_commit_holds_everything(self, hub: StandInHub, lfs: Client, run: RunFiles) -> None:
        """One commit holds details, results, verdicts and the card, in a private repository."""
        answer = lfs.upload(run.folder, WISHES)
        assert answer["error"] is None
        repo = hub.repo(REPO)
        assert repo.is_private
        assert n_runs(repo) == len(repo.commits) - 1 == 1
        assert sorted(repo.head.tree) == [
            f"{run.date}/details_smoke|0_{run.date}.parquet",
            "README.md",
            f"results_{run.date}.json",
            f"results_{run.date}.parquet",
            f"verdicts_{run.date}.json",
        ]
        assert repo.read(f"verdicts_{run.date}.json") == (run.folder / "verdicts.json").read_bytes()
        assert repo.head.oid == answer["receipt"]["commit"]
        assert f"{hub.url}/datasets/{REPO}" == answer["receipt"]["url"]

    def test_load_dataset(self, hub: StandInHub, lfs: Client, run: RunFiles) -> None:
        """Anybody with access loads the samples of the newest run, and the results."""
        lfs.upload(run.folder, UploadWishes(repo="acme"))
        repo = "acme/details_local__toy_private"
        assert [*hub.repos] == [("dataset", repo)]
        rows = lfs.load(repo, "smoke_0", "latest")
        assert [row["problem_id"] for row in rows] == ["p001", "p000", "p002"]
        assert {len(row["model_response"]["text"]) for row in rows} == {4}
        (results,) = lfs.load(repo, "results", "latest")
        assert "smoke|0" in json.loads(results["results"])

    def test_the_same_run_again_is_no_commit(self, hub: StandInHub, lfs: Client, run: RunFiles) -> None:
        """Uploading the same run again makes no commit."""
        first = lfs.upload(run.folder, WISHES)
        second = lfs.upload(run.folder, WISHES)
        assert (first["receipt"]["is_new"], second["receipt"]["is_new"]) == (True, False)
        assert first["receipt"]["commit"] == second["receipt"]["commit"]
        assert n_runs(hub.repo(REPO)) == 1

    def test_a_second_run_joins_the_first(self, hub: StandInHub, lfs: Client, run: RunFiles, tmp_path: Path) -> None:
        """Each run has its split, and a run that was completed later replaces only its own files."""
        other = judged_run(tmp_path / "20250120-100000-cd34", n_problems=3, n_samples=4, seed=2)
        stopped = judged_run(tmp_path / "half" / "20250120-100000-ab12", n_problems=3, n_samples=4, k_at_stop=2)
        for files in (stopped, other, run):
            assert lfs.upload(files.folder, WISHES)["error"] is None
        assert n_runs(hub.repo(REPO)) == 3
        splits = {date.replace("-", "_") for date in (run.date, other.date)}
        assert {*splits, "latest"} == set(lfs.splits(REPO, "smoke_0"))
        rows = lfs.load(REPO, "smoke_0", run.date.replace("-", "_"))
        assert {row["n_samples"] for row in rows} == {4}

    def test_xet(self, hub: StandInHub, run: RunFiles, tmp_path: Path) -> None:
        """
        An upload through Xet survives a busy storage and a lost reply, and its logs hold no token.

        Its bytes never pass through the Hub.
        """
        home = tmp_path / "home"
        with client(hub.environment(home, xet=True)) as xet:
            hub.fail("xet", Trouble.BUSY)
            hub.fail("commit", Trouble.DROPPED)
            assert xet.upload(run.folder, WISHES)["error"] is None
            assert xet.upload(run.folder, WISHES)["receipt"]["is_new"] is False
            rows = xet.load(REPO, "smoke_0", "latest")
        assert n_runs(hub.repo(REPO)) == 1
        assert not [path for path, content in content_of(home).items() if TOKEN.encode() in content]
        assert hub.objects == {}
        assert hub.n_requests("xet-write-token") > 0
        assert len(rows) == 3

    def test_open_r1_layout(self, hub: StandInHub, lfs: Client, run: RunFiles) -> None:
        """open-r1's layout has its names and holds the same samples under both kinds of config."""
        lfs.upload(run.folder, UploadWishes(repo="acme", layout=UploadLayout.OPEN_R1))
        name = "acme/details-local_toy"
        assert f"eval_results/local/toy/main/smoke/results_{run.date}.json" in hub.repo(name).head.tree
        assert lfs.load(name, f"main.smoke.{run.date}", "train") == lfs.load(name, "smoke_0", "latest")

    def test_a_stopped_run_has_samples_and_no_score(self, hub: StandInHub, lfs: Client, tmp_path: Path) -> None:
        """A run that stopped early is uploaded with its samples and without a score."""
        files = judged_run(tmp_path / "stopped", n_problems=3, n_samples=4, k_at_stop=2)
        lfs.upload(files.folder, WISHES)
        repo = hub.repo(REPO)
        results = json.loads(repo.read(f"results_{files.date}.json"))
        assert results["results"] == {}
        assert results["r1eval"]["benchmarks"]["smoke"]["score"] is None
        assert "| `smoke|0` | no score (stopped early) | - | - | 2 |" in repo.read("README.md").decode()
        assert {row["metric"]["pass@k:k=1"] for row in lfs.load(REPO, "smoke_0", "latest")} == {None}

    def test_an_invalid_run_has_no_score(self, hub: StandInHub, lfs: Client, tmp_path: Path) -> None:
        """An INVALID run is uploaded without a score."""
        files = judged_run(tmp_path / "broken", outcome=Outcome.ERROR)
        lfs.upload(files.folder, WISHES)
        assert (
            "| `smoke|0` | no score (see the verdict) | - | - | 8 | INVALID |"
            in hub.repo(REPO).read("README.md").decode()
        )

    def test_model_page(self, hub: StandInHub, lfs: Client, run: RunFiles) -> None:
        """A score of a whole benchmark goes to the model's page, in points, with how it was measured."""
        hub.make_repo("acme/model", kind="model")
        content = called_gpqa(run)
        wishes = UploadWishes(repo=REPO, model_page="acme/model")
        assert lfs.upload(run.folder, wishes)["page"]["is_new"]
        assert lfs.upload(run.folder, wishes)["page"]["is_new"] is False
        page = hub.repo("acme/model", kind="model").read(".eval_results/r1eval-gpqa.yaml").decode()
        score = content["results"]["smoke|0"]["pass@k:k=1"]
        for line in (
            "- dataset:",
            "    id: Idavidrein/gpqa",
            "    task_id: diamond",
            f"    revision: '{'1' * 40}'",
            f"  value: {round(100 * score, 2)}",
            "  date: '2025-01-20'",
            "  source:",
            f"    url: {hub.url}/datasets/{REPO}",
            "    name: Samples and verdicts",
        ):
            assert line in page.splitlines()
        assert "pass@1 over 4 samples per problem, temperature 0.6, top-p 0.95, 64 new tokens" in " ".join(page.split())

    def test_what_a_model_page_cannot_show_is_said(
        self, hub: StandInHub, lfs: Client, run: RunFiles, tmp_path: Path
    ) -> None:
        """A score on a data set that is no benchmark of the Hub is not written, and one line says why."""
        hub.make_repo("acme/model", kind="model")
        content = called_gpqa(run)
        content["r1eval"]["benchmarks"]["smoke"] |= {
            "task": "math_500|0", "n_problems": 500, "dataset": f"HuggingFaceH4/MATH-500@{'1' * 40}",
        }  # fmt: skip
        run.results.write_text(json.dumps(content))
        command = ("upload", str(run.folder), "--repo", REPO, "--model-page", "acme/model")
        code, printed = lfs.r1eval(tmp_path, *command)
        assert code == 0
        assert (
            "model page: nothing for acme/model: smoke (HuggingFaceH4/MATH-500 is not registered as a benchmark on the "
            "Hub)\n"
        ) in printed
        assert not [path for path in hub.repo("acme/model", kind="model").head.tree if ".eval_results" in path]

    def test_a_model_page_that_is_not_there(self, hub: StandInHub, lfs: Client, run: RunFiles, tmp_path: Path) -> None:
        """A missing model's page is an error that reports where the samples were uploaded."""
        called_gpqa(run)
        command = ("upload", str(run.folder), "--repo", REPO, "--model-page", "acme/model")
        code, printed = lfs.r1eval(tmp_path, *command)
        assert code == 2
        where = (
            f"the samples are at {hub.url}/datasets/{REPO}, but not the scores on the model's page: acme/model: there"
        )
        assert where in " ".join(printed.split())
        assert n_runs(hub.repo(REPO)) == 1


class TestCheckpoint:
    @pytest.fixture
    def checkpoint(self, tmp_path: Path) -> Path:
        """Make a checkpoint with a large and a small file, and a template in a folder of its own."""
        folder = tmp_path / "checkpoint-200"
        (folder / "additional_chat_templates").mkdir(parents=True)
        (folder / TEMPLATE).write_text("{{ messages }}")
        (folder / "model.safetensors").write_bytes(bytes(range(256)) * 64)
        (folder / "config.json").write_text("{}")
        return folder

    def test_it_is_pushed_to_a_branch(self, hub: StandInHub, lfs: Client, checkpoint: Path) -> None:
        """A checkpoint is pushed once to a branch of a private repository, and its main branch stays as it was."""
        first = lfs.push(checkpoint, "acme/model", branch="step-000000200")
        again = lfs.push(checkpoint, "acme/model", branch="step-000000200")
        repo = hub.repo("acme/model", kind="model")
        assert (first["error"], first["receipt"]["is_new"], again["receipt"]["is_new"]) == (None, True, False)
        assert repo.is_private
        assert {"config.json", "model.safetensors", TEMPLATE} <= {*repo.branches["step-000000200"][-1].tree}
        assert "config.json" not in repo.head.tree

    @pytest.mark.parametrize("trouble", [Trouble.BROKEN, Trouble.DROPPED, Trouble.OVERTAKEN])
    def test_troubles_pass(self, hub: StandInHub, lfs: Client, checkpoint: Path, trouble: Trouble) -> None:
        """A checkpoint's push survives a failing Hub, a lost reply and another commit."""
        hub.fail("commit", trouble)
        assert lfs.push(checkpoint, "acme/model", branch="step-1")["error"] is None
        assert "config.json" in hub.repo("acme/model", kind="model").branches["step-1"][-1].tree

    def test_no_permission(self, hub: StandInHub, lfs: Client, checkpoint: Path) -> None:
        """A token without permission is refused in one line that does not contain it."""
        hub.fail("commit", Trouble.FORBIDDEN)
        said = lfs.push(checkpoint, "acme/model", branch="step-1")["error"]
        assert said.startswith("acme/model: the token may not write there")
        assert TOKEN not in said


class TestTransientTroubles:
    @pytest.mark.parametrize(
        ("route", "trouble", "slept"),
        [
            ("commit", Trouble.BROKEN, [2.0]),
            ("commit", Trouble.BUSY, [7.0]),
            ("commit", Trouble.OVERTAKEN, [2.0]),
            ("commit", Trouble.DROPPED, [2.0]),
            ("commit", Trouble.HUNG_UP, [2.0]),
            ("commit", Trouble.SILENT, [2.0]),
            ("commit", Trouble.PORTAL, [2.0]),
            ("create", Trouble.BROKEN, [2.0]),
            ("create", Trouble.DROPPED, [2.0]),
            ("info", Trouble.BROKEN, [2.0]),
            ("info", Trouble.SILENT, [2.0]),
            ("tree", Trouble.SILENT, []),
            ("lfs", Trouble.BROKEN, []),
            ("storage", Trouble.BROKEN, []),
            ("storage", Trouble.FORBIDDEN, [2.0]),
        ],
    )
    def test_one_commit_in_the_end(  # noqa: PLR0917 - three fixtures, three values
        self, hub: StandInHub, lfs: Client, run: RunFiles, route: str, trouble: Trouble, slept: list[float]
    ) -> None:
        """A run is uploaded once, although the Hub fails, is busy, or loses its reply."""
        hub.fail(route, trouble)
        answer = lfs.upload(run.folder, WISHES, reply_timeout_s=1.0 if trouble is Trouble.SILENT else 60.0)
        assert answer["error"] is None
        assert slept == answer["slept"]
        assert n_runs(hub.repo(REPO)) == 1
        assert ("theirs.txt" in hub.repo(REPO).head.tree) == (trouble is Trouble.OVERTAKEN)

    def test_a_lost_reply_is_looked_for(self, hub: StandInHub, lfs: Client, run: RunFiles) -> None:
        """A commit that landed without a reply is found, not made again."""
        hub.fail("commit", Trouble.DROPPED)
        answer = lfs.upload(run.folder, WISHES)
        assert answer["receipt"]["is_new"] is False
        assert hub.repo(REPO).head.oid == answer["receipt"]["commit"]
        assert hub.n_requests(f"{REPO}/commit/") == 1

    def test_two_runs_at_once_keep_both(self, hub: StandInHub, lfs: Client, run: RunFiles, tmp_path: Path) -> None:
        """An upload that another one overtakes is tried again and keeps both runs."""
        other = judged_run(tmp_path / "20250120-100000-cd34", n_problems=3, n_samples=4, seed=2)
        lfs.upload(run.folder, WISHES)
        hub.fail("commit", Trouble.OVERTAKEN, times=3)
        answer = lfs.upload(other.folder, WISHES)
        assert answer["slept"] == [2.0, 4.0, 8.0]
        assert len(lfs.splits(REPO, "smoke_0")) == 3

    def test_no_answer_is_no_missing_file(self, run: RunFiles, monkeypatch: pytest.MonkeyPatch) -> None:
        """A Hub that does not answer is asked again, though the client reports a missing file."""

        def unanswered(*_: object, **__: object) -> None:
            raise LocalEntryNotFoundError("please check your connection")

        monkeypatch.setattr(HfApi, "create_repo", unanswered)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # the Hub is not asked whether it is there
        slept: list[float] = []
        with pytest.raises(UploadError, match=r", 2 times; expected the Hub to answer"):
            publish(pack(run.folder, WISHES), patience=Patience(n_attempts=2, sleep=slept.append))
        assert slept == [2.0]

    def test_nobody_answers(self, run: RunFiles, tmp_path: Path) -> None:
        """A Hub that cannot be reached is one line after the first answer's time limit, without another try."""
        with closing(socket.socket()) as silent:  # it accepts a connection and says nothing
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            refusing = "http://127.0.0.1:9"
            for url in (refusing, f"http://127.0.0.1:{silent.getsockname()[1]}"):
                environment = {"HF_ENDPOINT": url, "HF_HUB_OFFLINE": "0", "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path)}
                with client(environment) as alone:
                    begun = time.monotonic()
                    answer = alone.upload(run.folder, WISHES, unreachable_s=1.0)
                    assert time.monotonic() - begun < 10
                    assert answer["slept"] == []
                    assert answer["error"].startswith(f"{REPO}: the Hub does not answer (")
                    assert "expected any answer within 1 s" in answer["error"]

    def test_an_end_to_patience(self, hub: StandInHub, lfs: Client, run: RunFiles) -> None:
        """An upload to a Hub that stays down ends after its tries, with every local file as it was."""
        before = content_of(run.folder)
        hub.fail("commit", Trouble.BROKEN, times=99)
        answer = lfs.upload(run.folder, WISHES, n_attempts=4, longest_wait_s=5.0)
        assert answer["slept"] == [2.0, 4.0, 5.0]
        assert answer["error"] == (
            f"{REPO}: the Hub failed (500), 4 times; expected the Hub to answer. Try again later"
        )
        assert n_runs(hub.repo(REPO)) == 0
        assert before == content_of(run.folder)


class TestRefusals:
    @pytest.mark.parametrize(
        ("route", "trouble", "said"),
        [
            ("create", Trouble.EXPIRED, "the Hub does not take the token"),
            ("commit", Trouble.EXPIRED, "log in again"),
            ("commit", Trouble.FORBIDDEN, "the token may not write there; use one with write access"),
            ("info", Trouble.MISSING, "there is no such dataset repository; check its name"),
            ("preupload", Trouble.MISSING, "there is no such dataset repository"),
        ],
    )
    def test_one_line_and_no_second_try(  # noqa: PLR0917 - three fixtures, three values
        self, hub: StandInHub, lfs: Client, run: RunFiles, route: str, trouble: Trouble, said: str
    ) -> None:
        """An error that waiting does not cure is reported at once in one line, without the token."""
        hub.fail(route, trouble, times=2)
        answer = lfs.upload(run.folder, WISHES)
        assert said in answer["error"]
        assert "\n" not in answer["error"]
        assert TOKEN not in answer["error"]
        assert answer["slept"] == []

    def test_someone_elses_organisation(self, hub: StandInHub, lfs: Client, run: RunFiles) -> None:
        """An upload to an organisation where the token may not write is refused."""
        answer = lfs.upload(run.folder, UploadWishes(repo="others/runs"))
        assert answer["error"].startswith("others/runs: the token may not write there")
        assert hub.repos == {}

    def test_nobody_logged_in(self, hub: StandInHub, run: RunFiles, tmp_path: Path) -> None:
        """Without a token the upload is refused, with the way to log in."""
        with client(hub.environment(tmp_path / "home", token=None)) as nobody:
            assert "or there is none; log in again" in nobody.upload(run.folder, WISHES)["error"]

    def test_a_public_repository(self, hub: StandInHub, lfs: Client, run: RunFiles) -> None:
        """A public repository is refused until a public upload is asked for."""
        hub.make_repo(REPO)
        assert f"{REPO} is public, and the upload was to be private" in lfs.upload(run.folder, WISHES)["error"]
        assert n_runs(hub.repo(REPO)) == 0
        for repo in (REPO, "acme/new"):
            assert lfs.upload(run.folder, UploadWishes(repo=repo, is_public=True))["error"] is None
            assert not hub.repo(repo).is_private

    def test_a_repository_of_lightevals_own(self, hub: StandInHub, lfs: Client, run: RunFiles) -> None:
        """A repository with another program's details is refused, as other columns make all splits unreadable."""
        date = "2025-01-19T10-00-00.123456"
        repo = hub.make_repo(REPO, files={f"{date}/details_smoke|0_{date}.parquet": b"PAR1"})
        repo.is_private = True
        assert "which another program wrote" in lfs.upload(run.folder, WISHES)["error"]

    def test_a_card_of_somebody_is_kept(self, hub: StandInHub, lfs: Client, run: RunFiles) -> None:
        """The licence, configs and text of an existing card stay, and ours are added."""
        card = "---\nlicense: mit\nconfigs:\n- config_name: notes\n  data_files: notes.parquet\n---\n\n# Our runs\n"
        notes = run.results_table.read_bytes()
        repo = hub.make_repo(REPO, files={"README.md": card.encode(), "notes.parquet": notes})
        repo.is_private = True
        assert lfs.upload(run.folder, WISHES)["error"] is None
        found = repo.read("README.md").decode()
        assert "license: mit" in found
        assert "# Our runs" in found
        assert lfs.load(REPO, "notes", "train") == lfs.load(REPO, "results", "latest")
        assert len(lfs.load(REPO, "smoke_0", "latest")) == 3

    @pytest.mark.parametrize(
        "card",
        [
            b"---\nlicense: [mit\n---\n",
            b"---\n- a\n---\n",
            b"---\nconfigs: [a]\n---\n",
            b"---\nlicense: mit\n---\n\xe9",
        ],
        ids=["yaml", "fields", "configs", "encoding"],
    )
    def test_a_card_that_cannot_be_read_is_kept(self, hub: StandInHub, lfs: Client, run: RunFiles, card: bytes) -> None:
        """A card that cannot be read is not rewritten, and nothing is uploaded."""
        repo = hub.make_repo(REPO, files={"README.md": card})
        repo.is_private = True
        answer = lfs.upload(run.folder, WISHES)
        assert answer["error"].startswith(f"{REPO}: its README.md cannot be read (")
        assert answer["error"].endswith("Repair it there, or name another repository")
        assert (answer["slept"], repo.read("README.md")) == ([], card)

    def test_a_token_that_may_not_make_repositories(self, hub: StandInHub, lfs: Client, run: RunFiles) -> None:
        """A token that may not make repositories uploads to an existing one."""
        hub.make_repo(REPO).is_private = True
        hub.fail("create", Trouble.FORBIDDEN)
        assert lfs.upload(run.folder, WISHES)["receipt"]["is_new"]

    def test_a_run_that_was_not_judged(self, lfs: Client, run: RunFiles) -> None:
        """A run without a verdict is not uploaded."""
        run.results.unlink()
        answer = lfs.upload(run.folder, WISHES)
        assert f"expected a judged run. Judge it: pytest --r1-judge-only {run.folder}" in answer["error"]


class TestToken:
    def test_only_the_hub_sees_it(self, hub: StandInHub, lfs: Client, run: RunFiles) -> None:
        """Large files are sent to the storage without the token, and the run's folder does not contain it."""
        lfs.upload(run.folder, WISHES)
        assert {request.authorization for request in hub.requests if request.method == "PUT"} == {None}
        assert not [path for path, content in content_of(run.folder).items() if TOKEN.encode() in content]

    def test_a_hub_that_repeats_it_is_not_repeated(self, hub: StandInHub, lfs: Client, run: RunFiles) -> None:
        """A server's message is shown without the token that it repeats."""
        hub.fail("commit", Trouble.TALKATIVE)
        said = lfs.upload(run.folder, WISHES)["error"]
        assert "cannot take Bearer (the token)" in said
        assert TOKEN not in said


def test_the_command_keeps_earlier_wishes(hub: StandInHub, lfs: Client, run: RunFiles, tmp_path: Path) -> None:
    """`r1eval upload` without a repository keeps the last wishes; with one it drops them."""
    public = UploadWishes(repo=REPO, is_public=True)
    write_record(run.folder, UploadRecord(wishes=public, error="the Hub was down"))
    code, printed = lfs.r1eval(tmp_path, "upload", str(run.folder), "--layout", "open-r1", "--json")
    assert code == 0, printed
    wishes = json.loads(printed)["wishes"]
    assert (wishes["repo"], wishes["layout"], wishes["is_public"]) == (REPO, "open-r1", True)
    assert not hub.repo(REPO).is_private
    assert lfs.r1eval(tmp_path, "upload", str(run.folder), "--repo", "acme/others")[0] == 0
    assert hub.repo("acme/others").is_private
    code, printed = lfs.r1eval(tmp_path, "upload", str(run.folder), "--repo", REPO, "--private")
    assert (code, "is public, and the upload was to be private" in printed) == (2, True)


def test_a_signed_address_is_no_reader_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error is shown without the token and without the signature of a storage address."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    error = ValueError(f"400 for url 'https://storage/x?X-Amz-Signature=abc&b=1' with {TOKEN}: why?")
    assert scrubbed(error) == "ValueError: 400 for url 'https://storage/x' with (the token): why?"


def called_gpqa(run: RunFiles) -> dict[str, Any]:
    """Let the run's results be those of a whole benchmark from the Hub."""
    content: dict[str, Any] = json.loads(run.results.read_text())
    content["r1eval"]["benchmarks"]["smoke"] |= {
        "task": "gpqa:diamond|0",
        "n_problems": 198,
        "dataset": f"Idavidrein/gpqa@{'1' * 40}",
    }
    run.results.write_text(json.dumps(content))
    return content


def pytest_run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Judge a recorded run as a user would."""
    command = ("--r1-engine", "replay", "-m", "smoke", "-p", "no:cacheprovider", "-p", "no:randomly")
    return pytester.runpytest_subprocess(*command, *arguments)


class TestPlugin:
    @pytest.fixture(autouse=True)
    def _here(self, hub: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let pytest's processes talk to the stand-in."""
        for name, value in hub.environment(tmp_path / "home").items():
            monkeypatch.setenv(name, value)

    def test_upload_on_pass_then_judge_only(
        self, pytester: pytest.Pytester, recorded: Record, hub: StandInHub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A green run is uploaded in either mode, without a word of the client's; judging it again finds it there."""
        judged(recorded("base", seed=1), root=pytester.path)
        recorded("same", seed=2)
        hub.fail("tree", Trouble.BROKEN)
        log = ("--log-file", "log.txt", "--log-file-level", "DEBUG", "--showlocals")
        result = pytest_run(pytester, "--r1-model", "same", "--r1-upload", REPO, "-n2", *log)
        assert result.ret == 0
        assert "/api/datasets/" not in result.stdout.str() + result.stderr.str()
        assert TOKEN.encode() not in b"".join(content_of(pytester.path).values())
        result.stdout.fnmatch_lines(["run: *", f"upload: {hub.url}/datasets/{REPO} (commit *)"])
        run = max((pytester.path / "data/evals/local/toy").iterdir())
        assert json.loads((run / "upload.json").read_text())["commit"] == hub.repo(REPO).head.oid
        monkeypatch.setenv("R1_UPLOAD", REPO)
        again = pytester.runpytest_subprocess("--r1-judge-only", str(run), "-p", "no:cacheprovider")
        assert again.ret == 0
        again.stdout.fnmatch_lines([f"upload: {hub.url}/datasets/{REPO} (was there already, commit *)"])
        assert n_runs(hub.repo(REPO)) == 1

    def test_red_gates_are_not_uploaded_unless_asked(
        self, pytester: pytest.Pytester, recorded: Record, hub: StandInHub
    ) -> None:
        """`--r1-upload-when always` sends a failure with its verdict; the default sends nothing."""
        pytester.makeconftest(
            "import sys\ndef pytest_unconfigure():\n    print('client imported:', 'huggingface_hub' in sys.modules)\n"
        )
        judged(recorded("base", seed=1), root=pytester.path)
        recorded("worse", seed=2, weights="w2", solve_rate=0.1)
        red = pytest_run(pytester, "--r1-model", "worse", "--r1-upload", REPO)
        red.stdout.fnmatch_lines(["upload: none, as a gate is not green*", "client imported: False"])
        assert hub.requests == []
        always = pytest_run(pytester, "--r1-model", "worse", "--r1-upload", REPO, "--r1-upload-when", "always")
        assert red.ret == always.ret == 1
        assert "| FAIL_REGRESSED |" in hub.repo(REPO).read("README.md").decode()

    def test_a_failed_upload_changes_no_verdict_unless_required(
        self, pytester: pytest.Pytester, recorded: Record, hub: StandInHub
    ) -> None:
        """A failed upload is a line beside the verdict and is tried again; a required one is an error."""
        recorded("base", seed=1)
        record = ("--r1-save-baseline", "local/toy", "--r1-upload", REPO)
        hub.fail("create", Trouble.EXPIRED, times=4)
        beside = pytest_run(pytester, "--r1-model", "base", *record)
        assert beside.ret == 0
        beside.stdout.fnmatch_lines([f"upload: FAILED. {REPO}: the Hub does not take the token*", "*r1eval upload *"])
        required = pytest_run(pytester, "--r1-model", "base", *record, "--r1-upload-required")
        assert required.ret == 1
        required.assert_outcomes(passed=3, errors=1)
        required.stdout.fnmatch_lines(["ERROR r1eval::upload - upload: FAILED.*"])
        assert TOKEN not in beside.stdout.str() + required.stdout.str()
        hub.faults.clear()
        run = max((pytester.path / "data/evals/local/toy").iterdir())
        assert "does not take the token" in json.loads((run / "upload.json").read_text())["error"]
        assert TOKEN.encode() not in b"".join(content_of(run).values())
        done = subprocess.run(
            [sys.executable, "-c", R1EVAL, "upload", str(run), "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        assert hub.repo(REPO).head.oid == said["commit"]

    def test_a_stopped_run_is_uploaded_without_a_score(
        self, pytester: pytest.Pytester, recorded: Record, hub: StandInHub
    ) -> None:
        """A gate that decided early is uploaded with its samples and verdict, and without a score."""
        judged(recorded("base", n_samples=64, n_problems=20, seed=1), root=pytester.path)
        recorded("worse", n_samples=64, n_problems=20, seed=2, weights="w2", solve_rate=0.1)
        wished = ("--r1-upload", REPO, "--r1-upload-when", "always")
        result = pytest_run(pytester, "--r1-model", "worse", "--r1-gate", "sequential", *wished)
        result.stdout.fnmatch_lines(["*(at stop)*", "upload: *"])
        (path,) = [path for path in hub.repo(REPO).head.tree if path.startswith("results_") and path.endswith("json")]
        results = json.loads(hub.repo(REPO).read(path))
        assert results["results"] == {}
        assert results["r1eval"]["benchmarks"]["smoke"]["verdict"] == "fail_regressed"
