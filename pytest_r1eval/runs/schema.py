"""
What a run's file holds.

Decisions:

- Texts lie in a table of their own, compressed, and nothing that counts or judges touches it. 100,000 samples of
  40 KB are 4 GB; what is read for a verdict is 15 MB of it. Repeats are found by digests.
- zlib at level 1: of made-up reasoning text it leaves 0.44 and takes 0.4 ms for 40 KB, beside the engine in a thread;
  level 6 leaves 0.39 and takes three times as long. zstd is as small and twice as fast, and one dependency more.
- Open work is counted per round by triggers. Claiming, waiting and looking read a handful of rows, where they would add
  up all units of a run: the cost of a sample must not grow with the number of samples.
- A file may come from elsewhere, or be damaged. What a column may hold is a CHECK, which SQLite tests as it reads a
  file through (`PRAGMA quick_check`). Tables, indexes and triggers are compared with these, so that no stranger's
  trigger runs here. JSON and compressed text are read by type, and up to a size.
- A file of another schema is refused by its number. No release wrote one, so none is converted.
"""

import hashlib
import re
import zlib
from functools import cache

from pytest_r1eval.core.texts import has_half_pair

SCHEMA_VERSION = 1
COMPRESSION_LEVEL = 1
MIN_COMPRESSED_CHARS = 256
"""Shorter texts gain nothing."""
MAX_TEXT_BYTES = 32 << 20
"""Of one response, unpacked: a million tokens of 32 bytes. A row of 1 MB may unpack to 1 GB."""

TABLES = """
CREATE TABLE run (
    key TEXT PRIMARY KEY, value TEXT NOT NULL, CHECK (typeof(key) = 'text' AND typeof(value) = 'text')
) WITHOUT ROWID;
CREATE TABLE benchmark (
    name TEXT PRIMARY KEY, position INTEGER NOT NULL, state TEXT NOT NULL,
    dataset TEXT, plan TEXT, gate TEXT, error TEXT,
    owner TEXT, lease_until REAL NOT NULL DEFAULT 0,
    CHECK (typeof(name) = 'text' AND typeof(position) = 'integer'
        AND state IN ('selected', 'open', 'closed', 'failed', 'left_out')
        AND typeof(dataset) IN ('text', 'null') AND typeof(plan) IN ('text', 'null')
        AND typeof(gate) IN ('text', 'null') AND typeof(error) IN ('text', 'null')
        AND (dataset IS NULL) = (plan IS NULL))
) WITHOUT ROWID;
CREATE TABLE problem (
    benchmark TEXT NOT NULL, position INTEGER NOT NULL, id TEXT NOT NULL, content TEXT NOT NULL, prompt BLOB NOT NULL,
    PRIMARY KEY (benchmark, id),
    CHECK (typeof(position) = 'integer' AND typeof(id) = 'text' AND typeof(content) = 'text'
        AND typeof(prompt) = 'blob' AND length(prompt) % 4 = 0)
) WITHOUT ROWID;
CREATE TABLE unit (
    id INTEGER PRIMARY KEY, benchmark TEXT NOT NULL, round INTEGER NOT NULL, problem_id TEXT NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL, done INTEGER NOT NULL DEFAULT 0,
    owner TEXT, lease_until REAL NOT NULL DEFAULT 0,
    CHECK (typeof(round) = 'integer' AND typeof(first) = 'integer' AND typeof(last) = 'integer'
        AND round >= 0 AND first >= 0 AND last > first AND done IN (0, 1))
);
CREATE TABLE ungraded (
    benchmark TEXT NOT NULL, problem_id TEXT NOT NULL, idx INTEGER NOT NULL,
    finish_reason TEXT NOT NULL, n_tokens INTEGER NOT NULL, n_thought_tokens INTEGER, text BLOB NOT NULL,
    PRIMARY KEY (benchmark, problem_id, idx),
    CHECK (finish_reason IN ('stop', 'length') AND typeof(n_tokens) = 'integer' AND n_tokens >= 0
        AND (n_thought_tokens IS NULL
            OR typeof(n_thought_tokens) = 'integer' AND n_thought_tokens >= 0 AND n_thought_tokens <= n_tokens)
        AND typeof(text) IN ('text', 'blob'))
);
CREATE TABLE grade (
    benchmark TEXT NOT NULL, problem_id TEXT NOT NULL, idx INTEGER NOT NULL, grader TEXT NOT NULL,
    outcome TEXT NOT NULL, answer TEXT, detail TEXT, PRIMARY KEY (benchmark, problem_id, idx, grader),
    CHECK (outcome IN ('correct', 'wrong', 'no_answer', 'truncated', 'error')
        AND typeof(answer) IN ('text', 'null') AND typeof(detail) IN ('text', 'null'))
) WITHOUT ROWID;
CREATE TABLE worker (owner TEXT PRIMARY KEY, harness TEXT NOT NULL, CHECK (typeof(harness) = 'text')) WITHOUT ROWID;
CREATE TABLE look (
    benchmark TEXT NOT NULL, number INTEGER NOT NULL, content TEXT NOT NULL, PRIMARY KEY (benchmark, number),
    CHECK (typeof(number) = 'integer' AND typeof(content) = 'text')
) WITHOUT ROWID;
CREATE TABLE verdict (benchmark TEXT PRIMARY KEY, content TEXT NOT NULL, CHECK (typeof(content) = 'text')) WITHOUT ROWID
"""

SAMPLES = """
CREATE TABLE response (id INTEGER PRIMARY KEY, text BLOB NOT NULL, CHECK (typeof(text) IN ('text', 'blob')));
CREATE TABLE sample (
    benchmark TEXT NOT NULL, problem_id TEXT NOT NULL, idx INTEGER NOT NULL, seed INTEGER NOT NULL,
    outcome TEXT NOT NULL, answer TEXT, detail TEXT, finish_reason TEXT NOT NULL, n_tokens INTEGER NOT NULL,
    n_thought_tokens INTEGER, digest BLOB NOT NULL, response INTEGER NOT NULL, PRIMARY KEY (benchmark, problem_id, idx),
    CHECK (typeof(problem_id) = 'text' AND typeof(idx) = 'integer' AND idx >= 0 AND typeof(seed) = 'integer'
        AND outcome IN ('correct', 'wrong', 'no_answer', 'truncated', 'error')
        AND typeof(answer) IN ('text', 'null') AND typeof(detail) IN ('text', 'null')
        AND finish_reason IN ('stop', 'length') AND typeof(n_tokens) = 'integer' AND n_tokens >= 0
        AND (n_thought_tokens IS NULL
            OR typeof(n_thought_tokens) = 'integer' AND n_thought_tokens >= 0 AND n_thought_tokens <= n_tokens))
) WITHOUT ROWID
"""

SMALL_TABLES = ("run", "benchmark", "problem", "unit", "grade", "worker", "look", "verdict", "sample", "round")
"""All but those that hold texts: what is read before a stored run is believed."""

COUNTS = """
CREATE TABLE round (
    benchmark TEXT NOT NULL, number INTEGER NOT NULL, n_samples INTEGER NOT NULL, n_open INTEGER NOT NULL,
    n_open_units INTEGER NOT NULL, PRIMARY KEY (benchmark, number),
    CHECK (typeof(number) = 'integer' AND typeof(n_samples) = 'integer' AND typeof(n_open) = 'integer'
        AND typeof(n_open_units) = 'integer' AND number >= 0 AND n_samples >= 0 AND n_open >= 0 AND n_open_units >= 0)
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


@cache
def shape() -> frozenset[tuple[str, str, str]]:
    """Return (kind, name, statement) of all that a run's file holds besides rows."""
    scripts = (*statements(TABLES), *statements(SAMPLES), *statements(COUNTS))
    found = [(re.match(r"CREATE (\w+) (\w+)", text), text) for text in scripts]
    return frozenset((head[1].lower(), head[2], text) for head, text in found if head is not None)


def statements(script: str) -> list[str]:
    """Cut a script into statements, each of which begins at the start of a line."""
    return [part.strip().removesuffix(";") for part in re.split(r"\n(?=[A-Z])", script.strip())]


def packed(text: str) -> str | bytes:
    """Return what is stored of a text: compressed where that pays, or where SQLite would refuse half a pair."""
    if len(text) < MIN_COMPRESSED_CHARS and not has_half_pair(text):
        return text
    return zlib.compress(text.encode("utf-8", "surrogatepass"), COMPRESSION_LEVEL)


def unpacked(stored: str | bytes) -> str:
    """
    Return the text of what is stored.

    Raises:
        ValueError: If it is not a compressed text, or unpacks to more than any response.
    """
    if isinstance(stored, str):
        return stored
    unpacking = zlib.decompressobj()
    try:
        raw = unpacking.decompress(stored, MAX_TEXT_BYTES)
    except zlib.error as error:
        raise ValueError(f"it is not compressed text: {error}") from error
    if unpacking.unconsumed_tail or len(raw) >= MAX_TEXT_BYTES:
        raise ValueError(f"it unpacks to more than {MAX_TEXT_BYTES >> 20} MiB")
    if not unpacking.eof:
        raise ValueError("it is compressed text without its end")
    return raw.decode("utf-8", "surrogatepass")


def digest(text: str) -> bytes:
    """Return what equal texts share."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
