"""Reports as files: the suffix is the format, and nothing is half written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest

from pytest_r1eval.core.codec import Kind, from_json, plain
from pytest_r1eval.core.fingerprints import Harness
from pytest_r1eval.core.plans import Plan
from pytest_r1eval.errors import ReportError
from pytest_r1eval.judging.result import GateResult
from pytest_r1eval.reports.files import report_json, write_report
from pytest_r1eval.reports.page import Embedding
from pytest_r1eval.reports.run_report import ProblemRow, read_report
from pytest_r1eval.stats.looks import Look

Runs = Mapping[str, Path]


def loaded(text: str) -> dict[str, Any]:
    """Parse JSON, refusing what JSON does not have."""
    content = json.loads(text, parse_constant=pytest.fail)
    assert isinstance(content, dict)
    return content


def test_from_the_command_line(pytester: pytest.Pytester, recorded: Callable[..., Path]) -> None:
    """`--r1-report`, once for each format, into folders that are made; pytest says where they are."""
    recorded("run")
    names = ("page.html", "words.md", "deep/er/numbers.json", "plain.txt")
    options = ("-m", "smoke", "--r1-engine", "replay", "-p", "no:cacheprovider", "-p", "no:randomly")
    wished = [word for name in names for word in ("--r1-report", name)]
    result = pytester.runpytest_subprocess("--r1-model", "run", *options, "--r1-save-baseline", "local/toy", *wished)
    assert result.ret == 0
    run = max((pytester.path / "data/evals/local/toy").iterdir())
    result.stdout.fnmatch_lines([f"report: {run / 'report.html'}", *(f"report: *{name}" for name in names)])
    starts = ("<!doctype html>", "### local/toy: may this checkpoint ship?", "{", "benchmark  pass@1")
    for name, start in zip(names, starts, strict=True):
        assert (pytester.path / name).read_text("utf-8").startswith(start)
    content = loaded((pytester.path / "deep/er/numbers.json").read_text("utf-8"))
    assert (content["run"], content["passes"]) == (str(run), True)


T = TypeVar("T")


def again(kind: Kind[T] | type[T], content: object) -> T:
    """Read a part of the report's JSON as the value it was written from."""
    return from_json(kind, json.dumps(content))


@pytest.mark.parametrize("name", ["base", "green", "red", "holes", "stopped"])
def test_json_is_everything(examples: Runs, name: str) -> None:
    """What was read of a run can be read back from its JSON, whatever the verdict; no NaN."""
    report = read_report(examples[name])
    content = loaded(report_json(report))
    ((gate, read),) = zip(report.gates, content["gates"], strict=True)
    assert content["schema_version"] == 1
    assert again(GateResult, read["verdict"]) == gate.result
    assert again(Plan, read["plan"]) == gate.plan
    assert tuple(again(ProblemRow, problem) for problem in read["problems"]) == gate.problems
    assert tuple(again(Kind(of=Look, is_excerpt=True), look) for look in read["looks"]) == gate.looks
    assert tuple(again(Harness, harness) for harness in content["harnesses"]) == report.harnesses
    assert content["header"] == plain(report.header)


def test_a_number_that_is_none_is_never_written(examples: Runs) -> None:
    """A verdict with one is a mistake of ours, found where it is written."""
    from dataclasses import replace  # noqa: PLC0415 - only here

    report = read_report(examples["green"])
    (gate,) = report.gates
    judgement = replace(gate.result.judgement, z=float("nan"))
    broken = replace(report, gates=(replace(gate, result=replace(gate.result, judgement=judgement)),))
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        report_json(broken)


def test_written_again_is_written_over(examples: Runs, tmp_path: Path) -> None:
    """Whole, with nothing beside it, and as small as was asked for."""
    report, path = read_report(examples["red"]), tmp_path / "report.html"
    path.write_text("old")
    full = write_report(report, path).stat().st_size
    assert write_report(report, path, embedding=Embedding(n_samples=0)).stat().st_size < full
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("report.pdf", r"no report of that kind; expected one of \.html, \.md, \.json, \.txt"),
        ("report", "no report of that kind"),
        ("in/the/way.md", "cannot write the report .*; r1eval report RUN writes it again"),
    ],
)
def test_what_cannot_be_written(examples: Runs, tmp_path: Path, name: str, words: str) -> None:
    """Is said with what to do."""
    (tmp_path / "in").write_text("a file where a folder has to be")
    with pytest.raises(ReportError, match=words):
        write_report(read_report(examples["green"]), tmp_path / name)
