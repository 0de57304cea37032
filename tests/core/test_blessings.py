"""What may replace a baseline: a higher number freely, a lower one on new evidence and with a reason."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from pytest_r1eval.core.baselines import BASELINE_FILE, BaselineFile, Blessing, MeasuredBaseline
from pytest_r1eval.core.blessings import blessed, kept, recorded
from pytest_r1eval.core.codec import from_json, to_json
from pytest_r1eval.core.records import Counts
from pytest_r1eval.errors import BaselineError, LowerBaselineError
from tests.made_up_baselines import MEASURED

WHEN = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
FILE = BaselineFile(model="org/name", measured=(MEASURED,))


def another(n_correct: int, *, seed: int = 8) -> MeasuredBaseline:
    """Make a run of the same problems with so many of 16 samples correct, by another seed."""
    first = min(n_correct, 8)
    counts = Counts.from_mapping({"b": (first, 8), "a": (n_correct - first, 8)})
    return replace(MEASURED, run="second", seed=seed, counts=counts)


def test_a_higher_number_needs_no_reason() -> None:
    """A higher number replaces the baseline, and the number before is kept."""
    file = blessed(FILE, another(12), when=WHEN, reason=None)
    (entry,) = file.measured
    assert (entry.run, entry.pass_at_1) == ("second", 0.75)
    expected = Blessing(
        blessed=WHEN, run="second", pass_at_1=0.75, replaced_run="first", replaced_pass_at_1=0.6875, reason=None
    )
    assert entry.history == (expected,)


def test_a_lower_number_needs_a_reason() -> None:
    """Blessing a lower number needs a reason, which the file keeps."""
    with pytest.raises(BaselineError, match=r"has 62\.5, the baseline 68\.8; expected a number that is not lower, or"):
        blessed(FILE, another(10), when=WHEN, reason=None)
    (entry,) = blessed(FILE, another(10), when=WHEN, reason="the tokenizer was fixed").measured
    assert entry.history[0].reason == "the tokenizer was fixed"


def test_an_older_run_is_no_new_evidence_for_a_lower_number() -> None:
    """An older run may raise a baseline but not lower it, as a long search finds an unlucky run."""
    older = MEASURED.recorded - dt.timedelta(seconds=1)
    with pytest.raises(BaselineError, match=r"older than the baseline .* expected a new run for a lower number"):
        blessed(FILE, replace(another(10), recorded=older), when=WHEN, reason="flaky")
    assert blessed(FILE, replace(another(12), recorded=older), when=WHEN, reason=None).measured[0].run == "second"


@pytest.mark.parametrize("reason", ["", " \n"])
def test_an_empty_reason_is_none(reason: str) -> None:
    """An empty reason is refused by the command and by the file's decoder."""
    with pytest.raises(BaselineError, match="expected some text: why the baseline changes"):
        blessed(FILE, another(10), when=WHEN, reason=reason)
    with pytest.raises(ValueError, match="reason is"):
        Blessing(blessed=WHEN, run="b", pass_at_1=0.1, replaced_run="a", replaced_pass_at_1=0.2, reason=reason)


class TestKept:
    """What a gate's run records (`--r1-save-baseline`), with no person there to give a reason."""

    def test_a_higher_number_and_what_it_replaced(self) -> None:
        """Keeping a higher number replaces the entry as `bless` does."""
        assert kept(FILE, another(12), when=WHEN) == blessed(FILE, another(12), when=WHEN, reason=None)

    def test_a_lower_number_is_refused(self) -> None:
        """A lower number is refused, with the way to lower it on purpose."""
        with pytest.raises(LowerBaselineError, match=r"62\.5, the baseline 68\.8.*bless RUN NAME --reason TEXT"):
            kept(FILE, another(10), when=WHEN)

    def test_the_same_run_again_changes_nothing(self) -> None:
        """A run that is judged again does not replace itself, and its history stays."""
        file = kept(FILE, another(12), when=WHEN)
        assert kept(file, another(12), when=WHEN) == file

    def test_a_new_question_is_its_own_reason(self) -> None:
        """A lower number of another question is kept, with the question as its reason."""
        question = replace(MEASURED.fingerprint.question, exam="other")
        other = replace(another(4), fingerprint=replace(MEASURED.fingerprint, question=question))
        (entry,) = kept(FILE, other, when=WHEN).measured
        (blessing,) = entry.history
        assert str(blessing.reason).startswith("asked another question: question.exam")


@pytest.mark.parametrize("reason", [None, "flaky"])
def test_the_same_samples_are_no_new_evidence(reason: str | None) -> None:
    """A run with the same weights and seed cannot replace the baseline, under whatever name."""
    with pytest.raises(BaselineError, match="expected a new run"):
        blessed(FILE, another(10, seed=MEASURED.seed), when=WHEN, reason=reason)


def test_another_question_needs_a_reason() -> None:
    """A run of another question is blessed only with a reason, as its number cannot be compared with the old one."""
    question = replace(MEASURED.fingerprint.question, exam="other")
    other = replace(another(16), fingerprint=replace(MEASURED.fingerprint, question=question))
    with pytest.raises(BaselineError, match=r"asked something else .*question\.exam"):
        blessed(FILE, other, when=WHEN, reason=None)
    assert blessed(FILE, other, when=WHEN, reason="a new exam").measured[0].pass_at_1 == 1


def test_history_grows_and_survives_the_file() -> None:
    """Each blessing adds an entry to the history, oldest first, which the file keeps."""
    file = blessed(FILE, another(12), when=WHEN, reason=None)
    file = blessed(file, another(11, seed=9), when=WHEN, reason="new prompt")
    text = to_json(BASELINE_FILE, file)
    assert from_json(BASELINE_FILE, text, name="f") == file
    assert [one.reason for one in file.measured[0].history] == [None, "new prompt"]


def test_recording_does_not_replace() -> None:
    """Recording refuses an entry that exists; blessing replaces it."""
    with pytest.raises(
        BaselineError, match=r"has a baseline for smoke already .* Replace it with r1eval baseline bless"
    ):
        recorded(FILE, another(16))
    assert recorded(BaselineFile(model="org/name"), MEASURED) == FILE


def test_a_stored_fall_without_a_reason_is_refused() -> None:
    """The value and the file's decoder both refuse a fall without a reason."""
    with pytest.raises(ValueError, match="without a reason"):
        Blessing(blessed=WHEN, run="b", pass_at_1=0.1, replaced_run="a", replaced_pass_at_1=0.2, reason=None)
    file = blessed(FILE, another(10), when=WHEN, reason="why")
    text = to_json(BASELINE_FILE, file).replace('"reason": "why"', '"reason": null')
    with pytest.raises(
        BaselineError, match=r"measured\[0\]\.history\[0\]\.reason: found null; expected why the number"
    ):
        from_json(BASELINE_FILE, text, name="f")
