"""A release policy as one table: what each benchmark is judged by, what its gate sees, and what it costs."""

import math
from collections.abc import Iterator, Mapping, Sequence

from pytest_r1eval.config.policy import Member, Policy
from pytest_r1eval.core.choices import Family, Tier
from pytest_r1eval.core.points import described_fall, points
from pytest_r1eval.core.texts import printable
from pytest_r1eval.judging.outlook import Foreseen
from pytest_r1eval.reports.release import kind_of
from pytest_r1eval.reports.terminal import columns
from pytest_r1eval.stats.tests import alpha_of

_SHOWN = ("tier", "required", "samples", "gate", "sigmas", "margin", "baseline")
"""The columns of terms; what else a benchmark sets is a line below the table."""


def policy_lines(policy: Policy, seen: Mapping[str, Foreseen]) -> list[str]:
    """
    Lay out a policy: a row for each benchmark, then what does not fit into one.

    Args:
        policy: The policy.
        seen: By benchmark, what its gate sees and costs.
    """
    head = ("benchmark", "tier", "samples", "gate", "sigmas", "margin", "baseline", "sees", "responses", "tokens")
    rows = [_row(member, seen[member.benchmark]) for member in policy.members]
    lines = [f"release policy {policy.title}", *columns([head, *rows]), *_further(policy), *cost_lines(seen)]
    lines.append(f"an unchanged model is held with probability {held_by_chance(policy):.4f} at most")
    lines += [f"{name}: {undecided_line(one)}" for name, one in seen.items() if one.undecided]
    return [printable(line) for line in lines]


N_HEALTH_TESTS = 2
"""Tests of a benchmark beside pass@1, each at its level."""


def held_by_chance(policy: Policy) -> float:
    """Return a bound on how often an unchanged model fails a critical benchmark, health included."""
    critical = [member for member in policy.members if member.tier is Tier.CRITICAL]
    levels = [alpha_of(float(member.terms["sigmas"] or 0)) for member in critical]
    is_holm = [member.values.get("family") is Family.HOLM for member in critical]
    alone = [alpha for alpha, shares in zip(levels, is_holm, strict=True) if not shares]
    together = [alpha for alpha, shares in zip(levels, is_holm, strict=True) if shares][:1]  # the family's, once
    tests = [*alone, *together, *(alpha for alpha in levels for _ in range(N_HEALTH_TESTS))]
    return 1 - math.prod(1 - alpha for alpha in tests)


def undecided_line(one: Foreseen) -> str:
    """Print why a gate cannot pass, or why nothing is known of it."""
    if one.outlook is None:
        return str(one.problem).removeprefix(f"{one.benchmark}: ")  # as the line begins with it
    return f"{one.undecided}; no PASS can come of it"


def cost_lines(seen: Mapping[str, Foreseen]) -> list[str]:
    """Add up what an unchanged model is expected to cost; what is not known is named."""
    if all(one.n_responses is None for one in seen.values()):
        return [f"what an unchanged model costs is not known of {', '.join(seen)}"]
    responses = _total("responses", {name: one.n_responses for name, one in seen.items()})
    tokens = _total("tokens", {name: one.n_tokens for name, one in seen.items()})
    return [f"an unchanged model is expected to cost {responses}, {tokens}"]


def hours_line(seen: Mapping[str, Foreseen], *, tokens_per_second: float) -> str:
    """Print how long an engine of a rate takes for the tokens that are known."""
    known = [one.n_tokens for one in seen.values() if one.n_tokens is not None]
    unknown = ", ".join(name for name, one in seen.items() if one.n_tokens is None)
    if not known:
        return f"at {tokens_per_second:,.0f} tokens a second: hours not known of {unknown}"
    without = f", without {unknown}" if unknown else ""
    return f"at {tokens_per_second:,.0f} tokens a second: {sum(known) / tokens_per_second / 3600:.2f} hours{without}"


def _total(what: str, numbers: Mapping[str, float | None]) -> str:
    known = [number for number in numbers.values() if number is not None]
    unknown = ", ".join(name for name, number in numbers.items() if number is None)
    if not known:
        return f"{what} not known of {unknown}"
    rest = f" and those of {unknown}, which are not known" if unknown else ""
    return f"{sum(known):,.0f} {what}{rest}"


def cost_table(seen: Sequence[Foreseen]) -> list[str]:
    """Lay out what gates cost: what is expected of an unchanged model, and at most."""
    head = ("benchmark", "responses", "at most", "tokens", "at most")
    return columns([head, *map(_cost_row, seen)])


def _cost_row(one: Foreseen) -> tuple[str, ...]:
    numbers = (one.n_responses, one.n_tokens)
    expected = ["-" if number is None else f"{number:,.0f}" for number in numbers]
    most = ["-" if number is None else f"{number / one.share:,.0f}" for number in numbers]
    return (one.benchmark, expected[0], most[0], expected[1], most[1])


def _row(member: Member, one: Foreseen) -> tuple[str, ...]:
    terms, outlook = member.terms, one.outlook
    return (
        member.benchmark,
        kind_of(member),
        str(one.n_samples),
        terms["gate"] or "",
        terms["sigmas"] or "",
        _margin(terms["margin"], one),
        terms["baseline"] or "the model's own",
        "-" if outlook is None else described_fall(outlook.fall_80).rstrip(","),
        "-" if one.n_responses is None else f"{one.n_responses:,.0f}",
        "-" if one.n_tokens is None else f"{one.n_tokens:,.0f}",
    )


def _margin(written: str | None, one: Foreseen) -> str:
    """Return the margin that counts; the one that is written where the gate's baseline is not known."""
    if one.margin is not None:
        return points(one.margin)
    return "-" if written is None else points(float(written) / 100)


def _further(policy: Policy) -> Iterator[str]:
    """Name what benchmarks set beyond the table's columns."""
    for member in policy.members:
        others = [f"{name} {text}" for name, text in member.texts.items() if name not in _SHOWN]
        if others:
            yield f"{member.benchmark}: {', '.join(others)}"
