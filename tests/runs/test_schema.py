"""Runs of an older schema are refused; texts are compressed; open work is counted."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pytest_r1eval.errors import StoreError
from pytest_r1eval.runs.schema import SCHEMA_VERSION, packed, unpacked
from pytest_r1eval.runs.store import FILE_NAME, Store
from tests.recordings import record_run

LONG = "so it goes, step by step: " * 400


@pytest.mark.parametrize("schema", [0, 2, 3])
def test_another_schema_is_refused(tmp_path: Path, schema: int) -> None:
    """A run of another schema says its number and what to do; its header lacks digests that cannot be added later."""
    run = record_run(tmp_path / "run")
    with closing(sqlite3.connect(run / FILE_NAME)) as db:
        db.execute("UPDATE run SET value = ? WHERE key = 'schema'", (str(schema),))
        db.commit()

    expected = (
        f"has store schema {schema}, this version reads {SCHEMA_VERSION}; judge it with the version that wrote it"
    )
    with pytest.raises(StoreError, match=expected):
        Store.open(run)


@pytest.mark.parametrize("text", ["", "short", LONG, "π" * 300, "\ud800" * 300, "half a pair: \ud800"])
def test_text_survives(text: str) -> None:
    """A text with any characters, lone surrogates included, is read from a database as it was written."""
    with closing(sqlite3.connect(":memory:")) as db:
        (stored,) = db.execute("SELECT ?", (packed(text),)).fetchone()
    assert text == unpacked(stored)


def test_long_text_is_compressed() -> None:
    """A long repetitive text is stored in a tenth of its length."""
    assert len(packed(LONG)) < len(LONG) / 10


def test_rounds_are_counted_as_work_goes_on(tmp_path: Path) -> None:
    """The triggers' counts of a round equal the sums over its units, whatever is added, changed or deleted."""
    run = record_run(tmp_path / "run", n_problems=3, n_samples=20)
    counted = "SELECT benchmark, number, n_samples, n_open, n_open_units FROM round"
    added_up = (
        "SELECT benchmark, round, sum(last - first), sum(iif(done, 0, last - first)), sum(done = 0)"
        " FROM unit GROUP BY benchmark, round"
    )
    with closing(sqlite3.connect(run / FILE_NAME)) as db:
        assert db.execute(counted).fetchall() == db.execute(added_up).fetchall() == [("smoke", 0, 60, 0, 0)]
        db.execute("UPDATE unit SET done = 0 WHERE id IN (1, 5)")
        db.execute("DELETE FROM unit WHERE id = 2")
        db.execute("INSERT INTO unit (benchmark, round, problem_id, first, last) VALUES ('smoke', 1, 'p000', 20, 24)")
        assert db.execute(counted).fetchall() == db.execute(added_up).fetchall()
