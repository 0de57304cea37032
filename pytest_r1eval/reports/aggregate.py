"""Several runs as one number, as text; all scores in percentage points."""

from pytest_r1eval.core.points import points, score
from pytest_r1eval.core.texts import counted
from pytest_r1eval.judging.aggregate import AddedRuns, Aggregate, Method
from pytest_r1eval.reports.terminal import columns


def aggregate_text(aggregate: Aggregate) -> list[str]:
    """Print the number, how it was made, and from which runs."""
    n_runs = sum(len(group.runs) for group in aggregate.groups)
    lines = [] if aggregate.disagreement is None else [f"{aggregate.benchmark}: {aggregate.disagreement}"]
    lines += [
        f"{aggregate.benchmark}: pass@1 {score(aggregate.mean, aggregate.standard_error)} points",
        f"  from {counted(aggregate.n_samples, 'sample')} of {counted(n_runs, 'run')}, {_method(aggregate)}",
        *(f"  {line}" for line in columns(_rows(aggregate))),
    ]
    if aggregate.pooled is not None:
        pooled = aggregate.pooled
        lines.append(
            f"  Cochran's Q = {pooled.cochran_q:.3g} (p = {pooled.p_different:.2g} for one so large, "
            f"{pooled.p_alike:.2g} for one so small), Paule-Mandel tau {points(pooled.tau)} points"
        )
    lines += [line for group in aggregate.groups for line in _spread(group)]
    return lines + [f"  warning: {warning}" for warning in aggregate.warnings]


def _method(aggregate: Aggregate) -> str:
    match aggregate.method:
        case Method.ADDED:
            return "counts added: one fingerprint, distinct seeds"
        case Method.WIDENED:
            return "one fingerprint, distinct seeds, pooled by inverse variance with the spread between the runs"
        case Method.SPREAD:
            return "counts added, one fingerprint, distinct seeds; the error holds the over-dispersion"
        case Method.POOLED:
            return f"pooled by inverse variance, because the fingerprints differ in {', '.join(aggregate.differing)}"


def _spread(group: AddedRuns) -> list[str]:
    """Print how far apart runs of one fingerprint are, in total and by problem; nothing for a single run."""
    if group.spread is None:
        return []
    spread, moved = group.spread, group.over_dispersion
    noise = f", Paule-Mandel tau {points(spread.tau)} points" if group.disagrees else ""
    freedom = f"{len(group.runs) - 1} degrees of freedom (p = {spread.p_different:.2g} for one so large)"
    lines = [f"  {' '.join(group.runs)}: Cochran's Q = {spread.cochran_q:.3g} on {freedom}{noise}"]
    if moved is not None:
        lines.append(
            f"    over-dispersion 1 + (k - 1) rho = {moved.factor:.2f} at k = {moved.samples_per_problem:.3g} "
            f"(rho = {moved.correlation:.2g}, from {counted(moved.n_informative, 'problem')}; "
            "1 where sampling explains all)"
        )
    return lines


def _rows(aggregate: Aggregate) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("runs", "seeds", "samples per problem", "pass@1")]
    for group in aggregate.groups:
        estimate = group.estimate
        rows.append(
            (
                " ".join(group.runs),
                " ".join(map(str, group.seeds)),
                f"{estimate.samples_per_problem:.4g}",
                score(estimate.mean, estimate.standard_error),
            )
        )
    return rows
