"""docs/architecture.md names files, symbols and layers that are there, and leaves no folder out."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pytest_r1eval"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
ASKED = (
    "verdict decided",
    "benchmark added",
    "engine added",
    "report format added",
    "verdict added",
    "option added",
    "GPUs given to workers",
    "a run's folder hold",
    "`--r1-resume` check",
)
"""What a newcomer asks first."""


def section(heading: str) -> str:
    """Return a section's text."""
    return PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """Return the cells of a Markdown table's body."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def defined_in(path: Path) -> set[str]:
    """Return the names that a module defines at its top level."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
    return found


@pytest.mark.parametrize(("question", "file", "name"), rows(section("Where is it?")))
def test_an_answer_is_one_hop_away(question: str, file: str, name: str) -> None:
    """Each question's file exists and defines the name that the table gives."""
    assert name.strip("`") in defined_in(PACKAGE / file.strip("`")), question


@pytest.mark.parametrize("asked", ASKED)
def test_what_a_newcomer_asks_is_answered_once(asked: str) -> None:
    """Each question of a newcomer has exactly one row in the table."""
    assert sum(asked in question for question, _, _ in rows(section("Where is it?"))) == 1


def test_the_folders_are_the_layers() -> None:
    """The table of folders lists every folder and module, in the order of the import contract."""
    shown = [re.findall(r"`(\w+)/?`", cells[0]) for cells in rows(section("The folders"))]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract.get("containers") == ["pytest_r1eval"])
    assert shown == [layer.split(" | ") for layer in layers]
    there = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert {name for row in shown for name in row} == there - {"__init__"}


def test_every_path_is_there() -> None:
    """Every file and folder that the page names exists."""
    named = re.findall(r"`([a-z_]+/[a-z_/.]*)`", PAGE)
    assert len(named) > 30
    assert [path for path in named if not (PACKAGE / path).exists() and not (ROOT / path).exists()] == []
