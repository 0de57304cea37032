"""How often a release policy holds an unchanged model."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_r1eval.config.policy import read_policy
from pytest_r1eval.reports.policy import held_by_chance

ALPHA = 0.0013498980316300933


@pytest.mark.parametrize(
    ("text", "n_tests"),
    [
        ('[benchmarks.a]\ntier = "critical"\n[benchmarks.b]\ntier = "supporting"', 3),
        ('[benchmarks.a]\ntier = "critical"\n[benchmarks.b]\ntier = "critical"', 6),
        ('family = "holm"\n[benchmarks.a]\ntier = "critical"\n[benchmarks.b]\ntier = "critical"', 5),
    ],
    ids=["one", "two", "family"],
)
def test_critical_benchmarks_count_with_their_health(tmp_path: Path, text: str, n_tests: int) -> None:
    """Each critical benchmark adds its test of pass@1 and two of health; a family's tests of pass@1 share one level."""
    path = tmp_path / "policy.toml"
    path.write_text(text, encoding="utf-8")
    assert held_by_chance(read_policy(path)) == pytest.approx(1 - (1 - ALPHA) ** n_tests)
