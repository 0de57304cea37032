"""What a GitHub job shows, and that nothing is written anywhere else."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.core.choices import Tier
from pytest_r1eval.errors import ReportError
from pytest_r1eval.judging.result import GateResult
from pytest_r1eval.reports.github import workflow_commands, write_summary
from pytest_r1eval.reports.markdown import markdown
from pytest_r1eval.reports.run_report import read_report
from pytest_r1eval.stats.verdicts import Verdict

Runs = Mapping[str, Path]


def result_of(run: Path) -> GateResult:
    """Return the run's only verdict."""
    (gate,) = read_report(run).gates
    return gate.result


class TestSummary:
    def test_the_table_is_appended(self, examples: Runs, tmp_path: Path) -> None:
        """The job's summary keeps what other steps wrote before."""
        page = tmp_path / "summary.md"
        page.write_text("before\n", encoding="utf-8")
        results = [result_of(examples["green"])]
        assert write_summary({"GITHUB_STEP_SUMMARY": str(page)}, results, title="m") is True
        assert page.read_text("utf-8") == "before\n" + markdown(results, title="m")

    @pytest.mark.parametrize("environ", [{}, {"GITHUB_STEP_SUMMARY": ""}, {"GITHUB_ACTIONS": "true"}])
    def test_nowhere_else(
        self, examples: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
    ) -> None:
        """Outside of a GitHub job's step no summary is written."""
        monkeypatch.chdir(tmp_path)
        assert write_summary(environ, [result_of(examples["green"])], title="m") is False
        assert list(tmp_path.iterdir()) == []

    def test_a_page_that_cannot_be_written(self, examples: Runs, tmp_path: Path) -> None:
        """A summary that cannot be written is an error, and the verdicts remain."""
        with pytest.raises(ReportError, match=r"cannot write the job's summary .*: Is a directory; the verdicts stand"):
            write_summary({"GITHUB_STEP_SUMMARY": str(tmp_path)}, [result_of(examples["green"])], title="m")


class TestAnnotations:
    def test_green_needs_none(self, examples: Runs) -> None:
        """A green gate prints no annotation for GitHub."""
        assert list(workflow_commands([result_of(examples["green"])])) == []

    def test_red_and_invalid_are_errors(self, examples: Runs) -> None:
        """Red and INVALID gates are error annotations with the finding and the advice; health has its own."""
        red, health, holes = workflow_commands([result_of(examples[name]) for name in ("red", "holes")])
        assert re.fullmatch(
            r"::error title=smoke%3A FAIL_REGRESSED::pass@1 is .* points below the baseline.*Do not ship;.*", red
        )
        assert health.startswith("::error title=smoke%3A health FAIL::")
        assert holes.startswith("::error title=smoke%3A INVALID::1 of 320 planned samples are missing. Resume the run")

    def test_what_a_release_tolerates_is_a_warning(self, examples: Runs) -> None:
        """A supporting gate that fails is a warning, and its advice does not contradict a release that ships."""
        result = replace(result_of(examples["red"]), policy="p" * 64, tier=Tier.SUPPORTING)
        red, health = workflow_commands([result])
        assert red.startswith("::warning title=smoke%3A FAIL_REGRESSED::")
        assert red.endswith("The release tolerates it; look at the problems that fell, and lower a baseline only with "
                            "a written reason.")  # fmt: skip
        assert health.startswith("::warning ")

    def test_what_the_rule_lets_through_is_a_warning(self, examples: Runs) -> None:
        """A gate that `--r1-inconclusive pass` lets through is a warning."""
        result = result_of(examples["green"])
        judgement = replace(result.judgement, verdict=Verdict.INCONCLUSIVE, passes=True)
        (command,) = workflow_commands([replace(result, judgement=judgement)])
        assert command.startswith("::warning title=smoke%3A INCONCLUSIVE::")

    def test_a_command_is_one_line(self, examples: Runs) -> None:
        """A line break in a quoted reason is escaped, so that no second command begins."""
        result = result_of(examples["red"])
        judgement = replace(result.judgement, reason="100 %\r\n::error::mine", next_step="")
        command, _ = workflow_commands([replace(result, benchmark="a,b:c", judgement=judgement)])
        assert command == "::error title=a%2Cb%3Ac%3A FAIL_REGRESSED::100 %25%0D%0A::error::mine"


def test_in_a_job(
    pytester: pytest.Pytester, recorded: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Pytest writes the page and the commands, each at the start of a line, below the table."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    recorded("holes", skip=frozenset({("p003", 5)}))
    options = ("-m", "smoke", "--r1-engine", "replay", "-p", "no:cacheprovider", "-p", "no:randomly")
    result = pytester.runpytest_subprocess("--r1-model", "holes", *options)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["smoke * INVALID", "::error title=smoke%3A INVALID::1 of 96 planned samples*"])
    assert "| smoke | - | - | - | - | - | ⛔ INVALID |" in (tmp_path / "summary.md").read_text("utf-8")
