"""A verdict as properties of a JUnit test case, for programs that read XML."""

from __future__ import annotations

from pytest_r1eval.core.choices import Claim
from pytest_r1eval.core.texts import printable
from pytest_r1eval.judging.result import GateResult
from pytest_r1eval.reports.appearance import appearance_of


def properties_of(result: GateResult, *, run: str) -> tuple[tuple[str, str], ...]:
    """
    Return (name, value) pairs, in fractions; an unknown value has no pair.

    Args:
        result: The verdict.
        run: The run's folder.
    """
    judgement, estimate = result.judgement, result.judgement.estimate
    numbers = {
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
    texts = {"verdict": appearance_of(judgement.verdict).word, "baseline": result.baseline, "run": run}
    known = {name: None if value is None else f"{value:.6g}" for name, value in numbers.items()} | texts
    known |= {
        f"verdict_against_{reference.role}": appearance_of(reference.judgement.verdict).word
        for reference in result.references
    }
    known |= {} if claimed is None else {"claim": Claim.SAME.value}
    known |= {"samples_per_problem": _word(result.samples_per_problem), "samples": str(result.n_samples)}
    if result.attempts is not None:
        known["attempt"] = str(result.attempts.number)
        known["first_verdict"] = result.attempts.earlier[0].verdict if result.attempts.earlier else None
    return tuple((f"r1eval.{name}", printable(value)) for name, value in known.items() if value is not None)


def _word(number: int | None) -> str | None:
    return None if number is None else str(number)
