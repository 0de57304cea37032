"""Several runs as text: one row per fingerprint, and the noise between them."""

from __future__ import annotations

from pytest_r1eval.core.records import Counts
from pytest_r1eval.judging.aggregate import AddedRuns, Aggregate, Method
from pytest_r1eval.reports.aggregate import aggregate_text
from pytest_r1eval.stats.pooling import pooled
from pytest_r1eval.stats.tests import pass_at_1


def test_groups_q_and_warnings_are_shown() -> None:
    """The text of an aggregate shows the groups, Q, tau and the warnings."""
    estimates = [pass_at_1(Counts.from_rows([("p", 8, 16), ("q", correct, 16)])) for correct in (8, 12)]
    total = pooled(estimates)
    groups = (
        AddedRuns(runs=("a", "b"), seeds=(1, 2), estimate=estimates[0]),
        AddedRuns(runs=("c",), seeds=(3,), estimate=estimates[1]),
    )
    found = Aggregate(
        benchmark="toy",
        method=Method.POOLED,
        mean=total.mean,
        standard_error=total.standard_error,
        n_samples=64,
        groups=groups,
        differing=("harness.engine", "harness.dtype"),
        pooled=total,
        warnings=("Look out.",),
    )
    assert aggregate_text(found) == [
        "toy: pass@1 56.6 ± 6.6 points",
        (
            "  from 64 samples of 3 runs, pooled by inverse variance, because the fingerprints differ in "
            "harness.engine, harness.dtype"
        ),
        "  runs  seeds  samples per problem  pass@1",
        "  ----  -----  -------------------  ----------",
        "  a b   1 2    16                   50.0 ± 9.6",
        "  c     3      16                   62.5 ± 9.1",
        "  Cochran's Q = 0.889 (p = 0.35 for one so large, 0.65 for one so small), Paule-Mandel tau 0.0 points",
        "  warning: Look out.",
    ]
