"""The run store: one writer of the truth, many workers, and any of them may be killed."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pytest_r1eval.core.benchmarks import Exam, Problem, Sampling
from pytest_r1eval.core.fingerprints import ModelIdentity
from pytest_r1eval.core.plans import MAX_SAMPLES_PER_UNIT, Plan
from pytest_r1eval.core.records import FinishReason, Grade, Outcome, ProblemTally, Response, Sample
from pytest_r1eval.errors import StoreError
from pytest_r1eval.runs import reading, work_queue
from pytest_r1eval.runs.reading import Progress, RunReader
from pytest_r1eval.runs.schema import SCHEMA_VERSION, unpacked
from pytest_r1eval.runs.store import (
    BUSY_TIMEOUT_S,
    FILE_NAME,
    BenchmarkState,
    RunHeader,
    Store,
)
from pytest_r1eval.runs.work_queue import LEASE_S, ClaimedUnit, WorkQueue
from tests.recordings import HARNESS, add_sample, make_exam, next_unit

HEADER = RunHeader(
    model="toy",
    model_name="local/toy",
    identity=ModelIdentity(weights="w", tokenizer="t", chat_template="c", checkpoint="all"),
    created="2025-01-20T00:00:00+00:00",
    seed=2**63 - 1,
)


class Clock:
    """The store's clock, moved by hand."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def monotonic(self) -> float:
        """Return the time, in the place of `time.monotonic`."""
        return self.now_s


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
    """Return the folder of a run, for whoever opens it once more."""
    return store.path.parent


def make_plan(exam: Exam, *, rounds: tuple[int, ...] = (2,)) -> Plan:
    """Plan a whole exam."""
    return Plan(
        benchmark=exam.benchmark,
        exam=exam.digest,
        problem_ids=tuple(problem.id for problem in exam.problems),
        rounds=rounds,
        seed=1,
        sampling=Sampling(),
        template_date="2025-01-01",
        prompts="p",
    )


def open_benchmark(store: Store, name: str, *, n_problems: int = 2, rounds: tuple[int, ...] = (2,)) -> Plan:
    """Select and plan a benchmark of sums."""
    exam = make_exam(name, n_problems)
    plan = make_plan(exam, rounds=rounds)
    WorkQueue(store).select((name,))
    WorkQueue(store).write_plan(exam, tuple((1, 2, 3) for _ in exam.problems), plan)
    return plan


def sample_of(claimed: ClaimedUnit, index: int, *, outcome: Outcome = Outcome.CORRECT) -> Sample:
    """Answer one sample of a unit."""
    return Sample(
        problem_id=claimed.unit.problem_id,
        index=index,
        seed=index,
        response=Response(text=f"answer {index}", n_tokens=10, finish_reason=FinishReason.STOP),
        grade=Grade(outcome=outcome),
    )


def claim(store: Store, *, owner: str = "w1") -> ClaimedUnit:
    """Claim a unit that must be there."""
    claimed = next_unit(store, owner=owner)
    assert claimed is not None
    return claimed


def claimed_units(store: Store, *, owner: str = "w1") -> list[tuple[str, int, str, int]]:
    """Claim everything; return benchmark, round, problem and first index, in the order of the claims."""
    found = []
    while (claimed := next_unit(store, owner=owner)) is not None:
        found.append((claimed.benchmark, claimed.unit.round, claimed.unit.problem_id, claimed.unit.first))
    return found


class TestCreateAndOpen:
    """A folder holds one run, and whatever else lies there is named."""

    def test_header_survives(self, store: Store) -> None:
        """What a run is about is read as it was written, the largest seed included."""
        assert store.header == HEADER

    def test_create_makes_missing_folders(self, tmp_path: Path) -> None:
        """A new model's output folder need not exist."""
        Store.create(tmp_path / "a" / "b" / "c", HEADER).close()

        assert (tmp_path / "a" / "b" / "c" / FILE_NAME).is_file()

    def test_second_run_in_a_folder_is_refused(self, run: Path) -> None:
        """A run is never written over; the message says how to go on with it."""
        with pytest.raises(StoreError) as caught:
            Store.create(run, HEADER)

        expected = f"{run / FILE_NAME} already holds a run; resume it with --r1-resume {run}, or choose another"
        assert expected == str(caught.value)

    def test_open_without_a_run(self, tmp_path: Path) -> None:
        """A folder without a store is no run, and opening it makes none."""
        with pytest.raises(StoreError) as caught:
            Store.open(tmp_path)

        expected = f"no run at {tmp_path}: expected the file {FILE_NAME} in it; see the runs with ls {tmp_path.parent}"
        assert expected == str(caught.value)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("found", ["0", "5", "null", '"4"'])
    def test_other_schema_is_refused(self, run: Path, found: str) -> None:
        """A store of another version of the plugin is not guessed at."""
        with closing(sqlite3.connect(run / FILE_NAME)) as db:
            db.execute("UPDATE run SET value = ? WHERE key = 'schema'", (found,))
            db.commit()

        with pytest.raises(StoreError) as caught:
            Store.open(run)

        expected = (
            f"{run / FILE_NAME} has store schema {found}, this version reads {SCHEMA_VERSION}; "
            "judge it with the version that wrote it, or start a new run"
        )
        assert expected == str(caught.value)

    def test_missing_schema_is_refused(self, run: Path) -> None:
        """A store that does not say its version is of another one."""
        with closing(sqlite3.connect(run / FILE_NAME)) as db:
            db.execute("DELETE FROM run WHERE key = 'schema'")
            db.commit()

        with pytest.raises(StoreError, match=f"has store schema null, this version reads {SCHEMA_VERSION}"):
            Store.open(run)

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "no such table: run"),
            (b"garbage" * 1000, "file is not a database"),
            (b"SQLite format 3\0" + b"\xff" * 4096, "file is not a database"),
        ],
        ids=["empty", "garbage", "header-only"],
    )
    def test_damaged_file_is_one_clear_line(self, tmp_path: Path, content: bytes, reason: str) -> None:
        """What is no store is named with its path and SQLite's reason."""
        (tmp_path / FILE_NAME).write_bytes(content)

        with pytest.raises(StoreError) as caught:
            Store.open(tmp_path)

        expected = (
            f"the run store {tmp_path / FILE_NAME} cannot be used: {reason}; expected a writable SQLite file on a "
            "local disk with room left. What was stored before is kept: mend the cause, then "
            f"--r1-resume {tmp_path}"
        )
        assert expected == str(caught.value)

    @pytest.mark.parametrize("n_bytes", [100, 4096, 10_000])
    def test_truncated_file_is_an_error(self, tmp_path: Path, n_bytes: int) -> None:
        """A copy that was cut off is never taken for a run with fewer samples."""
        with closing(Store.create(tmp_path, HEADER)) as created:
            open_benchmark(created, "smoke", n_problems=50)
        assert (tmp_path / FILE_NAME).stat().st_size > n_bytes
        os.truncate(tmp_path / FILE_NAME, n_bytes)

        with pytest.raises(StoreError, match=r"cannot be used: .*(malformed|not a database|disk I/O)"):
            Store.open(tmp_path)

    def test_folder_below_a_file(self, tmp_path: Path) -> None:
        """An output folder that cannot be is named with what to do."""
        (tmp_path / "file").write_text("")
        folder = tmp_path / "file" / "run"

        with pytest.raises(StoreError) as caught:
            Store.create(folder, HEADER)

        expected = f"cannot write the output folder {folder}: Not a directory; choose another with --r1-output-dir"
        assert expected == str(caught.value)

    def test_file_in_the_place_of_the_folder(self, tmp_path: Path) -> None:
        """A file where the folder should be is not removed."""
        (tmp_path / "run").write_text("precious")

        with pytest.raises(StoreError, match=r"cannot write the output folder .*: File exists; choose another"):
            Store.create(tmp_path / "run", HEADER)

        assert (tmp_path / "run").read_text() == "precious"

    def test_folder_that_takes_no_files(self) -> None:
        """A folder that is there and read-only, for root as well, is one clear line."""
        with pytest.raises(StoreError, match=r"^the run store /proc/self/run.sqlite cannot be used: unable to open"):
            Store.create(Path("/proc/self"), HEADER)

    @pytest.mark.parametrize(
        ("call", "expected"),
        [
            ("Store.create(folder / 'new', None)", "cannot write the output folder {folder}/new: Permission denied; "),
            ("Store.create(folder, None)", "the run store {folder}/run.sqlite cannot be used: unable to open database"),
            (
                "Store.open(folder / 'run').note_sandbox('none')",
                "the run store {folder}/run/run.sqlite cannot be used:",
            ),
        ],
        ids=["new folder", "new file", "old file"],
    )
    def test_read_only_folder(self, call: str, expected: str) -> None:
        """A user without the right to write gets one line; root is made such a user first."""
        script = (
            "import os, sys; from pathlib import Path; from pytest_r1eval.runs.store import Store\n"
            "from pytest_r1eval.errors import StoreError\n"
            "folder = Path(sys.argv[1])\n"
            "if os.geteuid() == 0: os.setegid(65534); os.seteuid(65534)\n"
            f"try: {call}\n"
            "except StoreError as error: print(error)\n"
        )
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            Store.create(folder / "run", HEADER).close()
            for path in (folder / "run", folder):
                path.chmod(0o555)
            (folder / "run" / FILE_NAME).chmod(0o444)
            try:
                said = subprocess.run(
                    [sys.executable, "-c", script, name], capture_output=True, text=True, check=True
                ).stdout
            finally:
                for path in (folder, folder / "run"):
                    path.chmod(0o755)

        assert said.startswith(expected.format(folder=folder))
        assert said.count("\n") == 1

    def test_another_thread_opens_its_own(self, store: Store) -> None:
        """A connection that strays into another thread is an error, not a race."""
        caught: list[Exception] = []

        def stray() -> None:
            try:
                next_unit(store, owner="w1")
            except StoreError as error:
                caught.append(error)

        thread = threading.Thread(target=stray)
        thread.start()
        thread.join()

        assert len(caught) == 1


class TestRoundTrip:
    """Everything is read as it was written."""

    def test_exam_prompts_and_plan(self, store: Store) -> None:
        """Texts keep every character, prompts every token, and the order is the exam's."""
        problems = (
            Problem(id="z", query="1 < 2\0é\n🤔", instruction="Think.", choices=("A", "\\boxed{½}"), gold_index=1),
            Problem(id="a", query="", instruction=None, choices=(), gold_index=0),
        )
        exam = Exam(benchmark="custom", problems=problems, dataset="org/data@main")
        plan = replace(
            make_plan(exam, rounds=(4, 16, 64)),
            sampling=Sampling(temperature=0.1 + 0.2, top_p=1.0, max_new_tokens=7, max_model_length=9),
            system_prompt="Sei präzise.",
        )
        prompts = ((0, 2**31 - 1, 7), ())
        WorkQueue(store).select(("custom",))

        WorkQueue(store).write_plan(exam, prompts, plan)

        assert exam == RunReader(store).exam("custom")
        assert exam.digest == RunReader(store).exam("custom").digest
        assert plan == RunReader(store).plan("custom")
        assert dict(zip(("z", "a"), prompts, strict=True)) == RunReader(store).prompts("custom")
        assert list(RunReader(store).prompts("custom")) == ["z", "a"]

    def test_samples(self, store: Store) -> None:
        """A response and its grade come back whole, in the exam's order and by sample index."""
        open_benchmark(store, "smoke", n_problems=2, rounds=(2,))
        stored = []
        for claimed in (claim(store), claim(store)):
            for index in reversed(claimed.missing):
                sample = replace(
                    sample_of(claimed, index),
                    seed=2**48 - 1,
                    response=Response(
                        text="<think>\0 🤔\r\n</think>" * 1000, n_tokens=32768, finish_reason=FinishReason.LENGTH
                    ),
                    grade=Grade(outcome=Outcome.ERROR, answer="½", detail="the grader died"),
                )
                add_sample(store, claimed, sample)
                stored.append(sample)

        expected = sorted(stored, key=lambda sample: (sample.problem_id, sample.index))
        assert expected == list(RunReader(store).samples("smoke"))

    def test_every_outcome_and_finish_reason(self, store: Store) -> None:
        """Closed sets stay closed: what is read is the enumeration's member."""
        open_benchmark(store, "smoke", n_problems=1, rounds=(8, 16))
        units = claim(store), claim(store)
        stored = [
            replace(
                sample_of(units[index // 8], index, outcome=outcome),
                response=Response(text="", n_tokens=0, finish_reason=reason),
            )
            for index, (outcome, reason) in enumerate(itertools.product(Outcome, FinishReason))
        ]

        for sample in stored:
            add_sample(store, units[sample.index // 8], sample)

        read = list(RunReader(store).samples("smoke"))
        assert stored == read
        assert all(type(sample.grade.outcome) is Outcome for sample in read)
        assert all(type(sample.response.finish_reason) is FinishReason for sample in read)

    def test_selection_keeps_the_first_order(self, store: Store) -> None:
        """A second process that selects again changes nothing; new names come last."""
        WorkQueue(store).select(("math500", "aime24"))
        WorkQueue(store).select(("aime24", "gpqa", "math500"))

        expected = ("math500", "aime24", "gpqa")
        assert expected == RunReader(store).selected

    def test_harnesses_are_distinct(self, store: Store) -> None:
        """Workers that answer alike count once; one that joins again replaces what it said."""
        other = replace(HARNESS, device="H200")
        store.add_worker("w1", HARNESS)
        store.add_worker("w2", HARNESS)
        store.add_worker("w3", other)
        assert {HARNESS, other} == set(RunReader(store).harnesses)

        store.add_worker("w3", HARNESS)
        assert RunReader(store).harnesses == (HARNESS,)

    def test_no_sandbox_is_forgotten(self, store: Store) -> None:
        """A sitting on another machine adds what it ran programs in, and hides nothing."""
        assert not RunReader(store).sandboxes
        store.note_sandbox("not a sandbox: forked")
        store.note_sandbox("bubblewrap")
        store.note_sandbox("bubblewrap")
        assert RunReader(store).sandboxes == ("not a sandbox: forked", "bubblewrap")

    def test_walls_are_noted_beside_sandboxes(self, store: Store) -> None:
        """What answers are graded in is none of the places where programs run."""
        assert not RunReader(store).walls
        store.note_walls("Landlock 7 + seccomp")
        store.note_walls("not a sandbox: forked")
        store.note_walls("Landlock 7 + seccomp")
        assert RunReader(store).walls == ("Landlock 7 + seccomp", "not a sandbox: forked")
        assert not RunReader(store).sandboxes

    def test_verdict(self, store: Store) -> None:
        """A judgement is kept as it is, and judging again replaces it."""
        assert RunReader(store).verdict("smoke", Progress) is None

        for n_stored in (1, 2):
            kept = Progress(n_stored=n_stored, n_planned=2, n_open_units=0)
            store.write_verdict("smoke", json.dumps(asdict(kept)))

        assert RunReader(store).verdict("smoke", Progress) == kept

    def test_what_is_not_planned_has_no_plan(self, store: Store) -> None:
        """Before it is planned a benchmark has a state, no plan, no samples and no error."""
        WorkQueue(store).select(("aime24",))

        assert RunReader(store).plan("aime24") is None
        assert RunReader(store).error("aime24") is None
        assert RunReader(store).state("aime24") is BenchmarkState.SELECTED
        assert list(RunReader(store).samples("aime24")) == []
        assert Progress(n_stored=0, n_planned=0, n_open_units=0) == RunReader(store).progress("aime24")

    def test_unknown_benchmark_is_named(self, store: Store) -> None:
        """Asking for the state of what was not selected is an error that lists what was."""
        with pytest.raises(StoreError, match=r"knows no benchmark 'x'; it holds none$"):
            RunReader(store).state("x")
        WorkQueue(store).select(("aime24", "gpqa"))
        with pytest.raises(StoreError, match=r"knows no benchmark 'x'; it holds aime24, gpqa$"):
            RunReader(store).state("x")

    def test_run_lasts(self, run: Path) -> None:
        """What one process wrote, another reads after it has gone."""
        with closing(Store.open(run)) as first:
            plan = open_benchmark(first, "smoke")
            claimed = claim(first)
            add_sample(first, claimed, sample_of(claimed, 0))

        with closing(Store.open(run)) as second:
            assert plan == RunReader(second).plan("smoke")
            assert [sample_of(claimed, 0)] == list(RunReader(second).samples("smoke"))


class TestPlanning:
    """A benchmark is planned by one worker, whoever comes first."""

    def test_one_worker_plans(self, store: Store, clock: Clock) -> None:
        """The second is refused until the first's lease runs out; the first may ask again."""
        WorkQueue(store).select(("aime24",))

        assert WorkQueue(store).claim_planning("aime24", owner="w1")
        assert not WorkQueue(store).claim_planning("aime24", owner="w2")
        assert WorkQueue(store).claim_planning("aime24", owner="w1")
        clock.now_s += LEASE_S + 1
        assert WorkQueue(store).claim_planning("aime24", owner="w2")
        assert not WorkQueue(store).claim_planning("aime24", owner="w1")

    def test_renewed_planning_is_not_taken(self, store: Store, clock: Clock) -> None:
        """Planning that takes longer than a lease keeps it, as long as the worker lives."""
        WorkQueue(store).select(("aime24",))
        WorkQueue(store).claim_planning("aime24", owner="w1")

        for _ in range(5):
            clock.now_s += LEASE_S / 2
            WorkQueue(store).renew(owner="w1")

        assert not WorkQueue(store).claim_planning("aime24", owner="w2")

    def test_released_planning_is_free_at_once(self, store: Store) -> None:
        """A worker that goes leaves no benchmark behind that nobody plans."""
        WorkQueue(store).select(("aime24",))
        WorkQueue(store).claim_planning("aime24", owner="w1")

        WorkQueue(store).release(owner="w1")

        assert WorkQueue(store).claim_planning("aime24", owner="w2")

    def test_planned_or_unknown_is_not_claimed(self, store: Store) -> None:
        """There is nothing to plan twice."""
        open_benchmark(store, "smoke")

        assert not WorkQueue(store).claim_planning("smoke", owner="w1")
        assert not WorkQueue(store).claim_planning("aime24", owner="w1")

    def test_second_plan_is_ignored(self, store: Store) -> None:
        """A worker whose lease was taken over while it planned changes nothing any more."""
        plan = open_benchmark(store, "smoke", n_problems=2)
        before = RunReader(store).progress("smoke")

        open_benchmark(store, "smoke", n_problems=5)

        assert plan == RunReader(store).plan("smoke")
        assert before == RunReader(store).progress("smoke")
        assert len(RunReader(store).exam("smoke").problems) == 2

    def test_plan_and_units_appear_together(self, store: Store) -> None:
        """An exam whose prompts do not match leaves no half of a plan."""
        exam = make_exam("smoke", 3)
        WorkQueue(store).select(("smoke",))

        with pytest.raises(ValueError, match="zip"):
            WorkQueue(store).write_plan(exam, ((1,),), make_plan(exam))

        assert RunReader(store).state("smoke") is BenchmarkState.SELECTED
        assert RunReader(store).plan("smoke") is None
        assert RunReader(store).prompts("smoke") == {}
        assert open_benchmark(store, "smoke", n_problems=3) == RunReader(store).plan("smoke")

    def test_failed_planning_is_remembered(self, store: Store) -> None:
        """Every worker learns why a benchmark cannot be judged, and none tries again."""
        WorkQueue(store).select(("aime24",))

        WorkQueue(store).fail("aime24", "no network")

        error = "no network"
        assert RunReader(store).state("aime24") is BenchmarkState.FAILED
        assert error == RunReader(store).error("aime24")
        assert not WorkQueue(store).claim_planning("aime24", owner="w1")


class TestClaims:
    """Units go to one worker each, in order, and come back when it dies."""

    def test_order_is_benchmark_then_round_then_exam(self, store: Store) -> None:
        """The first benchmark is finished first, and a round of all problems before the next."""
        WorkQueue(store).select(("b", "a"))
        for name in ("a", "b"):
            open_benchmark(store, name, n_problems=2, rounds=(1, 3))

        expected = [
            (name, number, problem, first)
            for name in ("b", "a")
            for number, first in ((0, 0), (1, 1))
            for problem in ("p000", "p001")
        ]
        assert expected == claimed_units(store)

    def test_nobody_takes_the_slices_of_those_to_come(self, store: Store) -> None:
        """The first of two expected workers gets half of a round, and all of it when it stays alone."""
        open_benchmark(store, "smoke", n_problems=8, rounds=(2,))

        early = [next_unit(store, owner="w1", n_expected=2) for _ in range(6)]
        other = next_unit(store, owner="w2", n_expected=2)

        assert [claimed is not None for claimed in early] == [True] * 4 + [False] * 2
        assert other is not None
        WorkQueue(store).release(owner="w2")
        assert len(claimed_units(store, owner="w1")) == 4

    def test_whoever_holds_units_counts(self, store: Store) -> None:
        """Two workers that are at it share what is open, whatever was expected."""
        open_benchmark(store, "smoke", n_problems=8, rounds=(2,))

        assert next_unit(store, owner="w1") is not None
        assert len(claimed_units(store, owner="w2")) == 4

    def test_samples_are_claimed_by_whole_units(self, store: Store) -> None:
        """As many as were asked for, and the rest of the last unit; no more than a slice."""
        open_benchmark(store, "smoke", n_problems=8, rounds=(2,))

        first = WorkQueue(store).claim_samples(3, owner="w1", n_expected=2)
        rest = WorkQueue(store).claim_samples(100, owner="w1", n_expected=2)

        assert [unit.unit.problem_id for unit in first] == ["p000", "p001"]
        assert [unit.unit.problem_id for unit in rest] == ["p002", "p003"]
        assert WorkQueue(store).claim_samples(100, owner="w1", n_expected=2) == ()

    def test_whoever_finds_nothing_waits_for_nobody(self, run: Path, store: Store) -> None:
        """A full engine asks with every answer; a writer's transaction must not hold it up."""
        open_benchmark(store, "smoke", n_problems=1)
        claim(store)

        with closing(sqlite3.connect(run / FILE_NAME, isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            started = time.monotonic()
            assert next_unit(store, owner="w1") is None
            writer.execute("ROLLBACK")

        assert time.monotonic() - started < BUSY_TIMEOUT_S / 2

    def test_claim_costs_the_same_in_any_run(self, tmp_path: Path) -> None:
        """A claim looks at what its worker holds, not at all that is open: its steps in SQLite do not grow."""

        def n_steps(n_problems: int) -> int:
            steps = itertools.count()
            with closing(Store.create(tmp_path / str(n_problems), HEADER)) as store:
                open_benchmark(store, "smoke", n_problems=n_problems)
                claim(store)
                store._db.set_progress_handler(lambda: next(steps) < 0, 1)  # noqa: SLF001 - nobody else counts
                claim(store)
            return next(steps)

        assert n_steps(400) < 1.1 * n_steps(40)

    def test_held_units_are_counted(self, store: Store) -> None:
        """Until they are done or given back."""
        open_benchmark(store, "smoke", n_problems=8, rounds=(2,))

        assert RunReader(store).n_leased_units("smoke") == 0
        claim(store)
        assert RunReader(store).n_leased_units("smoke") == 1
        WorkQueue(store).release(owner="w1")
        assert RunReader(store).n_leased_units("smoke") == 0

    def test_unit_says_what_is_missing(self, store: Store) -> None:
        """A fresh unit misses all its samples, no more than a unit may have."""
        open_benchmark(store, "smoke", n_problems=1, rounds=(MAX_SAMPLES_PER_UNIT + 2,))

        first, second = claim(store), claim(store)

        assert tuple(range(MAX_SAMPLES_PER_UNIT)) == first.missing
        assert second.missing == (MAX_SAMPLES_PER_UNIT, MAX_SAMPLES_PER_UNIT + 1)
        assert next_unit(store, owner="w1") is None

    def test_renewed_lease_is_kept(self, store: Store, clock: Clock) -> None:
        """A slow worker that is alive loses nothing."""
        open_benchmark(store, "smoke", n_problems=1)
        claim(store, owner="slow")

        for _ in range(5):
            clock.now_s += LEASE_S / 2
            WorkQueue(store).renew(owner="slow")
            assert next_unit(store, owner="other") is None

    def test_a_grade_with_half_a_pair_is_stored(self, store: Store) -> None:
        """The file keeps a response as it came; what is read from it is text that every other file can hold."""
        open_benchmark(store, "smoke", n_problems=1)
        claimed = claim(store, owner="w1")
        sample = sample_of(claimed, 0)
        grade = replace(sample.grade, answer="4\ud83d", detail="no number: \udfff")
        add_sample(store, claimed, replace(sample, grade=grade, response=replace(sample.response, text="4\ud83d")))

        (found,) = RunReader(store).samples("smoke")

        assert (found.grade.answer, found.grade.detail) == ("4\ufffd", "no number: \ufffd")
        assert found.response.text == "4\ufffd"
        with closing(sqlite3.connect(store.path)) as db:
            (stored,) = db.execute("SELECT text FROM response").fetchone()
        assert unpacked(stored) == "4\ud83d"

    def test_expired_lease_is_taken_over(self, store: Store, clock: Clock) -> None:
        """A dead worker's units are done by the living, and what it stored is not drawn again."""
        open_benchmark(store, "smoke", n_problems=1, rounds=(4,))
        lost = claim(store, owner="dead")
        add_sample(store, lost, sample_of(lost, 1))
        add_sample(store, lost, sample_of(lost, 3))

        clock.now_s += LEASE_S + 1
        taken = claim(store, owner="alive")

        assert lost.id == taken.id
        assert lost.unit == taken.unit
        assert taken.missing == (0, 2)

    def test_lease_in_the_past_is_taken_over(self, run: Path, store: Store) -> None:
        """Only the time in the file counts, whoever wrote it."""
        open_benchmark(store, "smoke", n_problems=1)
        lost = claim(store, owner="dead")
        with closing(sqlite3.connect(run / FILE_NAME)) as db:
            db.execute("UPDATE unit SET lease_until = ?", (time.monotonic() - 1,))
            db.commit()

        assert lost.id == claim(store, owner="alive").id

    def test_late_renewal_does_not_steal_back(self, store: Store, clock: Clock) -> None:
        """A worker that was away too long does not prolong what another took over."""
        open_benchmark(store, "smoke", n_problems=1)
        claim(store, owner="late")
        clock.now_s += LEASE_S + 1
        claim(store, owner="new")

        clock.now_s += LEASE_S - 1
        WorkQueue(store).renew(owner="late")
        clock.now_s += 2

        assert next_unit(store, owner="third") is not None

    def test_release_gives_back_at_once(self, store: Store) -> None:
        """A worker that stops leaves its units to the others without a wait, and only its own."""
        open_benchmark(store, "smoke", n_problems=3)
        mine, theirs = claim(store, owner="w1"), claim(store, owner="w2")
        claim(store, owner="w1")

        WorkQueue(store).release(owner="w1")

        given_back = {store_claim.id for store_claim in (claim(store, owner="w3"), claim(store, owner="w3"))}
        assert mine.id in given_back
        assert theirs.id not in given_back
        assert next_unit(store, owner="w3") is None

    def test_dead_workers_units_are_given_back_by_its_name(self, store: Store) -> None:
        """What worker gw1 held is free, what gw10 holds is not."""
        open_benchmark(store, "smoke", n_problems=2)
        lost, held = claim(store, owner="gw1-77-a"), claim(store, owner="gw10-78-b")

        WorkQueue(store).release_worker("gw1")

        assert lost.id == claim(store, owner="gw2-79-c").id
        assert held.id != lost.id
        assert next_unit(store, owner="gw2-79-c") is None

    def test_resumed_run_owes_nobody(self, store: Store) -> None:
        """Whoever has the run alone takes all leases back, also those of a clock that ran further."""
        open_benchmark(store, "smoke", n_problems=2)
        lost = {claim(store, owner="gw0-1-a").id, claim(store, owner="alone-2-b").id}

        WorkQueue(store).release_all()

        assert lost == {claim(store, owner="w").id, claim(store, owner="w").id}

    def test_closed_benchmark_is_not_claimed(self, store: Store) -> None:
        """A verdict that is reached ends the work for everybody; other benchmarks go on."""
        open_benchmark(store, "a", n_problems=2)
        open_benchmark(store, "b", n_problems=1)
        claim(store)

        WorkQueue(store).close_benchmark("a")

        assert [benchmark for benchmark, *_ in claimed_units(store)] == ["b"]

    def test_planned_benchmark_cannot_fail_any_more(self, store: Store) -> None:
        """A planner whose lease was taken over does not undo what somebody else planned."""
        open_benchmark(store, "a", n_problems=2)

        WorkQueue(store).fail("a", "too late")

        assert RunReader(store).state("a") is BenchmarkState.OPEN
        assert RunReader(store).error("a") is None

    def test_failed_planning_gets_another_chance(self, store: Store) -> None:
        """Selecting again, as a resumed run does, forgets why planning failed."""
        WorkQueue(store).select(("a",))
        WorkQueue(store).fail("a", "no network")
        assert RunReader(store).state("a") is BenchmarkState.FAILED

        WorkQueue(store).select(("a",))

        assert RunReader(store).state("a") is BenchmarkState.SELECTED
        assert RunReader(store).error("a") is None
        assert WorkQueue(store).claim_planning("a", owner="w1")

    def test_late_sample_of_a_closed_benchmark_is_kept(self, store: Store) -> None:
        """What was in flight when the verdict fell is evidence all the same."""
        open_benchmark(store, "smoke")
        claimed = claim(store)
        WorkQueue(store).close_benchmark("smoke")

        add_sample(store, claimed, sample_of(claimed, 0))

        assert RunReader(store).state("smoke") is BenchmarkState.CLOSED
        assert RunReader(store).progress("smoke").n_stored == 1


class TestSamples:
    """A sample is stored once, and a unit is done when all of its samples are."""

    def test_second_copy_is_ignored(self, store: Store) -> None:
        """Who finishes after a take-over neither adds evidence nor changes it."""
        open_benchmark(store, "smoke", n_problems=1)
        claimed = claim(store)
        first = sample_of(claimed, 0)

        add_sample(store, claimed, first)
        add_sample(store, claimed, sample_of(claimed, 0, outcome=Outcome.WRONG))

        assert [first] == list(RunReader(store).samples("smoke"))
        assert RunReader(store).progress("smoke").n_open_units == 1

    def test_unit_is_done_with_its_last_sample(self, store: Store, clock: Clock) -> None:
        """Not one sample earlier, in whatever order they come."""
        open_benchmark(store, "smoke", n_problems=1, rounds=(3,))
        claimed = claim(store)
        for index in (2, 0):
            add_sample(store, claimed, sample_of(claimed, index))
            assert RunReader(store).progress("smoke").n_open_units == 1

        add_sample(store, claimed, sample_of(claimed, 1))

        clock.now_s += LEASE_S + 1
        assert RunReader(store).progress("smoke").n_open_units == 0
        assert next_unit(store, owner="w2") is None

    def test_units_of_one_problem_are_done_separately(self, store: Store) -> None:
        """A problem's second unit does not complete its first."""
        open_benchmark(store, "smoke", n_problems=1, rounds=(1, 2))
        _, second = claim(store), claim(store)

        add_sample(store, second, sample_of(second, 1))

        assert Progress(n_stored=1, n_planned=2, n_open_units=1) == RunReader(store).progress("smoke")

    def test_progress_is_per_benchmark(self, store: Store) -> None:
        """Problems of the same name in two exams are not mixed up."""
        open_benchmark(store, "a", n_problems=3, rounds=(2, 4))
        open_benchmark(store, "b", n_problems=1, rounds=(1,))
        claimed = claim(store)
        add_sample(store, claimed, sample_of(claimed, 0))
        add_sample(store, claimed, sample_of(claimed, 1))

        assert Progress(n_stored=2, n_planned=12, n_open_units=5) == RunReader(store).progress("a")
        assert Progress(n_stored=0, n_planned=1, n_open_units=1) == RunReader(store).progress("b")

    def test_tallies(self, store: Store) -> None:
        """The first k samples are counted by outcome and finish reason; a problem without any is there with 0."""
        open_benchmark(store, "smoke", n_problems=2, rounds=(6,))
        claimed = claim(store)
        outcomes = (Outcome.CORRECT, Outcome.WRONG, Outcome.NO_ANSWER, Outcome.TRUNCATED, Outcome.ERROR)
        for index, outcome in enumerate((*outcomes, Outcome.CORRECT)):
            reason = FinishReason.LENGTH if index in {0, 3} else FinishReason.STOP
            response = Response(text="", n_tokens=10**index, finish_reason=reason)
            add_sample(store, claimed, replace(sample_of(claimed, index, outcome=outcome), response=response))
        nothing = ProblemTally(
            problem_id="p001",
            n_samples=0,
            n_correct=0,
            n_no_answer=0,
            n_error=0,
            n_truncated=0,
            n_truncated_correct=0,
            n_tokens=0,
        )
        first_five = replace(
            nothing,
            problem_id="p000",
            n_samples=5,
            n_correct=1,
            n_no_answer=1,
            n_error=1,
            n_truncated=2,
            n_truncated_correct=1,
            n_tokens=11111,
        )

        assert (first_five, nothing) == RunReader(store).tallies("smoke", k=5)
        assert (replace(first_five, n_samples=6, n_correct=2, n_tokens=111111), nothing) == RunReader(store).tallies(
            "smoke", k=64
        )
        assert (
            replace(
                nothing, problem_id="p000", n_samples=1, n_correct=1, n_truncated=1, n_truncated_correct=1, n_tokens=1
            )
            == (RunReader(store).tallies("smoke", k=1)[0])
        )

    def test_reading_goes_on_while_another_writes(self, run: Path, store: Store) -> None:
        """A reader in the middle of the samples neither blocks a worker nor sees its new ones."""
        open_benchmark(store, "smoke", n_problems=1, rounds=(3,))
        claimed = claim(store)
        add_sample(store, claimed, sample_of(claimed, 0))
        add_sample(store, claimed, sample_of(claimed, 1))

        with closing(Store.open(run)) as reader:
            reading = RunReader(reader).samples("smoke")
            first = next(reading)
            add_sample(store, claimed, sample_of(claimed, 2))
            rest = list(reading)

        assert [sample.index for sample in (first, *rest)] == [0, 1]


CLAIM_EVERYTHING = """
import sys, time
from pathlib import Path
from pytest_r1eval.runs.store import Store
from tests.recordings import next_unit

owner, folder, start = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
store = Store.open(folder)
print("ready", flush=True)
while not start.exists():
    time.sleep(0.001)
while (claimed := next_unit(store, owner=owner)) is not None:
    print(claimed.id)
    time.sleep(0.001)  # lets the others in
"""

ANSWER_EVERYTHING = """
import sys
from pathlib import Path
from pytest_r1eval.runs.store import Store
from tests.recordings import add_sample, next_unit
from tests.runs.test_store import long_sample

store = Store.open(Path(sys.argv[1]))
print("ready", flush=True)
while (claimed := next_unit(store, owner=sys.argv[2])) is not None:
    for index in claimed.missing:
        add_sample(store, claimed, long_sample(claimed, index))
        print("stored".ljust(1000), flush=True)
"""
"""Its output fills the pipe after about 64 samples, so it is never far ahead of whoever reads that."""

DIE_WITHIN_A_TRANSACTION = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size = 1")
db.execute("BEGIN IMMEDIATE")
for number in range(100):
    db.execute("INSERT INTO verdict VALUES (?, ?)", (str(number), "x" * 100_000))
print("ready", flush=True)
time.sleep(600)
"""


def long_sample(claimed: ClaimedUnit, index: int) -> Sample:
    """Answer at length: the text follows from the sample alone and spans many pages of the file."""
    text = f"{claimed.unit.problem_id}/{index};" * 2000
    response = Response(text=text, n_tokens=len(text), finish_reason=FinishReason.STOP)
    return replace(sample_of(claimed, index), response=response)


def start_child(script: str, *arguments: str | Path) -> subprocess.Popen[str]:
    """Start a Python process and wait until it is ready."""
    child = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def wait_for_samples(child: subprocess.Popen[str], n_samples: int) -> None:
    """Wait until a child has stored some more samples."""
    assert child.stdout is not None
    for _ in range(n_samples):
        assert child.stdout.readline()


def kill(child: subprocess.Popen[str]) -> None:
    """Kill a process as the kernel does when memory runs out."""
    child.send_signal(signal.SIGKILL)
    child.communicate()


class TestManyWorkers:
    """The store is shared by threads and processes that know nothing of each other."""

    def test_threads_slice_every_unit_once(self, run: Path) -> None:
        """No unit is claimed twice, none is left."""
        with closing(Store.open(run)) as store:
            open_benchmark(store, "smoke", n_problems=60, rounds=(1, 2))
        barrier = threading.Barrier(4)
        claimed: list[list[tuple[str, int, str, int]]] = [[] for _ in range(4)]

        def work(number: int) -> None:
            with closing(Store.open(run)) as own:
                barrier.wait()
                claimed[number] = claimed_units(own, owner=f"t{number}")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        units = [unit for found in claimed for unit in found]
        assert 120 == len(units) == len(set(units))

    def test_processes_slice_every_unit_once(self, run: Path, tmp_path: Path) -> None:
        """The same between processes, which share no lock but the file's."""
        n_units = 400
        with closing(Store.open(run)) as store:
            open_benchmark(store, "smoke", n_problems=n_units // 2, rounds=(1, 2))
        start = tmp_path / "start"
        children = [start_child(CLAIM_EVERYTHING, f"w{number}", run, start) for number in range(4)]

        start.touch()
        claimed = [child.communicate(timeout=60)[0].split() for child in children]

        assert [child.returncode for child in children] == [0] * 4
        assert sorted(range(1, n_units + 1)) == sorted(int(id_) for ids in claimed for id_ in ids)

    def test_killed_writer_leaves_whole_samples(self, run: Path) -> None:
        """After each of several kills, what is stored is complete, without a gap, and never less than before."""
        n_problems, k, owner = 40, 16, "w1"
        with closing(Store.open(run)) as store:
            plan = open_benchmark(store, "smoke", n_problems=n_problems, rounds=(k,))
            units = list(plan.units())
            n_before = 0
            for n_more in (5, 50, 100):
                child = start_child(ANSWER_EVERYTHING, run, owner)
                wait_for_samples(child, n_more)
                kill(child)

                with closing(Store.open(run)) as reopened:
                    stored = {
                        (sample.problem_id, sample.index): sample for sample in RunReader(reopened).samples("smoke")
                    }
                    progress = RunReader(reopened).progress("smoke")
                whole = {
                    (unit.problem_id, index): long_sample(ClaimedUnit(id=0, benchmark="", unit=unit, missing=()), index)
                    for unit in units
                    for index in unit.indices
                }
                assert n_before + n_more <= len(stored) < n_problems * k
                assert dict(list(whole.items())[: len(stored)]) == stored
                assert len(units) - len(stored) // MAX_SAMPLES_PER_UNIT == progress.n_open_units
                WorkQueue(store).release(owner=owner)
                n_before = len(stored)

    def test_killed_run_is_completed(self, run: Path) -> None:
        """Whoever goes on after a kill draws only what is missing, and ends with exactly the plan."""
        with closing(Store.open(run)) as store:
            open_benchmark(store, "smoke", n_problems=10, rounds=(16,))
            child = start_child(ANSWER_EVERYTHING, run, "killed")
            wait_for_samples(child, 5)
            kill(child)
            n_before = RunReader(store).progress("smoke").n_stored
            WorkQueue(store).release(owner="killed")

            n_drawn = 0
            while (claimed := next_unit(store, owner="next")) is not None:
                for index in claimed.missing:
                    add_sample(store, claimed, long_sample(claimed, index))
                    n_drawn += 1

            assert 160 - n_before == n_drawn
            assert Progress(n_stored=160, n_planned=160, n_open_units=0) == RunReader(store).progress("smoke")

    def test_writer_killed_within_a_transaction_leaves_nothing(self, run: Path) -> None:
        """Its half of a change is not seen, its lock is gone, and the next writer need not wait."""
        child = start_child(DIE_WITHIN_A_TRANSACTION, run / FILE_NAME)
        kill(child)

        with closing(Store.open(run)) as store:
            WorkQueue(store).select(("smoke",))

            assert RunReader(store).selected == ("smoke",)
            assert RunReader(store).verdict("0", Progress) is None
