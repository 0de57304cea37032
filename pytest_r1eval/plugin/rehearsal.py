"""
A pytest plugin that checks a run and exits: `-p pytest_r1eval.plugin.rehearsal`.

It parses pytest's own command line, so every option means what it means in the run, other plugins' included.
No session starts: nothing is collected, drawn or written.
"""

import sys

import pytest

from pytest_r1eval.core.pytest_output import rehearsed_lines

_ONLY_SHOW = {
    "collectonly": "--collect-only",
    "setuponly": "--setup-only",
    "setupplan": "--setup-plan",
    "showfixtures": "--fixtures",
    "show_fixtures_per_test": "--fixtures-per-test",
    "cacheshow": "--cache-show",
    "markers": "--markers",
    "help": "--help",
}
"""Options, by their place in pytest's namespace, with which pytest succeeds and judges nothing."""


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> pytest.ExitCode:
    """Check the run in place of a session."""
    from pytest_r1eval.plugin.startup import rehearse  # noqa: PLC0415 - a plugin stays light

    for dest, flag in _ONLY_SHOW.items():
        if config.getoption(dest, default=None):
            raise pytest.UsageError(f"{flag}: pytest would show something and judge nothing; drop the option")
    sys.stdout.write(rehearsed_lines(rehearse(config)))
    return pytest.ExitCode.OK
