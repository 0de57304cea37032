r"""Where a response's answer is looked for: after the thought, in the last box or answer line."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from pytest_r1eval.core.records import FinishReason
from pytest_r1eval.core.thinking import ThinkTags
from pytest_r1eval.scoring.final_answer import FinalAnswer, after_thought, final_answer
from tests.toys import said


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("a <think>b</think> c", " c"),
        ("b</think> c", " c"),
        ("<think>a</think><think>b</think> c", " c"),
        ("<think>a</think> c <think>d", " c "),
        ("c", "c"),
        ("<think>a", None),
        ("<analysis>a</analysis>c", "c"),
        ("<seed:think>a</seed:think>c", "c"),
        ("a<|channel|>final<|message|>c", "c"),
        ("<|begin_of_thought|>a<|end_of_thought|>c", "c"),
    ],
)
def test_what_follows_the_last_closing_tag_counts(text: str, rest: str | None) -> None:
    """A thought that is opened and not closed holds no answer."""
    assert after_thought(said(text), None) == rest


@pytest.mark.parametrize(("text", "rest"), [("a</think> c", " c"), ("c", None), ("<think>a", None)])
def test_a_truncated_response_without_a_closing_tag_was_still_thinking(text: str, rest: str | None) -> None:
    """A truncated response without a closing tag is all thought, as templates put the opening tag into the prompt."""
    assert after_thought(said(text, finish_reason=FinishReason.LENGTH), None) == rest


KIMI = ThinkTags(opening="◁think▷", closing="◁/think▷")
HARMONY = ThinkTags(opening="<|channel|>analysis<|message|>", closing="<|channel|>final<|message|>")
OWN = ThinkTags(opening="{{", closing="}}")


@pytest.mark.parametrize("finish_reason", FinishReason)
@pytest.mark.parametrize(
    ("tags", "text", "rest"),
    [
        (KIMI, "◁think▷a◁/think▷c", "c"),
        (KIMI, "a◁/think▷c", "c"),
        (KIMI, "◁think▷a", None),
        (KIMI, "c", "c"),
        (HARMONY, "<|channel|>analysis<|message|>a<|channel|>final<|message|>c", "c"),
        (HARMONY, "<|channel|>final<|message|>c", "c"),
        (HARMONY, "<|channel|>analysis<|message|>a", None),
        (OWN, "{{a}}c", "c"),
        (OWN, "<think>a</think>c", "c"),
        (replace(OWN, is_open=True), "a}}c", "c"),
        (replace(OWN, is_open=True), "a \\boxed{1}", None),
    ],
)
def test_the_models_own_tags_enclose_the_thought(
    tags: ThinkTags, text: str, rest: str | None, finish_reason: FinishReason
) -> None:
    """A lone closing tag is as good as a pair; a thought without an end holds no answer, however it ended."""
    assert after_thought(said(text, finish_reason=finish_reason), tags) == rest


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("\\boxed{1} and then \\boxed{\\frac{1}{2}}", FinalAnswer(text="\\frac{1}{2}")),
        ("$\\boxed{1}$, $\\boxed{2}$", FinalAnswer(text="1 , 2")),
        ("\\boxed{1}, so \\boxed{2}", FinalAnswer(text="2")),
        ("\\boxed{\\{1\\}} \\boxed{", FinalAnswer(text="\\{1\\}")),
        ("\\boxed{\\fbox{1}}", FinalAnswer(text="\\fbox{1}")),
        ("ANSWER: 1\n\\boxed{2}", FinalAnswer(text="2")),
        ("\\boxed{2}\nANSWER: 1", FinalAnswer(text="1")),
        ("ANSWER: It is $\\boxed{1}$. I hope so.", FinalAnswer(text="It is $\\boxed{1}$", box="1")),
        ("**Answer:**\n\n$$\n1\n$$", FinalAnswer(text="1")),
        ("Answer:\nAnswer: 1", FinalAnswer(text="1")),
        ("The answer is 1", None),
        ("\\boxed{ }", None),
    ],
)
def test_the_last_box_or_answer_line_is_the_answer(text: str, found: FinalAnswer | None) -> None:
    """Boxes that only a comma or a word divides are one answer."""
    assert final_answer(text) == found


@pytest.mark.parametrize(
    "piece",
    ["\\boxed{", "{", "\\boxed{1}, ", "ANSWER:\n", "answer : ", " ", "\n", "*", "<think>", "</think", "\\[", "$$"],
)
def test_a_long_repetition_is_searched_at_once(piece: str) -> None:
    """Searching a long repetition takes less than two seconds, whatever is repeated."""
    text = piece * (300_000 // len(piece))
    started = time.process_time()
    after_thought(said(text), None)
    after_thought(said(text), HARMONY)
    final_answer(text)
    assert time.process_time() - started < 2
