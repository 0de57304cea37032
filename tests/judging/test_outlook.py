"""What gates see and cost before the first token, and the order that follows."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_r1eval.baselines.shelf import BaselineShelf
from pytest_r1eval.baselines.terms import Terms
from pytest_r1eval.config.baseline_choice import baseline_choice
from pytest_r1eval.config.settings import Settings
from pytest_r1eval.core.choices import GateKind
from pytest_r1eval.judging.outlook import Foreseen, by_cost, foreseen
from pytest_r1eval.stats.verdicts import GateRule
from tests.recordings import record_run
from tests.toys import BUILT_IN_BY_NAME, toy


def seen(folder: Path, *, k: int = 8, margin: float | None = None, gate: GateKind = GateKind.FIXED) -> Foreseen:
    """Foresee a gate against a recorded run of 20 problems, 32 samples and 20 tokens each."""
    shelf = BaselineShelf(root=folder, choice=baseline_choice("base", folder), model_name="local/toy")
    settings = Settings(model="toy", root=folder, output_dir=folder, samples={"smoke": k}, asked_gate=gate)
    return foreseen(toy("smoke"), Terms(shelf=shelf, rule=GateRule(margin=margin)), settings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Record what gates are planned against."""
    record_run(tmp_path / "base", n_problems=20, n_samples=32)
    return tmp_path


def test_a_fixed_gate_costs_all_and_looks_a_part(folder: Path) -> None:
    """A gate costs the tokens of the baseline's responses; looks are expected to save most of an unchanged model's."""
    fixed, looks = seen(folder), seen(folder, gate=GateKind.SEQUENTIAL)
    assert (fixed.n_responses, fixed.n_tokens, fixed.undecided) == (160, 3200, None)
    assert looks.n_tokens is not None
    assert 0 < looks.n_tokens < 0.5 * 3200


def test_what_cannot_decide_is_known_before(folder: Path, tmp_path: Path) -> None:
    """A margin that is out of reach, and a baseline that is not there, are known before the first token."""
    assert seen(folder, margin=0.001).undecided == "it cannot resolve a margin of 0.1 points"
    nothing = Terms(shelf=BaselineShelf(root=tmp_path / "none", choice=None, model_name="a/b"), rule=GateRule())
    settings = Settings(model="toy", root=folder, output_dir=folder)
    aime = BUILT_IN_BY_NAME["aime24"]
    assert "no baseline yet" in str(foreseen(aime, nothing, settings).undecided)
    assumed = foreseen(aime, nothing, settings, is_assumed=True)
    assert (assumed.undecided, assumed.n_responses, assumed.n_tokens) == (None, 30 * 64, None)


def test_the_cheapest_that_can_decide_comes_first(folder: Path) -> None:
    """Benchmarks are ordered by cost; what cannot decide and what is not known come last, in the given order."""
    found = {
        "hopeless": seen(folder, k=2, margin=0.001),
        "unknown": Foreseen(benchmark="unknown", n_samples=1, problem="no baseline yet"),
        "large": seen(folder, k=32),
        "small": seen(folder, k=4),
    }
    assert by_cost(found) == ("small", "large", "hopeless", "unknown")
