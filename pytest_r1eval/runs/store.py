"""
The run store: one SQLite file per run, and the only module that opens it.

The store is the truth; processes only play roles. Workers claim units and write
samples, whoever judges reads them, and nobody holds state that a killed process
could take along. Write-ahead logging lets readers go on while a worker writes;
every change is one transaction, so a kill leaves either all of it or nothing.

Known trade-off (accepted): write-ahead logging needs a local file system. Runs
spread over machines keep a store each and are merged.

All workers of a store being on one machine, leases are read off its monotonic
clock: a wall clock that jumps would end them all at once, or none for hours. What
a restart of the machine leaves behind is cleared by whoever resumes the run.
"""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Self, TypeVar

from pytest_r1eval.core.benchmarks import Exam, Problem
from pytest_r1eval.core.decoding import decoded
from pytest_r1eval.core.fingerprints import Harness, ModelIdentity
from pytest_r1eval.core.lineage import Lineage, is_model_name
from pytest_r1eval.core.plans import Plan, Slice, Unit
from pytest_r1eval.core.records import RUN_FILE, FinishReason, Grade, Outcome, ProblemTally, Response, Sample
from pytest_r1eval.core.texts import escaped, hidden_in, quoted, whole
from pytest_r1eval.errors import StoreError
from pytest_r1eval.runs.schema import (
    COUNTS,
    SAMPLES,
    SCHEMA_VERSION,
    SMALL_TABLES,
    TABLES,
    digest,
    packed,
    shape,
    statements,
    unpacked,
)

FILE_NAME = RUN_FILE
LEASE_S = 60.0
"""How long a silent worker keeps its units; it renews every `LEASE_S / 4`."""
BUSY_TIMEOUT_S = 60.0
_SHOWN_CHARACTERS = 200
"""Of what a value's reader says, in a message."""

T = TypeVar("T")


class BenchmarkState(StrEnum):
    """How far a benchmark is: SELECTED has no plan yet, FAILED never gets one, CLOSED needs no more samples."""

    SELECTED = "selected"
    OPEN = "open"
    CLOSED = "closed"
    FAILED = "failed"


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
        lineage: Where the checkpoint stands in its training; None if nobody said.
        asked: By benchmark, the ledger's digest of what was asked; None where no ledger is kept.
    """

    model: str
    model_name: str
    identity: ModelIdentity
    created: str
    seed: int
    slice: Slice | None = None
    lineage: Lineage | None = None
    asked: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedUnit:
    """A unit under lease, with the samples of it that are still missing."""

    id: int
    benchmark: str
    unit: Unit
    missing: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Samples stored and planned, and units not done, of one benchmark."""

    n_stored: int
    n_planned: int
    n_open_units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedResponse:
    """One problem's samples that have one text: how many, and the index of the first of them."""

    problem_id: str
    first_index: int
    n_samples: int


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
        Make the run's folder and its store.

        Raises:
            StoreError: If the folder cannot be written, or already holds a run.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(_unwritable(folder, error)) from error
        path = folder / FILE_NAME
        if path.exists():
            raise StoreError(f"{path} already holds a run; resume it with --r1-resume {folder}, or choose another")
        store = cls(_connect(path), path)
        with store._closing_on_error(), store._transaction() as db:
            for statement in (*statements(TABLES), *statements(SAMPLES), *statements(COUNTS)):
                db.execute(statement)
            with store.understanding("the header"):
                checked_header(header)
            rows = {"schema": SCHEMA_VERSION, "header": asdict(header)}
            db.executemany("INSERT INTO run VALUES (?, ?)", [(key, json.dumps(value)) for key, value in rows.items()])
        return store

    @classmethod
    def open(cls, folder: Path) -> Self:
        """
        Open an existing run.

        Raises:
            StoreError: If there is none, it is damaged, or another version of the plugin wrote it.
        """
        path = folder / FILE_NAME
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
        """Refuse a file whose tables or triggers are not ours: a trigger is a program, and a view is no table."""
        with self._reading() as db:
            found = db.execute("SELECT type, name, sql FROM sqlite_master WHERE name NOT GLOB 'sqlite_*'").fetchall()
        odd = sorted(str(name) for _, name, _ in shape() ^ set(found))
        if odd:
            raise StoreError(
                f"{self.path} is no run's file: its {quoted(odd[0])} is missing, or is not as this version makes it; "
                f"expected the tables and triggers of store schema {SCHEMA_VERSION}. Restore a copy, or start a new run"
            )

    def _schema(self) -> object:
        """Return the schema that the file says it has; None if it says nothing."""
        with self._reading() as db:
            (schema,) = db.execute("SELECT value FROM run WHERE key = 'schema'").fetchone() or ("null",)
        with self.understanding("the store schema"):
            return json.loads(schema)

    def close(self) -> None:
        """Close the connection; the file stays."""
        self._db.close()

    # The run

    @property
    def header(self) -> RunHeader:
        """What the run is about."""
        with self._reading() as db:
            row = db.execute("SELECT value FROM run WHERE key = 'header'").fetchone()
        with self.understanding("the header"):
            if row is None:
                raise ValueError("there is none")
            return checked_header(decoded(RunHeader, _json(row[0])))

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
        with self._reading() as db:
            row = db.execute(f"PRAGMA quick_check({table or 1})").fetchone()
        found = "ok" if row is None else str(row[0])
        if found != "ok":
            raise StoreError(
                f"{self.path} is damaged: {escaped(found)}; expected an intact SQLite file. Restore a copy, or start a "
                "new run"
            )

    def decoded(self, kind: type[T], text: str, *, what: str) -> T:
        """
        Read JSON of this file as a value.

        Raises:
            StoreError: If it is none of that kind.
        """
        with self.understanding(what):
            return decoded(kind, _json(text))

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

    def note_changed_checkpoint(self, changes: str | None) -> None:
        """Note what became of the checkpoint while the run went on; None where all files are as they were named."""
        with self._transaction() as db:
            if changes is None:
                db.execute("DELETE FROM run WHERE key = 'changed_checkpoint'")
            else:
                db.execute("INSERT OR REPLACE INTO run VALUES ('changed_checkpoint', ?)", (json.dumps(changes),))

    @property
    def changed_checkpoint(self) -> str | None:
        """What became of the checkpoint while the run went on, in words; None if nothing was seen."""
        with self._reading() as db:
            row = db.execute("SELECT value FROM run WHERE key = 'changed_checkpoint'").fetchone()
        with self.understanding("what became of the checkpoint"):
            return None if row is None else escaped(str(_json(row[0])))

    def select(self, names: tuple[str, ...]) -> None:
        """
        Note which benchmarks this run judges, in the order given.

        Known ones stay as they are, but one that could not be planned gets another chance.
        """
        with self._transaction() as db:
            for name in names:
                db.execute(
                    "INSERT OR IGNORE INTO benchmark (name, position, state)"
                    " VALUES (?, (SELECT count(*) FROM benchmark), ?)",
                    (name, BenchmarkState.SELECTED),
                )
                db.execute(
                    "UPDATE benchmark SET state = ?, error = NULL WHERE name = ? AND state = ? AND plan IS NULL",
                    (BenchmarkState.SELECTED, name, BenchmarkState.FAILED),
                )

    @property
    def selected(self) -> tuple[str, ...]:
        """The benchmarks this run judges, in order."""
        with self._reading() as db:
            names = [name for (name,) in db.execute("SELECT name FROM benchmark ORDER BY position")]
        for name in names:
            with self.understanding("a benchmark's name"):
                _demand_name(name)
        return tuple(names)

    def add_worker(self, owner: str, harness: Harness) -> None:
        """Note what one worker answers and grades with."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO worker VALUES (?, ?)", (owner, json.dumps(asdict(harness))))

    @property
    def harnesses(self) -> tuple[Harness, ...]:
        """The distinct harnesses that took part."""
        with self._reading() as db:
            rows = db.execute("SELECT DISTINCT harness FROM worker ORDER BY harness").fetchall()
        return tuple(self.decoded(Harness, text, what="what answered and graded") for (text,) in rows)

    def note_sandbox(self, words: str) -> None:
        """Note what stands between programs that this run grades and a machine that grades them; none is forgotten."""
        self._note_place("sandbox", words)

    def note_walls(self, words: str) -> None:
        """Note what stands between the processes that grade answers by their task's metric and a machine, likewise."""
        self._note_place("walls", words)

    @property
    def sandboxes(self) -> tuple[str, ...]:
        """What programs ran in, in words; several where workers, machines or sittings differed, none where none ran."""
        return self._places("sandbox")

    @property
    def sandbox(self) -> str | None:
        """All of them in one line; None where no program ran."""
        return " and ".join(self.sandboxes) or None

    @property
    def walls(self) -> tuple[str, ...]:
        """What answers were graded in, likewise; none where all came with their grades."""
        return self._places("walls")

    def _note_place(self, key: str, words: str) -> None:
        with self._transaction() as db:
            noted = _noted(db, key)
            if words not in noted:
                db.execute("INSERT OR REPLACE INTO run VALUES (?, ?)", (key, json.dumps([*noted, words])))

    def _places(self, key: str) -> tuple[str, ...]:
        with self._reading() as db, self.understanding("what programs and graders ran in"):
            return tuple(map(escaped, _noted(db, key)))

    # Planning

    def claim_planning(self, name: str, *, owner: str) -> bool:
        """Take the task of planning a benchmark; False if somebody else holds it or it is planned."""
        now = time.monotonic()
        with self._transaction() as db:
            cursor = db.execute(
                "UPDATE benchmark SET owner = ?, lease_until = ?"
                " WHERE name = ? AND state = ? AND (lease_until < ? OR owner = ?)",
                (owner, now + LEASE_S, name, BenchmarkState.SELECTED, now, owner),
            )
        return cursor.rowcount == 1

    def write_plan(
        self, exam: Exam, prompts: tuple[tuple[int, ...], ...], plan: Plan, *, gate: str | None = None
    ) -> None:
        """
        Store exam, prompts, plan and sequential gate, and open the units of this store's slice for claims.

        Args:
            exam: The problems.
            prompts: Token ids of each problem, in the exam's order.
            plan: What is going to be drawn.
            gate: What looks decide by, as JSON; None where only a complete run is judged.
        """
        part = self.header.slice
        with self._transaction() as db:
            cursor = db.execute(
                "UPDATE benchmark SET state = ?, dataset = ?, plan = ?, gate = ? WHERE name = ? AND state = ?",
                (
                    BenchmarkState.OPEN,
                    whole(exam.dataset),
                    json.dumps(asdict(plan)),
                    gate,
                    plan.benchmark,
                    BenchmarkState.SELECTED,
                ),
            )
            if cursor.rowcount != 1:
                return
            db.executemany(
                "INSERT INTO problem VALUES (?, ?, ?, ?, ?)",
                [
                    (plan.benchmark, position, problem.id, json.dumps(asdict(problem)), array("i", prompt).tobytes())
                    for position, (problem, prompt) in enumerate(zip(exam.problems, prompts, strict=True))
                ],
            )
            db.executemany(
                "INSERT INTO unit (benchmark, round, problem_id, first, last) VALUES (?, ?, ?, ?, ?)",
                [
                    (plan.benchmark, unit.round, unit.problem_id, unit.first, unit.last)
                    for unit in plan.units(part=part)
                ],
            )

    def fail(self, name: str, error: str) -> None:
        """Note why a benchmark cannot be planned; one that somebody else planned meanwhile stays open."""
        with self._transaction() as db:
            db.execute(
                "UPDATE benchmark SET state = ?, error = ? WHERE name = ? AND state = ?",
                (BenchmarkState.FAILED, whole(error), name, BenchmarkState.SELECTED),
            )

    def close_benchmark(self, name: str) -> None:
        """Note that a benchmark needs no more samples, for every worker to see."""
        with self._transaction() as db:
            db.execute("UPDATE benchmark SET state = ? WHERE name = ?", (BenchmarkState.CLOSED, name))

    def state(self, name: str) -> BenchmarkState:
        """How far a benchmark is."""
        with self._reading() as db:
            row = db.execute("SELECT state FROM benchmark WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise StoreError(f"{self.path} knows no benchmark {name!r}; it holds {', '.join(self.selected) or 'none'}")
        with self.understanding(f"the state of {name}"):
            return BenchmarkState(row[0])

    def error(self, name: str) -> str | None:
        """Why a benchmark failed; None if it did not."""
        with self._reading() as db:
            row = db.execute("SELECT error FROM benchmark WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def plan(self, name: str) -> Plan | None:
        """The plan of a benchmark; None before it is planned."""
        with self._reading() as db:
            row = db.execute("SELECT plan FROM benchmark WHERE name = ?", (name,)).fetchone()
        if row is None or row[0] is None:
            return None
        plan = self.decoded(Plan, row[0], what=f"the plan of {name}")
        if plan.benchmark != name:
            raise StoreError(f"{self.path}: the plan of {name} is of {quoted(plan.benchmark)}; start a new run")
        return plan

    def gate(self, name: str) -> str | None:
        """What a benchmark's looks decide by, as JSON; None where only a complete run is judged."""
        with self._reading() as db:
            row = db.execute("SELECT gate FROM benchmark WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def complete_as_fixed(self, name: str, *, k: int) -> None:
        """
        Turn a sequential run into a fixed one of k samples per problem; what is stored stays, looks too.

        Args:
            name: A planned benchmark.
            k: Samples per problem that the fixed gate asks for.
        """
        plan = self.plan(name)
        if plan is None or self.gate(name) is None:
            return
        rounds = (*(end for end in plan.rounds if end < k), k)
        with self._transaction() as db:
            db.execute("DELETE FROM unit WHERE benchmark = ? AND first >= ?", (name, k))
            db.execute(
                "UPDATE benchmark SET state = ?, gate = NULL, plan = ? WHERE name = ?",
                (BenchmarkState.OPEN, json.dumps(asdict(replace(plan, rounds=rounds))), name),
            )

    def exam(self, name: str) -> Exam:
        """The exam of a planned benchmark."""
        with self._reading() as db:
            (dataset,) = db.execute("SELECT dataset FROM benchmark WHERE name = ?", (name,)).fetchone()
            query = "SELECT id, content FROM problem WHERE benchmark = ? ORDER BY position"
            rows = db.execute(query, (name,)).fetchall()
        problems = tuple(self._problem(id_, content) for id_, content in rows)
        return Exam(benchmark=name, problems=problems, dataset=escaped(str(dataset)))

    def _problem(self, id_: str, content: str) -> Problem:
        problem = self.decoded(Problem, content, what=f"problem {quoted(str(id_))}").whole
        with self.understanding(f"problem {quoted(str(id_))}"):
            if problem.id != id_ or not 0 <= problem.gold_index < max(1, len(problem.choices)):
                raise ValueError("its id or its right answer is another's")
            _demand_name(problem.id)
        return problem

    def prompts(self, name: str) -> dict[str, tuple[int, ...]]:
        """Token ids per problem id."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT id, prompt FROM problem WHERE benchmark = ? ORDER BY position", (name,)
            ).fetchall()
        with self.understanding(f"a prompt of {name}"):
            return {id_: tuple(array("i", blob)) for id_, blob in rows}

    # Work

    def claim(self, *, owner: str, n_expected: int = 1) -> ClaimedUnit | None:
        """
        Lease the next unit that nobody holds: benchmarks in order, rounds in order; None if there is none.

        At most one round is begun before the one in front of it is complete: enough that
        an engine does not idle for the last long response, and little to drop on a stop.
        And nobody holds more than a worker's share of what is open in a round: an engine has
        room for most of a run, and the first to be ready would leave the others idle.

        Args:
            owner: Who asks.
            n_expected: Workers that are going to ask; those that hold units count in any case.
        """
        return next(iter(self.claim_samples(1, owner=owner, n_expected=n_expected)), None)

    def claim_samples(self, n_samples: int, *, owner: str, n_expected: int = 1) -> tuple[ClaimedUnit, ...]:
        """
        Lease units as `claim` does, by one transaction, until so many samples are claimed or nothing is free.

        Whoever finds nothing has only read: a full engine asks with every answer, and is in no writer's way.
        """
        now, claimed = time.monotonic(), []
        with self._reading() as db:
            if self._next_free(db, owner=owner, n_expected=n_expected, now=now) is None:
                return ()
        with self._transaction() as db:
            while n_samples > 0:
                row = self._next_free(db, owner=owner, n_expected=n_expected, now=now)
                if row is None:
                    break
                claimed.append(self._leased(db, row, owner=owner, until=now + LEASE_S))
                n_samples -= len(claimed[-1].missing)
        return tuple(claimed)

    def _leased(
        self, db: sqlite3.Connection, row: tuple[int, str, int, str, int, int], *, owner: str, until: float
    ) -> ClaimedUnit:
        id_, benchmark, number, problem_id, first, last = row
        db.execute("UPDATE unit SET owner = ?, lease_until = ? WHERE id = ?", (owner, until, id_))
        stored = db.execute(
            "SELECT idx FROM sample WHERE benchmark = ? AND problem_id = ? AND idx >= ? AND idx < ?",
            (benchmark, problem_id, first, last),
        ).fetchall()
        unit = Unit(round=number, problem_id=problem_id, first=first, last=last)
        missing = tuple(sorted(set(unit.indices) - {index for (index,) in stored}))
        return ClaimedUnit(id=id_, benchmark=benchmark, unit=unit, missing=missing)

    def _next_free(
        self, db: sqlite3.Connection, *, owner: str, n_expected: int, now: float
    ) -> tuple[int, str, int, str, int, int] | None:
        (n_others,) = db.execute(
            "SELECT count(DISTINCT owner) FROM unit"
            " WHERE done = 0 AND owner IS NOT NULL AND lease_until >= ? AND owner != ?",
            (now, owner),
        ).fetchone()
        rounds = db.execute(
            "SELECT benchmark.name, number, n_open FROM benchmark JOIN round ON round.benchmark = benchmark.name"
            " WHERE state = ? AND n_open > 0 AND number <= 1 + (SELECT min(number)"
            " FROM round AS early WHERE early.benchmark = benchmark.name AND n_open > 0)"
            " ORDER BY position, number",
            (BenchmarkState.OPEN,),
        ).fetchall()
        for benchmark, number, n_open in rounds:
            (n_held,) = db.execute(
                "SELECT coalesce(sum(last - first), 0) FROM unit INDEXED BY unit_held"
                " WHERE done = 0 AND owner = ? AND benchmark = ? AND round = ?",
                (owner, benchmark, number),
            ).fetchone()
            if n_held * max(n_expected, n_others + 1) >= n_open:
                continue
            row = db.execute(
                "SELECT id, problem_id, first, last FROM unit INDEXED BY unit_free"
                " WHERE benchmark = ? AND round = ? AND done = 0 AND lease_until < ? ORDER BY id LIMIT 1",
                (benchmark, number, now),
            ).fetchone()
            if row is not None:
                id_, problem_id, first, last = row
                return id_, benchmark, number, problem_id, first, last
        return None

    def renew(self, *, owner: str) -> None:
        """Extend every lease of one worker."""
        with self._transaction() as db:
            db.execute(
                "UPDATE benchmark SET lease_until = ? WHERE owner = ? AND state = ?",
                (time.monotonic() + LEASE_S, owner, BenchmarkState.SELECTED),
            )
            db.execute(
                "UPDATE unit SET lease_until = ? WHERE owner = ? AND done = 0", (time.monotonic() + LEASE_S, owner)
            )

    def release(self, *, owner: str) -> None:
        """Give back every lease of one worker, for others to take at once."""
        with self._transaction() as db:
            db.execute("UPDATE unit SET owner = NULL, lease_until = 0 WHERE owner = ? AND done = 0", (owner,))
            db.execute("UPDATE benchmark SET owner = NULL, lease_until = 0 WHERE owner = ?", (owner,))

    def release_worker(self, name: str) -> None:
        """Give back the leases of a worker that is known to be gone, by the part of its name before the dash."""
        pattern = f"{name}-*"
        with self._transaction() as db:
            db.execute("UPDATE unit SET owner = NULL, lease_until = 0 WHERE owner GLOB ? AND done = 0", (pattern,))
            db.execute("UPDATE benchmark SET owner = NULL, lease_until = 0 WHERE owner GLOB ?", (pattern,))

    def release_all(self) -> None:
        """Give back every lease: whoever holds the run alone knows that their owners are gone."""
        with self._transaction() as db:
            db.execute("UPDATE unit SET owner = NULL, lease_until = 0 WHERE done = 0")
            db.execute("UPDATE benchmark SET owner = NULL, lease_until = 0")

    def reopen_ungraded(self) -> None:
        """Set aside the responses on which the grader failed, for `ungraded`, and open their units again."""
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO ungraded SELECT benchmark, problem_id, idx, finish_reason, n_tokens, text"
                " FROM sample JOIN response ON response.id = sample.response WHERE outcome = ?",
                (Outcome.ERROR,),
            )
            db.execute(
                "UPDATE unit SET done = 0 WHERE EXISTS (SELECT 1 FROM sample WHERE outcome = ?"
                " AND sample.benchmark = unit.benchmark AND sample.problem_id = unit.problem_id"
                " AND idx >= first AND idx < last)",
                (Outcome.ERROR,),
            )
            db.execute(
                "DELETE FROM response WHERE id IN (SELECT response FROM sample WHERE outcome = ?)", (Outcome.ERROR,)
            )
            db.execute("DELETE FROM sample WHERE outcome = ?", (Outcome.ERROR,))
            db.execute(
                "UPDATE benchmark SET state = ? WHERE state = ? AND gate IS NULL"
                " AND EXISTS (SELECT 1 FROM unit WHERE unit.benchmark = benchmark.name AND done = 0)",
                (BenchmarkState.OPEN, BenchmarkState.CLOSED),
            )

    def ungraded(self, name: str, *, problem_id: str, index: int) -> Response | None:
        """Return a response that was drawn and waits for a grade; None if there is none."""
        with self._reading() as db:
            row = db.execute(
                "SELECT text, n_tokens, finish_reason FROM ungraded WHERE benchmark = ? AND problem_id = ? AND idx = ?",
                (name, problem_id, index),
            ).fetchone()
        if row is None:
            return None
        text, n_tokens, finish_reason = row
        with self.understanding(f"a response of {name}"):
            return Response(text=whole(unpacked(text)), n_tokens=n_tokens, finish_reason=FinishReason(finish_reason))

    def add_sample(self, claimed: ClaimedUnit, sample: Sample) -> None:
        """Store one sample; see `add_drawn`."""
        self.add_drawn([(claimed, sample)])

    def add_drawn(self, drawn: Sequence[tuple[ClaimedUnit, Sample]]) -> None:
        """
        Store samples by one transaction, and each unit as done when its last one came.

        A sample that is there already stays: whoever finishes second after a
        lease was taken over drew the same one, by the same seed.
        """
        # Texts are worked on before the transaction, which keeps all other writers waiting.
        rows = [(claimed, sample, _stored(sample)) for claimed, sample in drawn]
        units = {claimed.id: claimed for claimed, _ in drawn}
        with self._transaction() as db:
            for claimed, sample, stored in rows:
                key = (claimed.benchmark, sample.problem_id, sample.index)
                if db.execute(_IS_STORED, key).fetchone() is None:
                    _insert(db, claimed.benchmark, sample, stored)
            db.executemany(
                "UPDATE unit SET done = 1 WHERE id = ? AND done = 0 AND last - first ="
                " (SELECT count(*) FROM sample WHERE benchmark = ? AND problem_id = ? AND idx >= first AND idx < last)",
                [(id_, claimed.benchmark, claimed.unit.problem_id) for id_, claimed in units.items()],
            )

    def add_samples(self, name: str, samples: Iterable[Sample]) -> None:
        """
        Store samples that were drawn elsewhere, and every unit of the benchmark that is whole as done.

        Raises:
            StoreError: If one of them is there already.
        """
        with self._transaction() as db:
            for sample in samples:
                _insert(db, name, sample, _stored(sample))
            db.execute(
                "UPDATE unit SET done = 1 WHERE benchmark = ? AND done = 0"
                " AND last - first = (SELECT count(*) FROM sample WHERE sample.benchmark = unit.benchmark"
                " AND sample.problem_id = unit.problem_id AND idx >= first AND idx < last)",
                (name,),
            )

    # Reading

    def without_grade(self, name: str, *, grader: str) -> tuple[tuple[str, int], ...]:
        """Return (problem id, index) of the samples that a grader has not graded again yet, or failed on."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT problem_id, idx FROM sample WHERE benchmark = ? AND NOT EXISTS (SELECT 1 FROM grade"
                " WHERE grade.benchmark = sample.benchmark AND grade.problem_id = sample.problem_id"
                " AND grade.idx = sample.idx AND grade.grader = ? AND grade.outcome != ?)",
                (name, grader, Outcome.ERROR),
            ).fetchall()
        return tuple((problem_id, int(index)) for problem_id, index in rows)

    def add_grades(self, name: str, grades: Mapping[tuple[str, int], Grade], *, grader: str) -> None:
        """Store what another grader made of samples, by (problem id, index), beside the grades that count."""
        rows = [
            (name, problem_id, index, grader, grade.outcome, _whole(grade.answer), _whole(grade.detail))
            for (problem_id, index), grade in grades.items()
        ]
        with self._transaction() as db:
            db.executemany("INSERT OR REPLACE INTO grade VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def choose_grades(self, name: str, *, grader: str, before: str) -> int:
        """
        Let another grader's grades count, all of them by one transaction; those of before stay beside them.

        Args:
            name: The benchmark.
            grader: Whose grades count from now on; every sample has one.
            before: Whose grades have counted until now.

        Returns:
            How many samples have another outcome than before.
        """
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO grade SELECT benchmark, problem_id, idx, ?, outcome, answer, detail"
                " FROM sample WHERE benchmark = ?",
                (before, name),
            )
            (n_changed,) = db.execute(
                "SELECT count(*) FROM sample JOIN grade USING (benchmark, problem_id, idx)"
                " WHERE benchmark = ? AND grader = ? AND sample.outcome != grade.outcome",
                (name, grader),
            ).fetchone()
            db.execute(
                "UPDATE sample SET (outcome, answer, detail) = (SELECT outcome, answer, detail FROM grade"
                " WHERE grade.benchmark = sample.benchmark AND grade.problem_id = sample.problem_id"
                " AND grade.idx = sample.idx AND grader = ?) WHERE benchmark = ?",
                (grader, name),
            )
            db.execute("UPDATE benchmark SET plan = json_set(plan, '$.grader', ?) WHERE name = ?", (grader, name))
        return int(n_changed)

    def progress(self, name: str) -> Progress:
        """How many samples of a benchmark are stored and planned."""
        with self._reading() as db:
            (n_stored,) = db.execute("SELECT count(*) FROM sample WHERE benchmark = ?", (name,)).fetchone()
            n_planned, n_open = db.execute(
                "SELECT coalesce(sum(n_samples), 0), coalesce(sum(n_open_units), 0) FROM round WHERE benchmark = ?",
                (name,),
            ).fetchone()
        return Progress(n_stored=n_stored, n_planned=n_planned, n_open_units=n_open)

    def n_open_units(self, name: str) -> int:
        """Return how many units of a benchmark are not done; asked often, and as cheap for a million samples."""
        with self._reading() as db:
            query = "SELECT coalesce(sum(n_open_units), 0) FROM round WHERE benchmark = ?"
            (n_open,) = db.execute(query, (name,)).fetchone()
        return int(n_open)

    def n_leased_units(self, name: str) -> int:
        """Return how many units of a benchmark workers hold and have not finished."""
        with self._reading() as db:
            (n_leased,) = db.execute(
                "SELECT count(*) FROM unit WHERE benchmark = ? AND done = 0 AND owner IS NOT NULL AND lease_until >= ?",
                (name, time.monotonic()),
            ).fetchone()
        return int(n_leased)

    def samples(self, name: str) -> Iterator[Sample]:
        """All stored samples of a benchmark, in the exam's order, then by sample index."""
        with self._reading() as db:
            rows = db.execute(
                _SELECT_SAMPLE
                + " JOIN problem ON problem.benchmark = sample.benchmark AND problem.id = sample.problem_id"
                " WHERE sample.benchmark = ? ORDER BY problem.position, idx",
                (name,),
            )
            for row in rows:
                yield self._sample(row)

    def samples_of(self, name: str, *, problem_id: str, k: int) -> tuple[Sample, ...]:
        """Return the first k samples of one problem, as many as are stored."""
        with self._reading() as db:
            rows = db.execute(
                _SELECT_SAMPLE + " WHERE benchmark = ? AND problem_id = ? AND idx < ? ORDER BY idx",
                (name, problem_id, k),
            ).fetchall()
        return tuple(map(self._sample, rows))

    def drawn(self, name: str) -> Iterator[tuple[str, int, int]]:
        """(problem id, index, seed) of every stored sample of a benchmark; no text is read."""
        with self._reading() as db:
            yield from db.execute("SELECT problem_id, idx, seed FROM sample WHERE benchmark = ?", (name,))

    def outcomes(self, name: str, *, k: int) -> Iterator[tuple[str, int, Outcome]]:
        """(problem id, index, outcome) of the first k samples of every problem; no text is read."""
        known = {outcome.value: outcome for outcome in Outcome}  # asking the enum takes longer than reading the row
        with self._reading() as db:
            query = "SELECT problem_id, idx, outcome FROM sample WHERE benchmark = ? AND idx < ?"
            for problem_id, index, outcome in db.execute(query, (name, k)):
                with self.understanding(f"an outcome of {name}"):
                    found = known[outcome]
                yield problem_id, index, found

    def sample(self, name: str, *, problem_id: str, index: int) -> Sample | None:
        """Return one stored sample; None if it is not there."""
        with self._reading() as db:
            row = db.execute(
                _SELECT_SAMPLE + " WHERE benchmark = ? AND problem_id = ? AND idx = ?",
                (name, problem_id, index),
            ).fetchone()
        return None if row is None else self._sample(row)

    def _sample(self, row: tuple[Any, ...]) -> Sample:
        with self.understanding(f"sample {row[1]} of problem {quoted(str(row[0]))}"):
            return _sample(row)

    def tallies(self, name: str, *, k: int) -> tuple[ProblemTally, ...]:
        """Tally the first k samples of every problem of a planned benchmark, in the exam's order."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT problem.id, coalesce(sum(outcome = 'correct'), 0), coalesce(sum(outcome = 'no_answer'), 0),"
                " coalesce(sum(outcome = 'error'), 0), coalesce(sum(finish_reason = 'length'), 0),"
                " coalesce(sum(finish_reason = 'length' AND outcome = 'correct'), 0),"
                " coalesce(sum(n_tokens), 0), count(sample.idx)"
                " FROM problem LEFT JOIN sample"
                " ON sample.benchmark = problem.benchmark AND sample.problem_id = problem.id AND idx < ?"
                " WHERE problem.benchmark = ? GROUP BY problem.id ORDER BY problem.position",
                (k, name),
            ).fetchall()
        return tuple(
            ProblemTally(
                problem_id=id_,
                n_correct=n_correct,
                n_no_answer=n_no_answer,
                n_error=n_error,
                n_truncated=n_truncated,
                n_truncated_correct=n_truncated_correct,
                n_tokens=n_tokens,
                n_samples=n_samples,
            )
            for id_, n_correct, n_no_answer, n_error, n_truncated, n_truncated_correct, n_tokens, n_samples in rows
        )

    def lengths(self, name: str, *, k: int, reason: FinishReason) -> tuple[int, ...]:
        """Return the generated tokens of those of the first k samples of every problem that ended for one reason."""
        with self._reading() as db:
            query = "SELECT n_tokens FROM sample WHERE benchmark = ? AND idx < ? AND finish_reason = ?"
            return tuple(n_tokens for (n_tokens,) in db.execute(query, (name, k, reason)))

    def n_complete_rounds(self, name: str) -> int:
        """Return how many rounds, from the first, have every sample."""
        with self._reading() as db:
            first_open, last = db.execute(
                "SELECT min(CASE WHEN n_open_units > 0 THEN number END), max(number) FROM round WHERE benchmark = ?",
                (name,),
            ).fetchone()
        if last is None:
            return 0
        return int(last) + 1 if first_open is None else int(first_open)

    def add_look(self, name: str, *, number: int, content: str, closes: bool) -> None:
        """Store a look as JSON; two workers that look at the same samples see the same, and the first one counts."""
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO look VALUES (?, ?, ?)", (name, number, content))
            if closes:
                db.execute(
                    "UPDATE benchmark SET state = ? WHERE name = ? AND state = ?",
                    (BenchmarkState.CLOSED, name, BenchmarkState.OPEN),
                )

    def looks(self, name: str) -> tuple[str, ...]:
        """Return the stored looks as JSON, in order."""
        with self._reading() as db:
            rows = db.execute("SELECT content FROM look WHERE benchmark = ? ORDER BY number", (name,)).fetchall()
        return tuple(content for (content,) in rows)

    def repeated_responses(self, name: str, *, min_tokens: int) -> tuple[RepeatedResponse, ...]:
        """Return each response of `min_tokens` or more that ended by itself and that one problem has several times."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT problem_id, min(idx), count(*) FROM sample"
                " WHERE benchmark = ? AND n_tokens >= ? AND finish_reason = ?"
                " GROUP BY problem_id, digest HAVING count(*) > 1",
                (name, min_tokens, FinishReason.STOP),
            ).fetchall()
        return tuple(
            RepeatedResponse(problem_id=id_, first_index=index, n_samples=n_samples) for id_, index, n_samples in rows
        )

    def write_verdict(self, name: str, content: str) -> None:
        """Store the judgement of a benchmark, as JSON."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO verdict VALUES (?, ?)", (name, content))

    def verdict(self, name: str) -> str | None:
        """The stored judgement as JSON; None if the benchmark was not judged."""
        with self._reading() as db:
            row = db.execute("SELECT content FROM verdict WHERE benchmark = ?", (name,)).fetchone()
        return None if row is None else row[0]

    @contextmanager
    def _closing_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._db
        except sqlite3.Error as error:
            raise StoreError(_unusable(self.path, error)) from error


def _connect(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    except sqlite3.Error as error:
        raise StoreError(_unusable(path, error)) from error
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.Error as error:
        connection.close()
        raise StoreError(_unusable(path, error)) from error
    return connection


_IS_STORED = "SELECT 1 FROM sample WHERE benchmark = ? AND problem_id = ? AND idx = ?"
_INSERT_SAMPLE = "INSERT INTO sample VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_SELECT_SAMPLE = (
    "SELECT sample.problem_id, idx, seed, outcome, answer, detail, finish_reason, n_tokens, text"
    " FROM sample JOIN response ON response.id = sample.response"
)


def _noted(db: sqlite3.Connection, key: str) -> tuple[str, ...]:
    row = db.execute("SELECT value FROM run WHERE key = ?", (key,)).fetchone()
    noted = [] if row is None else json.loads(row[0])
    return (noted,) if isinstance(noted, str) else tuple(noted)  # older runs hold the last one alone


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """A sample's text as it lies in the file, and what tells equal texts."""

    text: str | bytes
    digest: bytes


def _stored(sample: Sample) -> _Stored:
    return _Stored(text=packed(sample.response.text), digest=digest(sample.response.text))


def _whole(note: str | None) -> str | None:
    """Return a grader's note without halves of a pair, which SQLite would refuse."""
    return None if note is None else whole(note)


def _insert(db: sqlite3.Connection, benchmark: str, sample: Sample, stored: _Stored) -> None:
    response = db.execute("INSERT INTO response (text) VALUES (?)", (stored.text,)).lastrowid
    row = (
        benchmark,
        sample.problem_id,
        sample.index,
        sample.seed,
        sample.grade.outcome,
        _whole(sample.grade.answer),
        _whole(sample.grade.detail),
        sample.response.finish_reason,
        sample.response.n_tokens,
        stored.digest,
        response,
    )
    db.execute(_INSERT_SAMPLE, row)


def _sample(row: tuple[Any, ...]) -> Sample:
    problem_id, index, seed, outcome, answer, detail, finish_reason, n_tokens, text = row
    return Sample(
        problem_id=problem_id,
        index=index,
        seed=seed,
        response=Response(text=whole(unpacked(text)), n_tokens=n_tokens, finish_reason=FinishReason(finish_reason)),
        grade=Grade(outcome=Outcome(outcome), answer=answer, detail=detail),
    )


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
    dt.datetime.fromisoformat(header.created)
    return header


def _demand_name(name: str) -> None:
    if (hidden := hidden_in(name)) is not None:
        raise ValueError(f"{name!a} holds the character {hidden}")


def _json(text: str) -> object:
    """
    Parse JSON, without the numbers that are none.

    Raises:
        ValueError: If it is no JSON.
    """

    def refuse(constant: str) -> object:
        raise ValueError(f"{constant} is no number")

    return json.loads(text, parse_constant=refuse)


def _unwritable(folder: Path, error: OSError) -> str:
    return f"cannot write the output folder {folder}: {error.strerror}; choose another with --r1-output-dir"


def _unusable(path: Path, error: sqlite3.Error) -> str:
    return (
        f"the run store {path} cannot be used: {error}; expected a writable SQLite file on a local disk with room "
        f"left. What was stored before is kept: mend the cause, then --r1-resume {path.parent}"
    )
