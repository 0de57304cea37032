"""The README fits a screen, and what it shows as printed is what the demo prints."""

from __future__ import annotations

from itertools import chain

import pytest

from tests.demo_block import comparable
from tests.documents import ROOT, output
from tests.requirements import DEMO, lacking

README = ROOT / "README.md"
TUTORIAL = ROOT / "docs" / "tutorial" / "cpu.md"
MAX_LINES = 140


def test_it_fits() -> None:
    """The README has no more lines than its limit, so that it is read in two minutes."""
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_its_gates_are_the_tutorials() -> None:
    """Each line of the green and the red gate is a line of the whole demo."""
    whole = output(TUTORIAL, "demo").splitlines()
    shown = [line for line in output(README, "demo").splitlines() if line]
    assert [line for line in shown if line not in whole] == []
    assert any(": PASS." in line for line in shown)
    assert any(": FAIL_REGRESSED." in line for line in shown)


class TestDemo:
    """The block of `make demo`, on any machine."""

    def test_it_is_what_the_last_demo_printed(self) -> None:
        """The tutorial's demo is what `make demo | tee data/demo.txt` printed after the last change of the code."""
        printed = ROOT / "data" / "demo.txt"
        code = chain((ROOT / "pytest_r1eval").rglob("*.py"), [ROOT / "Makefile"])
        if not printed.exists() or printed.stat().st_mtime < max(path.stat().st_mtime for path in code):
            lacking(DEMO)
        text = printed.read_text(encoding="utf-8")
        if "demo complete" not in text:
            lacking(DEMO, detail="the last one did not end")
        assert comparable(text) == comparable(output(TUTORIAL, "demo"))

    def test_another_processor_and_another_day_change_nothing(self) -> None:
        """Another day's or processor's demo compares as equal: noise, folders, times and digits are left out."""
        block = output(TUTORIAL, "demo")
        elsewhere = (
            block.replace("-0.63", "-0.58").replace("6.4    FAIL", "6.8    FAIL").replace("5.5    PASS", "5.9    PASS")
        )
        elsewhere = elsewhere.replace("20261125-112058", "20270101-000000").replace("71.40s (0:01:11)", "41.2s")
        elsewhere = elsewhere.replace(
            "  samples: 640",
            "  harness noise: tau 0.6 points, because the fingerprints differ in harness.device\n  samples: 640",
        )
        headers = "make: entering\n" + elsewhere.replace("\nr1eval:", "\nrootdir: /home/me/r1eval\nr1eval:", 1)
        headers = (
            headers.replace("run data/demo/", "run /home/me/r1eval/data/demo/")
            .replace("(examples/", "(/home/me/r1eval/examples/")
            .replace("r1eval\n", "r1eval \n")
        )
        assert elsewhere != block
        assert comparable(headers) == comparable(block)

    @pytest.mark.parametrize(
        ("now", "then"),
        [
            ("FAIL_REGRESSED", "FAIL_HEALTH"),
            ("  next: Ship it", "  next: Wait"),
            ("1 failed, 2 passed", "3 passed"),
            ("  a problem that fell to 40 %", "  a note"),
        ],
    )
    def test_another_verdict_or_line_is_a_difference(self, now: str, then: str) -> None:
        """A demo with another verdict, word or line compares as different."""
        block = output(TUTORIAL, "demo")
        assert now in block
        assert comparable(block.replace(now, then)) != comparable(block)
