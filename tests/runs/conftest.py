"""A new run, and a clock moved by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pytest_r1eval.runs import reading, work_queue
from pytest_r1eval.runs.store import (
    Store,
)
from tests.open_stores import HEADER, Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stop the store's clock."""
    stopped = Clock()
    for module in (reading, work_queue):
        monkeypatch.setattr(module, "time", stopped)
    return stopped


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Create a run."""
    with closing(Store.create(tmp_path / "evals" / "run", HEADER)) as created:
        yield created


@pytest.fixture
def run(store: Store) -> Path:
    """Return the folder of a run, for a second opening."""
    return store.path.parent
