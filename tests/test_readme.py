"""What the README says is what the program prints."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

import pytest

from pytest_r1eval.commands.cli import main
from tests.demo_block import block_in, comparable
from tests.requirements import DEMO, lacking

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("all_plugins")
def test_options_are_those_of_help(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The options in the README are the ones that `--help` lists in a terminal of 110 columns."""
    monkeypatch.setenv("COLUMNS", "110")
    result = pytester.runpytest_subprocess("--help")
    shown = re.search(r"^r1eval: may this checkpoint ship\?:\n(.*?)\n\n", result.stdout.str(), re.DOTALL | re.MULTILINE)
    documented = re.search(r"<!-- options -->\n```\n(.*?)\n```", README, re.DOTALL)
    assert shown
    assert documented
    assert shown[1].splitlines() == documented[1].splitlines()


def test_power_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """The outlook in the README is `r1eval power`'s, line by line."""
    assert main(["power", "--benchmark", "aime24"]) == 0
    pasted = re.search(r"<!-- power -->\n```\n\$ r1eval power --benchmark aime24\n(.*?)```", README, re.DOTALL)
    assert pasted
    assert capsys.readouterr().out == pasted[1]


class TestDemo:
    """The block of `make demo`, on any machine."""

    def test_it_is_what_the_last_demo_printed(self) -> None:
        """Compared with data/demo.txt, where `make demo | tee data/demo.txt` ran after the last change of the code."""
        printed = ROOT / "data" / "demo.txt"
        code = chain((ROOT / "pytest_r1eval").rglob("*.py"), [ROOT / "Makefile"])
        if not printed.exists() or printed.stat().st_mtime < max(path.stat().st_mtime for path in code):
            lacking(DEMO)
        output = printed.read_text(encoding="utf-8")
        if "demo complete" not in output:
            lacking(DEMO, detail="the last one did not end")
        assert comparable(output) == comparable(block_in(README))

    def test_another_processor_and_another_day_change_nothing(self) -> None:
        """Noise, run folders, times, progress and digits are left out; pytest's headers too."""
        block = block_in(README)
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
        """Verdicts, words and their order are compared as they are."""
        block = block_in(README)
        assert now in block
        assert comparable(block.replace(now, then)) != comparable(block)


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)#]+)\)", README))
def test_links_lead_somewhere(path: str) -> None:
    """Every relative link is a file of the repository."""
    assert (ROOT / path).is_file()
