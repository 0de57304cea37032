"""
Several runs of one exam as one number.

Runs under one fingerprint with distinct seeds are one longer run: their counts are
added. What is left differs in its harness, and is pooled with the noise between
harnesses estimated. Runs of other questions, and runs that share a seed, are refused:
they measure something else, or the same evidence twice.

Equal fingerprints do not make runs alike: a config that was edited, a broken node or a model that moves from run to run
leaves them further apart than sampling does. So Cochran's Q is tested within a fingerprint too. Beyond its .001 point
the runs are pooled with the noise between them estimated (Paule and Mandel). That widens the error, and the report
begins with it. Runs with one mean may solve different problems: beyond the same point,
over-dispersion widens the error.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import combinations

from scipy.special import chdtr

from pytest_r1eval.core.fingerprints import Fingerprint
from pytest_r1eval.core.measurements import Measurement
from pytest_r1eval.errors import RunError
from pytest_r1eval.runs.finished import StoredRun
from pytest_r1eval.stats.multiplicity import OverDispersion, over_dispersion
from pytest_r1eval.stats.pooling import DISAGREE, Pooled, added_counts, pooled
from pytest_r1eval.stats.tests import Estimate, pass_at_1

SCHEMA_VERSION = 1

UNLIKELY = 0.01
"""Below this a Q is reported: one set of independent runs in a hundred is so far apart, or so close together."""


class Method(StrEnum):
    """How several runs became one number."""

    ADDED = "added"
    """One fingerprint: the counts were added."""
    WIDENED = "widened"
    """One fingerprint, and runs that disagree: weighted by inverse variance, noise between them included."""
    SPREAD = "spread"
    """One fingerprint, and runs of one mean that solve different problems: added, over-dispersion in the error."""
    POOLED = "pooled"
    """Several fingerprints: weighted by inverse variance, noise between them included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRun:
    """A run's folder as the user wrote it, and what it measured."""

    folder: str
    measured: Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedRuns:
    """
    Runs under one fingerprint, their counts added.

    Attributes:
        runs: The runs' folders.
        seeds: Their seeds, all distinct.
        estimate: pass@1 from all their samples; where the runs disagree, with the noise between them.
        spread: Cochran's Q between the runs, and that noise; None for one run.
        over_dispersion: How far the runs' problems move beyond sampling; None where nothing can tell.
    """

    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    estimate: Estimate
    spread: Pooled | None = None
    over_dispersion: OverDispersion | None = None

    @property
    def disagrees(self) -> bool:
        """Whether sampling cannot explain how far apart the runs' means are."""
        return self.spread is not None and self.spread.p_different < DISAGREE

    @property
    def is_rearranged(self) -> bool:
        """Whether sampling cannot explain how far apart the runs' problems are."""
        return self.over_dispersion is not None and self.over_dispersion.p_value < DISAGREE

    @property
    def method(self) -> Method:
        """How the runs became one number."""
        if self.disagrees:
            return Method.WIDENED
        return Method.SPREAD if self.is_rearranged else Method.ADDED


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """
    Several runs of one benchmark as one number; fractions.

    Attributes:
        benchmark: The benchmark's name.
        method: How the number was made.
        mean: pass@1.
        standard_error: Its error, noise between harnesses, or between runs that disagree, included.
        n_samples: Samples behind it.
        groups: One per fingerprint.
        differing: Fields in which the fingerprints differ.
        pooled: Cochran's Q and the noise between groups; None where there is one group.
        warnings: What else the reader should know, a sentence each.
        disagreement: What the reader must know before the number; None where runs of one fingerprint agree.
    """

    benchmark: str
    method: Method
    mean: float
    standard_error: float
    n_samples: int
    groups: tuple[AddedRuns, ...]
    differing: tuple[str, ...]
    pooled: Pooled | None
    warnings: tuple[str, ...]
    disagreement: str | None = None


def read_runs(runs: Sequence[StoredRun], benchmark: str) -> tuple[MeasuredRun, ...]:
    """
    Read one benchmark of every run.

    Raises:
        RunError: If one does not hold it, or is not whole.
        StoreError: If one cannot be read.
    """
    return tuple(MeasuredRun(folder=str(run.folder), measured=run.measured(benchmark)) for run in runs)


def aggregate(runs: Sequence[MeasuredRun]) -> Aggregate:
    """
    Make one number of several runs of a benchmark.

    Raises:
        RunError: If there are fewer than two, they were asked different questions, or two are the same samples.
    """
    if len(runs) < 2:
        raise RunError(f"{' '.join(run.folder for run in runs) or 'nothing'} to aggregate; expected two runs or more")
    for run in runs[1:]:
        _demand_same_question(runs[0], run)
    by_fingerprint: dict[Fingerprint, list[MeasuredRun]] = {}
    for run in runs:
        by_fingerprint.setdefault(run.measured.fingerprint, []).append(run)
    groups = tuple(_added(group) for group in by_fingerprint.values())
    total = pooled([group.estimate for group in groups]) if len(groups) > 1 else None
    score = total or groups[0].estimate
    return Aggregate(
        benchmark=runs[0].measured.benchmark,
        method=groups[0].method if total is None else Method.POOLED,
        mean=score.mean,
        standard_error=score.standard_error,
        n_samples=sum(run.measured.counts.n_samples for run in runs),
        groups=groups,
        differing=_differing(tuple(by_fingerprint)),
        pooled=total,
        warnings=(*(() if total is None else _warnings(runs, groups, total)), *_group_warnings(groups)),
        disagreement=_disagreement(groups),
    )


def _demand_same_question(first: MeasuredRun, other: MeasuredRun) -> None:
    ours, theirs = other.measured.fingerprint.question, first.measured.fingerprint.question
    differences = [f"{found.field}: {found.theirs} and {found.ours}" for found in ours.differences(theirs)]
    if differences:
        raise RunError(
            f"{first.folder} and {other.folder} were asked different questions ({'; '.join(differences)}); "
            "expected one exam, sampling and system prompt: aggregate runs that were asked the same"
        )


def _added(group: Sequence[MeasuredRun]) -> AddedRuns:
    for one, other in combinations(group, 2):
        if one.measured.seed == other.measured.seed:
            raise RunError(
                f"{one.folder} and {other.folder} have one fingerprint and one seed ({one.measured.seed}), so they "
                "are the same samples; expected distinct seeds: leave one out, or draw another run with --r1-fresh"
            )
    counts = [run.measured.counts for run in group]
    estimate = pass_at_1(added_counts(counts))
    spread = _spread([pass_at_1(each) for each in counts]) if len(group) > 1 else None
    added = AddedRuns(
        runs=tuple(run.folder for run in group),
        seeds=tuple(run.measured.seed for run in group),
        estimate=estimate,
        spread=spread,
        over_dispersion=over_dispersion(counts) if len(group) > 1 else None,
    )
    if added.over_dispersion is not None and added.is_rearranged:
        error = estimate.standard_error * math.sqrt(added.over_dispersion.factor)
        added = replace(added, estimate=replace(estimate, standard_error=error))
    if spread is None or not added.disagrees:
        return added
    error = max(spread.standard_error, added.estimate.standard_error)
    return replace(added, estimate=replace(estimate, mean=spread.mean, standard_error=error))


def _spread(estimates: Sequence[Estimate]) -> Pooled:
    """Test runs of one fingerprint for being alike; short ones may tie by chance."""
    found = pooled(estimates)
    return replace(found, p_alike=max(found.p_alike, _tie_probability(estimates)))


def _disagreement(groups: Sequence[AddedRuns]) -> str | None:
    """Name the runs of one fingerprint that disagree; None where all agree."""
    apart = [
        f"{' '.join(group.runs)} (Cochran's Q {group.spread.cochran_q:.3g} on {len(group.runs) - 1} "
        f"degrees of freedom, p = {group.spread.p_different:.2g})"
        for group in groups
        if group.spread is not None and group.disagrees
    ]
    apart += [
        f"{' '.join(group.runs)} (problem by problem: over-dispersion {group.over_dispersion.factor:.3g}, "
        f"p = {group.over_dispersion.p_value:.2g})"
        for group in groups
        if group.over_dispersion is not None and group.is_rearranged and not group.disagrees
    ]
    if not apart:
        return None
    return (
        f"Runs of one fingerprint disagree by more than sampling: {'; '.join(apart)}. The error holds the spread "
        "between them. Find out what changed before you use this number."
    )


def _group_warnings(groups: Sequence[AddedRuns]) -> tuple[str, ...]:
    """Warn about runs of one fingerprint that are improbably far apart, or improbably alike."""
    warnings = list[str]()
    for group in groups:
        spread, names = group.spread, " ".join(group.runs)
        if spread is None or group.disagrees:
            continue
        if spread.p_different < UNLIKELY:
            warnings.append(
                f"Cochran's Q of {names} is {spread.cochran_q:.3g}, large (p = {spread.p_different:.2g}): sampling "
                "alone leaves one set of runs in a hundred so far apart."
            )
        if spread.p_alike < UNLIKELY:
            warnings.append(
                f"Cochran's Q of {names} is {spread.cochran_q:.2g}, too small (p = {spread.p_alike:.2g}): independent "
                "runs are rarely so alike; look for reused seeds or copied samples."
            )
    return tuple(warnings)


def _differing(fingerprints: Sequence[Fingerprint]) -> tuple[str, ...]:
    first, *others = fingerprints
    judged = [
        f"model.{name}"
        for name in ("weights", "checkpoint")
        if any(getattr(other.model, name) != getattr(first.model, name) for other in others)
    ]
    fields = [difference.field for other in others for difference in first.differences(other)]
    return tuple(dict.fromkeys([*judged[:1], *fields]))


def _warnings(runs: Sequence[MeasuredRun], groups: Sequence[AddedRuns], total: Pooled) -> tuple[str, ...]:
    warnings = list[str]()
    draws = Counter((run.measured.fingerprint.model.checkpoint, run.measured.seed) for run in runs)
    n_checkpoints = len({checkpoint for checkpoint, _ in draws})
    if n_checkpoints > 1:
        warnings.append(f"The runs are of {n_checkpoints} checkpoints: this number describes none of them alone.")
    warnings += [
        f"Runs of one checkpoint share the seed {seed}: they are less independent than Q assumes."
        for seed in sorted({seed for (_, seed), n_runs in draws.items() if n_runs > 1})
    ]
    if max(total.p_alike, _tie_probability([group.estimate for group in groups])) < UNLIKELY:
        warnings.append(
            f"Cochran's Q is {total.cochran_q:.2g}, too small (p = {total.p_alike:.2g}): independent runs are hardly "
            "ever so alike; look for reused seeds or copied samples."
        )
    if total.p_different < UNLIKELY:
        warnings.append(
            f"Cochran's Q is {total.cochran_q:.3g}, too large (p = {total.p_different:.2g}): the runs differ by more "
            "than sampling; the harness matters, or a run is broken."
        )
    return tuple(warnings)


def _tie_probability(estimates: Sequence[Estimate]) -> float:
    """
    Bound the probability that independent runs agree to within one response.

    Scores move in steps of one response, so that few or short runs may agree
    exactly by chance: Q = 0 then has a probability that the chi-square knows nothing of.
    """
    half_steps = (0.5 / (estimate.n_problems * estimate.samples_per_problem) for estimate in estimates)
    q = sum((step / estimate.standard_error) ** 2 for step, estimate in zip(half_steps, estimates, strict=True))
    return float(chdtr(len(estimates) - 1, q))
