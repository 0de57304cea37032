"""
A judged run as one comment on a pull request of GitHub, brought up to date by each further run.

The comment is ours if it begins with our mark and is by the token's own account: that of another account stays as it
is. The token is sent to the address of GitHub's API alone; a redirection is refused, not followed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pytest_r1eval.core.secrets import redacted
from pytest_r1eval.core.texts import hidden_in
from pytest_r1eval.errors import ReportError, in_one_line
from pytest_r1eval.reports.files import report_markdown
from pytest_r1eval.reports.run_report import RunReport
from pytest_r1eval.reports.terminal import gate_table

TIMEOUT_S = 20.0
_PAGE = 100
_MAX_PAGES = 50
"""Of comments that are looked through: 5,000."""
_MAX_CHARACTERS = 60_000
"""GitHub takes 65,536 in a comment; the link to the report has the rest."""
_ROBOT = "github-actions[bot]"
"""The account of a job's own token, which may not ask who it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequest:
    """
    Where a comment goes.

    Attributes:
        api: GitHub's API.
        repository: ``owner/name``.
        number: Of the pull request.
        token: What may write to it.
        gate: What tells this comment from those of other gates.
    """

    api: str
    repository: str
    number: int
    token: str = field(repr=False)
    gate: str

    @property
    def mark(self) -> str:
        """The invisible first line of the comment."""
        return f"<!-- r1eval: {re.sub(r'[^A-Za-z0-9 ._/-]|--', '_', self.gate)} -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comment:
    """
    What became of a comment.

    Attributes:
        url: Where it is.
        is_new: Whether it was made now.
    """

    url: str
    is_new: bool


def pull_request_of(environ: Mapping[str, str], *, number: int | None, gate: str | None) -> PullRequest | None:
    """
    Read from a GitHub job's environment which pull request it is about; None for a job of none.

    Args:
        environ: The environment.
        number: The pull request; None for the job's own.
        gate: What tells the comment from those of other gates; None for the workflow's and the job's names.

    Raises:
        ReportError: If there is no token or none that can be sent, or the API's address is none.
    """
    found = number or _number(environ)
    if found is None:
        return None
    missing = [name for name in ("GITHUB_REPOSITORY", "GITHUB_TOKEN") if not environ.get(name, "").strip()]
    if missing:
        raise ReportError(f"{missing[0]} is not set; expected what a GitHub job has. Set it, or run this in a job")
    token = environ["GITHUB_TOKEN"].strip()
    if (hidden := hidden_in(token)) is not None:
        raise ReportError(f"GITHUB_TOKEN holds the character {hidden}; expected one token. Set it again")
    api = environ.get("GITHUB_API_URL") or "https://api.github.com"
    if not re.match(r"https://|http://(?:127\.0\.0\.1|localhost)[:/]", api):
        raise ReportError(f"GITHUB_API_URL is {api!r}; expected an https address, as the token is sent there")
    return PullRequest(
        api=api.rstrip("/"),
        repository=environ["GITHUB_REPOSITORY"],
        number=found,
        token=token,
        gate=gate or f"{environ.get('GITHUB_WORKFLOW', 'gate')}/{environ.get('GITHUB_JOB', 'gate')}",
    )


def _number(environ: Mapping[str, str]) -> int | None:
    """Return the pull request of the job's ref, else of its event."""
    if (ref := re.match(r"refs/pull/(\d+)/", environ.get("GITHUB_REF", ""))) is not None:
        return int(ref[1])
    try:
        event = json.loads(Path(environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
        return int(event["pull_request"]["number"])
    except (KeyError, TypeError, OSError, ValueError):
        return None


def link_to_report(environ: Mapping[str, str], *, given: str | None) -> str | None:
    """
    Write where the report is, in Markdown.

    Args:
        environ: The environment.
        given: Its own address; None for the page of the job's run, where its artifacts are.

    Returns:
        None outside of a job.
    """
    if given is not None:
        return f"[Report]({given})"
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    if not all(environ.get(name) for name in names):
        return None
    server, repository, run = (environ[name] for name in names)
    page = f"{server}/{repository}/actions/runs/{run}"
    return f"[Report and samples]({page}): `report.html` in the run's artifact"


def comment(report: RunReport, place: PullRequest, *, link: str | None) -> Comment:
    """
    Put a run's verdicts into the pull request's comment.

    Args:
        report: The run.
        place: The pull request.
        link: Where its report is, in Markdown; None for nowhere.

    Raises:
        ReportError: If GitHub does not take it, with what to do about it.
    """
    body = _body(report, place.mark, link=link)
    ours = _existing(place)
    path = f"/repos/{place.repository}/issues/{place.number}/comments"
    if ours is None:
        answer = _asked(place, "POST", path, body=body)
    else:
        answer = _asked(place, "PATCH", f"/repos/{place.repository}/issues/comments/{ours}", body=body)
    return Comment(url=str(answer.get("html_url", "")), is_new=ours is None)


def _body(report: RunReport, mark: str, *, link: str | None) -> str:
    parts = [mark, report_markdown(report)]
    if link is not None:
        parts.append(link)
    text = "\n".join(parts)
    if len(text) <= _MAX_CHARACTERS:
        return text
    table = "\n".join(gate_table([gate.result for gate in report.gates]))[:_MAX_CHARACTERS]
    return "\n".join([mark, "```", table.replace("```", "'''"), "```", *parts[2:]])


def _existing(place: PullRequest) -> int | None:
    """Find our comment by its mark and its author."""
    author = _account(place)
    path = f"/repos/{place.repository}/issues/{place.number}/comments?per_page={_PAGE}"
    for page in range(1, _MAX_PAGES + 1):
        found = _answer(place, "GET", f"{path}&page={page}")
        if not isinstance(found, list):
            raise ReportError(f"{place.api} did not answer with a list of comments; expected GitHub's API")
        for one in found:
            match one:
                case {"id": int(ours), "body": str(body), "user": {"login": login}} if (
                    login == author and body.startswith(place.mark)
                ):
                    return ours
        if len(found) < _PAGE:
            return None
    return None


def _account(place: PullRequest) -> str:
    """Return the token's account; a job's own token may not ask for it, and is the robot's."""
    try:
        return str(_asked(place, "GET", "/user")["login"])
    except (_RefusedError, KeyError):
        return _ROBOT


class _RefusedError(ReportError):
    """GitHub refuses the token."""


def _asked(place: PullRequest, method: str, path: str, *, body: str | None = None) -> dict[str, Any]:
    answer = _answer(place, method, path, body=body)
    if not isinstance(answer, dict):
        raise ReportError(f"{place.api} did not answer with an object; expected GitHub's API")
    return answer


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Follow no redirection: the request carries the token."""


def _answer(place: PullRequest, method: str, path: str, *, body: str | None = None) -> object:
    request = Request(  # noqa: S310 - `pull_request_of` checks the address
        f"{place.api}{path}",
        method=method,
        data=None if body is None else json.dumps({"body": body}).encode(),
        headers={
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {place.token}",
            "Content-Type": "application/json",
            "User-Agent": "pytest-r1eval",
            "X-GitHub-Api-Version": "2022-11-28",
        },
    )
    try:
        with build_opener(_NoRedirects).open(request, timeout=TIMEOUT_S) as reply:
            return json.load(reply)
    except HTTPError as error:
        _refuse(place, error)
    except (URLError, HTTPException, OSError, ValueError) as error:
        reason = in_one_line(error, cleaned=lambda text: redacted(text, {"TOKEN": place.token}))
        raise ReportError(f"{place.api} does not answer ({reason}); nothing is commented. Try again later") from None


def _refuse(place: PullRequest, error: HTTPError) -> NoReturn:
    where = f"{place.repository}#{place.number}"
    with error:
        status = error.code
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise _RefusedError(
            f"the token may not comment on {where} ({status}), as of a fork's pull request; expected one with "
            "pull-requests: write. The verdict is in the job's summary"
        )
    if 300 <= status < 400:
        raise ReportError(
            f"{place.api} answered {status}, that {where} is elsewhere; the token is sent to no other address. "
            "Check GITHUB_API_URL and GITHUB_REPOSITORY"
        )
    if status == HTTPStatus.NOT_FOUND:
        raise ReportError(f"there is no {where}, or the token may not see it; check the number and the token")
    raise ReportError(f"{place.api} answered {status} for {where}; nothing is commented. Try again later")
