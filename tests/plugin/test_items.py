"""Gates as pytest's reports: what a person reads once, and what stands in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

EMITTING = """
import pytest
from pytest_r1eval.core.built_in import BUILT_IN
from pytest_r1eval.plugin.items import Ending, gate_reports

@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session):
    result = yield
    for gate, ending in (("pass@1", Ending.FAILED), ("health", Ending.ERROR)):
        message = f"aime24: {gate} is red.\\n  baseline: ours\\n  next: look"
        for report in gate_reports(BUILT_IN[0], gate, ending, message=message):
            session.config.hook.pytest_runtest_logreport(report=report)
    return result
"""


def test_a_red_gate_is_one_line_of_the_summary(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A red gate is one line of pytest's summary, in CI too, and every word appears once above it."""
    monkeypatch.setenv("CI", "true")
    pytester.makeconftest(EMITTING)
    pytester.makepyfile("def test_mine(): pass")
    result = pytester.runpytest_subprocess()
    assert result.ret == 1
    text = result.stdout.str()
    summary = text.partition("short test summary info")[2].splitlines()[1:-1]
    assert summary == [
        "FAILED r1eval::aime24::pass@1 - aime24: pass@1 is red.",
        "ERROR r1eval::aime24::health - aime24: health is red.",
    ]
    assert text.count("  baseline: ours") == text.count("  next: look") == 2


def test_a_report_of_one_line_each(pytester: pytest.Pytester) -> None:
    """`--tb=line` shows place and first line, as of a test, and reports travel as JSON with every word."""
    pytester.makeconftest(
        EMITTING
        + """
def pytest_runtest_logreport(report):
    if report.failed:
        (entry,) = report._to_json()["longrepr"]["reprtraceback"]["reprentries"]
        print("sent:", entry["data"]["lines"][-1].splitlines()[-1])
"""
    )
    pytester.makepyfile("def test_mine(): pass")
    result = pytester.runpytest_subprocess("--tb=line")
    result.stdout.fnmatch_lines(["*sent:   next: look", "r1eval:1: aime24: pass@1 is red."])


READING = """
import inspect

def pytest_collection_modifyitems(items):
    for item in items:
        print("read:", item.originalname, item.fixturenames, item.funcargs, item.function.__name__, item.cls)
        print("read:", item.module.__name__, item.instance, inspect.iscoroutinefunction(item.obj), item.obj.__doc__)
"""


def replayed(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Judge the recorded run as a user would."""
    options = ("--r1-model=run", "--r1-engine=replay", "-m", "smoke", "-p", "no:cacheprovider", "-p", "no:randomly")
    return pytester.runpytest_subprocess(*options, "--r1-save-baseline=local/toy", *arguments)


def test_conftests_read_what_pytests_own_items_carry(pytester: pytest.Pytester, recorded: Callable[..., Path]) -> None:
    """A conftest can read a shard's name, function and fixtures, as it can of a doctest."""
    recorded("run")
    pytester.makeconftest(READING)
    result = replayed(pytester, "-s")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["read: smoke ?? {} runtest None", "read: pytest_r1eval.plugin.items None False Work until *"], consecutive=True
    )


class TestTimeLimits:
    """Half a minute of drawing, under the limits of a repository's tests."""

    SLOWLY = ("--r1-engine-arg=delay_s=0.5", "--r1-engine-arg=n_concurrent=16")

    @pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "n2"])
    def test_a_limit_of_tests_is_none_of_a_shard(
        self, pytester: pytest.Pytester, recorded: Callable[..., Path], workers: tuple[str, ...]
    ) -> None:
        """The timeout of pytest-timeout's ini file does not end a shard."""
        recorded("run")
        pytester.makeini("[pytest]\ntimeout = 1\ntimeout_method = thread\n")
        result = replayed(pytester, *self.SLOWLY, *workers, "-p", "timeout")
        assert result.ret == 0
        result.stdout.fnmatch_lines(["*samples: 96 of 96*"])

    @pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "n2"])
    def test_a_limit_of_the_run_ends_drawing(
        self, pytester: pytest.Pytester, recorded: Callable[..., Path], workers: tuple[str, ...]
    ) -> None:
        """After `--r1-timeout` what is drawn is stored, the gate is INVALID, and the run can be gone on with."""
        recorded("run")
        result = replayed(pytester, "--r1-timeout=1", "--r1-engine-arg=delay_s=5", *workers)
        assert result.ret == 1
        result.stdout.fnmatch_lines(
            ["*drawing was stopped after the 1 s of --r1-timeout; *--r1-resume *", "*ERROR r1eval::smoke::pass@1 - *"]
        )
        assert "Traceback" not in result.stdout.str()
        assert replayed(pytester, "--r1-resume").ret == 0
