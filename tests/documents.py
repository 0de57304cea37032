"""The documents of the repository, taken apart: code blocks, the commands in them, and pasted outputs."""

from __future__ import annotations

import ast
import re
import shlex
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAMES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "baselines/README.md")
DOCUMENTS = (*(ROOT / name for name in NAMES), *sorted(ROOT.glob("docs/**/*.md")))
REPOSITORY = str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Homepage"])
"""The repository's address: `make owner` writes another owner into it and into every document."""
OWNER = REPOSITORY.split("/")[-2]
REPOSITORY_URL = f"{REPOSITORY}/blob/main/"

_BLOCK = re.compile(r"^(?P<indent> *)```(?P<language>\S*)\n(?P<text>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE)
_OUTPUT = re.compile(r"<!-- (\w+) -->\n```text\n(.*?)```\n<!-- /\1 -->", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A code block of one document."""

    path: Path
    language: str
    text: str

    @property
    def name(self) -> str:
        """Name it for a test's id."""
        return f"{self.path.relative_to(ROOT)}: {self.text.splitlines()[0][:60]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command line of one document, as a shell splits it."""

    path: Path
    words: tuple[str, ...]

    @property
    def program(self) -> str:
        """The first word."""
        return self.words[0]

    @property
    def name(self) -> str:
        """Name it for a test's id."""
        return f"{self.path.relative_to(ROOT)}: {' '.join(self.words)}"


def blocks(language: str | None = None) -> tuple[Block, ...]:
    """Return the code blocks of all documents; None takes every language."""
    found = (block for path in DOCUMENTS for block in _blocks_of(path))
    return tuple(block for block in found if language is None or block.language == language)


def commands(program: str | None = None) -> tuple[Command, ...]:
    """Return the command lines of all documents; None takes every program."""
    found = (command for block in blocks("bash") for command in _commands_of(block))
    return tuple(command for command in found if program is None or command.program == program)


def has_test(node_id: str) -> bool:
    """Whether a file of tests is there, and what a node id names in it; parameters are not looked at."""
    file, *names = node_id.split("::")
    if not (ROOT / file).is_file():
        return False
    body = ast.parse((ROOT / file).read_text(encoding="utf-8")).body if names else []
    for name in names:
        found = [one for one in body if isinstance(one, ast.ClassDef | ast.FunctionDef) and one.name == name]
        if not found:
            return False
        body = found[0].body
    return True


def output(path: Path, name: str) -> str:
    """
    Return a pasted output, which two comments with its name enclose.

    Raises:
        ValueError: If the document has none of that name.
    """
    for found, text in _OUTPUT.findall(path.read_text(encoding="utf-8")):
        if found == name:
            return str(text)
    raise ValueError(f"{path.relative_to(ROOT)} has no output between <!-- {name} --> and <!-- /{name} -->")


def output_names(path: Path) -> tuple[str, ...]:
    """Return the names of a document's pasted outputs."""
    return tuple(name for name, _ in _OUTPUT.findall(path.read_text(encoding="utf-8")))


def _blocks_of(path: Path) -> Iterator[Block]:
    for found in _BLOCK.finditer(path.read_text(encoding="utf-8")):
        yield Block(path=path, language=found["language"], text=textwrap.dedent(found["text"]))


def _commands_of(block: Block) -> Iterator[Command]:
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            yield Command(path=block.path, words=tuple(words[:end]))
            words = words[end + 1 :]
