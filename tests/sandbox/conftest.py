"""Four sandboxes under attack: as root and as an ordinary user, with and without bubblewrap; started once each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sandbox.hosts import EXPECTED, SECRET, WAYS, Host, Seen, Way, host_of


@pytest.fixture(scope="session", params=WAYS, ids=lambda way: way.name)
def hosted(request: pytest.FixtureRequest) -> Iterator[Host]:
    """Start a host for the whole suite."""
    way: Way = request.param
    with host_of(way) as host:
        yield host


@pytest.fixture
def host(hosted: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """Hand out a host, and check afterwards that nothing leaked into an answer, survived, or was changed."""
    seen: list[Seen] = []
    together = hosted.run_together

    def noted(sources: list[str], **details: object) -> list[Seen]:
        seen.extend(answers := together(sources, **details))  # type: ignore[arg-type]
        return answers

    monkeypatch.setattr(hosted, "run_together", noted)
    yield hosted
    hosted.assert_untouched()
    said = "".join(one.stdout + one.stderr + one.returned for one in seen)
    assert SECRET not in said
    assert EXPECTED not in said
