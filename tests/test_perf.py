"""The queue balances a run: the simulation in perf/ with the rules that are shipped."""

from __future__ import annotations

import statistics

import pytest

from perf.queue_balance import Engine, Setting, efficiency

SEEDS = range(4)


@pytest.mark.parametrize("n_running", [128, 256])
def test_aime_is_balanced(n_running: int) -> None:
    """The fixed gate of AIME on 8 engines takes at most 1/0.95 of the time in perfect balance."""
    setting = Setting(benchmark="aime24", engine=Engine(n_running=n_running))
    assert statistics.mean(efficiency(setting, seed=seed) for seed in SEEDS) >= 0.95


def test_shares_are_what_balances() -> None:
    """Without them the first engine that is ready takes most of the run."""
    setting = Setting(benchmark="aime24", is_shared=False)
    assert efficiency(setting, seed=0) < 0.5
