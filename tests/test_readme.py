"""What the README says is what the program prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_r1eval.cli import main

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


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


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)#]+)\)", README))
def test_links_lead_somewhere(path: str) -> None:
    """Every relative link is a file of the repository."""
    assert (Path(__file__).parents[1] / path).is_file()
