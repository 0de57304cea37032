"""A verdict names its page of the documentation, below the address in the package's metadata."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from pytest_r1eval.reports.documentation import LABEL, address, health_page, verdict_page
from pytest_r1eval.reports.page import page
from pytest_r1eval.reports.run_report import read_report
from pytest_r1eval.reports.terminal import gate_lines, health_lines
from pytest_r1eval.stats.verdicts import Verdict
from tests.documents import ROOT

BASE = "https://example.org/gate"


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Put an installed package's metadata in front of the real one's, with the lines of its addresses."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def publish(urls: str) -> None:
        folder = tmp_path / "pytest_r1eval-9.dist-info"
        folder.mkdir()
        head = "Metadata-Version: 2.1\nName: pytest-r1eval\nVersion: 9\n"
        (folder / "METADATA").write_text(head + urls, encoding="utf-8")
        address.cache_clear()

    yield publish
    address.cache_clear()


def test_the_address_is_the_packages(published: Callable[[str], None]) -> None:
    """Of several addresses the one named Documentation counts, with or without a slash at its end."""
    published(f"Project-URL: Source, https://example.org/source\nProject-URL: {LABEL}, {BASE}/\n")
    assert address() == BASE
    assert verdict_page(Verdict.FAIL_REGRESSED) == f"{BASE}/verdicts/fail_regressed/"
    assert health_page() == f"{BASE}/verdicts/health/"


def test_without_an_address_no_page_is_named(published: Callable[[str], None]) -> None:
    """A package without the address, a fork's for example, prints no link."""
    published("")
    assert verdict_page(Verdict.PASS) is None


def test_every_verdict_leads_to_a_page_of_the_site() -> None:
    """pyproject.toml and mkdocs.yml name one address, and the site has the page of each verdict and of health."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    assert f"\nsite_url: {urls[LABEL]}\n" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for name in (*(verdict.value for verdict in Verdict), "health"):
        assert (ROOT / "docs" / "verdicts" / f"{name}.md").is_file()


def test_terminal_and_page_link_below_the_next_step(
    published: Callable[[str], None], examples: Mapping[str, Path]
) -> None:
    """The terminal prints the verdict's page below the next step, and the HTML report links to it."""
    published(f"Project-URL: {LABEL}, {BASE}\n")
    report = read_report(examples["red"])
    (result,) = (gate.result for gate in report.gates)
    *_, next_step, docs = gate_lines(result)
    assert next_step.startswith("  next: Do not ship")
    assert docs == f"  docs: {BASE}/verdicts/fail_regressed/"
    assert health_lines(result)[-1] == f"  docs: {BASE}/verdicts/health/"
    shown = page(report)
    assert f'<a href="{BASE}/verdicts/fail_regressed/">' in shown
    assert f'<a href="{BASE}/verdicts/health/">' in shown
    assert "<dt>docs</dt>" not in shown
