"""The text of an identity check: both models, the answer, the place of the largest gap, and what to do."""

from __future__ import annotations

from dataclasses import replace

from pytest_r1eval.judging.sameness import Side, asked_otherwise, identity_report
from pytest_r1eval.reports.same import same_text
from tests.score_files import SCORES, moved

A = "A: models/base (weights w1, vllm 0.0.test; bfloat16; cpu; lighteval 0.0.test)"


GATE = "record a baseline of A, then judge B: pytest --r1-model B --r1-baseline BASELINE --r1-claim same --r1-margin 3"


def test_bitwise() -> None:
    """Equal scores are said in one line, and nothing is left to do."""
    assert same_text(identity_report(SCORES, SCORES)) == [
        A,
        A.replace("A:", "B:"),
        "  the weights are the same files",
        "",
        "bitwise equal: log-probabilities of 5 tokens in 64 prompts",
        "  next: Nothing: the two answer alike, bit by bit.",
    ]


def test_different() -> None:
    """A large gap is printed with its prompt, its token, both values and what rounding would explain."""
    report = replace(
        identity_report(SCORES, moved(lambda number, place: -2.5 if number == 1 and place == 1 else 0.0)),
        token=" so",  # noqa: S106 - of a text
    )
    assert same_text(report)[2:] == [
        "",
        "different: log-probabilities of 5 tokens in 64 prompts",
        "  largest gap: 2.5 nats, at prompt 2, token 2 (' so'): -2 in A, -4.5 in B",
        "  root mean square: 1.118 nats; 1 token with two values",
        "  rounding in bfloat16 explains gaps up to 0.5 and a root mean square up to 0.1094",
        f"  next: See whether the scores are the same all the same; {GATE}",
    ]


def test_within_rounding() -> None:
    """A small gap is within rounding, and the gate is named for those who ask more."""
    lines = same_text(identity_report(SCORES, moved(lambda *_: 2**-6)))
    assert lines[3] == "equal within rounding: log-probabilities of 5 tokens in 64 prompts"
    assert lines[-1].startswith("  next: Nothing, unless rounding itself is the question; record a baseline")


def test_other_prompts() -> None:
    """Two models that are asked other tokens are different before anything is drawn."""
    sides = (Side(model="a", weights="w1"), Side(model="b", weights="w2"))
    assert same_text(asked_otherwise(*sides, differences=("vocabulary: 2 tokens in A, 3 in B",))) == [
        "A: a (weights w1)",
        "B: b (weights w2)",
        "",
        "different, before anything is drawn",
        "  vocabulary: 2 tokens in A, 3 in B",
        "  next: Export the tokenizer and the chat template of one model with both; their answers cannot be compared.",
    ]
