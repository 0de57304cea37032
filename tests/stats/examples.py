"""Counts and designs that the tests of the core share."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from pytest_r1eval.core.benchmarks import Benchmark, PlanningConstants
from pytest_r1eval.core.choices import LastLook
from pytest_r1eval.core.records import Counts
from pytest_r1eval.stats.planning import SequentialPlan, plan
from pytest_r1eval.stats.tests import Design
from pytest_r1eval.stats.verdicts import GateRule
from tests.toys import BUILT_IN_BY_NAME

EIGHT_LOOKS = (1 / 16, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1.0)
"""Looks with which the specification's golden numbers were made, beta spent as t."""


def counts(*correct: int, of: int) -> Counts:
    """Counts with the same number of samples for every problem."""
    return Counts.from_rows((f"p{i}", x, of) for i, x in enumerate(correct))


_AIME_CORRECT = (
    *(64, 64, 64, 64, 64, 63, 62, 60, 60, 57, 55, 51, 49, 48, 45),
    *(40, 38, 31, 30, 24, 18, 15, 12, 8, 5, 2, 2, 1, 0, 0),
)
AIME_BASELINE = Counts.from_rows((f"aime24-{number:02d}", correct, 64) for number, correct in enumerate(_AIME_CORRECT))
"""The baseline of the allocation's golden numbers."""


def benchmark(name: str) -> Benchmark:
    """A built-in benchmark by its name."""
    return BUILT_IN_BY_NAME[name]


def planning(name: str) -> PlanningConstants:
    """The planning constants of a built-in benchmark."""
    constants = benchmark(name).planning
    assert constants is not None
    return constants


def standard_design(name: str, *, tau: float = 0.0) -> Design:
    """Candidate and baseline both at the benchmark's standard number of samples."""
    k = benchmark(name).samples_per_problem
    return Design.from_planning(planning(name), n_samples=k, n_baseline_samples=k, tau=tau)


def problems(rate: float, *, k: int, n: int = 30) -> Counts:
    """Problems solved alike, as near to a rate as k samples allow."""
    return counts(*[round(rate * k)] * n, of=k)


def standard_plan(
    name: str,
    *,
    last_look: LastLook = LastLook.AUTO,
    k_b: int | None = None,
    rule: GateRule | None = None,
    fractions: Sequence[float] = EIGHT_LOOKS,
    beta_power: float = 1.0,
) -> SequentialPlan:
    """A plan of eight looks around the benchmark's standard number of samples."""
    k = benchmark(name).samples_per_problem
    design = Design.from_planning(planning(name), n_samples=k, n_baseline_samples=k_b or k)
    return plan(
        design, paired=True, rule=rule or GateRule(), last_look=last_look, fractions=fractions, beta_power=beta_power
    )


@st.composite
def runs(draw: st.DrawFn) -> Counts:
    """Any counts of one to eight problems, numbers of samples unequal."""
    sizes = draw(st.lists(st.integers(1, 40), min_size=1, max_size=8))
    return Counts.from_rows((f"p{i}", draw(st.integers(0, k)), k) for i, k in enumerate(sizes))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Counts, Counts]:
    """Any two runs on the same problems."""
    first = draw(runs())
    rows = []
    for id_ in first.ids:
        k = draw(st.integers(1, 40))
        rows.append((id_, draw(st.integers(0, k)), k))
    return first, Counts.from_rows(rows)
