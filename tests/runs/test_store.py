"""The run store: one writer of the truth, many workers, and any of them may be killed."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pytest_r1eval.core.benchmarks import Exam, Problem, Sampling
from pytest_r1eval.core.records import FinishReason, Grade, Outcome, Response
from pytest_r1eval.core.thinking import ThinkTags
from pytest_r1eval.errors import StoreError
from pytest_r1eval.runs.reading import Progress, RunReader
from pytest_r1eval.runs.schema import SCHEMA_VERSION
from pytest_r1eval.runs.store import (
    FILE_NAME,
    BenchmarkState,
    Store,
)
from pytest_r1eval.runs.work_queue import WorkQueue
from tests.open_stores import HEADER, claim, make_plan, open_benchmark, sample_of
from tests.recordings import HARNESS, add_sample, next_unit


class TestCreateAndOpen:
    """A folder holds one run, and whatever else lies there is named."""

    def test_header_survives(self, store: Store) -> None:
        """A run's header is read as it was written."""
        assert store.header == HEADER

    def test_create_makes_missing_folders(self, tmp_path: Path) -> None:
        """Creating a store makes the missing folders above it."""
        Store.create(tmp_path / "a" / "b" / "c", HEADER).close()

        assert (tmp_path / "a" / "b" / "c" / FILE_NAME).is_file()

    def test_a_run_that_is_being_made_is_whole_or_not_there(self, tmp_path: Path) -> None:
        """A reader that polls a run while it is created finds no run or a complete one."""
        folders = [tmp_path / str(number) for number in range(20)]

        def make() -> None:
            for folder in folders:
                Store.create(folder, HEADER).close()

        maker = threading.Thread(target=make)
        maker.start()
        for folder in folders:
            while not (folder / FILE_NAME).is_file():
                pass
            with closing(Store.open(folder)) as store:
                assert store.header == HEADER
        maker.join()

    def test_second_run_in_a_folder_is_refused(self, run: Path) -> None:
        """A run is never written over; the message says how to go on with it."""
        with pytest.raises(StoreError) as caught:
            Store.create(run, HEADER)

        expected = f"{run / FILE_NAME} already holds a run; resume it with --r1-resume {run}, or choose another"
        assert expected == str(caught.value)

    def test_of_several_that_make_one_run_one_does(self, tmp_path: Path) -> None:
        """Another process that takes the same folder at the same moment is refused, and overwrites nothing."""
        made: list[int] = []
        refused: list[StoreError] = []
        start = threading.Barrier(8)

        def make(seed: int) -> None:
            start.wait()
            try:
                Store.create(tmp_path / "run", replace(HEADER, seed=seed)).close()
                made.append(seed)
            except StoreError as error:
                refused.append(error)

        makers = [threading.Thread(target=make, args=(seed,)) for seed in range(8)]
        for maker in makers:
            maker.start()
        for maker in makers:
            maker.join()

        assert (len(made), len(refused)) == (1, 7)
        assert all("already holds a run" in str(error) for error in refused)
        with closing(Store.open(tmp_path / "run")) as store:
            assert [store.header.seed] == made

    def test_open_without_a_run(self, tmp_path: Path) -> None:
        """A folder without a store is refused, and opening it creates nothing."""
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
        """A file that is not a store is named with its path and SQLite's reason."""
        (tmp_path / FILE_NAME).write_bytes(content)

        with pytest.raises(StoreError) as caught:
            Store.open(tmp_path)

        expected = (
            f"the run store {tmp_path / FILE_NAME} cannot be used: {reason}; expected a writable SQLite file on a "
            "local disk with room left. What was stored before is kept: repair the cause, then "
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
        """An output folder below a file is refused with the option that names another."""
        (tmp_path / "file").write_text("")
        folder = tmp_path / "file" / "run"

        with pytest.raises(StoreError) as caught:
            Store.create(folder, HEADER)

        expected = f"cannot write the output folder {folder}: Not a directory; choose another with --r1-output-dir"
        assert expected == str(caught.value)

    def test_file_in_the_place_of_the_folder(self, tmp_path: Path) -> None:
        """A file in place of the run's folder is refused and not removed."""
        (tmp_path / "run").write_text("precious")

        with pytest.raises(StoreError, match=r"cannot write the output folder .*: File exists; choose another"):
            Store.create(tmp_path / "run", HEADER)

        assert (tmp_path / "run").read_text() == "precious"

    def test_folder_that_takes_no_files(self) -> None:
        """A folder that takes no files is refused in one line."""
        with pytest.raises(StoreError, match=r"^cannot write the output folder /proc/self: .*--r1-output-dir$"):
            Store.create(Path("/proc/self"), HEADER)

    @pytest.mark.parametrize(
        ("call", "expected"),
        [
            ("Store.create(folder / 'new', None)", "cannot write the output folder {folder}/new: Permission denied; "),
            ("Store.create(folder, None)", "cannot write the output folder {folder}: Permission denied; "),
            (
                "Store.open(folder / 'run').note_sandbox('none')",
                "the run store {folder}/run/run.sqlite cannot be used:",
            ),
        ],
        ids=["new folder", "new file", "old file"],
    )
    def test_read_only_folder(self, call: str, expected: str) -> None:
        """A user without the right to write gets one line, with the path and the reason."""
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
        """A store's connection that is used in another thread is an error."""
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
        """Exam, plan and prompts are read from a store as they were written, in the exam's order."""
        problems = (
            Problem(id="z", query="1 < 2\0é\n🤔", instruction="Think.", choices=("A", "\\boxed{½}"), gold_index=1),
            Problem(id="a", query="", instruction=None, choices=(), gold_index=0),
        )
        exam = Exam(benchmark="custom", problems=problems, dataset="org/data@main")
        plan = replace(
            make_plan(exam, rounds=(4, 16, 64)),
            sampling=Sampling(
                temperature=0.1 + 0.2, top_p=1.0, top_k=20, min_p=0.01, max_new_tokens=7, max_model_length=9
            ),
            system_prompt="Sei präzise.",
            think_tags=ThinkTags(opening="◁think▷", closing="◁/think▷", special=("◁think▷",), is_open=True),
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
        """Samples are read as they were written, sorted by problem and index."""
        open_benchmark(store, "smoke", n_problems=2, rounds=(2,))
        stored = []
        for claimed in (claim(store), claim(store)):
            for index in reversed(claimed.missing):
                sample = replace(
                    sample_of(claimed, index),
                    seed=2**48 - 1,
                    response=Response(
                        text="<think>\0 🤔\r\n</think>" * 1000,
                        n_tokens=32768,
                        finish_reason=FinishReason.LENGTH,
                        n_thought_tokens=32000,
                    ),
                    grade=Grade(outcome=Outcome.ERROR, answer="½", detail="the grader died"),
                )
                add_sample(store, claimed, sample)
                stored.append(sample)

        expected = sorted(stored, key=lambda sample: (sample.problem_id, sample.index))
        assert expected == list(RunReader(store).samples("smoke"))

    def test_every_outcome_and_finish_reason(self, store: Store) -> None:
        """Every outcome and finish reason is read back as a member of its enumeration."""
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
        """Selecting again keeps the first order and appends new names."""
        WorkQueue(store).select(("math500", "aime24"))
        WorkQueue(store).select(("aime24", "gpqa", "math500"))

        expected = ("math500", "aime24", "gpqa")
        assert expected == RunReader(store).selected

    def test_harnesses_are_distinct(self, store: Store) -> None:
        """Workers with equal harnesses count once, and a worker that joins again replaces its harness."""
        other = replace(HARNESS, device="H200")
        store.add_worker("w1", HARNESS)
        store.add_worker("w2", HARNESS)
        store.add_worker("w3", other)
        assert {HARNESS, other} == set(RunReader(store).harnesses)

        store.add_worker("w3", HARNESS)
        assert RunReader(store).harnesses == (HARNESS,)

    def test_no_sandbox_is_forgotten(self, store: Store) -> None:
        """A store keeps every sandbox that its programs ran in, once each."""
        assert not RunReader(store).sandboxes
        store.note_sandbox("not a sandbox: forked")
        store.note_sandbox("bubblewrap")
        store.note_sandbox("bubblewrap")
        assert RunReader(store).sandboxes == ("not a sandbox: forked", "bubblewrap")

    def test_walls_are_noted_beside_sandboxes(self, store: Store) -> None:
        """A store keeps what answers are graded in apart from its sandboxes."""
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
        """A plan and samples that one process stores are read by the next one."""
        with closing(Store.open(run)) as first:
            plan = open_benchmark(first, "smoke")
            claimed = claim(first)
            add_sample(first, claimed, sample_of(claimed, 0))

        with closing(Store.open(run)) as second:
            assert plan == RunReader(second).plan("smoke")
            assert [sample_of(claimed, 0)] == list(RunReader(second).samples("smoke"))
