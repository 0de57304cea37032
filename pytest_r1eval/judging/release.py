"""
From the gates of a run to one verdict on the release, by the tiers of its policy.

- SHIP: every critical benchmark passes.
- INCONCLUSIVE: a critical benchmark is INCONCLUSIVE.
- INVALID: a required benchmark has no verdict, or an INVALID one.
- HOLD: a critical benchmark fails; pass@1 regressed, or its responses are not healthy. Nothing that is missing changes
  that.

Of several the last in the list counts. Their exit codes are 0, 1, 2 and 1. What is not there is no evidence: a
benchmark that was deselected, skipped or not collected has no verdict. INCONCLUSIVE passes nowhere, whatever let the
gate through.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pytest_r1eval.config.policy import Member, Policy
from pytest_r1eval.core.choices import Tier
from pytest_r1eval.core.codec import Kind, Layout
from pytest_r1eval.judging.result import GateResult
from pytest_r1eval.stats.verdicts import Verdict


class ReleaseVerdict(StrEnum):
    """The answer of a release, by severity."""

    SHIP = "ship"
    INCONCLUSIVE = "inconclusive"
    INVALID = "invalid"
    HOLD = "hold"

    @property
    def exit_code(self) -> int:
        """Pytest's exit code."""
        return {ReleaseVerdict.SHIP: 0, ReleaseVerdict.INVALID: 2}.get(self, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseMember:
    """
    What one benchmark of the policy means for the release.

    Attributes:
        benchmark: Its name.
        tier: Its tier.
        required: Whether a release needs its verdict.
        verdict: Its verdict on pass@1; None where it was not judged.
        found: What its gates say by themselves: SHIP where both pass.
        counts: What that is for the release, by tier.
        reason: Why, in one sentence; None where its gates pass.
    """

    benchmark: str
    tier: Tier
    required: bool
    verdict: Verdict | None
    found: ReleaseVerdict
    counts: ReleaseVerdict
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """
    The verdict of a run under a policy.

    Attributes:
        verdict: The answer.
        policy: Digest of the policy.
        source: The policy's file and digest, for people.
        members: What each of its benchmarks means for the answer.
    """

    verdict: ReleaseVerdict
    policy: str
    source: str
    members: tuple[ReleaseMember, ...]

    @property
    def warnings(self) -> tuple[ReleaseMember, ...]:
        """The supporting benchmarks that do not pass, and keep nothing."""
        return tuple(
            member
            for member in self.members
            if member.tier is Tier.SUPPORTING
            and member.counts is ReleaseVerdict.SHIP
            and member.found is not ReleaseVerdict.SHIP
        )


RELEASE = Kind(of=Release, version=1, layout=Layout.INDENTED)
"""As the store keeps it."""


def may_ship(results: Iterable[GateResult], release: Release | None) -> bool:
    """Whether every gate is green; under a policy whether the answer is SHIP, whatever single gates say."""
    if release is not None:
        return release.verdict is ReleaseVerdict.SHIP
    return all(result.passes for result in results)


def release_of(policy: Policy, results: Sequence[GateResult], *, left_out: Collection[str] = ()) -> Release:
    """
    Return the verdict of a run under its policy.

    Args:
        policy: The policy.
        results: The verdicts that there are.
        left_out: Benchmarks of which pytest ran no shard; what others drew of them by the way counts as nothing.
    """
    judged = {result.benchmark: result for result in results if result.benchmark not in left_out}
    members = tuple(_weighed(member, judged.get(member.benchmark), policy) for member in policy.members)
    order = list(ReleaseVerdict)
    return Release(
        verdict=max((member.counts for member in members), key=order.index),
        policy=policy.digest,
        source=policy.title,
        members=members,
    )


def _weighed(member: Member, result: GateResult | None, policy: Policy) -> ReleaseMember:
    found, reason = _found(result, policy)
    return ReleaseMember(
        benchmark=member.benchmark,
        tier=member.tier,
        required=member.required,
        verdict=None if result is None else result.judgement.verdict,
        found=found,
        counts=_counts(found, member),
        reason=reason,
    )


def _counts(found: ReleaseVerdict, member: Member) -> ReleaseVerdict:
    """Return what a benchmark's gates are for the release."""
    if found is ReleaseVerdict.INVALID:
        return found if member.required else ReleaseVerdict.SHIP
    return found if member.tier is Tier.CRITICAL else ReleaseVerdict.SHIP


def _found(result: GateResult | None, policy: Policy) -> tuple[ReleaseVerdict, str | None]:
    """Return what a benchmark's gates say by themselves, and why where they do not pass."""
    if result is None:
        return ReleaseVerdict.INVALID, "It was not judged: deselected, skipped, or not collected."
    if result.policy != policy.digest:
        return ReleaseVerdict.INVALID, "Its verdict was made by other terms than this policy's."
    found = _of_gates(result)
    if found is ReleaseVerdict.SHIP:
        return found, None
    health = result.health
    reasons = [] if result.judgement.verdict is Verdict.PASS else [result.judgement.reason]
    if health is None and not reasons:
        reasons = ["The health of its responses was not judged."]
    reasons += [] if health is None else [rate.reason for rate in health.failing]
    return found, " ".join(reasons)


def _of_gates(result: GateResult) -> ReleaseVerdict:
    """Return what pass@1 and health say; a gate is SHIP only where both were judged and pass."""
    judgement, health = result.judgement, result.health
    match judgement.verdict:
        case Verdict.INVALID:
            return ReleaseVerdict.INVALID
        case Verdict.FAIL_REGRESSED:
            return ReleaseVerdict.HOLD
        case _ if health is not None and not health.passes:
            return ReleaseVerdict.HOLD
        case Verdict.INCONCLUSIVE:
            return ReleaseVerdict.INCONCLUSIVE
        case Verdict.PASS | Verdict.SUSPICIOUS_IMPROVED if health is None:
            found = ReleaseVerdict.INVALID
        case Verdict.PASS | Verdict.SUSPICIOUS_IMPROVED:
            found = ReleaseVerdict.SHIP if judgement.passes else ReleaseVerdict.HOLD
    return found
