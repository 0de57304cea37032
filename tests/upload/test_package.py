"""What a run sends to the Hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.core.attempts import Attempt, Attempts
from pytest_r1eval.core.uploads import UploadWishes
from pytest_r1eval.errors import UploadError
from pytest_r1eval.judging.result import write_verdicts
from pytest_r1eval.upload.package import pack
from pytest_r1eval.upload.paths import RunFiles
from pytest_r1eval.upload.results import write_run_files
from tests.judged_runs import TASKS, judged, judged_run
from tests.recordings import record_run


def test_the_card_says_which_attempt_it_is(tmp_path: Path) -> None:
    """The card of a second attempt gives the first verdict; that of a first attempt has no note."""
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


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFiles:
    """Judge a run and write its files, once."""
    return judged_run(tmp_path_factory.mktemp("whole") / "run", n_problems=4, n_samples=4)


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{}", '"gates"', "7", '{"gates": NaN}', "[" * 100_000, "9" * 5000, "\ud800"]
)
def test_verdicts_that_are_none_are_not_uploaded(whole: RunFiles, text: str) -> None:
    """A damaged or foreign file of verdicts is one line that names it."""
    path = whole.folder / "verdicts.json"
    before = path.read_bytes()
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        with pytest.raises(UploadError, match=f"^{path} cannot be read") as caught:
            pack(whole.folder, UploadWishes(repo="acme/gates"))
    finally:
        path.write_bytes(before)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "changes",
    [
        {"details": "a\nb\x1b"},
        {"details": "a\x00b"},
        {"details": "x" * 300},
        {"details": "\u2028"},
        {"details": "/x\x85"},
    ],
)
def test_details_by_a_name_that_is_none_are_not_uploaded(whole: RunFiles, changes: Mapping[str, object]) -> None:
    """What a foreign results file calls its details is quoted on one line."""
    content = json.loads(before := whole.results.read_text(encoding="utf-8"))
    content["r1eval"]["benchmarks"]["smoke"] |= changes
    whole.results.write_text(json.dumps(content), encoding="utf-8")
    try:
        with pytest.raises(UploadError) as caught:
            pack(whole.folder, UploadWishes(repo="acme/gates"))
    finally:
        whole.results.write_text(before, encoding="utf-8")
    assert str(caught.value).isprintable()
