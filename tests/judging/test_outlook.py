"""What the header promises before the first token."""

from __future__ import annotations

from pathlib import Path

from pytest_r1eval.baselines.shelf import BaselineShelf
from pytest_r1eval.config.settings import GateKind, Settings
from pytest_r1eval.core.records import Outcome
from pytest_r1eval.judging.outlook import outlook_lines
from pytest_r1eval.stats.verdicts import GateRule
from tests.recordings import record_run
from tests.toys import toy

DOUBT = "smoke: this exam cannot show a fall of this model"


def lines(
    tmp_path: Path, *, outcome: Outcome | None = None, gate: GateKind = GateKind.FIXED, rule: GateRule | None = None
) -> list[str]:
    """Return the header of a run against a recorded one of 20 problems and 32 samples."""
    record_run(tmp_path / "base", n_problems=20, n_samples=32, outcome=outcome)
    shelf = BaselineShelf(root=tmp_path, choice="base", model_name="local/toy")
    settings = Settings(model="toy", root=tmp_path, output_dir=tmp_path, samples={"smoke": 32}, gate=gate)
    return list(outlook_lines([toy("smoke")], shelf=shelf, settings=settings, rule=rule or GateRule()))


def test_the_fall_that_is_caught(tmp_path: Path) -> None:
    """One line, and none about what cannot be shown."""
    (line,) = lines(tmp_path)
    assert line.startswith("smoke: 32 samples a problem catch a fall of 10.7 points with 80 % power")


def test_the_sequential_gates_own_fall_is_shown(tmp_path: Path) -> None:
    """Looks cost a little power, and the header is honest about it."""
    (line,) = lines(tmp_path, gate=GateKind.SEQUENTIAL)
    assert line.startswith("smoke: 32 samples a problem catch a fall of 12.0 points with 80 % power")


def test_a_two_sided_gates_rise_is_shown(tmp_path: Path) -> None:
    """Of either gate."""
    for gate, rise in ((GateKind.FIXED, "10.5"), (GateKind.SEQUENTIAL, "11.9")):
        (line,) = lines(tmp_path / gate.value, gate=gate, rule=GateRule(two_sided=True))
        assert f" and a rise of {rise} points with 80 % power" in line


def test_a_gate_that_cannot_turn_red_is_announced(tmp_path: Path) -> None:
    """A baseline with every response wrong: no fall is caught, and PASS is out of reach."""
    for gate in GateKind:
        first, second = lines(tmp_path / gate.value, outcome=Outcome.WRONG, gate=gate)
        assert first.startswith("smoke: 32 samples a problem catch no fall, not even to 0 with 80 % power")
        assert second.startswith(DOUBT)
        assert second.endswith("PASS is out of reach")


def test_a_margin_above_the_baseline_is_announced(tmp_path: Path) -> None:
    """Nothing falls by 90 points from 60."""
    _, second = lines(tmp_path, rule=GateRule(margin=0.9))
    assert second.startswith(f"{DOUBT} by the margin of 90.0 points that was asked for")


def test_a_margin_that_cannot_be_resolved_is_announced(tmp_path: Path) -> None:
    """It can be shown in principle: more samples are what helps."""
    _, second = lines(tmp_path, rule=GateRule(margin=0.05))
    assert second.startswith("smoke: this cannot resolve --r1-margin 5, so PASS is out of reach; draw more samples")
