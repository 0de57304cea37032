"""Verdicts in TensorBoard's files, read back by TensorBoard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pytest_r1eval.config.tracker_choice import TrackerChoice
from pytest_r1eval.reports.run_report import read_report
from pytest_r1eval.trackers.delivery import log_run
from pytest_r1eval.trackers.tracked import tracked

TENSORBOARD = TrackerChoice(name="tensorboard")


def test_a_run_is_logged_and_brought_up_to_date(
    tmp_path: Path, judged_copy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is logged twice has each number once in TensorBoard, its verdict as a text, and its page."""
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    run = judged_copy("red")
    for _ in range(2):
        (logged,) = log_run(run, [TENSORBOARD])
        assert logged.answer.error is None
    told = tracked(read_report(run))
    folder = tmp_path / "events/r1eval" / told.title
    assert logged.answer.place == str(folder)
    events = EventAccumulator(str(folder))
    events.Reload()
    scalars = {name: [event.value for event in events.Scalars(name)] for name in events.Tags()["scalars"]}
    assert set(scalars) == {*told.numbers, "is_pass"}
    assert {name: scalars[name] for name in told.numbers} == {
        name: [pytest.approx(value, rel=1e-5)] for name, value in told.numbers.items()
    }
    assert scalars["is_pass"] == [0.0]
    (text,) = events.Tensors("r1eval")
    assert f"- verdict: {told.verdict}" in text.tensor_proto.string_val[0].decode()
    assert (folder / "report.html").read_bytes() == (run / "report.html").read_bytes()


def test_a_folder_that_cannot_be_written_is_one_line(
    tmp_path: Path, judged_copy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in the place of TensorBoard's folder is one line."""
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "file"))
    (logged,) = log_run(judged_copy("green"), [TENSORBOARD])
    assert logged.answer.error is not None
    assert "file" in logged.answer.error
