"""Fingerprints name each difference, and know which of them no comparison survives."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.core.fingerprints import Difference, Fingerprint, Harness, ModelIdentity, Question

FINGERPRINT = Fingerprint(
    model=ModelIdentity(weights="w", tokenizer="t", chat_template="c"),
    question=Question(exam="e", sampling=Sampling(), system_prompt=None),
    harness=Harness(
        engine="vllm 1", dtype="bfloat16", quantization=None, device="H100", n_devices=1, grader="lighteval 1"
    ),
)
QUESTION_CHANGES: dict[str, object] = {
    "exam": "other",
    "sampling": replace(Sampling(), temperature=0.7),
    "system_prompt": "",
}
HARNESS_CHANGES: dict[str, object] = {
    "engine": "vllm 2",
    "dtype": "float32",
    "quantization": "fp8",
    "device": "H200",
    "n_devices": 2,
    "grader": "lighteval 2",
}
MODEL_CHANGES: dict[str, object] = {"tokenizer": "other", "chat_template": "other"}


def with_changed(part: str, name: str, value: object) -> Fingerprint:
    """Change one field of one part."""
    return replace(FINGERPRINT, **{part: replace(getattr(FINGERPRINT, part), **{name: value})})


def test_changes_below_cover_every_field() -> None:
    """A field that is added to a fingerprint is added to these tests."""
    assert {field.name for field in fields(Question)} == set(QUESTION_CHANGES)
    assert {field.name for field in fields(Harness)} == set(HARNESS_CHANGES)
    assert {field.name for field in fields(ModelIdentity)} == {*MODEL_CHANGES, "weights"}


def test_equal_fingerprints_do_not_differ() -> None:
    """Equal values in other objects are no difference."""
    copy = replace(FINGERPRINT, question=replace(FINGERPRINT.question, sampling=Sampling()))
    assert FINGERPRINT.differences(copy) == ()


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        *(("model", *change) for change in MODEL_CHANGES.items()),
        *(("question", *change) for change in QUESTION_CHANGES.items()),
        *(("harness", *change) for change in HARNESS_CHANGES.items()),
    ],
)
def test_one_changed_field_is_one_difference(part: str, name: str, value: object) -> None:
    """It is named by its part, and only a changed question forbids a comparison."""
    (difference,) = FINGERPRINT.differences(with_changed(part, name, value))

    assert f"{part}.{name}" == difference.field
    assert (part == "question") == difference.is_question


def test_weights_are_what_is_judged() -> None:
    """New weights are the reason for the comparison, not an obstacle to it."""
    assert FINGERPRINT.differences(with_changed("model", "weights", "new")) == ()


def test_differences_come_in_the_fingerprints_order() -> None:
    """Model, question, harness: a report reads the same each time."""
    other = Fingerprint(
        model=ModelIdentity(weights="w2", tokenizer="t2", chat_template="c"),
        question=replace(FINGERPRINT.question, exam="e2"),
        harness=replace(FINGERPRINT.harness, engine="vllm 2", device="H200"),
    )

    expected = ["model.tokenizer", "question.exam", "harness.engine", "harness.device"]
    assert expected == [difference.field for difference in FINGERPRINT.differences(other)]


def test_question_alone_can_be_compared() -> None:
    """Before a token is spent, what will be asked is compared with what was."""
    ours = FINGERPRINT.question
    theirs = replace(ours, system_prompt="Be brief.")

    expected = (Difference(field="question.system_prompt", ours="None", theirs="Be brief."),)
    assert expected == ours.differences(theirs)
    assert ours.differences(ours) == ()


def test_difference_says_which_side_is_which() -> None:
    """The baseline's value first, this run's second."""
    (difference,) = FINGERPRINT.differences(with_changed("harness", "device", "H200"))

    expected = "harness.device: H200 in the baseline, H100 here"
    assert expected == str(difference)
