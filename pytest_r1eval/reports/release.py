"""The verdict of a release, as every report shows it: the answer, then what each benchmark of the policy means."""

from collections.abc import Mapping

from pytest_r1eval.config.policy import Member
from pytest_r1eval.core.choices import Tier
from pytest_r1eval.core.texts import printable
from pytest_r1eval.judging.release import Release, ReleaseMember, ReleaseVerdict
from pytest_r1eval.judging.result import GateResult
from pytest_r1eval.reports.appearance import Annotation, appearance_of
from pytest_r1eval.reports.terminal import gate_lines, health_lines
from pytest_r1eval.stats.verdicts import Verdict

MEANINGS: Mapping[ReleaseVerdict, str] = {
    ReleaseVerdict.SHIP: "every critical benchmark passes",
    ReleaseVerdict.INCONCLUSIVE: "a critical benchmark is not decided",
    ReleaseVerdict.HOLD: "a critical benchmark fails",
    ReleaseVerdict.INVALID: "a required benchmark has no valid verdict",
}
_LOOKS: Mapping[ReleaseVerdict, Verdict] = {
    ReleaseVerdict.SHIP: Verdict.PASS,
    ReleaseVerdict.INCONCLUSIVE: Verdict.INCONCLUSIVE,
    ReleaseVerdict.HOLD: Verdict.FAIL_REGRESSED,
    ReleaseVerdict.INVALID: Verdict.INVALID,
}
"""The verdict of a gate whose signs and colours it has."""


def release_lines(release: Release) -> list[str]:
    """Print the answer, and a line for each benchmark of the policy."""
    lines = [headline(release)]
    lines += [f"  {member.benchmark} ({kind_of(member)}): {_effect(member)}" for member in release.members]
    return [printable(line) for line in lines]


def headline(release: Release) -> str:
    """Print the answer in one line."""
    return f"release: {release.verdict.name}, {MEANINGS[release.verdict]} (policy {release.source})"


def kind_of(member: Member | ReleaseMember) -> str:
    """Print a benchmark's tier, and where it does not say so that it is required."""
    is_added = member.required and member.tier is not Tier.CRITICAL
    return f"{member.tier}, required" if is_added else str(member.tier)


def _effect(member: ReleaseMember) -> str:
    word = "not judged" if member.verdict is None else appearance_of(member.verdict).word
    if member.found is ReleaseVerdict.SHIP:
        return word
    reason = member.reason or ""
    if member.counts is not ReleaseVerdict.SHIP:
        return f"{word} -> {member.counts.name}. {reason}"
    return f"{word} -> {'a warning' if member.tier is Tier.SUPPORTING else 'shown only'}. {reason}"


def release_colour(release: Release) -> dict[str, bool]:
    """Return pytest's markup of the answer."""
    return {appearance_of(_LOOKS[release.verdict]).colour: True}


def release_style(release: Release) -> str:
    """Return the answer's class in page.css."""
    return appearance_of(_LOOKS[release.verdict]).style


def release_sign(release: Release) -> str:
    """Return the answer's sign in Markdown."""
    look = appearance_of(_LOOKS[release.verdict])
    return look.sign if release.verdict is ReleaseVerdict.SHIP else look.red_sign


def unshown_lines(result: GateResult) -> list[str]:
    """Print what pytest's own list of failures does not hold: a gate that passes, and one whose failure only warns."""
    lines = ["", *gate_lines(result)] if result.is_tolerated or result.judgement.passes else []
    return [*lines, "", *health_lines(result)] if result.is_tolerated and not result.is_healthy else lines


def release_annotation(release: Release) -> Annotation | None:
    """Return GitHub's annotation of the answer; None where there is nothing to look at."""
    if release.verdict is not ReleaseVerdict.SHIP:
        return Annotation.ERROR
    return Annotation.WARNING if release.warnings else None
