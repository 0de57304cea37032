"""
What a run's file holds.

Decisions:

- Texts lie in a table of their own, compressed, and nothing that counts or judges touches it. 100,000 samples of
  40 KB are 4 GB; what is read for a verdict is 15 MB of it. Repeats are found by digests.
- zlib at level 1: of made-up reasoning text it leaves 0.44 and takes 0.4 ms for 40 KB, beside the engine in a thread;
  level 6 leaves 0.39 and takes three times as long. zstd is as small and twice as fast, and one dependency more.
- Open work is counted per round by triggers. Whoever claims, waits or looks asks a handful of rows, where it would add
  up all units of a run: the cost of a sample must not grow with the number of samples.
- A file of another schema is refused by its number. No release wrote one, so none is converted.
"""

from __future__ import annotations

import hashlib
import re
import zlib

from pytest_r1eval.core.texts import has_half_pair

SCHEMA_VERSION = 4
COMPRESSION_LEVEL = 1
MIN_COMPRESSED_CHARS = 256
"""Shorter texts gain nothing."""

TABLES = """
CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE benchmark (
    name TEXT PRIMARY KEY, position INTEGER NOT NULL, state TEXT NOT NULL,
    dataset TEXT, plan TEXT, gate TEXT, error TEXT,
    owner TEXT, lease_until REAL NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE problem (
    benchmark TEXT NOT NULL, position INTEGER NOT NULL, id TEXT NOT NULL, content TEXT NOT NULL, prompt BLOB NOT NULL,
    PRIMARY KEY (benchmark, id)
) WITHOUT ROWID;
CREATE TABLE unit (
    id INTEGER PRIMARY KEY, benchmark TEXT NOT NULL, round INTEGER NOT NULL, problem_id TEXT NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL, done INTEGER NOT NULL DEFAULT 0,
    owner TEXT, lease_until REAL NOT NULL DEFAULT 0
);
CREATE TABLE ungraded (
    benchmark TEXT NOT NULL, problem_id TEXT NOT NULL, idx INTEGER NOT NULL,
    finish_reason TEXT NOT NULL, n_tokens INTEGER NOT NULL, text BLOB NOT NULL, PRIMARY KEY (benchmark, problem_id, idx)
);
CREATE TABLE grade (
    benchmark TEXT NOT NULL, problem_id TEXT NOT NULL, idx INTEGER NOT NULL, grader TEXT NOT NULL,
    outcome TEXT NOT NULL, answer TEXT, detail TEXT, PRIMARY KEY (benchmark, problem_id, idx, grader)
) WITHOUT ROWID;
CREATE TABLE worker (owner TEXT PRIMARY KEY, harness TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE look (
    benchmark TEXT NOT NULL, number INTEGER NOT NULL, content TEXT NOT NULL, PRIMARY KEY (benchmark, number)
) WITHOUT ROWID;
CREATE TABLE verdict (benchmark TEXT PRIMARY KEY, content TEXT NOT NULL) WITHOUT ROWID
"""

SAMPLES = """
CREATE TABLE response (id INTEGER PRIMARY KEY, text BLOB NOT NULL);
CREATE TABLE sample (
    benchmark TEXT NOT NULL, problem_id TEXT NOT NULL, idx INTEGER NOT NULL, seed INTEGER NOT NULL,
    outcome TEXT NOT NULL, answer TEXT, detail TEXT, finish_reason TEXT NOT NULL, n_tokens INTEGER NOT NULL,
    digest BLOB NOT NULL, response INTEGER NOT NULL, PRIMARY KEY (benchmark, problem_id, idx)
) WITHOUT ROWID
"""

COUNTS = """
CREATE TABLE round (
    benchmark TEXT NOT NULL, number INTEGER NOT NULL, n_samples INTEGER NOT NULL, n_open INTEGER NOT NULL,
    n_open_units INTEGER NOT NULL, PRIMARY KEY (benchmark, number)
) WITHOUT ROWID;
INSERT INTO round SELECT benchmark, round, sum(last - first), sum(iif(done, 0, last - first)), sum(done = 0)
    FROM unit GROUP BY benchmark, round;
CREATE INDEX unit_free ON unit (benchmark, round, id, lease_until) WHERE done = 0;
CREATE INDEX unit_held ON unit (owner, lease_until, benchmark, round) WHERE done = 0 AND owner IS NOT NULL;
CREATE TRIGGER unit_added AFTER INSERT ON unit BEGIN
    INSERT INTO round VALUES (NEW.benchmark, NEW.round, NEW.last - NEW.first, NEW.last - NEW.first, 1)
        ON CONFLICT DO UPDATE SET n_samples = n_samples + excluded.n_samples, n_open = n_open + excluded.n_open,
        n_open_units = n_open_units + 1; END;
CREATE TRIGGER unit_done AFTER UPDATE OF done ON unit WHEN OLD.done != NEW.done BEGIN
    UPDATE round SET n_open = n_open + (OLD.done - NEW.done) * (NEW.last - NEW.first),
        n_open_units = n_open_units + OLD.done - NEW.done
        WHERE benchmark = NEW.benchmark AND number = NEW.round; END;
CREATE TRIGGER unit_removed AFTER DELETE ON unit BEGIN
    UPDATE round SET n_samples = n_samples - (OLD.last - OLD.first),
        n_open = n_open - iif(OLD.done, 0, OLD.last - OLD.first), n_open_units = n_open_units - (OLD.done = 0)
        WHERE benchmark = OLD.benchmark AND number = OLD.round;
    DELETE FROM round WHERE benchmark = OLD.benchmark AND number = OLD.round AND n_samples = 0; END
"""


def statements(script: str) -> list[str]:
    """Cut a script into statements, each of which begins at the start of a line."""
    return [part.strip().removesuffix(";") for part in re.split(r"\n(?=[A-Z])", script.strip())]


def packed(text: str) -> str | bytes:
    """Return what is stored of a text: compressed where that pays, or where SQLite would refuse half a pair."""
    if len(text) < MIN_COMPRESSED_CHARS and not has_half_pair(text):
        return text
    return zlib.compress(text.encode("utf-8", "surrogatepass"), COMPRESSION_LEVEL)


def unpacked(stored: str | bytes) -> str:
    """Return the text of what is stored."""
    return stored if isinstance(stored, str) else zlib.decompress(stored).decode("utf-8", "surrogatepass")


def digest(text: str) -> bytes:
    """Return what equal texts share."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
