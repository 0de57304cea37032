"""The words behind a verdict."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.core.codec import to_json
from pytest_r1eval.core.records import FinishReason, Outcome
from pytest_r1eval.core.texts import hidden_in
from pytest_r1eval.judging.result import VERDICT, PartScore
from pytest_r1eval.reports.appearance import colour_of
from pytest_r1eval.reports.github import workflow_commands
from pytest_r1eval.reports.markdown import markdown
from pytest_r1eval.reports.properties import properties_of
from pytest_r1eval.reports.run_report import read_report
from pytest_r1eval.reports.terminal import gate_lines, gate_row, health_lines, plan_lines
from pytest_r1eval.runs.store import Store
from pytest_r1eval.stats.verdicts import Verdict
from tests.judged_runs import judged, judged_against
from tests.recordings import record_run


@pytest.mark.parametrize("verdict", list(Verdict))
def test_moved_problems_are_a_note_where_the_mean_is_in_bounds(examples: Mapping[str, Path], verdict: Verdict) -> None:
    """The note "same score, different model" is printed beside a PASS alone."""
    (gate,) = read_report(examples["green"]).gates
    assert gate.result.rearrangement is not None
    moved = replace(gate.result.rearrangement, p_value=1e-9)
    judgement = replace(gate.result.judgement, verdict=verdict, passes=True)
    words = "\n".join(gate_lines(replace(gate.result, rearrangement=moved, judgement=judgement)))
    assert ("same score, different model" in words) == (verdict is Verdict.PASS)


def test_a_two_sided_plan_prints_the_rise_that_it_sees(examples: Mapping[str, Path]) -> None:
    """A two-sided plan prints both bounds of a PASS and the rise that it detects."""
    (stopped,) = read_report(examples["stopped"]).gates
    planned = stopped.result.sequential_plan
    assert planned is not None
    two_sided = replace(planned, rule=replace(planned.rule, two_sided=True))
    one, two = (plan_lines(replace(stopped.result, sequential_plan=plan)) for plan in (planned, two_sided))
    assert one[3].endswith(" or more")
    assert re.search(
        r" or more and no more than its negative; a rise of \d+\.\d points is seen with 80 % power$", two[3]
    )


def test_a_green_gate_under_a_policy_leaves_shipping_to_the_release(examples: Mapping[str, Path]) -> None:
    """The next step of a PASS is to ship; under a release policy only where the release is SHIP too."""
    (gate,) = read_report(examples["green"]).gates
    alone, policed = (
        next(line for line in gate_lines(replace(gate.result, policy=policy)) if line.startswith("  next: "))
        for policy in (None, "0123")
    )
    assert alone.startswith("  next: Ship it; a fall of ")
    assert policed == alone.replace("Ship it;", "Ship it if the release is SHIP;")


def test_a_gate_that_catches_no_fall_says_none(examples: Mapping[str, Path]) -> None:
    """A gate that cannot catch a fall shows `none` for it."""
    (gate,) = read_report(examples["green"]).gates
    assert gate_row(replace(gate.result, judgement=replace(gate.result.judgement, mde_80=None)))[5] == "none"


def test_a_score_in_bounds_is_no_green_row_where_health_is_red(examples: Mapping[str, Path]) -> None:
    """A gate whose score is in bounds is red where its health is."""
    (green,), (red,) = (read_report(examples[name]).gates for name in ("green", "red"))
    assert gate_row(green.result)[-1] == "PASS"
    unhealthy = replace(green.result, health=red.result.health)
    assert gate_row(unhealthy)[-1] == "PASS, health FAIL"
    odd = replace(unhealthy.judgement, verdict=Verdict.SUSPICIOUS_IMPROVED)
    for result, colour in ((green.result, "green"), (unhealthy, "red"), (replace(unhealthy, judgement=odd), "red")):
        assert colour_of(result) == {colour: True}


def test_right_answers_in_unfinished_responses_are_counted(tmp_path: Path) -> None:
    """Words and JSON count the truncated responses that were graded right."""
    finished, cut = (
        record_run(tmp_path / reason, n_problems=4, n_samples=8, solve_rate=1.0, finish_reason=reason)
        for reason in (FinishReason.STOP, FinishReason.LENGTH)
    )
    (result,), (unfinished,) = judged(finished), judged(cut, root=tmp_path / "other")

    assert " 0 truncated, 0 without an answer" in "\n".join(gate_lines(result))
    assert " 32 truncated (32 of them graded right), 0 without an answer" in "\n".join(gate_lines(unfinished))
    assert json.loads(to_json(VERDICT, unfinished))["n_truncated_correct"] == 32


@pytest.mark.parametrize(
    ("grader", "words"),
    [
        ("strict-mathematics 2", "they hold no answer"),
        ("strict 3", "they hold no answer"),
        (None, "LightEval's grader reads them as answers, unless its metric is a group (IFEval, IFBench)"),
        ("lighteval-run_test 0.13.0", "LightEval's grader reads them as answers"),
    ],
)
def test_thoughts_have_lines_of_their_own(tmp_path: Path, grader: str | None, words: str) -> None:
    """Health prints mean lengths of thoughts and answers, and how the grader reads an unfinished thought."""
    base = record_run(tmp_path / "base", n_problems=4, n_samples=8, n_tokens=50, n_thought_tokens=40)
    judged(base)
    run = record_run(tmp_path / "run", seed=2, n_problems=4, n_samples=8, n_tokens=50, n_thought_tokens=50)
    (result,) = judged_against(run, tmp_path / "root")

    lines = health_lines(replace(result, grader=grader))

    assert lines[1:5] == [
        "  mean tokens: 50 (baseline 50)",
        "  mean tokens of the thought: 50 (baseline 40)",
        "  mean tokens of the answer: 0 (baseline 10)",
        f"  unfinished thoughts: 32 of 32 responses; {words}",
    ]


@pytest.mark.parametrize(
    ("allocated", "spread", "first"),
    [
        ((1, 1, 1), "", "the first sample of"),
        ((1, 1, 3), " (1 to 3 per problem)", "the first sample of"),
        ((2, 2, 5), " (2 to 5 per problem)", "the first 2 samples of"),
    ],
)
def test_one_of_a_kind_is_counted_as_one(
    examples: Mapping[str, Path], allocated: tuple[int, ...], spread: str, first: str
) -> None:
    """Counts of one are singular, and a spread of samples is printed only where problems differ in them."""
    (gate,) = read_report(examples["green"]).gates
    part = PartScore(name="aime24", n_problems=1, mean=0.5, standard_error=0.0, baseline_mean=None)
    result = replace(gate.result, allocated=allocated, samples_per_problem=min(allocated), parts=(part,))
    lines = gate_lines(result)
    assert "  part aime24: 50.0 ± 0.0 on 1 problem" in lines
    assert any(line.startswith(f"  samples: 320 of 320{spread}, ") for line in lines), lines
    assert f"  judged by: {first} each problem, equally many of all" in health_lines(result)


def test_a_run_without_tags_has_no_thoughts(examples: Mapping[str, Path]) -> None:
    """Health lines of a run without tags do not mention thoughts."""
    (gate,) = read_report(examples["green"]).gates
    assert "thought" not in "\n".join(health_lines(gate.result))


def test_fallen_problems_are_called_as_people_call_them(examples: Mapping[str, Path]) -> None:
    """A problem that fell is shown by its first words, with its id behind them."""
    (gate,) = read_report(examples["red"]).gates
    (fell, *_) = [line for line in gate_lines(gate.result) if line.startswith("  fell: ")]
    assert re.match(r'  fell: "\d+\+\d+\?" \(p\d{3}\), 0 of 16 \(baseline \d+ of 16\), q = ', fell)


def test_what_a_model_or_a_file_says_commands_nothing(tmp_path: Path) -> None:
    """An answer quoted by a grader reaches terminal, Markdown, JUnit and annotations without a control character."""
    attack = "bad \x1b[2J\x1b]0;owned\x07 \u202e\n::error::owned\n##[group]owned ##vso[task]x"
    run = record_run(tmp_path / "run", outcome=Outcome.ERROR, detail=attack)
    (result,) = judged(run)
    result = replace(result, baseline=attack, judgement=replace(result.judgement, warnings=(attack,)))
    page = markdown([result], title=attack)
    texts = [
        *gate_lines(result),
        *gate_row(result),
        *(value for _, value in properties_of(result, run="run")),
        *(command.partition("::error title=")[2] for command in workflow_commands([result])),
        *page.splitlines(),
    ]
    assert any("owned" in text for text in texts)
    for text in texts:
        assert hidden_in(text) is None
        assert not text.lstrip().startswith("::")
        assert "##[" not in text
        assert "##vso[" not in text


def test_answers_that_were_graded_outside_of_any_sandbox_are_a_warning(tmp_path: Path) -> None:
    """Answers that were graded outside of a sandbox put a warning beside the verdict."""
    run = record_run(tmp_path / "run")
    for words, n_warnings in (("Landlock 7 + seccomp", 0), ("not a sandbox: forked", 1)):
        with closing(Store.open(run)) as store:
            store.note_walls(words)
        (result,) = judged(run)
        assert words in str(result.sandbox)
        warnings = [line for line in gate_lines(result) if line.startswith("  warning: Answers were graded in")]
        assert len(warnings) == n_warnings
    assert warnings == ["  warning: Answers were graded in Landlock 7 + seccomp and not a sandbox: forked."]
