"""The ledger's file: shared by processes, whole after a crash, and never shorter."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.baselines.shelf import FoundBaseline
from pytest_r1eval.core.attempts import Asked
from pytest_r1eval.core.baselines import BASELINE_FILE, BaselineFile
from pytest_r1eval.core.codec import to_json
from pytest_r1eval.core.lineage import Lineage
from pytest_r1eval.errors import StoreError
from pytest_r1eval.ledger.book import Event, Ledger, key_of, known
from pytest_r1eval.runs.store import FILE_NAME
from pytest_r1eval.stats.verdicts import GateRule
from tests.ledger.entries import BEGUN
from tests.made_up_baselines import MEASURED

ASKED = Asked(question="q", subset=None, design="d")
RED = replace(BEGUN, event=Event.JUDGED, verdict="FAIL_REGRESSED", result="{}")
INVALID = replace(BEGUN, event=Event.JUDGED, verdict="INVALID", result="{}")

APPENDING = """
import sys
from dataclasses import replace
from pathlib import Path
from pytest_r1eval.ledger.book import Ledger
from tests.ledger.entries import BEGUN
ledger = Ledger(folder=Path(sys.argv[1]))
for number in range(50):
    with ledger.locked():
        ledger.append([replace(BEGUN, run=f"{sys.argv[2]}-{number}", seed=number)])
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Return the ledger of a folder that is not there yet."""
    return Ledger(folder=tmp_path / "evals")


def test_what_is_appended_is_read(ledger: Ledger) -> None:
    """The ledger's entries are read by their question, in their order."""
    assert ledger.entries("q") == ()
    ledger.append([BEGUN, RED])
    assert ledger.entries("q") == (BEGUN, RED)
    assert ledger.entries("other") == ()


def test_a_line_that_a_crash_cut_off_is_passed_over(ledger: Ledger) -> None:
    """A line that a crash cut off is skipped, and the next one is not glued to it."""
    ledger.append([BEGUN])
    with ledger.path.open("a") as file:
        file.write(json.dumps({"schema_version": 1, "question": "q"})[:-3])
    ledger.append([RED])
    assert ledger.entries("q") == (BEGUN, RED)


def test_processes_slice_it(ledger: Ledger) -> None:
    """Three processes append 150 lines to the ledger, and none is lost or mixed."""
    repository = Path(__file__).parents[2]
    writers = [
        subprocess.Popen([sys.executable, "-c", APPENDING, str(ledger.folder), name], cwd=repository) for name in "abc"
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    entries = ledger.entries("q")
    assert len({entry.run for entry in entries}) == len(entries) == 150


def test_a_newer_version_is_refused(ledger: Ledger) -> None:
    """A verdict that cannot be read is never taken for none."""
    ledger.append([RED])
    ledger.path.write_text(ledger.path.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(StoreError, match="schema_version: found 2; expected 1; update pytest-r1eval"):
        ledger.entries("q")


@pytest.mark.parametrize(
    ("found", "damaged"),
    [
        ('"event": "judged"', '"event": "jugded"'),
        ('"attempt": 1', '"attempt": "x"'),
        ('"passes": false', '"passes": "no"'),
        ('"run": "a", ', ""),
    ],
)
def test_a_damaged_line_is_refused(ledger: Ledger, found: str, damaged: str) -> None:
    """A damaged line about a question is refused in one line, so that its verdict is not lost."""
    ledger.append([RED])
    text = ledger.path.read_text()
    assert found in text
    ledger.path.write_text(text.replace(found, damaged))
    with pytest.raises(StoreError, match="has a damaged line about this question: "):
        ledger.entries("q")


def test_a_line_of_brackets_is_passed_over(ledger: Ledger) -> None:
    """A line that is nested too deeply for the parser is skipped."""
    ledger.append([RED])
    with ledger.path.open("a") as file:
        file.write("[" * 100_000 + '"q"\n')
    assert ledger.entries("q") == (RED,)


def test_a_line_without_counts_is_refused() -> None:
    """A line of the ledger whose baseline file holds no benchmark is refused."""
    content = json.loads(to_json(BASELINE_FILE, BaselineFile(model="a/b", measured=(MEASURED,))))
    entry = replace(RED, measured=json.dumps({**content, "measured": []}))
    with pytest.raises(StoreError, match="holds no counts of the run a"):
        entry.measurement()


def test_an_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    """A ledger in a folder that cannot be written is refused in one line."""
    (tmp_path / "evals").write_text("")
    with pytest.raises(StoreError, match="expected a writable --r1-output-dir"):
        Ledger(folder=tmp_path / "evals").append([RED])


class TestKnown:
    def test_an_attempt_counts_whatever_the_rule(self, ledger: Ledger) -> None:
        """Attempts under another rule count and their seeds are taken, but their verdicts do not answer."""
        ledger.append([RED, replace(RED, key="other rule", run="b", attempt=2, seed=8)])
        found = known(ledger, "q", key="third rule")
        assert [entry.run for entry in found.attempts] == ["a", "b"]
        assert (found.verdicts, found.unfinished, found.seeds) == ((), None, frozenset({7, 8}))
        assert known(ledger, "q", key="k").verdicts == (RED,)

    def test_a_run_that_is_judged_by_two_rules_is_one_attempt(self, ledger: Ledger) -> None:
        """A run that is judged by two rules is one attempt, and an INVALID under a third keeps the verdict."""
        ledger.append([RED, replace(RED, key="other rule", verdict="PASS"), replace(INVALID, key="third rule")])
        assert [entry.verdict for entry in known(ledger, "q", key="k").attempts] == ["PASS"]

    def test_the_seed_of_a_run_by_another_rule_is_taken(self, ledger: Ledger) -> None:
        """A run by another rule takes its seed; by its own rule it may be continued with that seed."""
        (ledger.folder / "a").mkdir(parents=True)
        (ledger.folder / "a" / FILE_NAME).touch()
        ledger.append([BEGUN])
        assert known(ledger, "q", key="other rule").seeds == frozenset({7})
        assert known(ledger, "q", key="k").seeds == frozenset()

    def test_a_verdict_holds_and_invalid_is_none(self, ledger: Ledger) -> None:
        """The last verdict on a run counts, and an INVALID one leaves the run unfinished."""
        (ledger.folder / "a").mkdir(parents=True)
        (ledger.folder / "a" / FILE_NAME).touch()
        ledger.append([BEGUN, INVALID])
        found = known(ledger, "q", key="k")
        assert (found.verdicts, found.unfinished, found.is_invalid) == ((), INVALID, True)
        ledger.append([RED])
        found = known(ledger, "q", key="k")
        assert (found.verdicts, found.unfinished, found.seeds) == ((RED,), None, frozenset({7}))

    def test_an_interrupted_run_without_samples_is_nothing(self, ledger: Ledger) -> None:
        """A run whose folder is gone before anything was judged cannot be continued."""
        ledger.append([BEGUN])
        assert known(ledger, "q", key="k").unfinished is None


class TestKey:
    def test_rule_and_baseline_are_in_it(self) -> None:
        """Rule, baseline and design are in the key; the exit code of INCONCLUSIVE and notes on a baseline are not."""
        found = FoundBaseline(baseline=MEASURED, source="x")
        key = key_of(ASKED, rule=GateRule(), family="none", found=found)
        noted = FoundBaseline(baseline=replace(MEASURED, lineage=Lineage(step=3), reason="why"), source="y")
        assert key == key_of(ASKED, rule=GateRule(inconclusive_passes=True), family="none", found=noted)
        others = {
            key_of(replace(ASKED, question="other"), rule=GateRule(), family="none", found=found),
            key_of(replace(ASKED, design="more samples"), rule=GateRule(), family="none", found=found),
            key_of(replace(ASKED, subset=5), rule=GateRule(), family="none", found=found),
            key_of(ASKED, rule=GateRule(sigmas=4), family="none", found=found),
            key_of(ASKED, rule=GateRule(), family="holm aime24", found=found),
            key_of(ASKED, rule=GateRule(), family="none", found=None),
            key_of(ASKED, rule=GateRule(), family="none", found=found, anchor=found),
            key_of(ASKED, rule=GateRule(), family="none", found=replace(found, baseline=replace(MEASURED, seed=1))),
        }
        assert len(others | {key}) == 9
