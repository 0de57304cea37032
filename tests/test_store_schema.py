"""Runs that older versions wrote are converted where they lie; texts are compressed."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest

from pytest_r1eval.core.benchmarks import Problem, Sampling
from pytest_r1eval.core.plans import Plan
from pytest_r1eval.store import FILE_NAME, Progress, RepeatedResponse, Store
from pytest_r1eval.store_schema import SCHEMA_VERSION, TABLES, packed, statements, unpacked
from tests.recordings import record_run

OLD_SAMPLES = """
CREATE TABLE sample (
    benchmark TEXT NOT NULL, problem_id TEXT NOT NULL, idx INTEGER NOT NULL, seed INTEGER NOT NULL,
    outcome TEXT NOT NULL, answer TEXT, detail TEXT, finish_reason TEXT NOT NULL, n_tokens INTEGER NOT NULL,
    text TEXT NOT NULL, PRIMARY KEY (benchmark, problem_id, idx)
);
CREATE INDEX unit_open ON unit (done, lease_until)
"""
HEADER = {
    "model": "toy",
    "model_name": "local/toy",
    "identity": {"weights": "w", "tokenizer": "t", "chat_template": "c"},
    "created": "2025-01-20T00:00:00+00:00",
    "seed": 7,
    "share": None,
}
LONG = "so it goes, step by step: " * 400


def old_run(folder: Path, *, schema: int) -> Path:
    """Write a run of two problems as schema 1 or 2 did; its last unit is open."""
    folder.mkdir()
    tables = [part for part in statements(TABLES) if schema > 1 or "ungraded" not in part]
    plan = Plan(benchmark="smoke", exam="e", problem_ids=("p", "q"), rounds=(2,), seed=7, sampling=Sampling())
    with closing(sqlite3.connect(folder / FILE_NAME)) as db:
        for statement in (*tables, *statements(OLD_SAMPLES)):
            db.execute(statement)
        db.execute("INSERT INTO run VALUES ('schema', ?), ('header', ?)", (str(schema), json.dumps(HEADER)))
        db.execute(
            "INSERT INTO benchmark (name, position, state, dataset, plan) VALUES ('smoke', 0, 'open', 'd', ?)",
            (json.dumps(asdict(plan)),),
        )
        for position, id_ in enumerate(("p", "q")):
            problem = asdict(Problem(id=id_, query="?", instruction=None, choices=("1",), gold_index=0))
            db.execute("INSERT INTO problem VALUES ('smoke', ?, ?, ?, ?)", (position, id_, json.dumps(problem), b""))
        units = "INSERT INTO unit (benchmark, round, problem_id, first, last, done) VALUES ('smoke', 0, ?, 0, 2, ?)"
        db.executemany(units, [("p", 1), ("q", 0)])
        db.executemany(
            "INSERT INTO sample VALUES ('smoke', ?, ?, 1, 'correct', '1', NULL, 'stop', 9, ?)",
            [("p", 0, LONG), ("p", 1, LONG), ("q", 1, "short")],
        )
        db.commit()
    return folder


@pytest.mark.parametrize("schema", [1, 2])
def test_older_run_is_converted(tmp_path: Path, schema: int) -> None:
    """Samples, repeats and open work are what they were, and the file says its new schema."""
    with closing(Store.open(old_run(tmp_path / "run", schema=schema))) as store:
        read = [(sample.problem_id, sample.index, sample.response.text) for sample in store.samples("smoke")]
        assert read == [("p", 0, LONG), ("p", 1, LONG), ("q", 1, "short")]
        repeated = RepeatedResponse(problem_id="p", first_index=0, n_samples=2)
        assert store.repeated_responses("smoke", min_tokens=1) == (repeated,)
        assert store.progress("smoke") == Progress(n_stored=3, n_planned=4, n_open_units=1)
        claimed = store.claim(owner="me")
        assert claimed is not None
        assert (claimed.unit.problem_id, claimed.missing) == ("q", (0,))
    with closing(sqlite3.connect(tmp_path / "run" / FILE_NAME)) as db:
        assert db.execute("SELECT value FROM run WHERE key = 'schema'").fetchone() == (str(SCHEMA_VERSION),)


def test_conversion_that_fails_leaves_the_older_run(tmp_path: Path) -> None:
    """All of it or nothing: a file that cannot be converted is as it was."""
    run = old_run(tmp_path / "run", schema=1)
    with closing(sqlite3.connect(run / FILE_NAME)) as db:
        db.execute("CREATE TABLE round (something TEXT)")
        db.commit()
    with pytest.raises(Exception, match="table round already exists"):
        Store.open(run)
    with closing(sqlite3.connect(run / FILE_NAME)) as db:
        assert db.execute("SELECT count(*) FROM sample WHERE text = ?", (LONG,)).fetchone() == (2,)
        assert db.execute("SELECT value FROM run WHERE key = 'schema'").fetchone() == ("1",)


@pytest.mark.parametrize("text", ["", "short", LONG, "π" * 300, "\ud800" * 300, "half a pair: \ud800"])
def test_text_survives(text: str) -> None:
    """Whatever an engine says, lone surrogates included, is read from a database as it was written."""
    with closing(sqlite3.connect(":memory:")) as db:
        (stored,) = db.execute("SELECT ?", (packed(text),)).fetchone()
    assert text == unpacked(stored)


def test_long_text_is_compressed() -> None:
    """What repeats itself takes a fraction."""
    assert len(packed(LONG)) < len(LONG) / 10


def test_rounds_are_counted_as_work_goes_on(tmp_path: Path) -> None:
    """What triggers keep equals what adding up the units gives, after planning, drawing and completing as fixed."""
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
