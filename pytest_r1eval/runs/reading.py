"""What a run holds, read from its store: plans, exams, samples, counts, looks and verdicts. Nothing here writes."""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from pytest_r1eval.core.benchmarks import Exam, Problem
from pytest_r1eval.core.codec import Kind
from pytest_r1eval.core.fingerprints import Harness
from pytest_r1eval.core.plans import Depth, Plan
from pytest_r1eval.core.records import FinishReason, GraderDifference, Outcome, ProblemTally, Response, Sample, Votes
from pytest_r1eval.core.texts import escaped, quoted
from pytest_r1eval.core.thinking import ThoughtCounts
from pytest_r1eval.errors import StoreError
from pytest_r1eval.runs.rows import SELECT_SAMPLE, response_of, sample_of
from pytest_r1eval.runs.store import FILE_NAME, BenchmarkState, RunHeader, Store, demand_name, noted_lines

if TYPE_CHECKING:
    from pytest_r1eval.stats.looks import Look, SequentialGate

T = TypeVar("T")


_TALLIED = (
    *("problem_id", "n_correct", "n_no_answer", "n_error", "n_truncated", "n_truncated_correct", "n_tokens"),
    "n_samples",
)
"""The first columns of `_TALLIES`; the last three count thoughts."""
_TALLIES = (
    "SELECT problem.id, coalesce(sum(outcome = 'correct'), 0), coalesce(sum(outcome = 'no_answer'), 0),"
    " coalesce(sum(outcome = 'error'), 0), coalesce(sum(finish_reason = 'length'), 0),"
    " coalesce(sum(finish_reason = 'length' AND outcome = 'correct'), 0),"
    " coalesce(sum(n_tokens), 0), count(sample.idx), count(n_thought_tokens),"
    " coalesce(sum(n_thought_tokens), 0), coalesce(sum(n_thought_tokens = n_tokens AND n_tokens > 0), 0)"
    " FROM problem LEFT JOIN sample"
    " ON sample.benchmark = problem.benchmark AND sample.problem_id = problem.id AND {within}"
    " WHERE problem.benchmark = ? GROUP BY problem.id ORDER BY problem.position"
)


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


class RunReader:
    """
    Reads one run.

    Raises:
        StoreError: From any method, when the file cannot be read.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open an existing run for reading; see `Store.open`."""
        return cls(Store.open(folder))

    @classmethod
    def open_finished(cls, folder: Path) -> Self:
        """Open a run whose numbers are used; see `Store.open_finished`."""
        return cls(Store.open_finished(folder))

    def close(self) -> None:
        """Close the connection; the file stays."""
        self._store.close()

    def check(self) -> None:
        """Read the whole file once; see `Store.check`."""
        self._store.check()

    @property
    def path(self) -> Path:
        """The store's file, in the run's folder."""
        return self._store.path

    @property
    def header(self) -> RunHeader:
        """What the run is about."""
        return self._store.header

    @property
    def selected(self) -> tuple[str, ...]:
        """The benchmarks this run judges, in order."""
        names = [name for (name,) in self._store.rows("SELECT name FROM benchmark ORDER BY position")]
        for name in names:
            with self._store.understanding("a benchmark's name"):
                demand_name(name)
        return tuple(names)

    @property
    def changed_checkpoint(self) -> str | None:
        """What became of the checkpoint while the run went on; None if nothing was seen."""
        text = self._store.note("changed_checkpoint")
        with self._store.understanding("what became of the checkpoint"):
            return None if text is None else escaped(str(json.loads(text)))

    @property
    def harnesses(self) -> tuple[Harness, ...]:
        """The distinct harnesses that took part."""
        rows = self._store.rows("SELECT DISTINCT harness FROM worker ORDER BY harness")
        return tuple(self._store.decoded(Harness, text, what="what answered and graded") for (text,) in rows)

    @property
    def sandboxes(self) -> tuple[str, ...]:
        """What programs ran in; several where workers, machines or sittings differed, none where none ran."""
        return self._places("sandbox")

    @property
    def sandbox(self) -> str | None:
        """All of them in one line; None where no program ran."""
        return " and ".join(self.sandboxes) or None

    @property
    def walls(self) -> tuple[str, ...]:
        """What answers were graded in, likewise; none where all came with their grades."""
        return self._places("walls")

    def _places(self, key: str) -> tuple[str, ...]:
        text = self._store.note(key)
        with self._store.understanding("what programs and graders ran in"):
            return tuple(map(escaped, noted_lines(text)))

    def state(self, name: str) -> BenchmarkState:
        """How far a benchmark is."""
        row = self._store.row("SELECT state FROM benchmark WHERE name = ?", name)
        if row is None:
            raise StoreError(
                f"{self._store.path} knows no benchmark {name!r}; it holds {', '.join(self.selected) or 'none'}"
            )
        with self._store.understanding(f"the state of {name}"):
            return BenchmarkState(row[0])

    def error(self, name: str) -> str | None:
        """Why a benchmark failed; None if it did not."""
        row = self._store.row("SELECT error FROM benchmark WHERE name = ?", name)
        return None if row is None else row[0]

    def plan(self, name: str) -> Plan | None:
        """The plan of a benchmark; None before it is planned."""
        row = self._store.row("SELECT plan FROM benchmark WHERE name = ?", name)
        if row is None or row[0] is None:
            return None
        plan = self._store.decoded(Plan, row[0], what=f"the plan of {name}")
        if plan.benchmark != name:
            raise StoreError(f"{self._store.path}: the plan of {name} is of {quoted(plan.benchmark)}; start a new run")
        return plan

    def is_sequential(self, name: str) -> bool:
        """Whether looks decide a benchmark; where they do not, only a complete run is judged."""
        return self._gate_text(name) is not None

    def gate(self, name: str) -> SequentialGate | None:
        """What a benchmark's looks decide by; None where only a complete run is judged."""
        from pytest_r1eval.stats import looks  # noqa: PLC0415 - imports scipy, which most readers do without

        text = self._gate_text(name)
        if text is None:
            return None
        return self._store.decoded(looks.SEQUENTIAL_GATE, text, what=f"the gate of {name}")

    def _gate_text(self, name: str) -> str | None:
        row = self._store.row("SELECT gate FROM benchmark WHERE name = ?", name)
        return None if row is None else row[0]

    def exam(self, name: str) -> Exam:
        """The exam of a planned benchmark."""
        (dataset,) = self._store.row("SELECT dataset FROM benchmark WHERE name = ?", name)
        rows = self._store.rows("SELECT id, content FROM problem WHERE benchmark = ? ORDER BY position", name)
        problems = tuple(self._problem(id_, content) for id_, content in rows)
        return Exam(benchmark=name, problems=problems, dataset=escaped(str(dataset)))

    def _problem(self, id_: str, content: str) -> Problem:
        problem = self._store.decoded(Problem, content, what=f"problem {quoted(str(id_))}").whole
        with self._store.understanding(f"problem {quoted(str(id_))}"):
            if problem.id != id_ or not 0 <= problem.gold_index < max(1, len(problem.choices)):
                raise ValueError("its id or its right answer is another's")
            demand_name(problem.id)
        return problem

    def prompts(self, name: str) -> dict[str, tuple[int, ...]]:
        """Token ids per problem id."""
        rows = self._store.rows("SELECT id, prompt FROM problem WHERE benchmark = ? ORDER BY position", name)
        with self._store.understanding(f"a prompt of {name}"):
            return {id_: tuple(array("i", blob)) for id_, blob in rows}

    def looks(self, name: str) -> tuple[Look, ...]:
        """Return the looks that were taken, in order."""
        from pytest_r1eval.stats.looks import Look  # noqa: PLC0415 - imports scipy, as above

        rows = self._store.rows("SELECT content FROM look WHERE benchmark = ? ORDER BY number", name)
        return tuple(self._store.decoded(Look, content, what=f"a look at {name}") for (content,) in rows)

    def n_looks(self, name: str) -> int:
        """Return how many looks at pass@1 were taken."""
        (n_looks,) = self._store.row("SELECT count(*) FROM look WHERE benchmark = ? AND number > 0", name)
        return int(n_looks)

    def n_rounds_seen(self, name: str) -> int:
        """Return how many rounds were looked at, for health alone or for pass@1 too."""
        (n_rounds,) = self._store.row("SELECT count(*) FROM look WHERE benchmark = ?", name)
        return int(n_rounds)

    def verdict(self, name: str, kind: Kind[T] | type[T]) -> T | None:
        """
        Return the stored judgement of a benchmark; None if it was not judged.

        Args:
            name: The benchmark.
            kind: A dataclass with the fields that are wanted of it.
        """
        row = self._store.row("SELECT content FROM verdict WHERE benchmark = ?", name)
        return None if row is None else self._store.decoded(kind, row[0], what=f"the verdict on {name}")

    def release(self, kind: Kind[T]) -> T | None:
        """Return the stored verdict of a release; None where the run was judged without a policy."""
        text = self._store.note("release")
        return None if text is None else self._store.decoded(kind, text, what="the verdict of the release")

    def progress(self, name: str) -> Progress:
        """How many samples of a benchmark are stored and planned."""
        (n_stored,) = self._store.row("SELECT count(*) FROM sample WHERE benchmark = ?", name)
        n_planned, n_open = self._store.row(
            "SELECT coalesce(sum(n_samples), 0), coalesce(sum(n_open_units), 0) FROM round WHERE benchmark = ?", name
        )
        return Progress(n_stored=n_stored, n_planned=n_planned, n_open_units=n_open)

    def n_open_units(self, name: str) -> int:
        """Return how many units of a benchmark are not done; asked often, and as cheap for a million samples."""
        (n_open,) = self._store.row("SELECT coalesce(sum(n_open_units), 0) FROM round WHERE benchmark = ?", name)
        return int(n_open)

    def n_leased_units(self, name: str) -> int:
        """Return how many units of a benchmark workers hold and have not finished."""
        (n_leased,) = self._store.row(
            "SELECT count(*) FROM unit WHERE benchmark = ? AND done = 0 AND owner IS NOT NULL AND lease_until >= ?",
            name,
            time.monotonic(),
        )
        return int(n_leased)

    def n_complete_rounds(self, name: str) -> int:
        """Return how many rounds, from the first, have every sample."""
        first_open, last = self._store.row(
            "SELECT min(CASE WHEN n_open_units > 0 THEN number END), max(number) FROM round WHERE benchmark = ?", name
        )
        if last is None:
            return 0
        return int(last) + 1 if first_open is None else int(first_open)

    def tallies(self, name: str, *, k: Depth) -> tuple[ProblemTally, ...]:
        """Tally the first k samples of every problem of a planned benchmark, in the exam's order."""
        within, limit = _within(k)
        return tuple(map(_tally, self._store.rows(_TALLIES.format(within=within), limit, name)))

    def votes(self, name: str, *, k: int) -> tuple[Votes, ...]:
        """Count the answers of the first k samples of every problem that has one, wrong ones by their text."""
        rows = self._store.rows(
            "SELECT problem_id, iif(outcome = 'correct', 'correct', iif(answer IS NULL, 'none', 'wrong')) AS kind,"
            " iif(outcome = 'correct', NULL, answer) AS text, count(*) FROM sample"
            " WHERE benchmark = ? AND idx < ? AND outcome != 'error' GROUP BY problem_id, kind, text",
            name,
            k,
        )
        found: dict[str, dict[str, list[int]]] = {}
        for problem_id, kind, _, n_responses in rows:
            found.setdefault(problem_id, {}).setdefault(kind, []).append(n_responses)
        return tuple(
            Votes(
                n_correct=sum(votes.get("correct", ())),
                wrong=tuple(votes.get("wrong", ())),
                n_abstained=sum(votes.get("none", ())),
            )
            for votes in found.values()
        )

    def grader_differences(self, name: str) -> tuple[GraderDifference, ...]:
        """Compare the grades that count with those of each other grader that has graded every stored sample."""
        rows = self._store.rows(
            "SELECT grade.grader, count(*),"
            " sum(sample.outcome = 'correct' AND grade.outcome != 'correct'),"
            " sum(sample.outcome != 'correct' AND grade.outcome = 'correct')"
            " FROM grade JOIN sample USING (benchmark, problem_id, idx)"
            " WHERE benchmark = ? AND grade.outcome != 'error' AND sample.outcome != 'error'"
            " AND grade.grader != (SELECT coalesce(plan ->> '$.grader', '') FROM benchmark WHERE name = ?)"
            " GROUP BY grade.grader ORDER BY grade.grader",
            name,
            name,
        )
        return tuple(
            GraderDifference(grader=grader, n_samples=n, n_right_here_alone=here, n_right_there_alone=there)
            for grader, n, here, there in rows
        )

    def lengths(self, name: str, *, k: Depth, reason: FinishReason) -> tuple[int, ...]:
        """Return the generated tokens of those of the first k samples of every problem that ended for one reason."""
        within, limit = _within(k)
        with self._store.reading() as db:
            query = f"SELECT n_tokens FROM sample WHERE benchmark = ? AND {within} AND finish_reason = ?"  # noqa: S608 - ours
            return tuple(n_tokens for (n_tokens,) in db.execute(query, (name, limit, reason)))

    def outcomes(self, name: str, *, k: Depth) -> Iterator[tuple[str, int, Outcome]]:
        """(problem id, index, outcome) of the first k samples of every problem; no text is read."""
        known = {outcome.value: outcome for outcome in Outcome}  # asking the enum takes longer than reading the row
        within, limit = _within(k)
        with self._store.reading() as db:
            query = f"SELECT problem_id, idx, outcome FROM sample WHERE benchmark = ? AND {within}"  # noqa: S608 - ours
            for problem_id, index, outcome in db.execute(query, (name, limit)):
                with self._store.understanding(f"an outcome of {name}"):
                    found = known[outcome]
                yield problem_id, index, found

    def drawn(self, name: str) -> Iterator[tuple[str, int, int]]:
        """(problem id, index, seed) of every stored sample of a benchmark; no text is read."""
        with self._store.reading() as db:
            yield from db.execute("SELECT problem_id, idx, seed FROM sample WHERE benchmark = ?", (name,))

    def samples(self, name: str) -> Iterator[Sample]:
        """All stored samples of a benchmark, in the exam's order, then by sample index."""
        with self._store.reading() as db:
            rows = db.execute(
                SELECT_SAMPLE
                + " JOIN problem ON problem.benchmark = sample.benchmark AND problem.id = sample.problem_id"
                " WHERE sample.benchmark = ? ORDER BY problem.position, idx",
                (name,),
            )
            for row in rows:
                yield self._sample(row)

    def samples_of(self, name: str, *, problem_id: str, k: int) -> tuple[Sample, ...]:
        """Return the first k samples of one problem, as many as are stored."""
        rows = self._store.rows(
            SELECT_SAMPLE + " WHERE benchmark = ? AND problem_id = ? AND idx < ? ORDER BY idx",
            name,
            problem_id,
            k,
        )
        return tuple(map(self._sample, rows))

    def sample(self, name: str, *, problem_id: str, index: int) -> Sample | None:
        """Return one stored sample; None if it is not there."""
        row = self._store.row(
            SELECT_SAMPLE + " WHERE benchmark = ? AND problem_id = ? AND idx = ?",
            name,
            problem_id,
            index,
        )
        return None if row is None else self._sample(row)

    def _sample(self, row: tuple[Any, ...]) -> Sample:
        with self._store.understanding(f"sample {row[1]} of problem {quoted(str(row[0]))}"):
            return sample_of(row)

    def ungraded(self, name: str, *, problem_id: str, index: int) -> Response | None:
        """Return a response that was drawn and waits for a grade; None if there is none."""
        row = self._store.row(
            "SELECT text, n_tokens, n_thought_tokens, finish_reason FROM ungraded"
            " WHERE benchmark = ? AND problem_id = ? AND idx = ?",
            name,
            problem_id,
            index,
        )
        if row is None:
            return None
        with self._store.understanding(f"a response of {name}"):
            return response_of(*row)

    def repeated_responses(self, name: str, *, min_tokens: int) -> tuple[RepeatedResponse, ...]:
        """Return each response of `min_tokens` or more that ended by itself and that one problem has several times."""
        rows = self._store.rows(
            "SELECT problem_id, min(idx), count(*) FROM sample"
            " WHERE benchmark = ? AND n_tokens >= ? AND finish_reason = ?"
            " GROUP BY problem_id, digest HAVING count(*) > 1",
            name,
            min_tokens,
            FinishReason.STOP,
        )
        return tuple(
            RepeatedResponse(problem_id=id_, first_index=index, n_samples=n_samples) for id_, index, n_samples in rows
        )


def _within(depth: Depth) -> tuple[str, int | str]:
    """Return what selects the first samples of each problem, and its parameter: a number, or a list by position."""
    if isinstance(depth, int):
        return "idx < ?", depth
    of_problem = "SELECT json_extract(?, '$[' || place.position || ']') FROM problem AS place"
    matching = "place.benchmark = sample.benchmark AND place.id = sample.problem_id"
    return f"idx < ({of_problem} WHERE {matching})", json.dumps(depth)


def _tally(row: tuple[Any, ...]) -> ProblemTally:
    *counted, n_told_apart, n_thought_tokens, n_unfinished = row
    named = dict(zip(_TALLIED, counted, strict=True))
    is_told_apart = n_told_apart == named["n_samples"]
    thoughts = ThoughtCounts(n_tokens=n_thought_tokens, n_unfinished=n_unfinished) if is_told_apart else None
    return ProblemTally(**named, thoughts=thoughts)


def recorded_samples(run: Path, benchmark: str) -> int | None:
    """
    Return how many samples of every problem a run planned; None where it planned no such benchmark.

    Raises:
        StoreError: If it cannot be read.
    """
    with closing(RunReader.open(run)) as store:
        plan = store.plan(benchmark)
    return None if plan is None else min(plan.samples)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsRead(Generic[T]):
    """
    What the runs below a folder hold.

    Attributes:
        found: What was read from each run, oldest run first.
        unreadable: Why each run that cannot be read was left out: one torn by a kill must not hide the others.
    """

    found: tuple[T, ...]
    unreadable: tuple[str, ...]


def runs_below(folder: Path, read: Callable[[Path], T]) -> RunsRead[T]:
    """
    Read every run below a folder.

    Args:
        folder: The folder.
        read: Reads the run of a folder.
    """
    found, unreadable = [], []
    for path in sorted(folder.rglob(FILE_NAME), key=lambda path: (path.parent.name, path)):
        try:
            found.append(read(path.parent))
        except StoreError as error:
            unreadable.append(str(error))
    return RunsRead(found=tuple(found), unreadable=tuple(unreadable))
