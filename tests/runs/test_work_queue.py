"""The work of a run: any worker may be killed, and its units come back."""

from __future__ import annotations

import itertools
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.core.plans import MAX_SAMPLES_PER_UNIT
from pytest_r1eval.runs.reading import Progress, RunReader
from pytest_r1eval.runs.schema import unpacked
from pytest_r1eval.runs.store import (
    BUSY_TIMEOUT_S,
    FILE_NAME,
    BenchmarkState,
    Store,
)
from pytest_r1eval.runs.work_queue import LEASE_S, ClaimedUnit, WorkQueue
from tests.open_stores import HEADER, Clock, claim, claimed_units, long_sample, make_plan, open_benchmark, sample_of
from tests.recordings import add_sample, make_exam, next_unit


class TestPlanning:
    """A benchmark is planned by one worker, the first that comes."""

    def test_one_worker_plans(self, store: Store, clock: Clock) -> None:
        """A second worker cannot claim the planning until the first one's lease runs out."""
        WorkQueue(store).select(("aime24",))

        assert WorkQueue(store).claim_planning("aime24", owner="w1")
        assert not WorkQueue(store).claim_planning("aime24", owner="w2")
        assert WorkQueue(store).claim_planning("aime24", owner="w1")
        clock.now_s += LEASE_S + 1
        assert WorkQueue(store).claim_planning("aime24", owner="w2")
        assert not WorkQueue(store).claim_planning("aime24", owner="w1")

    def test_renewed_planning_is_not_taken(self, store: Store, clock: Clock) -> None:
        """A planner that renews its lease keeps the planning for longer than the lease."""
        WorkQueue(store).select(("aime24",))
        WorkQueue(store).claim_planning("aime24", owner="w1")

        for _ in range(5):
            clock.now_s += LEASE_S / 2
            WorkQueue(store).renew(owner="w1")

        assert not WorkQueue(store).claim_planning("aime24", owner="w2")

    def test_released_planning_is_free_at_once(self, store: Store) -> None:
        """The planning that a worker gives back is claimed by another one at once."""
        WorkQueue(store).select(("aime24",))
        WorkQueue(store).claim_planning("aime24", owner="w1")

        WorkQueue(store).release(owner="w1")

        assert WorkQueue(store).claim_planning("aime24", owner="w2")

    def test_planned_or_unknown_is_not_claimed(self, store: Store) -> None:
        """A planned or unknown benchmark is not claimed for planning."""
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
        """Units are claimed by benchmark in the order selected, then by round, then by the exam's order."""
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
        """The first of two expected workers gets half of a round, and the rest once the other releases its units."""
        open_benchmark(store, "smoke", n_problems=8, rounds=(2,))

        early = [next_unit(store, owner="w1", n_expected=2) for _ in range(6)]
        other = next_unit(store, owner="w2", n_expected=2)

        assert [claimed is not None for claimed in early] == [True] * 4 + [False] * 2
        assert other is not None
        WorkQueue(store).release(owner="w2")
        assert len(claimed_units(store, owner="w1")) == 4

    def test_whoever_holds_units_counts(self, store: Store) -> None:
        """A worker that holds units counts as one, so that a second worker gets half of them."""
        open_benchmark(store, "smoke", n_problems=8, rounds=(2,))

        assert next_unit(store, owner="w1") is not None
        assert len(claimed_units(store, owner="w2")) == 4

    def test_samples_are_claimed_by_whole_units(self, store: Store) -> None:
        """Samples are claimed in whole units, up to the worker's part."""
        open_benchmark(store, "smoke", n_problems=8, rounds=(2,))

        first = WorkQueue(store).claim_samples(3, owner="w1", n_expected=2)
        rest = WorkQueue(store).claim_samples(100, owner="w1", n_expected=2)

        assert [unit.unit.problem_id for unit in first] == ["p000", "p001"]
        assert [unit.unit.problem_id for unit in rest] == ["p002", "p003"]
        assert WorkQueue(store).claim_samples(100, owner="w1", n_expected=2) == ()

    def test_whoever_finds_nothing_waits_for_nobody(self, run: Path, store: Store) -> None:
        """A claim that finds nothing returns at once, even during another writer's transaction."""
        open_benchmark(store, "smoke", n_problems=1)
        claim(store)

        with closing(sqlite3.connect(run / FILE_NAME, isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            started = time.monotonic()
            assert next_unit(store, owner="w1") is None
            writer.execute("ROLLBACK")

        assert time.monotonic() - started < BUSY_TIMEOUT_S / 2

    def test_claim_costs_the_same_in_any_run(self, tmp_path: Path) -> None:
        """The SQLite steps of a claim do not grow with the number of open units."""

        def n_steps(n_problems: int) -> int:
            steps = itertools.count()
            with closing(Store.create(tmp_path / str(n_problems), HEADER)) as store:
                open_benchmark(store, "smoke", n_problems=n_problems)
                claim(store)
                store._db.set_progress_handler(lambda: next(steps) < 0, 1)  # noqa: SLF001 - the only way to count
                claim(store)
            return next(steps)

        assert n_steps(400) < 1.1 * n_steps(40)

    def test_held_units_are_counted(self, store: Store) -> None:
        """The units that a worker holds are counted until it gives them back."""
        open_benchmark(store, "smoke", n_problems=8, rounds=(2,))

        assert RunReader(store).n_leased_units("smoke") == 0
        claim(store)
        assert RunReader(store).n_leased_units("smoke") == 1
        WorkQueue(store).release(owner="w1")
        assert RunReader(store).n_leased_units("smoke") == 0

    def test_unit_says_what_is_missing(self, store: Store) -> None:
        """A fresh unit lists all its samples as missing, up to the most that a unit may have."""
        open_benchmark(store, "smoke", n_problems=1, rounds=(MAX_SAMPLES_PER_UNIT + 2,))

        first, second = claim(store), claim(store)

        assert tuple(range(MAX_SAMPLES_PER_UNIT)) == first.missing
        assert second.missing == (MAX_SAMPLES_PER_UNIT, MAX_SAMPLES_PER_UNIT + 1)
        assert next_unit(store, owner="w1") is None

    def test_renewed_lease_is_kept(self, store: Store, clock: Clock) -> None:
        """A slow worker that renews its lease keeps its unit."""
        open_benchmark(store, "smoke", n_problems=1)
        claim(store, owner="slow")

        for _ in range(5):
            clock.now_s += LEASE_S / 2
            WorkQueue(store).renew(owner="slow")
            assert next_unit(store, owner="other") is None

    def test_a_grade_with_half_a_pair_is_stored(self, store: Store) -> None:
        """The file keeps half a surrogate pair, and reading replaces it."""
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
        """A lease whose time in the file is over is taken over."""
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
        """A dead worker's units are free by its name, and gw10's units are not taken for gw1's."""
        open_benchmark(store, "smoke", n_problems=2)
        lost, held = claim(store, owner="gw1-77-a"), claim(store, owner="gw10-78-b")

        WorkQueue(store).release_worker("gw1")

        assert lost.id == claim(store, owner="gw2-79-c").id
        assert held.id != lost.id
        assert next_unit(store, owner="gw2-79-c") is None

    def test_resumed_run_owes_nobody(self, store: Store) -> None:
        """A worker that has the run alone takes all leases back, also those of a clock that ran further."""
        open_benchmark(store, "smoke", n_problems=2)
        lost = {claim(store, owner="gw0-1-a").id, claim(store, owner="alone-2-b").id}

        WorkQueue(store).release_all()

        assert lost == {claim(store, owner="w").id, claim(store, owner="w").id}

    def test_closed_benchmark_is_not_claimed(self, store: Store) -> None:
        """A closed benchmark is not claimed any more, and other benchmarks go on."""
        open_benchmark(store, "a", n_problems=2)
        open_benchmark(store, "b", n_problems=1)
        claim(store)

        WorkQueue(store).close_benchmark("a")

        assert [benchmark for benchmark, *_ in claimed_units(store)] == ["b"]

    def test_planned_benchmark_cannot_fail_any_more(self, store: Store) -> None:
        """A planner whose lease was taken over does not undo another one's plan."""
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
        """A sample that arrives after its benchmark was closed is stored."""
        open_benchmark(store, "smoke")
        claimed = claim(store)
        WorkQueue(store).close_benchmark("smoke")

        add_sample(store, claimed, sample_of(claimed, 0))

        assert RunReader(store).state("smoke") is BenchmarkState.CLOSED
        assert RunReader(store).progress("smoke").n_stored == 1


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
from tests.open_stores import long_sample

store = Store.open(Path(sys.argv[1]))
print("ready", flush=True)
while (claimed := next_unit(store, owner=sys.argv[2])) is not None:
    for index in claimed.missing:
        add_sample(store, claimed, long_sample(claimed, index))
        print("stored".ljust(1000), flush=True)
"""
"""Its output fills the pipe after about 64 samples, so it is never far ahead of its reader."""


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
        """Four threads claim each unit once and leave none."""
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
        """Processes that share no lock but the file's claim every unit once."""
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
        """A killed run is completed by drawing exactly the samples that are missing."""
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
        """A writer killed within a transaction leaves neither a change nor a lock."""
        child = start_child(DIE_WITHIN_A_TRANSACTION, run / FILE_NAME)
        kill(child)

        with closing(Store.open(run)) as store:
            WorkQueue(store).select(("smoke",))

            assert RunReader(store).selected == ("smoke",)
            assert RunReader(store).verdict("0", Progress) is None
