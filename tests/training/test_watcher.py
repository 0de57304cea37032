"""
Every checkpoint of a watched folder is settled once: judged, failed, skipped or gone, through kills and deletions.

The gates here return a recorded verdict; real ones, in processes that are killed, are in tests/commands/test_gates.py.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from pytest_r1eval.errors import EvaluationError, PlanError
from pytest_r1eval.reports.run_report import RunReport, read_report
from pytest_r1eval.training.converting import converter_of
from pytest_r1eval.training.finding import found_in, pattern_of, stamp_of
from pytest_r1eval.training.frameworks import Layout, framework_named
from pytest_r1eval.training.journal import Became, Entry, Journal
from pytest_r1eval.training.queue import SavedCheckpoint
from pytest_r1eval.training.watcher import HAPPENED, Backlog, Happened, Watch, Watcher
from tests.adapters import write_adapter
from tests.judged_runs import judged_run
from tests.training.watched import write_model

TIMEOUT_S = 30.0
COPY = "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2])"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> RunReport:
    """Judge one recorded run."""
    return read_report(judged_run(tmp_path_factory.mktemp("judged") / "run").folder)


@dataclass
class Gates:
    """Judges with one verdict; a test may hold it, or let it fail."""

    report: RunReport
    steps: list[int] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    is_open: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    is_stopped: bool = False
    is_closed: bool = False

    def judge(self, saved: SavedCheckpoint) -> RunReport:
        """Judge a copy, which is there."""
        self.steps.append(saved.step)
        self.entered.set()
        assert (saved.folder / "config.json").is_file() or (saved.folder / "adapter_config.json").is_file()
        assert self.is_open.wait(TIMEOUT_S)
        if self.is_stopped:
            raise EvaluationError("the evaluation ended without a verdict")
        if self.errors:
            raise self.errors.pop(0)
        return self.report

    def rest(self) -> None:
        """Keep nothing."""

    def close(self) -> None:
        """Note that nothing is kept any more."""
        self.is_closed = True

    def stop(self) -> None:
        """Let what is under way end without a verdict."""
        self.is_stopped = True
        self.is_open.set()


@dataclass
class Folder:
    """A folder that is watched, and what was told of it."""

    watch: Watch
    report: RunReport
    told: list[Happened] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def gates(self, *, errors: tuple[Exception, ...] = (), is_open: bool = True) -> Gates:
        """Make gates."""
        gates = Gates(report=self.report, errors=[*errors])
        if is_open:
            gates.is_open.set()
        return gates

    def watcher(self, gates: Gates, **changes: object) -> Watcher:
        """Make a watcher."""
        self.stopped = threading.Event()
        watch = replace(self.watch, **changes)  # type: ignore[arg-type]
        return Watcher(watch, runner=gates, tell=self.told.append, stopped=self.stopped)

    def once(self, gates: Gates, *, retry_failed: bool = False, **changes: object) -> int:
        """Judge what is there."""
        return self.watcher(gates, **changes).run(once=True, retry_failed=retry_failed)

    @contextmanager
    def running(self, gates: Gates, **changes: object) -> Iterator[None]:
        """Watch in another thread, and end it with the block."""
        watcher = self.watcher(gates, **changes)
        thread = threading.Thread(target=watcher.run, kwargs={"once": False})
        thread.start()
        try:
            yield
        finally:
            self.stopped.set()
            thread.join(TIMEOUT_S)
            assert not thread.is_alive()

    @property
    def journal(self) -> dict[int, Entry]:
        """What became of each."""
        return {entry.step: entry for entry in Journal.open(self.watch.kept.with_name("out.json")).entries}

    @property
    def became(self) -> dict[int, str]:
        """What became of each, in a word."""
        return {step: entry.became.value for step, entry in self.journal.items()}

    @property
    def copies(self) -> list[str]:
        """List the copies that are kept, whole."""
        return sorted(path.name for path in self.watch.kept.glob("checkpoint-*/"))

    def saved(self, *steps: int) -> None:
        """Save checkpoints."""
        for step in steps:
            write_model(self.watch.folder / f"checkpoint-{step}", seed=step)


@pytest.fixture
def folder(tmp_path: Path, report: RunReport) -> Folder:
    """Make a folder that is watched."""
    (tmp_path / "out").mkdir()
    watch = Watch(
        folder=tmp_path / "out", output_dir=tmp_path / "out" / "r1eval", layout=Layout(pattern="checkpoint-*"),
        interval_s=0.05, settle_s=0.05, retry_after_s=(0.01, 0.01),
    )  # fmt: skip
    return Folder(watch=watch, report=report)


def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end, "too late"
        time.sleep(0.02)


class TestOnce:
    def test_each_is_judged_once_in_numeric_order(self, folder: Folder) -> None:
        """Checkpoints are judged in numeric order, then the runner closes; a second start judges only what is new."""
        folder.saved(1000, 200, 30)
        gates = folder.gates()
        code = folder.once(gates)
        assert gates.steps == [30, 200, 1000]
        assert code == folder.report.exit_code
        assert gates.is_closed
        folder.saved(2000)
        again = folder.gates()
        folder.once(again)
        assert again.steps == [2000]
        assert folder.became == dict.fromkeys((30, 200, 1000, 2000), "judged")
        assert [*folder.watch.kept.glob("checkpoint-*")] == []

    def test_the_verdict_is_told(self, folder: Folder) -> None:
        """A verdict is told on one line with its benchmark, score and run."""
        folder.saved(200)
        folder.once(folder.gates())
        told = folder.told[-1]
        assert told.line.startswith("step 200: smoke INCONCLUSIVE, pass@1 ")
        assert (told.what, told.run, told.exit_code) == ("judged", str(folder.report.run), folder.report.exit_code)

    def test_another_checkpoint_of_a_step_is_judged_again(self, folder: Folder) -> None:
        """A checkpoint that is written again under its step is judged again; one that was pruned is not."""
        folder.saved(200)
        folder.once(folder.gates())
        (folder.watch.folder / "checkpoint-200" / "tokenizer_config.json").unlink()
        unchanged = folder.gates()
        folder.once(unchanged)
        write_model(folder.watch.folder / "checkpoint-200", seed=999)
        changed = folder.gates()
        folder.once(changed)
        assert (unchanged.steps, changed.steps) == ([], [200])

    def test_what_is_being_written_is_left_for_the_next_time(self, folder: Folder) -> None:
        """A checkpoint that is not whole is not judged, is told, and does not hold the others up."""
        folder.saved(200)
        write_model(folder.watch.folder / "checkpoint-400", shards=2, missing=1)
        gates = folder.gates()
        folder.once(gates)
        assert gates.steps == [200]
        assert 400 not in folder.journal
        assert "lacks model-00002-of-00002.safetensors" in next(one.line for one in folder.told if one.step == 400)

    def test_a_gate_under_way_does_not_hurry_the_looks(self, folder: Folder) -> None:
        """While a gate is under way the folder is looked at once in each interval, and at once when it is over."""
        folder.saved(200)
        coming = folder.watch.folder / "checkpoint-400"
        write_model(coming, shards=50, missing=49)
        looks: list[Happened] = []

        def tell(happened: Happened) -> None:
            if happened.step == 400:  # each look finds one more file, and tells what is missing then
                looks.append(happened)
                write_model(coming, shards=50, missing=49 - len(looks))

        gates = folder.gates(is_open=False)
        watcher = Watcher(replace(folder.watch, interval_s=TIMEOUT_S), runner=gates, tell=tell, stopped=folder.stopped)
        thread = threading.Thread(target=watcher.run, kwargs={"once": True})
        thread.start()
        assert gates.entered.wait(TIMEOUT_S)
        time.sleep(1.5)
        assert len(looks) == 2  # the one that finds step 200, and the one that finds it settled
        gates.is_open.set()
        thread.join(TIMEOUT_S / 2)
        assert not thread.is_alive()
        assert folder.became == {200: "judged"}

    def test_no_evidence_is_no_pass(self, folder: Folder) -> None:
        """A folder in which nothing is complete ends with 1."""
        write_model(folder.watch.folder / "checkpoint-400", shards=2, missing=1)
        assert folder.once(folder.gates()) == 1

    def test_what_a_trainer_calls_complete_and_no_engine_loads(self, folder: Folder) -> None:
        """A checkpoint that its trainer calls complete and that has no weights is refused with the converter."""
        huggingface = folder.watch.folder / "global_step_5" / "actor" / "huggingface"
        write_model(huggingface, weights=False)
        (folder.watch.folder / "latest_checkpointed_iteration.txt").write_text("5")
        verl = framework_named("verl")
        assert folder.once(folder.gates(), layout=verl.whole, framework=verl) == 4
        (entry,) = folder.journal.values()
        assert entry.message.startswith(f"no verdict: {huggingface} holds no weights")
        assert "add --convert 'python -m verl.model_merger merge" in entry.message
        assert folder.once(folder.gates(), layout=verl.whole, framework=verl, retry_failed=True) == 4

    def test_an_adapter_is_kept_whole(self, folder: Folder) -> None:
        """An adapter is found, kept and judged as a whole model is."""
        write_adapter(folder.watch.folder / "checkpoint-7")
        gates = folder.gates()
        folder.once(gates)
        assert gates.steps == [7]
        assert folder.became == {7: "judged"}

    def test_what_was_gone_may_be_back(self, folder: Folder) -> None:
        """A checkpoint that was gone and is there again, as it was, is judged."""
        folder.saved(10)
        (found,) = found_in(folder.watch.folder, pattern_of("checkpoint-*"), without=folder.watch.output_dir)
        stamp = stamp_of(found.folder, is_native=False)
        assert stamp is not None
        entry = Entry(step=10, folder="checkpoint-10", stamp=stamp, number=1, became=Became.GONE, exit_code=1)
        Journal.open(folder.watch.kept.with_name("out.json")).enter(entry)
        folder.once(folder.gates())
        assert folder.became == {10: "judged"}

    def test_nothing_that_matches_is_refused(self, folder: Folder) -> None:
        """A pattern that matches nothing ends with an error that names the folder and the pattern."""
        with pytest.raises(
            PlanError, match="matches 'checkpoint-\\*'; expected checkpoints: see --framework, --pattern"
        ):
            folder.once(folder.gates())


class TestBacklog:
    def test_newest_skips_what_is_older(self, folder: Folder) -> None:
        """With `newest` the newest complete checkpoint is judged and the older ones are skipped with a reason."""
        folder.saved(10, 20, 30)
        gates = folder.gates()
        folder.once(gates, backlog=Backlog.NEWEST)
        assert gates.steps == [30]
        assert folder.became == {10: "skipped", 20: "skipped", 30: "judged"}
        assert folder.journal[10].message == "not judged: step 30 was saved before its turn"

    def test_newest_overtakes_what_waits(self, folder: Folder) -> None:
        """With `newest` a checkpoint that waits for its gate is overtaken by a newer one."""
        folder.saved(10)
        gates = folder.gates(is_open=False)
        with folder.running(gates, backlog=Backlog.NEWEST):
            assert gates.entered.wait(TIMEOUT_S)
            folder.saved(20)
            until(lambda: "checkpoint-20" in folder.copies)
            folder.saved(30)
            until(lambda: folder.became[20] == "skipped")
            gates.is_open.set()
            until(lambda: folder.became == {10: "judged", 20: "skipped", 30: "judged"})
        assert gates.steps == [10, 30]

    def test_one_in_k_is_judged(self, folder: Folder) -> None:
        """With `every` each k-th complete checkpoint is judged, counted through restarts."""
        folder.saved(10, 20, 30)
        first = folder.gates()
        folder.once(first, backlog=Backlog.EVERY, every=2)
        folder.saved(40, 50)
        second = folder.gates()
        folder.once(second, backlog=Backlog.EVERY, every=2)
        assert (first.steps, second.steps) == ([20], [40])
        assert folder.became[30] == "skipped"

    def test_only_so_many_copies_wait(self, folder: Folder) -> None:
        """At most so many copies wait; a further one stays in its folder and is judged when there is room."""
        folder.saved(10, 20, 30, 40)
        gates = folder.gates(is_open=False)
        with folder.running(gates, max_waiting=1):
            assert gates.entered.wait(TIMEOUT_S)
            until(lambda: folder.became == {10: "kept", 20: "kept", 30: "again", 40: "again"})
            until(lambda: folder.copies == ["checkpoint-10", "checkpoint-20"])
            gates.is_open.set()
            until(lambda: [*folder.became.values()] == ["judged"] * 4)
        assert gates.steps == [10, 20, 30, 40]

    def test_what_is_deleted_before_there_is_room_is_gone(self, folder: Folder) -> None:
        """A complete checkpoint that its trainer deletes before there is room is named, and is no pass."""
        folder.saved(10, 20, 30)
        gates = folder.gates(is_open=False)
        with folder.running(gates, max_waiting=1):
            assert gates.entered.wait(TIMEOUT_S)
            until(lambda: folder.became.get(30) == "again")
            shutil.rmtree(folder.watch.folder / "checkpoint-30")
            until(lambda: folder.became[30] == "gone")
            gates.is_open.set()
            until(lambda: folder.became == {10: "judged", 20: "judged", 30: "gone"})
        assert folder.journal[30].message == "no verdict: it was deleted before it could be kept"
        assert folder.journal[30].exit_code == 1


class TestDeleted:
    def test_a_kept_checkpoint_outlives_its_folder(self, folder: Folder) -> None:
        """Checkpoints that a trainer deletes while one is judged and another waits are judged all the same."""
        folder.saved(10, 20)
        gates = folder.gates(is_open=False)
        with folder.running(gates):
            until(lambda: folder.copies == ["checkpoint-10", "checkpoint-20"])
            for step in (10, 20):
                shutil.rmtree(folder.watch.folder / f"checkpoint-{step}")
            gates.is_open.set()
            until(lambda: folder.became == {10: "judged", 20: "judged"})


class TestFailures:
    def test_a_gate_that_fails_is_tried_again(self, folder: Folder) -> None:
        """A gate that the machinery fails is tried again, and the verdict names the failure."""
        folder.saved(10)
        folder.once(folder.gates(errors=(EvaluationError("CUDA out of memory"),)))
        assert folder.journal[10].became is Became.JUDGED
        assert folder.journal[10].message.endswith("(tried again after failing once: CUDA out of memory)")

    def test_a_gate_that_keeps_failing_has_no_verdict(self, folder: Folder) -> None:
        """A gate that fails every time is failed, not judged; the next start leaves it, and --retry-failed does not."""
        folder.saved(10)
        errors = tuple(EvaluationError(f"out of memory {number}") for number in range(3))
        assert folder.once(folder.gates(errors=errors)) == 1
        assert folder.journal[10].became is Became.FAILED
        assert folder.journal[10].message.startswith("no verdict: out of memory 2 (tried again after failing 2 times")
        left, retried = folder.gates(), folder.gates()
        folder.once(left)
        folder.once(retried, retry_failed=True)
        assert (left.steps, retried.steps) == ([], [10])
        assert folder.became == {10: "judged"}

    def test_a_converter_makes_what_is_judged(self, folder: Folder) -> None:
        """A converter's folder is what is kept and judged."""
        folder.saved(10)
        gates = folder.gates()
        command = shlex.join([sys.executable, "-c", COPY, "{checkpoint}", "{out}"])
        folder.once(gates, converter=converter_of(command))
        assert folder.became == {10: "judged"}

    def test_a_converter_that_fails_is_tried_again(self, folder: Folder) -> None:
        """A converter that fails once is tried again, and its last lines are told."""
        folder.saved(10)
        flag = folder.watch.folder / "flag"
        program = f"import os, sys; os.path.exists({str(flag)!r}) or (open({str(flag)!r}, 'w'), sys.exit('no room'))"
        command = shlex.join([sys.executable, "-c", f"{program}; {COPY}", "{checkpoint}", "{out}"])
        folder.once(folder.gates(), converter=converter_of(command))
        assert folder.became == {10: "judged"}
        (retry,) = [one for one in folder.told if one.what == "retries"]
        assert "tried again in 0.01 s: the converter failed (exit code 1): no room" in retry.line

    def test_a_converter_that_keeps_failing_ends_with_4(self, folder: Folder) -> None:
        """A checkpoint whose converter fails every time is failed with the last lines, and the others are judged."""
        folder.saved(10, 20)
        program = f"import sys; '-10' in sys.argv[1] and sys.exit('bad shard'); {COPY}"
        command = shlex.join([sys.executable, "-c", program, "{checkpoint}", "{out}"])
        gates = folder.gates()
        assert folder.once(gates, converter=converter_of(command)) == 4
        assert gates.steps == [20]
        failed = folder.journal[10]
        assert failed.message.startswith("no verdict after 3 tries: the converter failed (exit code 1): bad shard")
        assert [*folder.watch.kept.glob(".*.part")] == []

    def test_half_a_conversion_is_none(self, folder: Folder) -> None:
        """A converter that ends well with half a checkpoint has failed, with what is missing."""
        write_model(folder.watch.folder / "checkpoint-10", shards=2, missing=1)
        command = shlex.join([sys.executable, "-c", COPY, "{checkpoint}", "{out}"])
        assert folder.once(folder.gates(), converter=converter_of(command), retry_after_s=()) == 4
        assert "the converter wrote no whole checkpoint: " in folder.journal[10].message
        assert "lacks model-00002-of-00002.safetensors" in folder.journal[10].message


class TestRestart:
    def test_what_was_stopped_goes_on(self, folder: Folder) -> None:
        """A watcher that is stopped in a gate leaves copies and journal; the next one judges what had no verdict."""
        folder.saved(10, 20, 30)
        held = folder.gates(is_open=False)
        with folder.running(held):
            until(lambda: folder.became == dict.fromkeys((10, 20, 30), "kept"))
        assert held.is_stopped
        assert folder.became == dict.fromkeys((10, 20, 30), "kept")
        for step in (10, 20, 30):  # the trainer's are not needed any more
            shutil.rmtree(folder.watch.folder / f"checkpoint-{step}")
        folder.saved(40)
        gates = folder.gates()
        folder.once(gates)
        assert gates.steps == [10, 20, 30, 40]
        assert [*folder.became.values()] == ["judged"] * 4

    def test_half_a_copy_is_made_again(self, folder: Folder) -> None:
        """A copy that a kill left half made, and one without an entry, are removed; the checkpoint is kept again."""
        folder.saved(10)
        kept = folder.watch.kept
        write_model(kept / ".checkpoint-10.0123.part")
        write_model(kept / "checkpoint-99")
        stamp_and_more = Entry(
            step=10, folder="checkpoint-10", stamp="of an earlier save", number=1, became=Became.KEPT
        )
        Journal.open(kept.with_name("out.json")).enter(stamp_and_more)
        gates = folder.gates()
        folder.once(gates)
        assert gates.steps == [10]
        assert [path.name for path in kept.iterdir()] == ["run.lock"]

    def test_a_checkpoint_lost_with_a_kill_is_named(self, folder: Folder) -> None:
        """A checkpoint that was being copied at a kill and is deleted by then is gone, and is no pass."""
        folder.saved(20)
        entry = Entry(step=10, folder="checkpoint-10", stamp="s", number=1, became=Became.KEPT)
        Journal.open(folder.watch.kept.with_name("out.json")).enter(entry)
        assert folder.once(folder.gates()) == 1
        assert folder.became == {10: "gone", 20: "judged"}

    def test_one_watcher_for_a_folder(self, folder: Folder, tmp_path: Path) -> None:
        """A second process that watches a folder is refused with what to do."""
        import subprocess  # noqa: PLC0415 - a lock is a process's

        folder.saved(10)
        gates = folder.gates(is_open=False)
        with folder.running(gates):
            assert gates.entered.wait(TIMEOUT_S)
            program = "import sys; from pytest_r1eval.commands.cli import main; sys.exit(main(sys.argv[1:]))"
            options = ("--pattern", "checkpoint-*", "--benchmarks", "smoke", "--once")
            command = [sys.executable, "-c", program, "gates", "out", *options]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
        assert done.returncode == 4
        assert "is watched already" in done.stderr
        assert len(done.stderr.splitlines()) == 1


class TestWaiting:
    def test_a_folder_that_goes_away_is_waited_for(self, folder: Folder) -> None:
        """A watcher goes on when the folder is not there for a while, and takes nothing in it for deleted."""
        folder.saved(10, 20, 30)
        gates = folder.gates(is_open=False)
        elsewhere = folder.watch.folder.with_name("elsewhere")
        output_dir = folder.watch.folder.with_name("r1eval")
        with folder.running(gates, output_dir=output_dir, max_waiting=1):
            assert gates.entered.wait(TIMEOUT_S)
            until(lambda: any(one.step == 30 for one in folder.told))
            folder.watch.folder.rename(elsewhere)
            until(lambda: "no such folder" in folder.told[-1].line)
            elsewhere.rename(folder.watch.folder)
            gates.is_open.set()
            until(lambda: gates.steps == [10, 20, 30])

    def test_an_empty_folder_is_waited_for(self, folder: Folder) -> None:
        """A watcher says once that nothing matches yet, and judges what comes."""
        gates = folder.gates()
        with folder.running(gates):
            until(lambda: bool(folder.told))
            folder.saved(10)
            until(lambda: folder.became == {10: "judged"})
        assert folder.told[0].line == f"nothing in {folder.watch.folder} matches 'checkpoint-*'; waiting"
        assert len([one for one in folder.told if one.step is None]) == 1

    def test_what_happens_is_json(self, folder: Folder) -> None:
        """What happened can be written as JSON by its fields."""
        from pytest_r1eval.core.codec import to_json  # noqa: PLC0415 - here alone

        folder.saved(10)
        folder.once(folder.gates())
        content = json.loads(to_json(HAPPENED, folder.told[-1]))
        assert content.keys() == {"schema_version", "step", "what", "message", "run", "exit_code"}
