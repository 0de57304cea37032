"""The table of places where a gate runs: complete, and each row with a page and a test that are there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.documents import ROOT, has_test

PAGE = ROOT / "docs" / "how-to" / "where.md"
README = ROOT / "README.md"
PLACES = (
    "a laptop's CPU", "one GPU", "several GPUs", "one model over several GPUs", "GitHub Actions", "GitLab CI", "Slurm",
    "Ray", "Kubernetes", "Hugging Face Jobs", "SkyPilot", "transformers", "TRL", "axolotl", "verl", "NeMo-RL",
    "OpenRLHF", "slime", "prime-rl", "Python",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of a table of places: their links, and the cells beside them."""

    links: tuple[tuple[str, str], ...]
    cells: tuple[str, ...]

    @property
    def place(self) -> str:
        """Its words, without addresses."""
        return ", ".join(words for words, _ in self.links)


def rows_of(path: Path) -> tuple[Row, ...]:
    """Return the rows of the table below a document's heading of this name."""
    text = path.read_text(encoding="utf-8").partition("# Where it runs\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| [")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    links = [re.findall(r"\[([^]]+)\]\(([^)]+)\)", first) for first, *_ in cells]
    return tuple(Row(links=tuple(found), cells=tuple(rest)) for found, (_, *rest) in zip(links, cells, strict=True))


@pytest.mark.parametrize("row", rows_of(PAGE), ids=lambda row: row.place)
def test_each_place_has_a_test(row: Row) -> None:
    """Each row of the page names how to run it there, and a test that is there."""
    how, shown_by = row.cells
    assert how
    assert has_test(shown_by.strip("`"))


@pytest.mark.parametrize("path", [PAGE, README], ids=lambda path: path.name)
def test_each_place_has_a_page(path: Path) -> None:
    """Each link of a row leads to a page, and to a heading where it names one."""
    for _, target in (link for row in rows_of(path) for link in row.links):
        name, _, anchor = target.partition("#")
        page = (path.parent / name).read_text(encoding="utf-8")
        assert not anchor or anchor in {anchor_of(heading) for heading in re.findall(r"^#+ (.+)$", page, re.MULTILINE)}


def anchor_of(heading: str) -> str:
    """Return a heading's anchor, as MkDocs and GitHub make it: small letters, no punctuation, dashes for blanks."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("path", [PAGE, README], ids=lambda path: path.name)
def test_no_place_is_left_out(path: Path) -> None:
    """README's table and the page have each place that a gate runs in."""
    named = ", ".join(row.place for row in rows_of(path))
    assert [place for place in PLACES if place not in named] == []


def test_readme_leads_where_the_page_leads() -> None:
    """Each link of README's table is one of the page's."""
    found = {(PAGE.parent / target).resolve() for row in rows_of(PAGE) for _, target in row.links}
    shown = {(ROOT / target).resolve() for row in rows_of(README) for _, target in row.links}
    assert {str(one).partition("#")[0] for one in shown} <= {str(one).partition("#")[0] for one in found}
