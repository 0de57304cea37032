"""The verdict of a release, from every combination of tier, requirement and gate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.config.policy import Member, Policy
from pytest_r1eval.core.baselines import HealthCounts
from pytest_r1eval.core.choices import Tier
from pytest_r1eval.core.codec import from_json, to_json
from pytest_r1eval.judging.release import RELEASE, ReleaseVerdict, release_of
from pytest_r1eval.judging.result import GateResult
from pytest_r1eval.stats.health import judge_health
from pytest_r1eval.stats.verdicts import Judgement, Verdict

SHIP, INCONCLUSIVE, HOLD, INVALID = (
    ReleaseVerdict.SHIP, ReleaseVerdict.INCONCLUSIVE, ReleaseVerdict.HOLD, ReleaseVerdict.INVALID,
)  # fmt: skip
Make = Callable[..., GateResult]


def policy(**tiers: tuple[Tier, bool]) -> Policy:
    """Make a policy of benchmarks with a tier, and whether they are required."""
    members = tuple(
        Member(benchmark=name, tier=tier, required=required, texts={}, values={})
        for name, (tier, required) in tiers.items()
    )
    return Policy(path=Path("policy.toml"), members=members)


def gate(
    benchmark: str, verdict: Verdict, asked: Policy, *, passes: bool | None = None, sick: bool = False
) -> GateResult:
    """Make a verdict on a benchmark under a policy."""
    lets_through = verdict in {Verdict.PASS, Verdict.SUSPICIOUS_IMPROVED} if passes is None else passes
    counts = HealthCounts(n_samples=100, n_truncated=90 if sick else 0, n_no_answer=0, n_tokens=100)
    return GateResult(
        benchmark=benchmark,
        judgement=Judgement(verdict=verdict, passes=lets_through, reason="Because.", next_step="Nothing."),
        baseline=None,
        health=judge_health(counts, baseline=None, alpha=0.001),
        policy=asked.digest,
    )


CRITICAL = policy(a=(Tier.CRITICAL, True))


@pytest.mark.parametrize(
    ("verdict", "passes", "sick", "answer"),
    [
        (Verdict.PASS, None, False, SHIP),
        (Verdict.SUSPICIOUS_IMPROVED, None, False, SHIP),
        (Verdict.SUSPICIOUS_IMPROVED, False, False, HOLD),
        (Verdict.INCONCLUSIVE, None, False, INCONCLUSIVE),
        (Verdict.INCONCLUSIVE, True, False, INCONCLUSIVE),
        (Verdict.FAIL_REGRESSED, None, False, HOLD),
        (Verdict.INVALID, None, False, INVALID),
        (Verdict.PASS, None, True, HOLD),
        (Verdict.INCONCLUSIVE, None, True, HOLD),
    ],
)
def test_a_critical_gate_decides(verdict: Verdict, passes: bool | None, sick: bool, answer: ReleaseVerdict) -> None:  # noqa: FBT001 - parametrised
    """A critical benchmark ships by PASS alone; INCONCLUSIVE does not pass, whatever let the gate through."""
    found = release_of(CRITICAL, [gate("a", verdict, CRITICAL, passes=passes, sick=sick)])
    assert found.verdict is answer
    assert found.verdict.exit_code == {SHIP: 0, INVALID: 2}.get(answer, 1)
    assert from_json(RELEASE, to_json(RELEASE, found)) == found


@pytest.mark.parametrize("tier", [Tier.SUPPORTING, Tier.ADVISORY])
@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("verdict", [*Verdict, None])
def test_other_tiers_hold_nothing_but_a_missing_requirement(
    *, tier: Tier, required: bool, verdict: Verdict | None
) -> None:
    """Of other tiers only a required benchmark without a valid verdict counts; supporting ones warn."""
    asked = policy(a=(Tier.CRITICAL, True), b=(tier, required))
    results = [gate("a", Verdict.PASS, asked)]
    results += [] if verdict is None else [gate("b", verdict, asked)]
    found = release_of(asked, results)
    is_gap = required and verdict in {None, Verdict.INVALID}
    assert found.verdict is (INVALID if is_gap else SHIP)
    is_green = verdict in {Verdict.PASS, Verdict.SUSPICIOUS_IMPROVED}
    warned = [member.benchmark for member in found.warnings]
    assert warned == (["b"] if tier is Tier.SUPPORTING and not is_green and not is_gap else [])


def test_every_reason_is_given() -> None:
    """The reason of a sick checkpoint names the rate that failed, after what pass@1 says where that does not pass."""
    sick = [gate("a", verdict, CRITICAL, sick=True) for verdict in (Verdict.PASS, Verdict.INCONCLUSIVE)]
    alone, both = (release_of(CRITICAL, [one]).members[0].reason for one in sick)
    assert alone == "90.0 % of the responses were truncated; without a baseline at most 15 % may."
    assert both == f"Because. {alone}"


def test_the_worst_counts() -> None:
    """Of several critical benchmarks HOLD counts before INVALID, and INVALID before INCONCLUSIVE."""
    asked = policy(a=(Tier.CRITICAL, True), b=(Tier.CRITICAL, True), c=(Tier.CRITICAL, True))
    a, b = gate("a", Verdict.INCONCLUSIVE, asked), gate("b", Verdict.FAIL_REGRESSED, asked)
    assert release_of(asked, [a, b, gate("c", Verdict.PASS, asked)]).verdict is HOLD
    assert release_of(asked, [a, b]).verdict is HOLD
    assert release_of(asked, [a, gate("c", Verdict.PASS, asked)]).verdict is INVALID
    deciding = [member.benchmark for member in release_of(asked, [a, b]).members if member.counts is not SHIP]
    assert deciding == ["a", "b", "c"]


def test_no_evidence_ships_nothing() -> None:
    """No verdicts, skipped shards, a verdict by other terms and one without health are INVALID."""
    passed = gate("a", Verdict.PASS, CRITICAL)
    assert release_of(CRITICAL, []).verdict is INVALID
    assert release_of(CRITICAL, [passed], left_out=["a"]).verdict is INVALID
    assert release_of(CRITICAL, [replace(passed, policy=None)]).verdict is INVALID
    assert release_of(CRITICAL, [replace(passed, health=None)]).verdict is INVALID
