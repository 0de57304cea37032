"""The server engine, before it is made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_r1eval.checkpoints.inspect import Checkpoint
from pytest_r1eval.config.settings import Settings
from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.core.fingerprints import ModelIdentity
from pytest_r1eval.engines.devices import WorkerDevices
from pytest_r1eval.engines.engine import EngineParts, engine_named
from pytest_r1eval.engines.server.factory import sampling_needs_extras
from pytest_r1eval.errors import EngineError


def test_it_needs_an_address(tmp_path: Path) -> None:
    """The server engine without an address is refused with an example; with an address it is accepted."""
    factory = engine_named("server")
    with pytest.raises(EngineError) as caught:
        factory.check(Settings(model="org/m", root=tmp_path, output_dir=tmp_path, engine="server"))

    expected = "--r1-engine server needs to know which: expected --r1-server-url URL, as in http://localhost:8000"
    assert str(caught.value) == expected
    factory.check(Settings(model="m", root=tmp_path, output_dir=tmp_path, engine="server", server_url="http://a"))


@pytest.mark.parametrize(("n_workers", "expected"), [(1, 256), (8, 128), (2000, 1)])
def test_workers_divide_the_requests_in_flight(tmp_path: Path, n_workers: int, expected: int) -> None:
    """Each worker starts with at most 256 requests, and all workers together with at most 1,024."""
    settings = Settings(
        model="org/m", root=tmp_path, output_dir=tmp_path, engine="server", server_url="http://a", n_workers=n_workers
    )
    identity = ModelIdentity(weights="w", tokenizer="t", chat_template="c", checkpoint="p")
    parts = EngineParts(
        settings=settings,
        checkpoint=Checkpoint(model="org/m", revision=None, name="org/m", identity=identity, max_position=None),
        max_model_length=4096,
        devices=WorkerDevices(gpus=(), cpus=(0,), n_sharing=1),
        placement=None,
        log=tmp_path / "log",
    )

    assert engine_named("server").build(parts).n_concurrent == expected


@pytest.mark.parametrize("asked", [{}, {"presence_penalty": 1.0}, {"temperature": 1.0}])
def test_it_needs_extras_where_openais_protocol_has_no_words(tmp_path: Path, asked: dict[str, Any]) -> None:
    """A sampling needs more than OpenAI's protocol where it sets min-p or top-k, and not for presence penalty."""
    settings = Settings(model="org/m", root=tmp_path, output_dir=tmp_path, server_url="http://a", **asked)
    assert not sampling_needs_extras(settings, recommended=None)
    assert sampling_needs_extras(replace(settings, min_p=0.1), recommended=None)
    assert sampling_needs_extras(settings, recommended=Sampling(top_k=40))
