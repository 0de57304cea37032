"""
The work of a run: which benchmarks are planned, which units are free, leased or done, and the samples that come in.

All workers of a store being on one machine, leases are read off its monotonic
clock: a wall clock that jumps would end them all at once, or none for hours. What
a restart of the machine leaves behind is cleared when the run is resumed.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_r1eval.core.benchmarks import Exam, Problem
from pytest_r1eval.core.codec import to_json
from pytest_r1eval.core.plans import Plan, Slice, Unit
from pytest_r1eval.core.records import Outcome, Sample
from pytest_r1eval.core.texts import whole
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.rows import insert, stored
from pytest_r1eval.runs.store import BenchmarkState, Connection, Store

if TYPE_CHECKING:
    from pytest_r1eval.stats.looks import Look, SequentialGate

LEASE_S = 60.0
"""How long a silent worker keeps its units; it renews every `LEASE_S / 4`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedUnit:
    """A unit under lease, with the samples of it that are still missing."""

    id: int
    benchmark: str
    unit: Unit
    missing: tuple[int, ...]


_WHOLE_UNITS_ARE_DONE = (
    "UPDATE unit SET done = 1 WHERE benchmark = ? AND done = 0"
    " AND last - first = (SELECT count(*) FROM sample WHERE sample.benchmark = unit.benchmark"
    " AND sample.problem_id = unit.problem_id AND idx >= first AND idx < last)"
)
_IS_STORED = "SELECT 1 FROM sample WHERE benchmark = ? AND problem_id = ? AND idx = ?"


_ADMITTED = "admitted"
"""The key of the place up to which benchmarks are drawn."""


class WorkQueue:
    """
    The work of one run, for those that plan it and draw it.

    Raises:
        StoreError: From any method, when the file cannot be read or written.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def select(self, names: tuple[str, ...]) -> None:
        """
        Note which benchmarks this run judges, in the order given.

        Known ones stay as they are, but one that could not be planned, or was left out, gets another chance.
        """
        with self._store.transaction() as db:
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
                db.execute(
                    "UPDATE benchmark SET state = iif(plan IS NULL, ?, ?), error = NULL WHERE name = ? AND state = ?",
                    (BenchmarkState.SELECTED, BenchmarkState.OPEN, name, BenchmarkState.LEFT_OUT),
                )
            db.execute("DELETE FROM run WHERE key = ?", (_ADMITTED,))

    def claim_planning(self, name: str, *, owner: str) -> bool:
        """Take the task of planning a benchmark; False if another worker holds it or it is planned."""
        now = time.monotonic()
        with self._store.transaction() as db:
            cursor = db.execute(
                "UPDATE benchmark SET owner = ?, lease_until = ?"
                " WHERE name = ? AND state = ? AND (lease_until < ? OR owner = ?)",
                (owner, now + LEASE_S, name, BenchmarkState.SELECTED, now, owner),
            )
        return cursor.rowcount == 1

    def write_plan(
        self, exam: Exam, prompts: tuple[tuple[int, ...], ...], plan: Plan, *, gate: SequentialGate | None = None
    ) -> None:
        """
        Store exam, prompts, plan and sequential gate, and open the units of this store's slice for claims.

        Args:
            exam: The problems.
            prompts: Token ids of each problem, in the exam's order.
            plan: What is going to be drawn.
            gate: What looks decide by; None where only a complete run is judged.
        """
        part = self._store.header.slice
        with self._store.transaction() as db:
            cursor = db.execute(
                "UPDATE benchmark SET state = ?, dataset = ?, plan = ?, gate = ? WHERE name = ? AND state = ?",
                (
                    BenchmarkState.OPEN,
                    whole(exam.dataset),
                    to_json(Plan, plan),
                    None if gate is None else _gate_text(gate),
                    plan.benchmark,
                    BenchmarkState.SELECTED,
                ),
            )
            if cursor.rowcount != 1:
                return
            db.executemany(
                "INSERT INTO problem VALUES (?, ?, ?, ?, ?)",
                [
                    (plan.benchmark, position, problem.id, to_json(Problem, problem), array("i", prompt).tobytes())
                    for position, (problem, prompt) in enumerate(zip(exam.problems, prompts, strict=True))
                ],
            )
            _insert_units(db, plan, part=part)

    def fail(self, name: str, error: str) -> None:
        """Note why a benchmark cannot be planned; one that another worker planned meanwhile stays open."""
        with self._store.transaction() as db:
            db.execute(
                "UPDATE benchmark SET state = ?, error = ? WHERE name = ? AND state = ?",
                (BenchmarkState.FAILED, whole(error), name, BenchmarkState.SELECTED),
            )

    def admit(self, position: int | None) -> None:
        """Let benchmarks be drawn up to a place in the run's order, from 0; None for all of them."""
        self._store.put(_ADMITTED, None if position is None else str(position))

    def leave_out(self, reason: str) -> None:
        """Draw no benchmark that has no sample yet, and note why; one that was begun goes on."""
        with self._store.transaction() as db:
            db.execute(
                "UPDATE benchmark SET state = ?, error = ? WHERE state IN (?, ?)"
                " AND NOT EXISTS (SELECT 1 FROM sample WHERE sample.benchmark = benchmark.name)",
                (BenchmarkState.LEFT_OUT, whole(reason), BenchmarkState.SELECTED, BenchmarkState.OPEN),
            )

    def add_look(self, name: str, look: Look) -> None:
        """
        Store a look, and close the benchmark where it decides.

        Two workers that look at the same samples see the same, and the first one counts.
        """
        content = to_json(type(look), look)
        with self._store.transaction() as db:
            db.execute("INSERT OR IGNORE INTO look VALUES (?, ?, ?)", (name, look.number, content))
            if look.ends:
                db.execute(
                    "UPDATE benchmark SET state = ? WHERE name = ? AND state = ?",
                    (BenchmarkState.CLOSED, name, BenchmarkState.OPEN),
                )

    def close_benchmark(self, name: str) -> None:
        """Note that a benchmark needs no more samples, for every worker to see."""
        with self._store.transaction() as db:
            db.execute("UPDATE benchmark SET state = ? WHERE name = ?", (BenchmarkState.CLOSED, name))

    def complete_as_fixed(self, name: str, *, k: int) -> None:
        """
        Turn a sequential run into a fixed one of k samples per problem; what is stored stays, looks too.

        Args:
            name: A planned benchmark.
            k: Samples per problem that the fixed gate asks for.
        """
        run = RunReader(self._store)
        plan = run.plan(name)
        if plan is None or not run.is_sequential(name):
            return
        rounds = (*(end for end in plan.rounds if end < k), k)
        fixed = replace(plan, rounds=rounds, allocated=None, first_look=0)
        with self._store.transaction() as db:
            db.execute("DELETE FROM unit WHERE benchmark = ?", (name,))
            db.execute(
                "UPDATE benchmark SET state = ?, gate = NULL, plan = ? WHERE name = ?",
                (BenchmarkState.OPEN, to_json(Plan, fixed), name),
            )
            _insert_units(db, fixed, part=self._store.header.slice)
            db.execute(_WHOLE_UNITS_ARE_DONE, (name,))

    def claim_samples(self, n_samples: int, *, owner: str, n_expected: int = 1) -> tuple[ClaimedUnit, ...]:
        """
        Lease units that are free, by one transaction, until so many samples are claimed or nothing is free.

        Benchmarks come in order, and rounds. At most one round is begun before the one in front of it is complete:
        enough that an engine does not idle for the last long response, and little to drop on a stop.

        A worker holds at most its part of what is open in a round: an engine has room for most of a run, and the
        first to be ready would leave the others idle.

        A worker that finds nothing has only read: a full engine asks with every answer, and is in no writer's way.

        Args:
            n_samples: How many samples the worker has room for.
            owner: Who asks.
            n_expected: Workers that are going to ask; those that hold units count in any case.
        """
        now, claimed = time.monotonic(), []
        with self._store.reading() as db:
            if self._next_free(db, owner=owner, n_expected=n_expected, now=now) is None:
                return ()
        with self._store.transaction() as db:
            while n_samples > 0:
                row = self._next_free(db, owner=owner, n_expected=n_expected, now=now)
                if row is None:
                    break
                claimed.append(self._leased(db, row, owner=owner, until=now + LEASE_S))
                n_samples -= len(claimed[-1].missing)
        return tuple(claimed)

    def _leased(
        self, db: Connection, row: tuple[int, str, int, str, int, int], *, owner: str, until: float
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
        self, db: Connection, *, owner: str, n_expected: int, now: float
    ) -> tuple[int, str, int, str, int, int] | None:
        (n_others,) = db.execute(
            "SELECT count(DISTINCT owner) FROM unit"
            " WHERE done = 0 AND owner IS NOT NULL AND lease_until >= ? AND owner != ?",
            (now, owner),
        ).fetchone()
        rounds = db.execute(
            "SELECT benchmark.name, number, n_open FROM benchmark JOIN round ON round.benchmark = benchmark.name"
            " WHERE state = ? AND n_open > 0 AND position <= coalesce("
            "(SELECT CAST(value AS INTEGER) FROM run WHERE key = ?), position) AND number <= 1 + (SELECT min(number)"
            " FROM round AS early WHERE early.benchmark = benchmark.name AND n_open > 0)"
            " ORDER BY position, number",
            (BenchmarkState.OPEN, _ADMITTED),
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
        with self._store.transaction() as db:
            db.execute(
                "UPDATE benchmark SET lease_until = ? WHERE owner = ? AND state = ?",
                (time.monotonic() + LEASE_S, owner, BenchmarkState.SELECTED),
            )
            db.execute(
                "UPDATE unit SET lease_until = ? WHERE owner = ? AND done = 0", (time.monotonic() + LEASE_S, owner)
            )

    def release(self, *, owner: str) -> None:
        """Give back every lease of one worker, for others to take at once."""
        self._release("owner = ?", owner)

    def release_worker(self, name: str) -> None:
        """Give back the leases of a worker that is known to be gone, by the part of its name before the dash."""
        self._release("owner GLOB ?", f"{name}-*")

    def release_all(self) -> None:
        """Give back every lease: the only holder of a run knows that their owners are gone."""
        self._release("TRUE")

    def _release(self, of: str, *values: str) -> None:
        with self._store.transaction() as db:
            db.execute(f"UPDATE unit SET owner = NULL, lease_until = 0 WHERE done = 0 AND {of}", values)  # noqa: S608 - ours
            db.execute(f"UPDATE benchmark SET owner = NULL, lease_until = 0 WHERE {of}", values)  # noqa: S608 - the same

    def reopen_ungraded(self) -> None:
        """Set aside the responses on which the grader failed, for `ungraded`, and open their units again."""
        with self._store.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO ungraded"
                " SELECT benchmark, problem_id, idx, finish_reason, n_tokens, n_thought_tokens, text"
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

    def add_drawn(self, drawn: Sequence[tuple[ClaimedUnit, Sample]]) -> None:
        """
        Store samples by one transaction, and each unit as done when its last one came.

        A sample that is there already stays: the worker that finishes second after a
        lease was taken over drew the same one, by the same seed.
        """
        # Texts are worked on before the transaction, which keeps all other writers waiting.
        rows = [(claimed, sample, stored(sample.response)) for claimed, sample in drawn]
        units = {claimed.id: claimed for claimed, _ in drawn}
        with self._store.transaction() as db:
            for claimed, sample, response in rows:
                key = (claimed.benchmark, sample.problem_id, sample.index)
                if db.execute(_IS_STORED, key).fetchone() is None:
                    insert(db, claimed.benchmark, sample, response)
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
        with self._store.transaction() as db:
            for sample in samples:
                insert(db, name, sample, stored(sample.response))
            db.execute(_WHOLE_UNITS_ARE_DONE, (name,))


def _insert_units(db: Connection, plan: Plan, *, part: Slice | None) -> None:
    """Open the units of a plan, or of one slice of it, for claims."""
    db.executemany(
        "INSERT INTO unit (benchmark, round, problem_id, first, last) VALUES (?, ?, ?, ?, ?)",
        [(plan.benchmark, unit.round, unit.problem_id, unit.first, unit.last) for unit in plan.units(part=part)],
    )


def _gate_text(gate: SequentialGate) -> str:
    from pytest_r1eval.stats import looks  # noqa: PLC0415 - imports scipy; a worker has it by now

    return to_json(looks.SEQUENTIAL_GATE, gate)
