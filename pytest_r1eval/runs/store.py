"""
The run store: one SQLite file per run. This module alone opens it; it knows connection, header and notes.

`RunReader` reads what a run holds, `WorkQueue` gives out its work: both take an open store.

The store is the truth; processes only play roles. Workers claim units and write
samples, the judge reads them, and no process holds state that a killed one
could take along. Write-ahead logging lets readers go on while a worker writes;
every change is one transaction, so a kill leaves either all of it or nothing.

Known trade-off (accepted): write-ahead logging needs a local file system. Runs
spread over machines keep a store each and are merged.
"""

import datetime as dt
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pytest_r1eval.atomic_files import replacing
from pytest_r1eval.core.attempts import Asked
from pytest_r1eval.core.codec import Kind, from_json, to_json
from pytest_r1eval.core.fields import LeftOutIfEmpty
from pytest_r1eval.core.fingerprints import Harness, ModelIdentity
from pytest_r1eval.core.lineage import Lineage, is_model_name, step_of
from pytest_r1eval.core.plans import Slice
from pytest_r1eval.core.records import RUN_FILE
from pytest_r1eval.core.texts import escaped, hidden_in, quoted
from pytest_r1eval.errors import StoreError
from pytest_r1eval.runs.schema import COUNTS, SAMPLES, SCHEMA_VERSION, SMALL_TABLES, TABLES, shape, statements

FILE_NAME = RUN_FILE
BUSY_TIMEOUT_S = 60.0
_REFUSED = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite refuses, and where its message quotes a damaged file in bytes that are no UTF-8."""
_SHOWN_CHARACTERS = 200
"""How much of a value's parse error a message quotes."""

T = TypeVar("T")
Connection = sqlite3.Connection
"""For the annotations of those that run statements; only this module connects."""


class BenchmarkState(StrEnum):
    """
    How far a benchmark is.

    SELECTED has no plan yet, FAILED never gets one, CLOSED needs no more samples. LEFT_OUT is not drawn, because one
    before it failed.
    """

    SELECTED = "selected"
    OPEN = "open"
    CLOSED = "closed"
    FAILED = "failed"
    LEFT_OUT = "left_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHeader:
    """
    What a run is about, fixed when its store is created.

    Attributes:
        model: The checkpoint as the user named it.
        model_name: ``org/name``, the key of its baselines.
        identity: Digests of the checkpoint.
        created: ISO date and time, UTC.
        seed: The run's seed.
        slice: Which part of the plans this store draws; None for all of it.
        policy: Digest of the release policy that it is drawn under; None without one.
        lineage: The checkpoint's place in its training; None where that was not given.
        asked: By benchmark, what the ledger calls the question; None where no ledger is kept.
    """

    model: str
    model_name: str
    identity: ModelIdentity
    created: str
    seed: int
    slice: Slice | None = None
    policy: Annotated[str | None, LeftOutIfEmpty()] = None
    lineage: Lineage | None = None
    asked: Mapping[str, Asked] | None = None

    @property
    def step(self) -> int | None:
        """The checkpoint's training step, from its lineage or its name; None where neither tells it."""
        given = None if self.lineage is None else self.lineage.step
        return step_of(self.model_name) if given is None else given


class Store:
    """
    One connection to a run store; every thread opens its own.

    Raises:
        StoreError: From any method, when the file cannot be read or written.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db = connection
        self.path = path

    @classmethod
    def create(cls, folder: Path, header: RunHeader) -> Self:
        """
        Make the run's folder and its store, whole: a reader finds all of it, or no run yet.

        Raises:
            StoreError: If the folder cannot be written, or already holds a run.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(_unwritable(folder, error)) from error
        path = folder / FILE_NAME
        try:
            with replacing(path, is_new=True) as part:
                store = cls(_connect(part), path)
                with store._closing_on_error():
                    store._fill(header)
                store.close()
        except FileExistsError as error:
            raise StoreError(
                f"{path} already holds a run; resume it with --r1-resume {folder}, or choose another"
            ) from error
        except OSError as error:
            raise StoreError(_unwritable(folder, error)) from error
        return cls(_connect(path), path)

    def _fill(self, header: RunHeader) -> None:
        with self.transaction() as db:
            for statement in (*statements(TABLES), *statements(SAMPLES), *statements(COUNTS)):
                db.execute(statement)
            with self.understanding("the header"):
                checked_header(header)
            rows = [("schema", json.dumps(SCHEMA_VERSION)), ("header", to_json(RunHeader, header))]
            db.executemany("INSERT INTO run VALUES (?, ?)", rows)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """
        Open an existing run.

        Raises:
            StoreError: If there is none, it is damaged, or another version of the plugin wrote it.
        """
        path = folder / FILE_NAME
        if path.is_symlink():
            raise StoreError(
                f"{path} is a link; expected the run's file itself, as a verdict is written into it. Name the folder "
                "that it leads to, or copy the file"
            )
        if not path.is_file():
            raise StoreError(
                f"no run at {folder}: expected the file {FILE_NAME} in it; see the runs with ls {folder.parent}"
            )
        store = cls(_connect(path), path)
        with store._closing_on_error():
            found = store._schema()
            if found != SCHEMA_VERSION:
                raise StoreError(
                    f"{path} has store schema {json.dumps(found)}, this version reads {SCHEMA_VERSION}; "
                    "judge it with the version that wrote it, or start a new run"
                )
            store._check_shape()
        return store

    @classmethod
    def open_finished(cls, folder: Path) -> Self:
        """
        Open a run that is going to be believed: see `open`, and every value is looked at but the texts.

        Raises:
            StoreError: Also if a value is none that this version writes.
        """
        store = cls.open(folder)
        try:
            store.check_values()
        except BaseException:
            store.close()
            raise
        return store

    def _check_shape(self) -> None:
        """Refuse a file whose tables or triggers are not ours: a trigger is a program, and a view is not a table."""
        # Indexes of SQLite's own have no statement; a trigger may have one of its names.
        found = self.rows("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        odd = sorted(str(name) for _, name, _ in shape() ^ set(found))
        if odd:
            raise StoreError(
                f"{self.path} is not a run's file: its {quoted(odd[0])} is missing or not this version's; "
                f"expected the tables and triggers of store schema {SCHEMA_VERSION}. Restore a copy, or start a new run"
            )

    def _schema(self) -> object:
        """Return the schema that the file says it has; None if it says nothing."""
        text = self.note("schema")
        with self.understanding("the store schema"):
            return None if text is None else json.loads(text)

    def close(self) -> None:
        """Close the connection; the file stays."""
        self._db.close()

    @property
    def header(self) -> RunHeader:
        """What the run is about."""
        text = self.note("header")
        with self.understanding("the header"):
            if text is None:
                raise ValueError("there is none")
            return checked_header(from_json(RunHeader, text))

    def check(self) -> None:
        """
        Read the whole file once, so that damage is found before anything is built on it.

        Raises:
            StoreError: If it is damaged.
        """
        self._quick_check(None)

    def check_values(self) -> None:
        """
        Read every table but the texts, so that nothing is computed from a value that this version does not write.

        Raises:
            StoreError: If there is one.
        """
        for table in SMALL_TABLES:
            self._quick_check(table)

    def _quick_check(self, table: str | None) -> None:
        """Read the file, or one table, through: what is damaged, or breaks a CHECK, is found."""
        row = self.row(f"PRAGMA quick_check({table or 1})")
        found = "ok" if row is None else str(row[0])
        if found != "ok":
            raise StoreError(
                f"{self.path} is damaged: {escaped(found)}; expected an intact SQLite file. Restore a copy, or start a "
                "new run"
            )

    def decoded(self, kind: Kind[T] | type[T], text: str, *, what: str) -> T:
        """
        Read JSON of this file as a value.

        Raises:
            StoreError: If it is none of that kind.
        """
        with self.understanding(what):
            return from_json(kind, text)

    @contextmanager
    def understanding(self, what: str) -> Iterator[None]:
        """
        Say what of the file cannot be read where the block takes a value apart.

        Raises:
            StoreError: If the value is not what it must be.
        """
        try:
            yield
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError) as error:
            reason = escaped(" ".join(str(error).split()))[:_SHOWN_CHARACTERS] or type(error).__name__
            raise StoreError(
                f"{self.path}: {what} cannot be read ({reason}); expected what this version writes there. Restore a "
                "copy, or start a new run"
            ) from error

    def add_worker(self, owner: str, harness: Harness) -> None:
        """Note what one worker answers and grades with."""
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO worker VALUES (?, ?)", (owner, to_json(Harness, harness)))

    def note_sandbox(self, line: str) -> None:
        """Note what confines the programs that this run grades; none is forgotten."""
        self._note_place("sandbox", line)

    def note_walls(self, line: str) -> None:
        """Note what confines the processes that grade answers by their task's metric, likewise."""
        self._note_place("walls", line)

    def _note_place(self, key: str, line: str) -> None:
        with self.transaction() as db, self.understanding("what programs and graders ran in"):
            lines = noted_lines(self.note(key))
            if line not in lines:
                db.execute("INSERT OR REPLACE INTO run VALUES (?, ?)", (key, json.dumps([*lines, line])))

    def note_changed_checkpoint(self, changes: str | None) -> None:
        """Note what became of the checkpoint while the run went on; None where all files are as they were named."""
        self.put("changed_checkpoint", None if changes is None else json.dumps(changes))

    def write_verdict(self, name: str, content: str) -> None:
        """Store the judgement of a benchmark, as JSON."""
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO verdict VALUES (?, ?)", (name, content))

    def write_release(self, content: str | None) -> None:
        """Store the verdict of a release, as JSON; None where the run was judged without a policy."""
        self.put("release", content)

    def put(self, key: str, value: str | None) -> None:
        """Note something of the run under a key; None takes the note away."""
        with self.transaction() as db:
            db.execute("DELETE FROM run WHERE key = ?", (key,))
            if value is not None:
                db.execute("INSERT INTO run VALUES (?, ?)", (key, value))

    def note(self, key: str) -> str | None:
        """Return what is noted of the run under a key; None where nothing is."""
        row = self.row("SELECT value FROM run WHERE key = ?", key)
        return None if row is None else row[0]

    def row(self, query: str, *values: object) -> Any:  # noqa: ANN401 - a tuple, of what the query names
        """Return the first row of an answer; None if there is none."""
        with self.reading() as db:
            return db.execute(query, values).fetchone()

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return all rows of an answer."""
        with self.reading() as db:
            return db.execute(query, values).fetchall()

    @contextmanager
    def _closing_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Write: all that the block does is stored, or nothing."""
        with self.reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Read; what SQLite refuses becomes a StoreError that names the file."""
        try:
            yield self._db
        except _REFUSED as error:
            raise StoreError(_unusable(self.path, error)) from error


def _connect(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    except _REFUSED as error:
        raise StoreError(_unusable(path, error)) from error
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
    except _REFUSED as error:
        connection.close()
        raise StoreError(_unusable(path, error)) from error
    return connection


def noted_lines(text: str | None) -> tuple[str, ...]:
    """
    Return the lines that a note holds.

    Raises:
        ValueError: If it is not a list.
    """
    lines = [] if text is None else json.loads(text)
    if not isinstance(lines, list):
        raise ValueError(f"found {type(lines).__name__}; expected a list")  # noqa: TRY004 - a wrong file, no wrong call
    return tuple(map(str, lines))


def checked_header(header: RunHeader) -> RunHeader:
    """
    Return a header whose names can be printed, and name nothing outside of a run's folder.

    Raises:
        ValueError: If one cannot, or the run's date is none.
    """
    for what, text in (("model", header.model), ("weights", header.identity.weights)):
        if (hidden := hidden_in(text)) is not None:
            raise ValueError(f"its {what} is {text!a}, with the character {hidden}")
    if not is_model_name(header.model_name):
        raise ValueError(f"its model's name is {quoted(header.model_name)}; expected org/name")
    created = dt.datetime.fromisoformat(header.created)
    if created.utcoffset() is None:
        raise ValueError(f"its date is {header.created}, without an offset from UTC")
    created.astimezone(dt.UTC)  # a date of the first or the last year may have none there
    return header


def demand_name(name: str) -> None:
    """
    Demand that a name can be printed.

    Raises:
        ValueError: If a character of it cannot.
    """
    if (hidden := hidden_in(name)) is not None:
        raise ValueError(f"{name!a} holds the character {hidden}")


def _unwritable(folder: Path, error: OSError) -> str:
    return f"cannot write the output folder {folder}: {error.strerror}; choose another with --r1-output-dir"


def _unusable(path: Path, error: sqlite3.Error | UnicodeDecodeError) -> str:
    return (
        f"the run store {path} cannot be used: {escaped(str(error))}; expected a writable SQLite file on a local disk "
        f"with room left. What was stored before is kept: repair the cause, then --r1-resume {path.parent}"
    )
