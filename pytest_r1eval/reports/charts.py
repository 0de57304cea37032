"""
The pictures of a report, as SVG that needs nothing else: colours come from the page's style sheet by class.

Every picture has a title and a description for who cannot see it, and every mark says its numbers on hovering.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from pytest_r1eval.core.records import Counts
from pytest_r1eval.core.stats import pass_at_1
from pytest_r1eval.run_reports import GateReport, Lengths, LookRow, ProblemRow

WIDTH = 720
_LEFT, _RIGHT = 64, 24
_CELL, _LARGE_CELL, _GAP = 15, 26, 3
_MANY_PROBLEMS = 100
_N_SHADES = 5
_N_BINS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """A number with its two errors, as fractions; an error is None where there is none."""

    label: str
    mean: float
    standard_error: float | None
    exam_standard_error: float | None
    is_baseline: bool = False


def svg(body: Iterable[str], *, height: float, title: str, description: str) -> str:
    """Wrap marks into a picture."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" class="chart"><title>{escape(title)}</title>'
        f"<desc>{escape(description)}</desc>{''.join(body)}</svg>"
    )


def estimates(rows: Sequence[Estimated]) -> str:
    """Draw numbers with both error bars: thick for these problems, thin for exams like this one."""
    lows, highs = zip(*[_span(row) for row in rows], strict=True)
    low, high = max(0.0, min(lows) - 0.02), min(1.0, max(highs) + 0.02)
    scale = _Scale(low=low, high=high)
    body = [*scale.grid(height=28 + 34 * len(rows))]
    for number, row in enumerate(rows):
        y = 34 + 34 * number
        kind = "base" if row.is_baseline else "run"
        for error, name in ((row.exam_standard_error, "exam"), (row.standard_error, "own")):
            if error is not None:
                left, right = scale.x(max(low, row.mean - error)), scale.x(min(high, row.mean + error))
                body.append(f'<line class="bar {name} {kind}" x1="{left:.1f}" x2="{right:.1f}" y1="{y}" y2="{y}"/>')
        body.append(f'<circle class="dot {kind}" cx="{scale.x(row.mean):.1f}" cy="{y}" r="5.5"/>')
        own = "" if row.standard_error is None else f" ± {100 * row.standard_error:.1f}"
        text = f"{row.label}: {100 * row.mean:.1f}{own}"
        body.append(f'<text class="label" x="{_LEFT}" y="{y - 11}">{escape(text)}</text>')
    words = "; ".join(f"{row.label} {100 * row.mean:.1f}" for row in rows)
    return svg(body, height=44 + 34 * len(rows), title="pass@1 in points", description=words)


def looks(rows: Sequence[LookRow], ks: Sequence[int], fails: Sequence[float | None], passes: Sequence[float]) -> str:
    """Draw the path of z between the bounds of a sequential gate."""
    drawn = [row.z for row in rows if row.z is not None]
    everything: list[float] = [*drawn, *passes, *(bound for bound in fails if bound is not None)]
    low: float = min(everything) - 0.5
    high: float = max(everything) + 0.5
    height, top, floor = 280, 16, 232

    def x(k: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (k / ks[-1])

    def y(z: float) -> float:
        above: float = (high - z) / (high - low)
        return top + (floor - top) * above

    fail_points = [(x(k), y(bound)) for k, bound in zip(ks, fails, strict=True) if bound is not None]
    pass_points = [(x(k), y(bound)) for k, bound in zip(ks, passes, strict=True)]
    body = [
        _area("fail", [*fail_points, (x(ks[-1]), y(low)), (fail_points[0][0], y(low))]) if fail_points else "",
        _area("pass", [*pass_points, (x(ks[-1]), y(high)), (pass_points[0][0], y(high))]),
        f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(0):.1f}" y2="{y(0):.1f}"/>',
        f'<text class="tick" x="{_LEFT - 8}" y="{y(0) + 4:.1f}" text-anchor="end">z = 0</text>',
        f'<text class="passes" x="{WIDTH - _RIGHT - 10}" y="{top + 24}" text-anchor="end">PASS</text>',
        f'<text class="fails" x="{WIDTH - _RIGHT - 10}" y="{floor - 12}" text-anchor="end">FAIL</text>',
        *(f'<text class="tick" x="{x(k):.1f}" y="{floor + 20}" text-anchor="middle">{k}</text>' for k in ks),
        f'<text class="tick" x="{WIDTH - _RIGHT}" y="{floor + 43}" text-anchor="end">samples per problem</text>',
    ]
    points = [(x(row.samples_per_problem), y(row.z), row) for row in rows if row.z is not None]
    body.append(f'<polyline class="path" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b, _ in points)}"/>')
    for a, b, row in points:
        tip = f"look {row.number} at {row.samples_per_problem} samples: z = {row.z:.2f}"
        body.append(f'<circle class="dot run" cx="{a:.1f}" cy="{b:.1f}" r="5"><title>{tip}</title></circle>')
    words = "; ".join(f"look {row.number}: z = {row.z:.2f}" for row in rows if row.z is not None)
    return svg(body, height=height, title="The looks between FAIL (below) and PASS (above)", description=words)


def heat_map(problems: Sequence[ProblemRow]) -> str:
    """Draw each problem as a square: its lower left half the run, its upper right half the baseline."""
    size = _CELL if len(problems) > _MANY_PROBLEMS else _LARGE_CELL
    n_columns = (WIDTH - _GAP) // (size + _GAP)
    n_rows = math.ceil(len(problems) / n_columns)
    body = [_cell(problem, number % n_columns, number // n_columns, size) for number, problem in enumerate(problems)]
    words = f"{len(problems)} problems in the exam's order; the table below has their numbers"
    return svg(body, height=n_rows * (size + _GAP) + _GAP, title="Solve rate by problem", description=words)


def _cell(problem: ProblemRow, column: int, row: int, size: int) -> str:
    x, y = _GAP + column * (size + _GAP), _GAP + row * (size + _GAP)
    tip = f"{problem.id}: {problem.n_correct}/{problem.n_samples}"
    marks = f'<path class="s{_shade(problem.n_correct, problem.n_samples)}" d="M{x} {y}h{size}v{size}h-{size}z"/>'
    if problem.baseline is not None:
        base = problem.baseline
        tip += f", baseline {base.n_correct}/{base.n_samples}"
        marks += f'<path class="s{_shade(base.n_correct, base.n_samples)}" d="M{x} {y}h{size}v{size}z"/>'
    if problem.has_fallen:
        marks += f'<path class="fell" d="M{x} {y}h{size}v{size}h-{size}z"/>'
    return f"<g><title>{escape(tip)}</title>{marks}</g>"


def _shade(n_correct: int, n_samples: int) -> int:
    return round((_N_SHADES - 1) * n_correct / n_samples) if n_samples else 0


def lengths(found: Lengths) -> str:
    """Draw how many tokens responses have, on a logarithmic axis; those that were cut off stand out."""
    everything = [max(1, n_tokens) for n_tokens in (*found.stopped, *found.cut_off)]
    low, high = math.log(min(everything)), math.log(max(everything) + 1)
    width = (high - low) / _N_BINS or 1.0
    stopped, cut = _binned(found.stopped, low, width), _binned(found.cut_off, low, width)
    most = max(a + b for a, b in zip(stopped, cut, strict=True))
    height, top, floor = 180, 10, 150
    step = (WIDTH - _LEFT - _RIGHT) / _N_BINS
    body = [f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{floor}" y2="{floor}"/>']
    for number, (n_stopped, n_cut) in enumerate(zip(stopped, cut, strict=True)):
        if not n_stopped + n_cut:
            continue
        x, scale = _LEFT + number * step, (floor - top) / most
        start, end = math.exp(low + number * width), math.exp(low + (number + 1) * width)
        tip = f"{start:.0f} to {end:.0f} tokens: {n_stopped} ended, {n_cut} cut off"
        body.append(
            f"<g><title>{tip}</title>"
            f'<rect class="ended" x="{x:.1f}" y="{floor - scale * n_stopped:.1f}" width="{step - 1.5:.1f}" '
            f'height="{scale * n_stopped:.1f}"/>'
            f'<rect class="cut" x="{x:.1f}" y="{floor - scale * (n_stopped + n_cut):.1f}" width="{step - 1.5:.1f}" '
            f'height="{scale * n_cut:.1f}"/></g>'
        )
    ends = max(everything) > 2 * min(everything)
    for share in (0, 0.25, 0.5, 0.75, 1) if ends else (0, 1):
        n_tokens = math.exp(low + share * (high - low))
        x = _LEFT + share * (WIDTH - _LEFT - _RIGHT)
        body.append(f'<text class="tick" x="{x:.1f}" y="{floor + 18}" text-anchor="middle">{n_tokens:,.0f}</text>')
    words = f"{len(found.stopped)} responses ended by themselves, {len(found.cut_off)} were cut off"
    return svg(body, height=height, title="Tokens of the responses", description=words)


def history(points: Sequence[tuple[int, Estimated]], baselines: Sequence[Estimated]) -> str:
    """Draw pass@1 over training steps with error bars; baselines are lines."""
    everything = [*(estimate for _, estimate in points), *baselines]
    lows, highs = zip(*[_span(row, exam=False) for row in everything], strict=True)
    low, high = max(0.0, min(lows) - 0.02), min(1.0, max(highs) + 0.02)
    first, last = points[0][0], points[-1][0]
    height, top, floor = 280, 16, 240

    def x(step: int) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * ((step - first) / (last - first) if last > first else 0.5)

    def y(mean: float) -> float:
        return float(top + (floor - top) * (high - mean) / (high - low))

    body = [
        f'<text class="tick" x="{_LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{100 * value:.0f}</text>'
        f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
        for value in _ticks(low, high)
    ]
    for baseline in baselines:
        at = y(baseline.mean)
        body.append(f'<line class="baseline" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        label = escape(f"{baseline.label} {100 * baseline.mean:.1f}")
        body.append(f'<text class="tick" x="{WIDTH - _RIGHT}" y="{at - 5:.1f}" text-anchor="end">{label}</text>')
    path = " ".join(f"{x(step):.1f},{y(estimate.mean):.1f}" for step, estimate in points)
    body.append(f'<polyline class="path" points="{path}"/>')
    for step, estimate in points:
        error = estimate.standard_error or 0.0
        ends = f'y1="{y(estimate.mean - error):.1f}" y2="{y(estimate.mean + error):.1f}"'
        tip = f"step {step}: {100 * estimate.mean:.1f} ± {100 * error:.1f}"
        body.append(f'<line class="bar own run" x1="{x(step):.1f}" x2="{x(step):.1f}" {ends}/>')
        body.append(
            f'<circle class="dot run" cx="{x(step):.1f}" cy="{y(estimate.mean):.1f}" r="5">'
            f"<title>{escape(tip)}</title></circle>"
        )
        body.append(f'<text class="tick" x="{x(step):.1f}" y="{floor + 20}" text-anchor="middle">{step}</text>')
    words = "; ".join(f"step {step}: {100 * estimate.mean:.1f}" for step, estimate in points)
    return svg(body, height=height, title="pass@1 over training steps", description=words)


def gate_estimates(gate: GateReport) -> list[Estimated]:
    """Return what `estimates` draws of a gate: the run, and what it was compared with."""
    judgement = gate.result.judgement
    if judgement.estimate is None:
        return []
    estimate = judgement.estimate
    rows = [
        Estimated(
            label="this run (at stop)" if gate.result.is_at_stop else "this run",
            mean=estimate.mean,
            standard_error=estimate.standard_error,
            exam_standard_error=estimate.exam_standard_error,
        )
    ]
    if judgement.baseline_mean is not None:
        reference = gate.result.reference
        base = None if reference is None else pass_at_1(Counts(problems=reference))
        rows.append(
            Estimated(
                label="baseline",
                mean=judgement.baseline_mean,
                standard_error=None if base is None else base.standard_error,
                exam_standard_error=None if base is None else base.exam_standard_error,
                is_baseline=True,
            )
        )
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    low: float
    high: float

    def x(self, value: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (value - self.low) / (self.high - self.low)

    def grid(self, *, height: float) -> Iterable[str]:
        for value in _ticks(self.low, self.high):
            x = self.x(value)
            yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="8" y2="{height - 8:.0f}"/>'
            yield f'<text class="tick" x="{x:.1f}" y="{height + 8:.0f}" text-anchor="middle">{100 * value:.0f}</text>'


def _ticks(low: float, high: float) -> list[float]:
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if (high - low) / step <= 8)
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step) + 1)]


def _span(row: Estimated, *, exam: bool = True) -> tuple[float, float]:
    errors = [row.standard_error or 0.0, (row.exam_standard_error or 0.0) if exam else 0.0]
    return row.mean - max(errors), row.mean + max(errors)


def _area(kind: str, points: Sequence[tuple[float, float]]) -> str:
    return f'<polygon class="area {kind}" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}"/>'


def _binned(values: Iterable[int], low: float, width: float) -> list[int]:
    bins = [0] * _N_BINS
    for value in values:
        bins[min(_N_BINS - 1, int((math.log(max(1, value)) - low) / width))] += 1
    return bins
