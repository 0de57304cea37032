"""`r1eval report` as a user types it: a judged run again, from its folder alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_r1eval.commands.cli import main
from tests.recordings import record_run

Runs = Mapping[str, Path]


def say(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Run the command; return its exit code and what it printed, on either stream."""
    code = main(["report", *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def test_as_text(examples: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    """`report` prints pytest's table and words, and exits with 0 even for a red run."""
    code, said = say(capsys, examples["red"])
    assert code == 0
    lines = said.splitlines()
    assert lines[0].split() == ["benchmark", "pass@1", "baseline", "difference", "z", "MDE80", "verdict"]
    assert lines[2].endswith(" FAIL_REGRESSED, health FAIL")
    assert lines[4].startswith("smoke: FAIL_REGRESSED. pass@1 is ")
    assert [line for line in lines if line.startswith("smoke: health FAIL.")]


@pytest.mark.parametrize(
    ("form", "start"), [("html", "<!doctype html>"), ("md", "### local/toy: may"), ("json", "{"), ("txt", "benchmark")]
)
def test_every_format(
    examples: Runs, capsys: pytest.CaptureFixture[str], tmp_path: Path, form: str, start: str
) -> None:
    """`report` writes the same text to standard output by `--format` and to a file by its suffix."""
    code, said = say(capsys, examples["stopped"], "--format", form)
    assert (code, said.startswith(start)) == (0, True)
    path = tmp_path / f"report.{form}"
    assert say(capsys, examples["stopped"], "--out", path) == (0, f"written to {path}\n")
    assert path.read_text("utf-8").rstrip("\n") == said.rstrip("\n")


def test_json(examples: Runs, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`--json` is `--format json`, and together with `--out` it prints where the file is."""
    assert say(capsys, examples["green"], "--json") == say(capsys, examples["green"], "--format", "json")
    path = tmp_path / "page.html"
    content = json.loads(say(capsys, examples["green"], "--out", path, "--json")[1])
    assert content == {"schema_version": 1, "run": str(examples["green"]), "report": str(path)}
    assert path.is_file()


def test_a_page_without_samples(examples: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    """`--samples 0` writes a page that carries no samples."""
    _, full = say(capsys, examples["green"], "--format", "html")
    _, bare = say(capsys, examples["green"], "--format", "html", "--samples", "0")
    assert 'class="viewer"' in full
    assert 'class="viewer"' not in bare


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere",), "no run at nowhere"),
        (("running",), "running was not judged yet; judge it with pytest --r1-judge-only running"),
        (("running", "--format", "pdf"), "'pdf' is not one of 'html', 'md', 'json', 'prom', 'txt'"),
    ],
)
def test_refusals(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    """`report` refuses bad input in one line with exit code 2."""
    monkeypatch.chdir(tmp_path)
    record_run(Path("running"), n_samples=2, n_problems=2)
    code, said = say(capsys, *arguments)
    assert (code, said.count("\n"), words in said) == (2, 1, True), said
