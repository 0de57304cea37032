"""From settings to the parts of a run: how its folder is named."""

from __future__ import annotations

import datetime as dt

from pytest_r1eval.plugin.wiring import run_name


def test_names_of_runs_sort_by_time() -> None:
    """Of two runs of one second the later one is the newest, which --r1-resume goes on with."""
    start = dt.datetime(2026, 1, 31, 23, 59, 58, tzinfo=dt.UTC)
    names = [run_name(start + dt.timedelta(microseconds=step)) for step in range(0, 2_000_000, 997)]
    assert names == sorted(set(names))
    assert names[0] == "20260131-235958-0000"
