"""An identity report names the answer, what answered, and what else differs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pytest_r1eval.errors import RunError
from pytest_r1eval.judging.sameness import identity_report
from pytest_r1eval.stats.sameness import Sameness
from tests.score_files import SCORES, moved


def test_the_same_files() -> None:
    """A re-saved checkpoint with equal scores is bitwise the same, and equal weights are noted."""
    report = identity_report(SCORES, SCORES)
    assert report.sameness is Sameness.BITWISE
    assert report.is_same
    assert report.notes == ("the weights are the same files",)


def test_another_engine_is_noted() -> None:
    """What differs between the two harnesses is listed, and does not decide."""
    other = replace(SCORES, harness=replace(SCORES.harness, engine="vllm 9", kv_cache="fp8"))
    report = identity_report(SCORES, other)
    assert report.sameness is Sameness.BITWISE
    assert report.notes[1:] == ("engine: vllm 0.0.test in A, vllm 9 in B", "kv_cache: None in A, fp8 in B")


def test_the_coarser_format_decides() -> None:
    """Gaps that bfloat16 explains are too large for two computations in float32."""
    near = moved(lambda *_: 0.01)
    fine = (replace(each, harness=replace(each.harness, dtype="float32")) for each in (SCORES, near))

    assert identity_report(SCORES, near).sameness is Sameness.ROUNDING
    assert identity_report(*fine).sameness is Sameness.DIFFERENT


def test_files_that_change_no_token() -> None:
    """A tokenizer that was saved by another version and makes the same tokens is a note."""
    other = replace(SCORES, identity=replace(SCORES.identity, weights="w2", tokenizer="t2", chat_template="c2"))
    expected = "the files of the tokenizer and the chat template differ, and make the same tokens of the prompts"
    assert identity_report(SCORES, other).notes == (expected,)


def test_broken_weights() -> None:
    """A score that is not a number is an error in one line."""
    broken = moved(lambda number, place: math.nan if number == place == 1 else 0.0)
    with pytest.raises(
        RunError, match=r"models/export: log-probabilities are missing or not finite; expected a number"
    ):
        identity_report(SCORES, broken)
