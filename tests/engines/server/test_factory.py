"""The server engine, before it is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_r1eval.config.settings import Settings
from pytest_r1eval.engines.engine import engine_named
from pytest_r1eval.errors import EngineError


def test_it_needs_an_address(tmp_path: Path) -> None:
    """The message shows how it is written; with an address there is no fault."""
    factory = engine_named("server")
    with pytest.raises(EngineError) as caught:
        factory.check(Settings(model="org/m", root=tmp_path, output_dir=tmp_path, engine="server"))

    expected = "--r1-engine server needs to know which: expected --r1-server-url URL, as in http://localhost:8000"
    assert str(caught.value) == expected
    factory.check(Settings(model="m", root=tmp_path, output_dir=tmp_path, engine="server", server_url="http://a"))
