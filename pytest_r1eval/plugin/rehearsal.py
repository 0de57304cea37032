"""
A pytest plugin that checks a run and exits: `-p pytest_r1eval.plugin.rehearsal`.

It parses pytest's own command line, so every option means what it means in the run, other plugins' included.
No session starts: nothing is collected, drawn or written.
"""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> pytest.ExitCode:
    """Check the run in place of a session."""
    from pytest_r1eval.plugin.startup import rehearse  # noqa: PLC0415 - a plugin stays light

    rehearse(config)
    return pytest.ExitCode.OK
