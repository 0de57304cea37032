"""Four sandboxes under attack: as root and as an ordinary user, with and without bubblewrap; started once each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sandbox.hosts import WAYS, Host, Way, host_of


@pytest.fixture(scope="session", params=WAYS, ids=lambda way: way.name)
def hosted(request: pytest.FixtureRequest) -> Iterator[Host]:
    """Start a host for the whole suite."""
    way: Way = request.param
    with host_of(way) as host:
        yield host


@pytest.fixture
def host(hosted: Host) -> Iterator[Host]:
    """Hand out a host, and check afterwards that nothing leaked into an answer, survived, or was changed."""
    yield hosted
    hosted.assert_untouched()
