"""The journal of a watched folder is whole at every moment, and read again as it was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_r1eval.errors import EvaluationError
from pytest_r1eval.training.journal import Became, Entry, Journal


def entry(step: int, *, number: int = 1, became: Became = Became.JUDGED) -> Entry:
    """Make an entry."""
    return Entry(step=step, folder=f"step_{step}", stamp="s", number=number, became=became, message="PASS", exit_code=0)


def test_entries_are_read_again_by_step(tmp_path: Path) -> None:
    """Entries are read again in numeric order, with the count of all that were seen."""
    journal = Journal.open(tmp_path / "journal.json")
    for number, step in enumerate((1000, 200), start=1):
        journal.enter(entry(step, number=number))
    again = Journal.open(tmp_path / "journal.json")
    assert again.entries == (entry(200, number=2), entry(1000, number=1))
    assert again.n_seen == 2
    assert [path.name for path in tmp_path.iterdir()] == ["journal.json"]


def test_the_newest_of_a_step_counts(tmp_path: Path) -> None:
    """An entry replaces its step's."""
    journal = Journal.open(tmp_path / "journal.json")
    journal.enter(entry(200, became=Became.KEPT))
    journal.enter(entry(200))
    assert Journal.open(tmp_path / "journal.json").of(200) == entry(200)
    assert journal.of(300) is None


def test_what_is_not_a_journal_is_refused(tmp_path: Path) -> None:
    """A file that is not a journal is refused with its path, and is left alone."""
    path = tmp_path / "journal.json"
    path.write_text('{"schema_version": 1, "n_seen": "two", "entries": []}')
    with pytest.raises(EvaluationError, match=r"journal.json cannot be read: .*n_seen.*expected what r1eval gates"):
        Journal.open(path)
    assert "two" in path.read_text()


def test_a_journal_that_cannot_be_written(tmp_path: Path) -> None:
    """A journal that cannot be written is an error with what to do."""
    journal = Journal.open(tmp_path / "folder" / "journal.json")
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(EvaluationError, match=r"cannot be written: .*; expected room and a folder that can be written"):
        journal.enter(entry(200))
