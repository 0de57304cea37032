"""`r1eval same` exits with 0 for the same, 1 for different and 2 for what cannot be asked."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.commands.cli import main
from tests.requirements import TRANSFORMERS, need
from tests.score_files import ASKED, SCORES, moved, save

EXAMPLES = Path(__file__).parents[2] / "examples/r1eval"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Save scores of one model, of one that rounds otherwise, and of one that changed."""
    monkeypatch.chdir(tmp_path)
    save(SCORES, tmp_path / "a.json")
    save(moved(lambda *_: 2**-6), tmp_path / "near.json")
    save(moved(lambda number, place: 3.0 * (number == place == 1)), tmp_path / "far.json")
    save(replace(SCORES, asked=replace(ASKED, n_vocabulary=9, vocabulary="o")), tmp_path / "words.json")
    save(replace(SCORES, asked=replace(ASKED, prompts="o")), tmp_path / "old.json")
    return tmp_path


@pytest.mark.parametrize(
    ("other", "code", "expected"),
    [
        ("a.json", 0, "bitwise equal: "),
        ("near.json", 0, "equal within rounding: "),
        ("far.json", 1, "different: "),
        ("words.json", 1, "different, before anything is drawn"),
    ],
)
@pytest.mark.usefixtures("files")
def test_the_answer_is_the_exit_code(capsys: pytest.CaptureFixture[str], other: str, code: int, expected: str) -> None:
    """The same is 0, bitwise or within rounding; different is 1, with and without scores."""
    assert main(["same", "a.json", other]) == code
    assert any(line.startswith(expected) for line in capsys.readouterr().out.splitlines())


@pytest.mark.usefixtures("files")
def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Other programs read the answer, the bounds, the largest gap and its place."""
    assert main(["same", "a.json", "far.json", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)

    assert (found["schema_version"], found["sameness"], found["differences"]) == (1, "different", [])
    assert found["scores"]["largest"] == {"prompt": 2, "position": 2, "a": -2.0, "b": 1.0}
    assert found["scores"]["bounds"] == {"dtype": "bfloat16", "largest": 0.5, "root_mean_square": 0.109375}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a.json", "r1eval same takes two models, or one model and --save FILE; expected one of the two"),
        ("a.json near.json --save x.json", "r1eval same takes two models, or one model and --save FILE"),
        ("a.json old.json", "the scores are of other prompts"),
        ("a.json empty.json", "empty.json: "),
        ("a.json nowhere/model", "error: nowhere/model: no such folder"),
        ("a.json nowhere --engine replay", "--engine replay gives no log-probabilities of a prompt; expected vllm"),
        ("a.json nowhere --engine server", "error: --engine server needs to know which: expected --server-url URL, "),
        ("a.json nowhere --engine nothing", "Invalid value: 'nothing'; expected"),
        ("a.json nowhere --tp 0", "Invalid value: '0'; expected"),
        ("a.json nowhere --engine-arg x", "Invalid value: 'x'; expected"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: str, expected: str
) -> None:
    """A mistake is one line on standard error and exit code 2, before an engine starts."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (files / "empty.json").write_text("{}")

    assert main(["same", *line.split()]) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert len(said.splitlines()) == 1


def test_another_vocabulary_starts_no_engine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two folders with other vocabularies or templates are different before an engine starts."""
    need(TRANSFORMERS)
    monkeypatch.chdir(tmp_path)
    changed = tmp_path / "changed"
    shutil.copytree(EXAMPLES / "tiny-arithmetic", changed)
    config = json.loads((changed / "tokenizer_config.json").read_text())
    template = changed / "chat_template.jinja"
    written = template.read_text() if template.is_file() else config["chat_template"]
    template.write_text(f"{written}\n")
    words = json.loads((changed / "tokenizer.json").read_text())
    words["added_tokens"].append({**words["added_tokens"][-1], "id": 264, "content": "<new>"})
    (changed / "tokenizer.json").write_text(json.dumps(words))

    assert main(["same", str(EXAMPLES / "tiny-arithmetic"), str(changed)]) == 1
    said = capsys.readouterr().out
    assert "different, before anything is drawn" in said
    assert "  vocabulary: " in said
