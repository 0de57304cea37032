"""The gate as text: one table for all benchmarks, and the words behind each verdict."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_r1eval.core.stats import StandardErrorName
from pytest_r1eval.core.verdicts import Judgement, Verdict
from pytest_r1eval.judge import GateResult

_HEADER = ("benchmark", "pass@1", "baseline", "difference", "z", "MDE80", "verdict")


def gate_table(results: Sequence[GateResult]) -> list[str]:
    """Lay out one row per benchmark; all scores in percentage points."""
    rows = [_HEADER, *(_row(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def _row(result: GateResult) -> tuple[str, ...]:
    judgement = result.judgement
    return (
        result.benchmark,
        _estimate(judgement),
        _number(judgement.baseline_mean),
        _number(judgement.difference, sign=True),
        "-" if judgement.z is None else f"{judgement.z:+.2f}",
        _number(judgement.mde_80),
        judgement.verdict.name if judgement.verdict is not Verdict.PASS else "PASS",
    )


def _estimate(judgement: Judgement) -> str:
    if judgement.estimate is None:
        return "-"
    mark = " (Bernoulli)" if judgement.estimate.standard_error_name is StandardErrorName.BERNOULLI else ""
    return f"{100 * judgement.estimate.mean:.1f} ± {100 * judgement.estimate.standard_error:.1f}{mark}"


def _number(fraction: float | None, *, sign: bool = False) -> str:
    if fraction is None:
        return "-"
    return f"{100 * fraction:+.1f}" if sign else f"{100 * fraction:.1f}"


def gate_words(result: GateResult) -> list[str]:
    """Say what was found, against what, and what to do next."""
    judgement = result.judgement
    lines = [f"{result.benchmark}: {judgement.verdict.name}. {judgement.reason}"]
    lines += [f"  baseline: {result.baseline}"] if result.baseline else []
    if result.n_planned is not None:
        lines.append(
            f"  samples: {result.n_samples} of {result.n_planned}, {result.n_tokens} tokens, "
            f"{result.n_cut_off} cut off, {result.n_no_answer} without an answer"
        )
    if judgement.tau is not None and judgement.tau.value > 0:
        lines.append(f"  harness noise: tau {100 * judgement.tau.value:.1f} points, because {judgement.tau.source}")
    lines += [f"  warning: {warning}" for warning in judgement.warnings]
    lines += [f"  recorded: {result.recorded}"] if result.recorded else []
    return [*lines, f"  next: {judgement.next_step}"]
