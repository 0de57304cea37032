"""The comment on a pull request, by the action's own step, against GitHub's API on this machine."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.commands.cli import main
from pytest_r1eval.errors import ReportError
from pytest_r1eval.reports.run_report import read_report
from pytest_r1eval.upload.pull_request import PullRequest, comment, pull_request_of
from tests.ci_files import ran, steps_of
from tests.documents import ROOT
from tests.github_server import ROBOT, StandInGitHub, github

Runs = Mapping[str, Path]
MARK = "<!-- r1eval: Gate/gate -->"
TABLE = "### local/toy: may this checkpoint ship?"


@pytest.fixture
def hub() -> Iterator[StandInGitHub]:
    """Serve GitHub to one test."""
    with github() as held:
        yield held


def job(hub: StandInGitHub, *, token: str | None = None) -> dict[str, str]:
    """Return what a job of pull request 7 has in its environment."""
    return {
        "GITHUB_API_URL": hub.url,
        "GITHUB_SERVER_URL": "https://github.test",
        "GITHUB_REPOSITORY": "acme/models",
        "GITHUB_RUN_ID": "99",
        "GITHUB_REF": "refs/pull/7/merge",
        "GITHUB_WORKFLOW": "Gate",
        "GITHUB_JOB": "gate",
        "GITHUB_TOKEN": hub.token if token is None else token,
    }


def step(run: Path, environ: Mapping[str, str], **more: str) -> subprocess.CompletedProcess[str]:
    """Run the script of the action's step as the runner does."""
    (found,) = (one for one in steps_of(ROOT / "action.yml") if one["name"] == "Comment on the pull request")
    return ran(found["run"], {"RUN": str(run), "GATE": "", "REPORT_URL": "", **environ, **more})


class TestStep:
    """The action's step."""

    def test_one_comment_is_made_and_then_brought_up_to_date(self, hub: StandInGitHub, examples: Runs) -> None:
        """A pull request has one comment, with the newest verdict's table and the link to the report."""
        first = step(examples["red"], job(hub))
        (made,) = hub.comments
        assert (first.returncode, first.stderr) == (0, "")
        assert first.stdout == f"comment: {made['html_url']} (new)\n"
        assert made["body"].startswith(f"{MARK}\n{TABLE}")
        assert "FAIL_REGRESSED" in made["body"]
        assert "[Report and samples](https://github.test/acme/models/actions/runs/99)" in made["body"]
        again = step(examples["green"], job(hub))
        assert again.stdout == f"comment: {made['html_url']} (brought up to date)\n"
        (kept,) = hub.comments
        assert "| 🟢 PASS |" in kept["body"]
        assert "FAIL_REGRESSED" not in kept["body"]

    def test_a_forks_token_is_one_line(self, hub: StandInGitHub, examples: Runs) -> None:
        """With a fork's reading token the step ends with 0 and one line, and nothing is written."""
        done = step(examples["red"], job(hub, token=hub.reading_token))
        assert (done.returncode, done.stdout, hub.comments) == (0, "", [])
        assert done.stderr == (
            "r1eval comment: error: the token may not comment on acme/models#7 (403), as of a fork's pull request; "
            "expected one with pull-requests: write. The verdict is in the job's summary\n"
        )

    def test_a_link_of_one_s_own_is_the_report(self, hub: StandInGitHub, examples: Runs) -> None:
        """With --link the comment leads to that page, and names no artifact."""
        done = step(examples["red"], job(hub), REPORT_URL="https://pages.test/report.html")
        assert done.returncode == 0
        (made,) = hub.comments
        assert str(made["body"]).rstrip().endswith("[Report](https://pages.test/report.html)")
        assert "artifact" not in str(made["body"])

    def test_no_answer_is_one_line(self, hub: StandInGitHub, examples: Runs) -> None:
        """Where GitHub does not answer, the step ends with 0 and one line without the token."""
        done = step(examples["red"], {**job(hub), "GITHUB_API_URL": "http://127.0.0.1:9"})
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr.startswith("r1eval comment: error: http://127.0.0.1:9 does not answer (URLError: ")
        assert hub.token not in done.stderr

    def test_a_redirection_is_not_followed(self, hub: StandInGitHub, examples: Runs) -> None:
        """An API that is elsewhere by now is one line, and no other address is sent the token."""
        with github() as other:
            hub.moved_to = other.url
            done = step(examples["green"], job(hub))
            assert (done.returncode, done.stdout, other.asked) == (0, "", [])
        assert done.stderr == (
            f"r1eval comment: error: {hub.url} answered 301, that acme/models#7 is elsewhere; the token is sent to no "
            "other address. Check GITHUB_API_URL and GITHUB_REPOSITORY\n"
        )

    def test_a_tokens_line_end_is_no_part_of_it(self, hub: StandInGitHub, examples: Runs) -> None:
        """A token that was stored with a line end, as from a file, is sent without it."""
        done = step(examples["green"], job(hub, token=f"{hub.token}\n"))
        assert (done.returncode, done.stderr, len(hub.comments)) == (0, "", 1)

    def test_inputs_are_data(self, hub: StandInGitHub, examples: Runs, tmp_path: Path) -> None:
        """A gate's name tells comments apart; one that is a command, or would end the mark, is text."""
        name = f"-->$(touch {tmp_path}/run) `x`"
        for _ in range(2):
            step(examples["green"], job(hub), GATE=name, REPORT_URL="https://acme.test/report.html")
        step(examples["green"], job(hub))
        first, second = hub.comments
        assert first["body"].partition("\n")[0].count("-->") == 1
        assert "](https://acme.test/report.html)" in first["body"]
        assert second["body"].startswith(MARK)
        assert not [*tmp_path.iterdir()]


class TestWhose:
    """Which comment is ours."""

    def test_another_accounts_comment_stays(self, hub: StandInGitHub, examples: Runs) -> None:
        """A comment that another account began with our mark is not written over."""
        theirs = f"{MARK}\nmine"
        hub.add(theirs, by="mallory")
        step(examples["green"], job(hub))
        assert next(one["body"] for one in hub.comments) == theirs
        assert len(hub.comments) == 2

    def test_a_comment_without_an_account_is_not_ours(self, hub: StandInGitHub, examples: Runs) -> None:
        """A comment whose account is gone has no author, and is not written over."""
        hub.add(MARK, by=ROBOT)["user"] = None
        step(examples["green"], job(hub))
        assert [one["body"] == MARK for one in hub.comments] == [True, False]

    def test_a_quoted_mark_is_not_ours(self, hub: StandInGitHub, examples: Runs) -> None:
        """A comment that quotes ours in its middle is not written over."""
        hub.add(f"> {MARK}", by=ROBOT)
        step(examples["green"], job(hub))
        assert len(hub.comments) == 2

    def test_it_is_found_on_a_later_page(self, hub: StandInGitHub, examples: Runs) -> None:
        """Ours is found behind a hundred comments of others."""
        for number in range(150):
            hub.add(f"comment {number}", by="ann")
        hub.add(f"{MARK}\nold", by=ROBOT)
        step(examples["green"], job(hub))
        assert len(hub.comments) == 151
        assert TABLE in hub.comments[-1]["body"]

    def test_a_persons_token_finds_its_own(self, hub: StandInGitHub, examples: Runs) -> None:
        """With a token of an account, that account's comment is ours."""
        hub.login = "release-robot"
        for _ in range(2):
            step(examples["green"], job(hub))
        assert [one["user"]["login"] for one in hub.comments] == ["release-robot"]


class TestPlace:
    """Where the comment goes."""

    def test_the_event_names_the_pull_request(self, tmp_path: Path, hub: StandInGitHub) -> None:
        """A job whose ref names no pull request has it from its event."""
        event = tmp_path / "event.json"
        event.write_text(json.dumps({"pull_request": {"number": 12}}))
        environ = {**job(hub), "GITHUB_REF": "refs/heads/main", "GITHUB_EVENT_PATH": str(event)}
        found = pull_request_of(environ, number=None, gate=None)
        assert found is not None
        assert (found.number, found.mark) == (12, MARK)
        assert hub.token not in repr(found)

    def test_no_pull_request_is_said(
        self, examples: Runs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Outside of a pull request nothing is commented, and one line says so."""
        for name in [name for name in os.environ if name.startswith("GITHUB_")]:
            monkeypatch.delenv(name)
        assert main(["comment", str(examples["green"])]) == 0
        assert capsys.readouterr().out == (
            "no comment: this is not a job of a pull request; name one with --pull-request N\n"
        )
        assert main(["comment", str(examples["green"]), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["comment"] is None

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("GITHUB_TOKEN", "", "GITHUB_TOKEN is not set; expected what a GitHub job has"),
            ("GITHUB_TOKEN", "\n", "GITHUB_TOKEN is not set; expected what a GitHub job has"),
            ("GITHUB_TOKEN", "a\nb", r"^GITHUB_TOKEN holds the character '\\n'; expected one token. Set it again$"),
            ("GITHUB_API_URL", "http://evil.test", "GITHUB_API_URL is 'http://evil.test'; expected an https address"),
        ],
    )
    def test_what_is_missing_is_named(self, hub: StandInGitHub, name: str, value: str, message: str) -> None:
        """A missing token, and an address that would show it, are errors."""
        with pytest.raises(ReportError, match=message):
            pull_request_of({**job(hub), name: value}, number=None, gate=None)

    def test_a_wrong_number_is_named(self, hub: StandInGitHub, examples: Runs) -> None:
        """A pull request that is not there is an error that names it."""
        place = pull_request_of(job(hub), number=8, gate=None)
        assert place is not None
        with pytest.raises(ReportError, match="there is no acme/models#8, or the token may not see it"):
            comment(read_report(examples["green"]), place, link=None)


def test_a_long_comment_is_cut_to_its_table(hub: StandInGitHub, examples: Runs) -> None:
    """A report that is too long for a comment is the table and the link alone."""
    report = read_report(examples["red"])
    (gate,) = report.gates
    judgement = replace(gate.result.judgement, reason="because " * 10_000)
    long = replace(report, gates=(replace(gate, result=replace(gate.result, judgement=judgement)),))
    place = PullRequest(api=hub.url, repository="acme/models", number=7, token=hub.token, gate="Gate/gate")
    comment(long, place, link="https://acme.test/report")
    (made,) = hub.comments
    assert len(made["body"]) < 2000
    assert "FAIL_REGRESSED" in made["body"]
    assert "https://acme.test/report" in made["body"]


def test_a_token_at_the_end_of_a_long_reason_is_hidden(
    monkeypatch: pytest.MonkeyPatch, hub: StandInGitHub, examples: Runs
) -> None:
    """A token in an error's text is hidden before the text is cut, so that no part of it is left."""
    token = "t0ken" * 20

    def refuse(*_: object, **__: object) -> None:
        raise OSError("x" * 280 + token)

    monkeypatch.setattr("urllib.request.OpenerDirector.open", refuse)
    place = PullRequest(api=hub.url, repository="acme/models", number=7, token=token, gate="g")
    with pytest.raises(ReportError) as caught:
        comment(read_report(examples["red"]), place, link=None)
    assert "t0ken" not in str(caught.value)
    assert "xxx***" in str(caught.value)
