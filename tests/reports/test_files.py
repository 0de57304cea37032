"""Reports as files: the suffix is the format, and nothing is half written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest

from pytest_r1eval.commands.cli import main
from pytest_r1eval.config.options import OPTIONS
from pytest_r1eval.config.values import report_file
from pytest_r1eval.core.choices import REPORT_FORMATS
from pytest_r1eval.core.codec import Kind, from_json, plain
from pytest_r1eval.core.fingerprints import Harness
from pytest_r1eval.core.plans import Plan
from pytest_r1eval.errors import ReportError
from pytest_r1eval.judging.result import GateResult
from pytest_r1eval.reports.files import report_in, report_json, write_report
from pytest_r1eval.reports.run_report import Embedding, ProblemRow, RunReport, read_report
from pytest_r1eval.stats.looks import Look

Runs = Mapping[str, Path]


def loaded(text: str) -> dict[str, Any]:
    """Parse JSON, refusing what JSON does not have."""
    content = json.loads(text, parse_constant=pytest.fail)
    assert isinstance(content, dict)
    return content


def test_from_the_command_line(pytester: pytest.Pytester, recorded: Callable[..., Path]) -> None:
    """`--r1-report` writes every format into folders that it makes, and pytest prints where they are."""
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
    """Everything in a report is read back from its JSON, whatever the verdict."""
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
    """A verdict with a NaN is refused where its JSON is written."""
    from dataclasses import replace  # noqa: PLC0415 - only here

    report = read_report(examples["green"])
    (gate,) = report.gates
    judgement = replace(gate.result.judgement, z=float("nan"))
    broken = replace(report, gates=(replace(gate, result=replace(gate.result, judgement=judgement)),))
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        report_json(broken)


def test_written_again_is_written_over(examples: Runs, tmp_path: Path) -> None:
    """Writing a report again replaces it and leaves no other file."""
    report, path = read_report(examples["red"]), tmp_path / "report.html"
    path.write_text("old")
    full = write_report(report, path).stat().st_size
    assert write_report(report, path, embedding=Embedding(n_samples=0)).stat().st_size < full
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("report.pdf", r"no report of that kind; expected a file that ends in \.html, \.md, \.json, \.prom or \.txt"),
        ("report", "no report of that kind"),
        ("in/the/way.md", "cannot write the report .*; r1eval report RUN writes it again"),
    ],
)
def test_what_cannot_be_written(examples: Runs, tmp_path: Path, name: str, words: str) -> None:
    """A report that cannot be written is an error that names what to do."""
    (tmp_path / "in").write_text("a file where a folder has to be")
    with pytest.raises(ReportError, match=words):
        write_report(read_report(examples["green"]), tmp_path / name)


def one_line(report: RunReport, *, embedding: Embedding) -> str:
    """Write a report in a format that is not the package's."""
    return f"{report.header.model_name}: {embedding.n_samples}\n"


class TestFormats:
    """`REPORT_FORMATS` is where a format is: everything that names or takes formats reads it."""

    def test_every_format_is_named_wherever_formats_are(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The help of `--r1-report` and of `r1eval report` names every format."""
        (option,) = [option for option in OPTIONS if option.name == "report"]
        assert re.findall(r"\.(\w+)", option.help.partition(";")[0]) == [*REPORT_FORMATS]
        main(["report", "--help"])
        assert f"[{'|'.join(REPORT_FORMATS)}]" in capsys.readouterr().out

    @pytest.mark.parametrize("form", REPORT_FORMATS)
    def test_every_format_is_written(self, examples: Runs, tmp_path: Path, form: str) -> None:
        """Every format is written by its suffix, with the text that `--format` prints."""
        report = read_report(examples["green"])
        written = write_report(report, tmp_path / f"report.{form}").read_text("utf-8")
        assert written == report_in(form, report)
        assert report_file(f"a.{form}", tmp_path) == tmp_path / f"a.{form}"

    def test_a_format_is_one_entry(
        self,
        examples: Runs,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """A format that is added to the table is available to the option, the file's suffix and the command."""
        monkeypatch.setitem(REPORT_FORMATS, "line", f"{__name__}:one_line")
        report = read_report(examples["green"])
        expected = f"{report.header.model_name}: 300\n"
        assert report_file("a.line", tmp_path) == tmp_path / "a.line"
        assert write_report(report, tmp_path / "a.line").read_text("utf-8") == expected
        assert main(["report", str(examples["green"]), "--format", "line"]) == 0
        assert capsys.readouterr().out == expected
