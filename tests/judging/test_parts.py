"""A pool's verdict: one gate on the mean, health of all, and each part's pass@1 beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_r1eval.commands import cli
from pytest_r1eval.core.records import Counts
from pytest_r1eval.judging.result import PartScore
from pytest_r1eval.reports.run_report import read_report
from pytest_r1eval.reports.terminal import gate_lines
from pytest_r1eval.stats.tests import pass_at_1
from pytest_r1eval.stats.verdicts import Verdict
from tests.judged_runs import judged, judged_against
from tests.plugin_runs import judge, runs_of
from tests.recordings import record_run

Record = Callable[..., Path]
PARTS = ("aime24", "aime25", "aime26")
POOL = {"benchmarks": ("aime_all",), "parts": PARTS, "n_problems": 30, "n_samples": 16}
FELL = (*[0.6] * 20, *[0.1] * 10)
"""Solve rates of a candidate that fell on the last part alone."""


def test_each_part_is_scored_and_the_mean_is_gated(tmp_path: Path) -> None:
    """A fall on one part turns the one gate red, and the parts tell where it was."""
    judged(record_run(tmp_path / "base", seed=1, **POOL), root=tmp_path)  # type: ignore[arg-type]
    run = record_run(tmp_path / "run", seed=2, weights="w2", solve_rates=FELL, **POOL)  # type: ignore[arg-type]
    (result,) = judged_against(run, tmp_path)
    assert result.judgement.verdict is Verdict.FAIL_REGRESSED
    assert [(part.name, part.n_problems) for part in result.parts] == [(name, 10) for name in PARTS]
    means = [part.mean for part in result.parts]
    assert result.judgement.estimate is not None
    assert sum(means) / 3 == pytest.approx(result.judgement.estimate.mean)
    assert means[0] > 0.4
    assert means[2] < 0.25
    lines = [line for line in gate_lines(result) if line.startswith("  part ")]
    first = result.parts[0]
    assert first.baseline_mean is not None
    assert lines[0] == (
        f"  part aime24: {100 * first.mean:.1f} ± {100 * first.standard_error:.1f} on 10 problems, "
        f"baseline {100 * first.baseline_mean:.1f}"
    )


def test_a_part_is_what_its_own_counts_give(tmp_path: Path) -> None:
    """A part's pass@1 and error are those of its problems alone."""
    run = record_run(tmp_path / "run", **POOL)  # type: ignore[arg-type]
    (result,) = judged(run)
    report = read_report(run)["aime_all"]
    own = Counts.from_rows(
        (row.id, row.n_correct, row.n_samples) for row in report.problems if row.id.startswith("aime25/")
    )
    estimate = pass_at_1(own)
    assert result.parts[1] == PartScore(
        name="aime25",
        n_problems=10,
        mean=estimate.mean,
        standard_error=estimate.standard_error,
        baseline_mean=None,
    )


def test_a_benchmark_of_its_own_has_no_parts(tmp_path: Path) -> None:
    """A result of one benchmark has no parts and prints none."""
    (result,) = judged(record_run(tmp_path / "run"))
    assert result.parts == ()
    assert not [line for line in gate_lines(result) if line.startswith("  part ")]


def test_a_user_judges_a_pool(pytester: pytest.Pytester, recorded: Record) -> None:
    """-m aime_all judges three years by one gate, and terminal, verdicts.json and page show each year."""
    recorded("run", **POOL)
    result = judge(pytester, "run", "--r1-report", "page.html", mark="aime_all")
    result.stdout.fnmatch_lines(
        ["aime_all*", "  part aime24: * on 10 problems", "  part aime25: *", "  part aime26: *"]
    )
    (run,) = runs_of(pytester)
    (gate,) = json.loads((run / "verdicts.json").read_text())["gates"]
    assert [part["name"] for part in gate["parts"]] == [*PARTS]
    assert "part aime26</dt>" in (pytester.path / "page.html").read_text()


def test_its_power_is_known_before_the_first_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pool's power is worked out from its recorded baseline; without one nothing is guessed."""
    judged(record_run(tmp_path / "base", **POOL), root=tmp_path)  # type: ignore[arg-type]
    monkeypatch.chdir(tmp_path)
    assert cli.main(["power", "--benchmark", "aime_all"]) != 0
    assert "aime_all: no planning constants are known" in capsys.readouterr().err
    assert cli.main(["power", "--benchmark", "aime_all", "--baseline", "local/toy"]) == 0
    assert "aime_all" in capsys.readouterr().out


def test_a_pool_of_pyproject_is_judged(pytester: pytest.Pytester, recorded: Record) -> None:
    """A pool that pyproject.toml names is selected by its name."""
    recorded("run", **{**POOL, "benchmarks": ("both",), "parts": ("aime24", "hmmt_nov25")})
    pytester.makepyprojecttoml(
        """
        [tool.pytest.ini_options]
        [tool.r1eval.pools]
        both = ["aime24", "hmmt_nov25"]
        """
    )
    result = judge(pytester, "run", mark="both")
    result.stdout.fnmatch_lines(["  part aime24: * on 15 problems", "  part hmmt_nov25: * on 15 problems"])


def test_a_bad_pool_ends_in_one_line(pytester: pytest.Pytester, recorded: Record) -> None:
    """A pool that does not fit ends pytest with exit code 4 and one line, before anything is drawn."""
    recorded("run", **POOL)
    pytester.makepyprojecttoml('[tool.pytest.ini_options]\n[tool.r1eval.pools]\nboth = ["aime24", "gpqa"]\n')
    result = judge(pytester, "run", mark="both")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = (line for line in result.errlines if line)
    assert "pool both: aime24 and gpqa have different forms of answers (mathematics and letters)" in line
