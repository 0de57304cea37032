"""
The pictures of a report, as self-contained SVG: colours come from the page's style sheet by class.

Every picture has a title and a description for screen readers, and every mark shows its numbers on hovering.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from pytest_r1eval.core.records import Counts
from pytest_r1eval.reports.run_report import GateReport, Lengths, ProblemRow
from pytest_r1eval.stats.looks import Look
from pytest_r1eval.stats.planning import SequentialPlan
from pytest_r1eval.stats.tests import pass_at_1
from pytest_r1eval.stats.verdicts import Verdict

WIDTH = 720
_LEFT, _RIGHT = 64, 24
_CELL, _LARGE_CELL, _GAP = 16, 26, 3
_ROW = 48
_MANY_PROBLEMS = 100
_N_SHADES = 5
_N_BINS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """A number with its two errors, as fractions; an error is None where there is none."""

    label: str
    mean: float
    standard_error: float | None
    exam_standard_error: float | None = None
    is_baseline: bool = False
    is_red: bool = False


def svg(body: Iterable[str], *, height: float, title: str, description: str, attributes: str = "") -> str:
    """Wrap marks into a picture."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" class="chart"{attributes}><title>{escape(title)}</title>'
        f"<desc>{escape(description)}</desc>{''.join(body)}</svg>"
    )


def estimates(rows: Sequence[Estimated], *, fails_below: float | None = None) -> str:
    """
    Draw numbers with both error bars: thick for these problems, thin for exams like this one.

    Args:
        rows: From top to bottom.
        fails_below: pass@1 at or below which the gate fails, drawn as an area; None where no one number decides.
    """
    lows, highs = zip(*[_span(row) for row in rows], strict=True)
    least = min(lows) if fails_below is None else min(*lows, fails_below)
    low, high = max(0.0, least - 0.02), min(1.0, max(highs) + 0.02)
    scale, floor = _Scale(low=low, high=high), 14 + _ROW * len(rows)
    body = [*scale.grid(height=floor)]
    if fails_below is not None and fails_below > low:
        edge = scale.x(min(high, fails_below))
        body.append(_area("fail", [(_LEFT, 8), (edge, 8), (edge, floor), (_LEFT, floor)]))
        body.append(f'<text class="fails" x="{_LEFT + 8}" y="{floor - 6}">FAIL</text>')
    for number, row in enumerate(rows):
        y = 36 + _ROW * number
        kind = "base" if row.is_baseline else "run"
        for error, name in ((row.exam_standard_error, "exam"), (row.standard_error, "own")):
            if error is not None:
                left, right = scale.x(max(low, row.mean - error)), scale.x(min(high, row.mean + error))
                body.append(f'<line class="bar {name} {kind}" x1="{left:.1f}" x2="{right:.1f}" y1="{y}" y2="{y}"/>')
        body.append(f'<circle class="dot {kind}" cx="{scale.x(row.mean):.1f}" cy="{y}" r="5.5"/>')
        own = "" if row.standard_error is None else f" ± {100 * row.standard_error:.1f}"
        text = f"{row.label} {100 * row.mean:.1f}{own}"
        x = scale.x(row.mean)
        anchor = "start" if x < WIDTH / 2 else "end"
        body.append(f'<text class="label" x="{x:.1f}" y="{y - 12}" text-anchor="{anchor}">{escape(text)}</text>')
    description = "; ".join(f"{row.label} {100 * row.mean:.1f}" for row in rows)
    description += "" if fails_below is None else f"; the gate fails at {100 * fails_below:.1f} and below"
    return svg(body, height=floor + 30, title="pass@1 in points", description=description)


def looks(rows: Sequence[Look], plan: SequentialPlan) -> str:
    """Draw the path of z between the bounds of a sequential gate, over the mean number of samples per problem."""
    fails, passes = plan.fail_bounds, plan.pass_bounds
    ks = [plan.n_samples_at(number) / plan.design.n_problems for number in range(1, plan.n_looks + 1)]
    drawn = [row.z for row in rows if row.z is not None]
    everything: list[float] = [*drawn, *passes, *(bound for bound in fails if bound is not None)]
    low: float = min(everything) - 0.5
    high: float = max(everything) + 0.5
    height, top, floor = 280, 16, 232

    def x(k: float) -> float:
        whole: float = WIDTH - _LEFT - _RIGHT
        return _LEFT + whole * (k / ks[-1])

    def y(z: float) -> float:
        above: float = (high - z) / (high - low)
        return top + (floor - top) * above

    fail_points = [(x(k), y(bound)) for k, bound in zip(ks, fails, strict=True) if bound is not None]
    pass_points = [(x(k), y(bound)) for k, bound in zip(ks, passes, strict=True)]
    body = [
        _area("fail", [*fail_points, (x(ks[-1]), y(low)), (fail_points[0][0], y(low))]) if fail_points else "",
        _area("pass", [*pass_points, (x(ks[-1]), y(high)), (pass_points[0][0], y(high))]),
        *(
            f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(z):.1f}" y2="{y(z):.1f}"/>'
            f'<text class="tick" x="{_LEFT - 8}" y="{y(z) + 4:.1f}" text-anchor="end">{z or "z = 0"}</text>'
            for z in _z_ticks(low, high)
        ),
        f'<text class="passes" x="{WIDTH - _RIGHT - 10}" y="{top + 24}" text-anchor="end">PASS</text>',
        f'<text class="fails" x="{WIDTH - _RIGHT - 10}" y="{floor - 12}" text-anchor="end">FAIL</text>',
        *(f'<text class="tick" x="{x(k):.1f}" y="{floor + 20}" text-anchor="middle">{k:.3g}</text>' for k in ks),
        f'<text class="tick" x="{WIDTH - _RIGHT}" y="{floor + 43}" text-anchor="end">samples per problem</text>',
    ]
    points = [(x(ks[row.number - 1]), y(row.z), row) for row in rows if row.z is not None]
    body.append(f'<polyline class="path" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b, _ in points)}"/>')
    for a, b, row in points:
        tip = f"look {row.number} at {plan.described_depth(row.number)}: z = {row.z:.2f}"
        body.append(f'<circle class="dot run" cx="{a:.1f}" cy="{b:.1f}" r="5"><title>{tip}</title></circle>')
    description = "; ".join(f"look {row.number}: z = {row.z:.2f}" for row in rows if row.z is not None)
    return svg(body, height=height, title="The looks between FAIL (below) and PASS (above)", description=description)


def heat_map(problems: Sequence[ProblemRow]) -> str:
    """
    Draw each problem as a square, by how often it is solved: its left half the baseline, its right half the run.

    Squares of one shade are one path of strokes: a run has a thousand problems, and its page has to stay small.
    """
    size = _CELL if len(problems) > _MANY_PROBLEMS else _LARGE_CELL
    pitch = size + _GAP
    n_columns = (WIDTH - _GAP) // pitch
    n_rows = math.ceil(len(problems) / n_columns)
    strokes: list[list[str]] = [[] for _ in range(_N_SHADES)]
    frames: list[str] = []
    for number, problem in enumerate(problems):
        x, y = _GAP + number % n_columns * pitch, _GAP + number // n_columns * pitch
        middle = f"{y + size / 2:g}"
        base = problem.baseline
        half = 0.0 if base is None else size / 2
        if base is not None:
            strokes[_shade(base.n_correct, base.n_samples)].append(f"M{x} {middle}h{half:g}")
        strokes[_shade(problem.n_correct, problem.n_samples)].append(f"M{x + half:g} {middle}h{size - half:g}")
        if problem.has_fallen:
            frames.append(f"M{x} {y}h{size}v{size}h-{size}z")
    body = [f'<path class="s{shade}" d="{"".join(drawn)}"/>' for shade, drawn in enumerate(strokes) if drawn]
    body = [f'<g class="cells" stroke-width="{size}">{"".join(body)}</g>']
    body += [f'<path class="fell" d="{"".join(frames)}"/>'] if frames else []
    n_fallen = sum(problem.has_fallen for problem in problems)
    description = (
        f"{len(problems)} problems in the exam's order, {n_fallen} of them fell; the table below has their numbers"
    )
    legend = n_rows * pitch + 24
    return svg(
        [*body, *_shades(legend)],
        height=legend + 12,
        title="Solve rate by problem",
        description=description,
        attributes=f' data-pitch="{pitch}" data-columns="{n_columns}"',
    )


def _shades(y: float) -> Iterator[str]:
    """Draw the legend of the shades."""
    yield f'<text class="tick" x="{_GAP}" y="{y + 4:.0f}">never solved</text><g class="cells" stroke-width="16">'
    yield from (f'<path class="s{shade}" d="M{150 + 22 * shade} {y:.0f}h20"/>' for shade in range(_N_SHADES))
    yield f'</g><text class="tick" x="{150 + 22 * _N_SHADES + 10}" y="{y + 4:.0f}">always</text>'


def _shade(n_correct: int, n_samples: int) -> int:
    return round((_N_SHADES - 1) * n_correct / n_samples) if n_samples else 0


def lengths(found: Lengths, *, means: Sequence[tuple[str, float]] = ()) -> str:
    """
    Draw how many tokens responses have, on a logarithmic axis; those that were truncated stand out.

    Args:
        found: The responses' lengths.
        means: Mean lengths to mark, each with its name.
    """
    everything = [max(1, n_tokens) for n_tokens in (*found.stopped, *found.truncated)]
    least, most = min(everything), max(everything)
    low, high = math.log(least), math.log(most + 1)
    width = (high - low) / _N_BINS or 1.0
    stopped, cut = _binned(found.stopped, low, width), _binned(found.truncated, low, width)
    tallest = max(a + b for a, b in zip(stopped, cut, strict=True))
    top = 20 + 22 * len(means)
    height, floor = top + 176, top + 140
    step = (WIDTH - _LEFT - _RIGHT) / _N_BINS

    def x(n_tokens: float) -> float:
        share = (math.log(n_tokens) - low) / (width * _N_BINS)
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * min(1.0, max(0.0, share))

    body = [
        f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{floor}" y2="{floor}"/>',
        f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{top}" y2="{top}"/>',
        f'<text class="tick" x="{_LEFT - 8}" y="{top + 4}" text-anchor="end">{tallest:,}</text>',
        f'<text class="tick" x="{_LEFT - 8}" y="{floor + 4}" text-anchor="end">0</text>',
    ]
    for number, (n_stopped, n_truncated) in enumerate(zip(stopped, cut, strict=True)):
        if not n_stopped + n_truncated:
            continue
        left, scale = _LEFT + number * step, (floor - top) / tallest
        start, end = math.exp(low + number * width), math.exp(low + (number + 1) * width)
        tip = f"{start:.0f} to {end:.0f} tokens: {n_stopped} ended, {n_truncated} truncated"
        bars = [
            ("ended", floor - scale * n_stopped, n_stopped),
            ("cut", floor - scale * (n_stopped + n_truncated), n_truncated),
        ]
        drawn = "".join(
            f'<rect class="{kind}" x="{left:.1f}" y="{y:.1f}" width="{step - 1.5:.1f}" height="{scale * count:.1f}"/>'
            for kind, y, count in bars
            if count
        )
        body.append(f"<g><title>{tip}</title>{drawn}</g>")
    body += [_at_x(x(n_tokens), floor + 26, f"{n_tokens:,}") for n_tokens in _token_ticks(least, most)]
    for number, (name, mean) in enumerate(sorted(means, key=lambda named: named[1])):
        at, y = x(max(1.0, mean)), 20 + 22 * number
        body.append(f'<line class="mean" x1="{at:.1f}" x2="{at:.1f}" y1="{y + 4}" y2="{floor}"/>')
        text = f"{name} {mean:,.0f}"
        anchor = "end" if (number == 0 and at > _room(text)) or at > WIDTH - _room(text) else "start"
        body.append(f'<text class="tick" x="{at:.1f}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>')
    description = f"{len(found.stopped)} responses ended by themselves, {len(found.truncated)} were truncated"
    description += "".join(f"; {name} {mean:.0f}" for name, mean in means)
    return svg(body, height=height, title="Tokens of the responses", description=description)


def _at_x(x: float, y: float, text: str) -> str:
    """Write text below or above a place, within the picture."""
    room = _room(text) / 2
    anchor = "start" if x < room else "end" if x > WIDTH - room else "middle"
    return f'<text class="tick" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _room(text: str) -> float:
    """Return the width of a text at the size that telephones get."""
    return 12.0 * len(text) + 12


def _token_ticks(least: int, most: int) -> list[int]:
    """Return round numbers within a range; the range's own ends where it holds less than two."""
    decades = math.log10(most / least)
    digits = (1, 2, 5) if decades < 2 else (1,)
    round_numbers = [digit * 10**power for power in range(10) for digit in digits]
    ticks = [number for number in round_numbers if least <= number <= most]
    return ticks if len(ticks) > 1 else sorted({least, most} if most > 1.2 * least else {most})


def history(points: Sequence[tuple[int, Estimated]], baselines: Sequence[Estimated], *, unit: str = "step") -> str:
    """Draw pass@1 over training steps, or runs, with error bars, red where a gate was; baselines are lines."""
    everything = [*(estimate for _, estimate in points), *baselines]
    lows, highs = zip(*[_span(row, exam=False) for row in everything], strict=True)
    low, high = max(0.0, min(lows) - 0.02), min(1.0, max(highs) + 0.02)
    first, last = points[0][0], points[-1][0]
    height, top, floor = 290, 26, 250

    def x(step: int) -> float:
        inner = WIDTH - _LEFT - _RIGHT - 40
        return _LEFT + 20 + inner * ((step - first) / (last - first) if last > first else 0.5)

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
    path = " ".join(f"{x(step):.1f},{y(estimate.mean):.1f}" for step, estimate in points)
    body.append(f'<polyline class="path" points="{path}"/>')
    for step, estimate in points:
        error, kind = estimate.standard_error or 0.0, "red" if estimate.is_red else "run"
        ends = f'y1="{y(estimate.mean - error):.1f}" y2="{y(estimate.mean + error):.1f}"'
        tip = f"{unit} {step}: {100 * estimate.mean:.1f} ± {100 * error:.1f}"
        body.append(f'<line class="bar own {kind}" x1="{x(step):.1f}" x2="{x(step):.1f}" {ends}/>')
        body.append(
            f'<circle class="dot {kind}" cx="{x(step):.1f}" cy="{y(estimate.mean):.1f}" r="4">'
            f"<title>{escape(tip)}</title></circle>"
        )
    body += [_at_x(x(step), floor + 20, str(step)) for step in _apart([step for step, _ in points], x)]
    label_at = -math.inf
    for baseline in sorted(baselines, key=lambda each: -each.mean):
        label_at = max(y(baseline.mean) - 6, label_at + 18)
        label = escape(f"{baseline.label} {100 * baseline.mean:.1f}")
        body.append(f'<text class="tick" x="{WIDTH - _RIGHT}" y="{label_at:.1f}" text-anchor="end">{label}</text>')
    description = "; ".join(f"{unit} {step}: {100 * estimate.mean:.1f}" for step, estimate in points)
    return svg(body, height=height, title=f"pass@1 over {unit}s", description=description)


def baselines_of(means: Iterable[float | None]) -> list[Estimated]:
    """Return the baselines behind some verdicts, each once; a verdict without one has None."""
    return [
        Estimated(label="baseline", mean=mean, standard_error=None)
        for mean in sorted({mean for mean in means if mean is not None})
    ]


def _apart(steps: Sequence[int], x: Callable[[int], float]) -> list[int]:
    """Leave out the steps whose labels would touch; the last one stays."""
    kept = [steps[-1]]
    for step in reversed(steps):
        if x(kept[-1]) - x(step) >= 12 * len(str(kept[-1])) + 12:
            kept.append(step)
    return kept


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


def fails_below(gate: GateReport) -> float | None:
    """Return pass@1 at which a fixed gate fails, as its own error has it; None where something else decides."""
    judgement = gate.result.judgement
    mean, error, sigmas = judgement.baseline_mean, judgement.standard_error, judgement.sigmas
    if gate.result.sequential_plan is not None or judgement.exact or judgement.verdict is Verdict.INCONCLUSIVE:
        return None
    return None if mean is None or error is None or sigmas is None else mean - sigmas * error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    low: float
    high: float

    def x(self, value: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (value - self.low) / (self.high - self.low)

    def grid(self, *, height: float) -> Iterable[str]:
        for value in _ticks(self.low, self.high):
            x = self.x(value)
            yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="8" y2="{height:.0f}"/>'
            yield f'<text class="tick" x="{x:.1f}" y="{height + 20:.0f}" text-anchor="middle">{100 * value:.0f}</text>'


def _z_ticks(low: float, high: float) -> list[int]:
    step = 2 if high - low <= 12 else 5
    return [z for z in range(math.ceil(low), math.floor(high) + 1) if z % step == 0]


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
