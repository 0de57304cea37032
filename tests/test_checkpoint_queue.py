"""Checkpoints are judged one at a time, beside the training, and nothing of it reaches the training as an error."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from pytest_r1eval.checkpoint_queue import (
    CheckpointQueue,
    GatedCheckpoint,
    SavedCheckpoint,
    WhenBusy,
    kept_copy,
    left_over,
)
from pytest_r1eval.errors import EvaluationError, UploadError
from pytest_r1eval.run_reports import RunReport, read_report
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
        """Adding returns at once; copies are gone when their checkpoint has been judged."""
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

    def test_latest_skips_what_a_newer_one_overtakes(self, report: RunReport, tmp_path: Path) -> None:
        """The one under way is finished; of those that wait the newest is left."""
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
        """Whatever a gate raises, the next checkpoint is judged."""

        def gate(checkpoint: SavedCheckpoint) -> RunReport:
            if checkpoint.step == 10:
                raise error
            return report

        queue = CheckpointQueue(gate, when_busy=WhenBusy.QUEUE)
        for step in (10, 20):
            queue.add(saved(tmp_path, step))
        first, second = all_of(queue)
        assert (first.report, first.reason) == (None, reason)
        assert second.report is report

    def test_a_push_that_fails_is_remarked(self, report: RunReport, tmp_path: Path) -> None:
        """The checkpoint is judged all the same."""
        errors = [UploadError("the Hub failed"), OSError("no route")]

        def push(_: SavedCheckpoint) -> None:
            raise errors.pop(0)

        queue = CheckpointQueue(lambda _: report, when_busy=WhenBusy.QUEUE, before=push)
        for step in (10, 20):
            queue.add(saved(tmp_path, step))
        found = [(one.report, one.remark) for one in all_of(queue)]
        assert found == [(report, "the Hub failed"), (report, "OSError: no route")]

    def test_a_closed_queue_judges_nothing_more(self, report: RunReport, tmp_path: Path) -> None:
        """What waits is given up, and said."""
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
        """Without the optimizer, which is larger than the model; links, so that it takes no room."""
        checkpoint = tmp_path / "out" / "checkpoint-10"
        checkpoint.mkdir(parents=True)
        (checkpoint / "global_step10").mkdir()
        for name in ("model.safetensors", "config.json", "tokenizer.json", "optimizer.pt", "rng_state_0.pth",
                     "trainer_state.json", "training_args.bin", "scheduler.pt"):  # fmt: skip
            (checkpoint / name).write_text(name)
        kept = kept_copy(checkpoint, to=tmp_path / "kept" / "checkpoint-10")
        assert sorted(path.name for path in kept.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
        assert (kept / "config.json").samefile(checkpoint / "config.json")

    def test_it_outlives_the_checkpoint(self, tmp_path: Path) -> None:
        """A trainer that keeps the last few deletes the others while they wait."""
        checkpoint = tmp_path / "checkpoint-10"
        checkpoint.mkdir()
        (checkpoint / "model.safetensors").write_text("weights")
        kept = kept_copy(checkpoint, to=tmp_path / "kept")
        (checkpoint / "model.safetensors").unlink()
        assert (kept / "model.safetensors").read_text() == "weights"

    def test_without_links_it_is_copied(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As between two file systems."""

        def refuse(*_: object) -> None:
            raise OSError(18, "Invalid cross-device link")

        monkeypatch.setattr(os, "link", refuse)
        (tmp_path / "checkpoint").mkdir()
        (tmp_path / "checkpoint" / "config.json").write_text("{}")
        kept = kept_copy(tmp_path / "checkpoint", to=tmp_path / "kept")
        assert not (kept / "config.json").samefile(tmp_path / "checkpoint" / "config.json")
        assert (kept / "config.json").read_text() == "{}"

    def test_half_a_copy_is_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever is killed or runs out of room in the middle leaves nothing under the name."""

        def refuse(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "link", refuse)
        monkeypatch.setattr(shutil, "copy2", refuse)
        (tmp_path / "checkpoint").mkdir()
        (tmp_path / "checkpoint" / "config.json").write_text("{}")
        with pytest.raises(EvaluationError, match="No space left on device"):
            kept_copy(tmp_path / "checkpoint", to=tmp_path / "kept" / "checkpoint-10")
        assert not (tmp_path / "kept" / "checkpoint-10").exists()
        assert left_over(tmp_path / "kept", last_step=10) == ()
        assert [*(tmp_path / "kept").iterdir()] == []

    def test_what_was_left_without_a_verdict(self, tmp_path: Path) -> None:
        """Up to the step that the training goes on from, in order; what it will save anew is removed."""
        for step in (1000, 20, 300, 400):
            (tmp_path / f"checkpoint-{step}").mkdir()
        found = left_over(tmp_path, last_step=300)
        assert [(one.step, one.folder.name) for one in found] == [(20, "checkpoint-20"), (300, "checkpoint-300")]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-20", "checkpoint-300"]
        assert left_over(tmp_path / "nothing", last_step=300) == ()

    def test_a_checkpoint_that_is_not_there(self, tmp_path: Path) -> None:
        """Said, with what was expected."""
        with pytest.raises(EvaluationError, match="cannot be kept for its gate: No such file or directory; expected"):
            kept_copy(tmp_path / "nothing", to=tmp_path / "kept")
