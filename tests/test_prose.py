"""Words that read like a translation are in no document, help text, message or docstring; docstrings are short."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = re.compile(
    r"\b(?:whoever|nobody|somebody|anew|mend(?:s|ed|ing)?|stands|lies|says of)\b"
    r"|(?<!there )\bis no (?!longer\b|more\b)",
    re.IGNORECASE,
)
"""Each has a plainer word: the worker, no one named, again, repair, is stored, reports; and "is not a" for "is no"."""
SPOKEN = re.compile(r"\b(?:everybody|anybody|said)\b", re.IGNORECASE)
"""Left out of docstrings as well; a message may quote what was said."""
MAX_WORDS = 30
"""Words of a docstring's sentence. Write about 25; the rest is for names that are long."""
DOCUMENTS = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
)
SOURCES = sorted((ROOT / "pytest_r1eval").rglob("*.py"))
NOT_YET = frozenset(
    {
        "pytest_r1eval/sandbox/levels.py",  # the user `nobody`, as runs have stored it
    }
)
"""Files with such words left. A file that has none any more has to go from here, and none may come."""


def prose_of(path: Path) -> str:
    """Return a document without its code, or the strings of a module: help texts and messages, no docstrings."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return re.sub(r"^```.*?^```|`[^`\n]+`", "", text, flags=re.DOTALL | re.MULTILINE)
    return "\n".join(strings_of(ast.parse(text)))


def strings_of(tree: ast.AST) -> Iterator[str]:
    """Yield every string of a module that is a value; one that stands alone documents something."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        yield from strings_of(node)


@pytest.mark.parametrize("path", [*DOCUMENTS, *SOURCES], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_forbidden_word(path: Path) -> None:
    """No document, help text or message has a forbidden word, except in the files that are listed."""
    found = FORBIDDEN.findall(prose_of(path))
    if str(path.relative_to(ROOT)) in NOT_YET:
        assert found, "this file is clean: take it from NOT_YET"
    else:
        assert not found, "see the words' plainer ones at FORBIDDEN"


def test_every_file_on_the_list_is_there() -> None:
    """Every file on the list of exceptions exists."""
    assert {str(path.relative_to(ROOT)) for path in (*DOCUMENTS, *SOURCES)} >= NOT_YET


def docstrings_of(tree: ast.AST) -> Iterator[str]:
    """Yield every string of a module that documents something, without names in backticks."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield re.sub(r"``.*?``|`[^`]*`", "NAME", text, flags=re.DOTALL)


def sentences_of(docstring: str) -> Iterator[str]:
    """Yield the sentences of a docstring; items of lists and of Google's sections are apart."""
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:- |\d+\. |\.\. |[\w, *]+:\s))", docstring):
        yield from re.split(r"(?<=[.!?:;])\s+", " ".join(paragraph.split()))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_are_plain_and_short(path: Path) -> None:
    """Docstrings of the package have no forbidden word and no sentence of more than 30 words."""
    docstrings = list(docstrings_of(ast.parse(path.read_text(encoding="utf-8"))))
    words = [found for text in docstrings for found in (*FORBIDDEN.findall(text), *SPOKEN.findall(text))]
    sentences = [sentence for text in docstrings for sentence in sentences_of(text)]
    assert not words, "see the words' plainer ones at FORBIDDEN"
    assert [sentence for sentence in sentences if len(sentence.split()) > MAX_WORDS] == []


TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
MIN_WORDS = 5
"""Fewer words lean on the test's name: "As JSON.", "Most have none."."""


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_tests_docstring_reads_alone(path: Path) -> None:
    """Each test has a docstring of at least five words."""
    tests = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
    assert [test.name for test in tests if len((ast.get_docstring(test) or "").split()) < MIN_WORDS] == []
