"""Grades by a second grader, which wait beside those that count until every sample has one."""

from collections.abc import Mapping

from pytest_r1eval.core.records import Grade, Outcome
from pytest_r1eval.runs.rows import whole_or_none
from pytest_r1eval.runs.store import Store


class OtherGrades:
    """
    The grades of one run that do not count.

    Raises:
        StoreError: From any method, when the file cannot be read or written.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def missing(self, name: str, *, grader: str) -> tuple[tuple[str, int], ...]:
        """Return (problem id, index) of the samples that a grader has not graded again yet, or failed on."""
        with self._store.reading() as db:
            rows = db.execute(
                "SELECT problem_id, idx FROM sample WHERE benchmark = ? AND NOT EXISTS (SELECT 1 FROM grade"
                " WHERE grade.benchmark = sample.benchmark AND grade.problem_id = sample.problem_id"
                " AND grade.idx = sample.idx AND grade.grader = ? AND grade.outcome != ?)",
                (name, grader, Outcome.ERROR),
            ).fetchall()
        return tuple((problem_id, int(index)) for problem_id, index in rows)

    def add(self, name: str, grades: Mapping[tuple[str, int], Grade], *, grader: str) -> None:
        """Store what another grader made of samples, by (problem id, index), beside the grades that count."""
        rows = [
            (name, problem_id, index, grader, grade.outcome, whole_or_none(grade.answer), whole_or_none(grade.detail))
            for (problem_id, index), grade in grades.items()
        ]
        with self._store.transaction() as db:
            db.executemany("INSERT OR REPLACE INTO grade VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def choose(self, name: str, *, grader: str, before: str) -> int:
        """
        Let another grader's grades count, all of them by one transaction; those of before stay beside them.

        Args:
            name: The benchmark.
            grader: Whose grades count from now on; every sample has one.
            before: Whose grades have counted until now.

        Returns:
            How many samples have another outcome than before.
        """
        with self._store.transaction() as db:
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
