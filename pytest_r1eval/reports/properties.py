"""
A verdict as numbers and texts by name, for other programs: JUnit's properties, metrics, trackers.

A value that is not known has no name here, so that no reader takes a gap for a number.
"""

from pytest_r1eval.core.choices import Claim
from pytest_r1eval.core.texts import printable
from pytest_r1eval.judging.result import GateResult
from pytest_r1eval.reports.appearance import appearance_of


def numbers_of(result: GateResult) -> dict[str, float]:
    """Return the numbers that are known of a verdict: fractions, and counts."""
    judgement, estimate = result.judgement, result.judgement.estimate
    numbers: dict[str, float | None] = {
        "pass_at_1": None if estimate is None else estimate.mean,
        "standard_error": None if estimate is None else estimate.standard_error,
        "exam_standard_error": None if estimate is None else estimate.exam_standard_error,
        "baseline_pass_at_1": judgement.baseline_mean,
        "difference": judgement.difference,
        "z": judgement.z,
        "p_value": judgement.p_value,
        "mde_80": judgement.mde_80,
    }
    if (claimed := judgement.equivalence) is not None:
        numbers |= {"margin": claimed.margin, "p_fall": claimed.p_fall, "p_rise": claimed.p_rise}
    numbers |= {
        "samples_per_problem": result.samples_per_problem,
        "samples": result.n_samples,
        "tokens": None if result.n_planned is None else result.n_tokens,
        "attempt": None if result.attempts is None else result.attempts.number,
    }
    return {name: value for name, value in numbers.items() if value is not None}


def texts_of(result: GateResult) -> dict[str, str]:
    """Return the texts that are known of a verdict, each on one line."""
    judgement, attempts = result.judgement, result.attempts
    texts = {
        "verdict": appearance_of(judgement.verdict).word,
        "baseline": result.baseline,
        "policy": result.policy,
        "tier": result.tier,
        **{
            f"verdict_against_{reference.role}": appearance_of(reference.judgement.verdict).word
            for reference in result.references
        },
        "claim": None if judgement.equivalence is None else Claim.SAME.value,
        "first_verdict": attempts.earlier[0].verdict if attempts is not None and attempts.earlier else None,
    }
    return {name: printable(text) for name, text in texts.items() if text is not None}


def properties_of(result: GateResult, *, run: str) -> tuple[tuple[str, str], ...]:
    """
    Return (name, value) pairs for a JUnit test case.

    Args:
        result: The verdict.
        run: The run's folder.
    """
    numbers = {name: str(it) if isinstance(it, int) else f"{it:.6g}" for name, it in numbers_of(result).items()}
    known = numbers | texts_of(result) | {"run": printable(run)}
    return tuple((f"r1eval.{name}", value) for name, value in known.items())
