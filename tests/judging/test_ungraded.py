"""Samples on which the grader failed: never wrong answers, and never able to tip a verdict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_r1eval.baselines.shelf import FoundBaseline
from pytest_r1eval.commands.cli import main
from pytest_r1eval.core.records import FinishReason
from pytest_r1eval.judging.decision import decided
from pytest_r1eval.runs.finished import CompleteRun, StoredRun
from pytest_r1eval.stats.tests import alpha_of, sigmas_of
from pytest_r1eval.stats.verdicts import GateRule, Verdict

REPLAY = ("-p", "no:randomly", "-m", "smoke", "--r1-engine", "replay")
FAILED = frozenset({("p003", 5), ("p004", 5)})


def judge(pytester: pytest.Pytester, run: Path, *options: str) -> pytest.RunResult:
    """Judge a recorded run."""
    return pytester.runpytest_subprocess(*REPLAY, "--r1-model", str(run), *options)


@pytest.fixture
def baseline(recorded: Callable[..., Path], pytester: pytest.Pytester) -> str:
    """Record a baseline."""
    good = recorded("good", n_samples=40, weights="base")
    judge(pytester, good, "--r1-save-baseline", "local/base").assert_outcomes(passed=3)
    return "local/base"


@pytest.mark.parametrize(
    ("gate", "words"), [("fixed", "smoke: PASS*"), ("sequential", "smoke: PASS*")], ids=["fixed", "sequential"]
)
def test_few_are_left_out_where_they_could_change_nothing(
    recorded: Callable[..., Path], pytester: pytest.Pytester, baseline: str, gate: str, words: str
) -> None:
    """Two ungraded samples of 480 are left out where they could not change the verdict."""
    run = recorded("few", n_samples=40, weights="new", ungraded=FAILED)
    result = judge(pytester, run, "--r1-baseline", baseline, "--r1-gate", gate)
    assert result.ret == 0, result.stdout.str()
    result.stdout.fnmatch_lines([words])
    if gate == "fixed":
        result.stdout.fnmatch_lines(["*The grader failed on 2 samples. Left out: *"])


def test_few_that_could_tip_the_gate_are_invalid(
    recorded: Callable[..., Path], pytester: pytest.Pytester, baseline: str
) -> None:
    """Two ungraded samples that could change the verdict make the gate INVALID."""
    run = recorded("few", n_samples=40, weights="new", solve_rate=0.5, ungraded=FAILED)
    found = judge(pytester, run, "--r1-baseline", baseline, "--r1-sigmas", "3").stdout.str()
    z = abs(float(next(line for line in found.splitlines() if line.startswith("smoke  ")).split()[6]))
    result = judge(pytester, run, "--r1-baseline", baseline, "--r1-sigmas", str(z))
    assert result.ret == 1
    result.stdout.fnmatch_lines(["smoke: INVALID*failed on 2 of 480*would change the verdict*"])


def test_too_many_are_invalid_and_none_makes_a_baseline(
    recorded: Callable[..., Path], pytester: pytest.Pytester, baseline: str
) -> None:
    """Three ungraded samples of 480 make a gate INVALID, and two already prevent a baseline."""
    many = recorded("many", n_samples=40, weights="new", ungraded=FAILED | {("p005", 1)})
    judge(pytester, many, "--r1-baseline", baseline).stdout.fnmatch_lines(["smoke: INVALID*failed on 3 of 480*"])
    few = recorded("few", n_samples=40, weights="new", ungraded=FAILED)
    result = judge(pytester, few, "--r1-save-baseline", "local/other")
    result.stdout.fnmatch_lines(["smoke: INVALID*a baseline or an aggregate leaves none out*"])
    assert not (pytester.path / "baselines" / "local" / "other.json").exists()


def test_one_rule_for_all(
    recorded: Callable[..., Path], pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    One ungraded sample of 320 passes gate and compare, and is refused by record, bless and aggregate.

    Compare used to ask for 15 samples a problem (319 // 20), and record took the run.
    """
    size = {"n_problems": 20, "n_samples": 16}
    base = recorded("base", weights="base", **size)
    run = recorded("one", weights="new", seed=2, ungraded=frozenset({("p003", 5)}), **size)
    judge(pytester, base, "--r1-save-baseline", "local/other")
    words = "*The grader failed on 1 sample. Left out: right or wrong, the verdict would be the same.*"
    gate = judge(pytester, run, "--r1-baseline", "local/other")
    gate.stdout.fnmatch_lines(["smoke: PASS*", words])
    capsys.readouterr()
    code, compared = main(["compare", "one", "base"]), capsys.readouterr().out
    assert (code, words.strip("*") in compared, "smoke: PASS" in compared) == (0, True, True), compared
    for command in (
        ("baseline", "record", "one", "local/new"),
        ("baseline", "bless", "one", "local/other", "--reason", "on purpose"),
        ("aggregate", "one", "base"),
    ):
        code, refused = main([*command]), capsys.readouterr().err
        assert code == 2, command
        assert "failed on 1 of 320 samples (no detail recorded); a baseline or an aggregate leaves none out" in refused
    saved = judge(pytester, run, "--r1-baseline", "local/other", "--r1-save-baseline", "local/other")
    saved.stdout.fnmatch_lines(["*Not recorded. The grader failed on 1 of 320 samples*leaves none out.*"])
    assert not (pytester.path / "baselines" / "local" / "new.json").exists()


def test_few_that_could_tip_a_family_are_invalid(recorded: Callable[..., Path]) -> None:
    """Ungraded samples that decide only under a family's smaller alpha make the gate INVALID in that family."""
    base = StoredRun(folder=recorded("base", n_samples=40, weights="base"))
    run = StoredRun(folder=recorded("few", n_samples=40, weights="new", solve_rate=0.5, ungraded=FAILED))
    found = FoundBaseline(baseline=base.measured("smoke").as_baseline(), source="base")
    complete = run.complete("smoke")
    assert isinstance(complete, CompleteRun)
    z = decided(complete, found, benchmark=None, rule=GateRule()).z
    assert z is not None
    rule = GateRule(sigmas=sigmas_of(4 * alpha_of(-z)))

    alone, family = (decided(complete, found, benchmark=None, rule=rule, n_tests=n) for n in (1, 4))

    assert alone.verdict is Verdict.FAIL_REGRESSED
    assert family.verdict is Verdict.INVALID
    assert "would change the verdict" in family.reason


def test_few_that_could_tip_health_are_invalid(
    recorded: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nine ungraded samples of 1,920 make a gate INVALID where they could fail its health test."""
    recorded("base", n_problems=30, n_samples=256, weights="base")
    nine = frozenset((f"p{number:03d}", 5) for number in range(9))
    recorded("nine", n_problems=30, n_samples=64, seed=2, weights="new", ungraded=nine)

    code, printed = main(["compare", "nine", "base"]), capsys.readouterr().out

    assert code == 1
    assert "smoke: INVALID. The grader failed on 9 of 1920 samples" in printed
    assert "they would change the verdict on health" in printed


def test_truncated_responses_count_for_health_without_a_grade(
    recorded: Callable[..., Path], pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    """A truncated response without a grade counts as truncated, and only graded ones as right."""
    recorded("base", n_problems=20, n_samples=16, weights="base")
    run = recorded(
        "long",
        n_problems=20,
        n_samples=16,
        weights="new",
        ungraded=frozenset({("p003", 5)}),
        finish_reason=FinishReason.LENGTH,
    )
    code, compared = main(["compare", "long", "base"]), capsys.readouterr().out
    gate = judge(pytester, run, "--r1-baseline", "base").stdout

    assert code == 1
    (words,) = [line for line in compared.splitlines() if "320 truncated (" in line]
    assert words.endswith(" of them graded right), 0 without an answer")
    gate.fnmatch_lines(["smoke: PASS*", words, "  next: Do not ship: pass@1 held, and the responses are not healthy*"])
    gate.fnmatch_lines(["*health FAIL. 100.0 % of the responses were truncated*"])
