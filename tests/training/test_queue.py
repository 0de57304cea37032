"""Checkpoints are judged one at a time, beside the training, and nothing of it reaches the training as an error."""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from pathlib import Path
from typing import IO

import pytest

from pytest_r1eval.checkpoints.files import folder_digests
from pytest_r1eval.errors import EvaluationError, EvaluationRefusedError, UploadError
from pytest_r1eval.reports.run_report import RunReport, read_report
from pytest_r1eval.training.queue import (
    CheckpointQueue,
    GatedCheckpoint,
    MachineryError,
    SavedCheckpoint,
    WhenBusy,
    demand_unchanged,
    demand_whole,
    kept_copy,
    left_over,
)
from tests.adapters import write_adapter
from tests.judged_runs import judged_run

TIMEOUT_S = 30.0


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> RunReport:
    """Judge one recorded run."""
    return read_report(judged_run(tmp_path_factory.mktemp("judged") / "run").folder)


class Judging:
    """A gate that a test opens, and that says what was brought to it."""

    def __init__(self, report: RunReport) -> None:
        self._report = report
        self.is_open = threading.Event()
        self.entered = threading.Event()
        self.steps: list[int] = []
        self.n_inside = 0
        self.n_most = 0

    def __call__(self, saved: SavedCheckpoint) -> RunReport:
        """Judge, once the test has opened the gate."""
        self.n_inside += 1
        self.n_most = max(self.n_most, self.n_inside)
        self.steps.append(saved.step)
        self.entered.set()
        assert self.is_open.wait(TIMEOUT_S)
        self.n_inside -= 1
        return self._report


def saved(tmp_path: Path, step: int) -> SavedCheckpoint:
    """Save a checkpoint."""
    folder = tmp_path / f"checkpoint-{step}"
    folder.mkdir()
    return SavedCheckpoint(step=step, epoch=None, folder=folder)


def all_of(queue: CheckpointQueue) -> tuple[GatedCheckpoint, ...]:
    """Wait for everything."""
    assert queue.wait(TIMEOUT_S)
    return queue.collect()


class TestQueue:
    def test_one_at_a_time_and_in_order(self, report: RunReport, tmp_path: Path) -> None:
        """Checkpoints are judged one at a time and in order, and their copies are then removed."""
        gate = Judging(report)
        queue = CheckpointQueue(gate, when_busy=WhenBusy.QUEUE)
        for step in (10, 20, 30):
            queue.add(saved(tmp_path, step))
        assert queue.collect() == ()
        assert not queue.wait(0)
        gate.is_open.set()
        gated = all_of(queue)
        assert [one.saved.step for one in gated] == gate.steps == [10, 20, 30]
        assert {one.report for one in gated} == {report}
        assert gate.n_most == 1
        assert [*tmp_path.iterdir()] == []
        assert queue.collect() == ()

    def test_it_rests_when_none_waits(self, report: RunReport, tmp_path: Path) -> None:
        """What is kept from one checkpoint to the next is freed once none waits, before `wait` returns."""
        gate, rests = Judging(report), list[int]()
        queue = CheckpointQueue(gate, when_busy=WhenBusy.QUEUE, rest=lambda: rests.append(len(gate.steps)))
        for step in (10, 20, 30):
            queue.add(saved(tmp_path, step))
        gate.is_open.set()
        all_of(queue)
        assert rests == [3]

    def test_a_rest_that_fails_holds_nobody_up(self, report: RunReport, tmp_path: Path) -> None:
        """A verdict is kept and the queue goes on where freeing what was kept fails."""
        gate, rests = Judging(report), list[int]()

        def rest() -> None:
            rests.append(len(gate.steps))
            raise OSError("the scratch folder is in use")

        queue = CheckpointQueue(gate, when_busy=WhenBusy.QUEUE, rest=rest)
        gate.is_open.set()
        for step in (10, 20):
            queue.add(saved(tmp_path, step))
            assert queue.wait(TIMEOUT_S)
        assert [one.report for one in queue.collect()] == [report, report]
        assert rests == [1, 2]

    def test_latest_skips_what_a_newer_one_overtakes(self, report: RunReport, tmp_path: Path) -> None:
        """A `latest` queue finishes the gate under way and then judges the newest of the waiting checkpoints."""
        gate = Judging(report)
        queue = CheckpointQueue(gate, when_busy=WhenBusy.LATEST)
        queue.add(saved(tmp_path, 10))
        assert gate.entered.wait(TIMEOUT_S)
        for step in (20, 30, 40):
            queue.add(saved(tmp_path, step))
        gate.is_open.set()
        gated = {one.saved.step: one for one in all_of(queue)}
        assert gate.steps == [10, 40]
        assert gated[20].reason == "step 30 was saved before its turn"
        assert gated[30].reason == "step 40 was saved before its turn"
        assert gated[40].report is report

    @pytest.mark.parametrize(
        ("error", "reason"),
        [(EvaluationError("no verdict"), "no verdict"), (OSError("disk"), "OSError: disk")],
    )
    def test_an_error_is_a_reason(self, report: RunReport, tmp_path: Path, error: Exception, reason: str) -> None:
        """An error of a gate becomes the checkpoint's reason, and the next checkpoint is judged."""

        def gate(checkpoint: SavedCheckpoint) -> RunReport:
            if checkpoint.step == 10:
                raise error
            return report

        queue = CheckpointQueue(gate, when_busy=WhenBusy.QUEUE, waits_s=())
        for step in (10, 20):
            queue.add(saved(tmp_path, step))
        first, second = all_of(queue)
        assert (first.report, first.reason) == (None, reason)
        assert second.report is report

    def test_a_failure_of_the_machinery_is_tried_again(self, report: RunReport, tmp_path: Path) -> None:
        """A failing gate is tried again on the kept copy, and the failures are remarked beside the verdict."""
        failures: list[Exception] = [EvaluationError("CUDA out of memory"), OSError("no Slurm")]
        there: list[bool] = []

        def gate(checkpoint: SavedCheckpoint) -> RunReport:
            there.append(checkpoint.folder.is_dir())
            if failures:
                raise failures.pop(0)
            return report

        queue = CheckpointQueue(gate, when_busy=WhenBusy.QUEUE, waits_s=(0.01, 0.01))
        queue.add(saved(tmp_path, 10))
        (gated,) = all_of(queue)
        assert (gated.report, gated.reason) == (report, None)
        assert gated.remark == "tried again after failing 2 times: CUDA out of memory; OSError: no Slurm"
        assert there == [True, True, True]
        assert [*tmp_path.iterdir()] == []

    def test_patience_has_an_end(self, tmp_path: Path) -> None:
        """The last try's failure is the reason of a checkpoint without a verdict."""

        def gate(_: SavedCheckpoint) -> RunReport:
            raise EvaluationError("CUDA out of memory")

        queue = CheckpointQueue(gate, when_busy=WhenBusy.QUEUE, waits_s=(0.01,))
        queue.add(saved(tmp_path, 10))
        (gated,) = all_of(queue)
        assert (gated.report, gated.reason) == (None, "CUDA out of memory")
        assert gated.remark == "tried again after failing once: CUDA out of memory"

    def test_a_refusal_is_not_tried_again(self, tmp_path: Path) -> None:
        """A refused evaluation is not tried again."""
        steps: list[int] = []

        def gate(checkpoint: SavedCheckpoint) -> RunReport:
            steps.append(checkpoint.step)
            raise EvaluationRefusedError("no such benchmark")

        queue = CheckpointQueue(gate, when_busy=WhenBusy.QUEUE)
        queue.add(saved(tmp_path, 10))
        (gated,) = all_of(queue)
        assert (gated.reason, gated.remark, steps) == ("no such benchmark", None, [10])

    def test_a_queue_that_is_closed_tries_nothing_more(self, tmp_path: Path) -> None:
        """A closed queue does not wait for another try of a failed gate."""
        entered = threading.Event()

        def gate(_: SavedCheckpoint) -> RunReport:
            entered.set()
            raise EvaluationError("CUDA out of memory")

        queue = CheckpointQueue(gate, when_busy=WhenBusy.QUEUE, waits_s=(600.0,))
        queue.add(saved(tmp_path, 10))
        assert entered.wait(TIMEOUT_S)
        queue.close()
        (gated,) = all_of(queue)
        assert gated.reason == "CUDA out of memory"

    def test_a_run_without_samples_is_the_machinery_s(self, report: RunReport, tmp_path: Path) -> None:
        """A run that the engine left incomplete raises MachineryError; a judged run is returned."""
        assert demand_whole(report) is report
        holes = read_report(judged_run(tmp_path / "holes", skip=frozenset({("p003", 5)})).folder)
        with pytest.raises(MachineryError, match="smoke: CUDA out of memory") as caught:
            demand_whole(holes, failures=["CUDA out of memory"])
        assert caught.value.report is holes
        queue = CheckpointQueue(lambda _: demand_whole(holes), when_busy=WhenBusy.QUEUE, waits_s=())
        queue.add(saved(tmp_path, 10))
        (gated,) = all_of(queue)
        assert (gated.report, gated.reason) == (holes, None)
        assert gated.remark == f"smoke: 1 of 96 planned samples are missing. See {tmp_path / 'holes' / 'logs'}"

    def test_a_push_that_fails_is_remarked(self, report: RunReport, tmp_path: Path) -> None:
        """A push that fails is remarked, and the checkpoint is judged all the same."""
        errors = [UploadError("the Hub failed"), OSError("no route")]

        def push(_: SavedCheckpoint) -> None:
            raise errors.pop(0)

        queue = CheckpointQueue(lambda _: report, when_busy=WhenBusy.QUEUE, before=push)
        for step in (10, 20):
            queue.add(saved(tmp_path, step))
        found = [(one.report, one.remark) for one in all_of(queue)]
        assert found == [(report, "the Hub failed"), (report, "OSError: no route")]

    def test_a_closed_queue_judges_nothing_more(self, report: RunReport, tmp_path: Path) -> None:
        """A closed queue drops the checkpoints that wait, each with a reason."""
        gate = Judging(report)
        queue = CheckpointQueue(gate, when_busy=WhenBusy.QUEUE)
        queue.add(saved(tmp_path, 10))
        assert gate.entered.wait(TIMEOUT_S)
        queue.add(saved(tmp_path, 20))
        queue.close()
        gate.is_open.set()
        gated = {one.saved.step: one for one in all_of(queue)}
        assert gate.steps == [10]
        assert gated[20].reason == "the training ended before its turn"


class TestKeptCopy:
    def test_what_a_model_needs_and_no_more(self, tmp_path: Path) -> None:
        """A kept copy holds the model's files without the optimizer and the training's state."""
        checkpoint = tmp_path / "out" / "checkpoint-10"
        checkpoint.mkdir(parents=True)
        (checkpoint / "global_step10").mkdir()
        for name in ("model.safetensors", "config.json", "tokenizer.json", "optimizer.pt", "rng_state_0.pth",
                     "trainer_state.json", "training_args.bin", "scheduler.pt"):  # fmt: skip
            (checkpoint / name).write_text(name)
        kept = kept_copy(checkpoint, to=tmp_path / "kept" / "checkpoint-10")
        assert sorted(path.name for path in kept.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
        assert not (kept / "config.json").samefile(checkpoint / "config.json")

    def test_its_files_are_those_of_the_checkpoint(self, tmp_path: Path) -> None:
        """A kept copy has every file by which the checkpoint is known, templates and unknown files included."""
        checkpoint = tmp_path / "checkpoint-10"
        (checkpoint / "additional_chat_templates").mkdir(parents=True)
        for name in ("model.safetensors", "chat_template.jinja", "additional_chat_templates/tool_use.jinja",
                     "scheduler_config.json", "heads.pth", "README.md", "rng_state_0.pth"):  # fmt: skip
            (checkpoint / name).write_text(name)
        kept = kept_copy(checkpoint, to=tmp_path / "kept" / "checkpoint-10")
        assert folder_digests(kept).files == folder_digests(checkpoint).files
        assert (kept / "additional_chat_templates" / "tool_use.jinja").is_file()
        assert (kept / "README.md").is_file()
        assert not (kept / "rng_state_0.pth").exists()

    def test_it_outlives_the_checkpoint(self, tmp_path: Path) -> None:
        """A kept copy keeps the weights when the trainer deletes the checkpoint."""
        checkpoint = tmp_path / "checkpoint-10"
        checkpoint.mkdir()
        (checkpoint / "model.safetensors").write_text("weights")
        kept = kept_copy(checkpoint, to=tmp_path / "kept")
        (checkpoint / "model.safetensors").unlink()
        assert (kept / "model.safetensors").read_text() == "weights"

    @pytest.mark.parametrize("has_reflinks", [False, True])
    def test_a_file_that_is_written_over_in_place_stays_what_was_saved(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        has_reflinks: bool,  # noqa: FBT001 - a parameter
    ) -> None:
        """A kept copy stays as it was saved when the trainer writes over the file in place."""

        def shared(target: IO[bytes], request: int, source: int) -> int:
            if not has_reflinks:
                raise OSError(95, "Operation not supported")
            assert request == 0x40049409  # FICLONE
            target.write(os.pread(source, 1 << 20, 0))
            return 0

        monkeypatch.setattr(fcntl, "ioctl", shared)
        (tmp_path / "checkpoint").mkdir()
        weights = tmp_path / "checkpoint" / "model.safetensors"
        weights.write_text("step 10")
        kept = kept_copy(tmp_path / "checkpoint", to=tmp_path / "kept")
        with weights.open("r+") as file:
            file.write("step 20")
        assert (kept / "model.safetensors").read_text() == "step 10"
        demand_unchanged(kept)

    def test_a_copy_that_changed_is_not_judged(self, report: RunReport, tmp_path: Path) -> None:
        """A copy whose digests changed before its turn is not judged, and the reason names the file."""
        (tmp_path / "checkpoint").mkdir()
        for name in ("model.safetensors", "config.json"):
            (tmp_path / "checkpoint" / name).write_text(name)
        kept = kept_copy(tmp_path / "checkpoint", to=tmp_path / "kept" / "checkpoint-10")
        (kept / "config.json").write_text("another")
        queue = CheckpointQueue(lambda _: report, when_busy=WhenBusy.QUEUE)
        queue.add(SavedCheckpoint(step=10, epoch=None, folder=kept))
        (gated,) = all_of(queue)
        assert gated.report is None
        assert gated.reason is not None
        assert f"the kept checkpoint {kept} changed while it waited (config.json)" in gated.reason
        assert [*(tmp_path / "kept").iterdir()] == []

    def test_an_adapter_that_changed_is_not_judged(self, tmp_path: Path) -> None:
        """An adapter that changed while it waited is refused with the names of its files."""
        kept = kept_copy(write_adapter(tmp_path / "checkpoint"), to=tmp_path / "kept")
        demand_unchanged(kept)
        write_adapter(kept, rank=4)
        with pytest.raises(EvaluationRefusedError, match=r"\(adapter_config.json, adapter_model.safetensors\)"):
            demand_unchanged(kept)

    def test_half_a_copy_is_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A copy that runs out of room leaves nothing under its name."""

        def refuse(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(fcntl, "ioctl", refuse)
        monkeypatch.setattr(shutil, "copy2", refuse)
        (tmp_path / "checkpoint").mkdir()
        (tmp_path / "checkpoint" / "config.json").write_text("{}")
        with pytest.raises(EvaluationError, match="No space left on device"):
            kept_copy(tmp_path / "checkpoint", to=tmp_path / "kept" / "checkpoint-10")
        assert not (tmp_path / "kept" / "checkpoint-10").exists()
        assert left_over(tmp_path / "kept", last_step=10) == ()
        assert [*(tmp_path / "kept").iterdir()] == []

    def test_what_was_left_without_a_verdict(self, tmp_path: Path) -> None:
        """Checkpoints without a verdict are found in order up to the resumed step, and later ones are removed."""
        for step in (1000, 20, 300, 400):
            (tmp_path / f"checkpoint-{step}").mkdir()
        found = left_over(tmp_path, last_step=300)
        assert [(one.step, one.folder.name) for one in found] == [(20, "checkpoint-20"), (300, "checkpoint-300")]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-20", "checkpoint-300"]
        assert left_over(tmp_path / "nothing", last_step=300) == ()

    def test_a_checkpoint_that_is_not_there(self, tmp_path: Path) -> None:
        """A checkpoint that is not there cannot be kept, and the error names what was expected."""
        with pytest.raises(EvaluationError, match="cannot be kept for its gate: No such file or directory; expected"):
            kept_copy(tmp_path / "nothing", to=tmp_path / "kept")
