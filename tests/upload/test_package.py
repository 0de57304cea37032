"""What a run sends to the Hub."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pytest_r1eval.core.attempts import Attempt, Attempts
from pytest_r1eval.core.uploads import UploadWishes
from pytest_r1eval.judging.result import write_verdicts
from pytest_r1eval.upload.package import pack
from pytest_r1eval.upload.results import write_run_files
from tests.judged_runs import TASKS, judged
from tests.recordings import record_run


def test_the_card_says_which_attempt_it_is(tmp_path: Path) -> None:
    """A reader of the scores sees that the first verdict was another; a first attempt needs no word."""
    run = record_run(tmp_path / "run")
    first = Attempt(number=1, run="r1", verdict="FAIL_REGRESSED", passes=False, judged="2026-01-01T00:00:00+00:00")
    notes = []
    for attempts in (Attempts(number=1, ledger="evals"), Attempts(number=2, ledger="evals", earlier=(first,))):
        results = [replace(result, attempts=attempts) for result in judged(run)]
        write_verdicts(run, results)
        write_run_files(run, results, tasks=TASKS)
        (row,) = pack(run, UploadWishes(repo="acme/gates")).rows
        notes.append(row.note)
    assert notes == ["", "attempt 2, the first was FAIL_REGRESSED"]
