"""What is judged and shown beside pass@1: health, problems that fell, and how problems moved."""

from dataclasses import replace

from pytest_r1eval.core.baselines import HealthCounts, MeasuredBaseline, PublishedBaseline
from pytest_r1eval.core.records import Counts
from pytest_r1eval.judging.result import GateResult, ProblemTitle
from pytest_r1eval.runs.finished import Ungraded
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.stats.health import Health, HealthReference, judge_health
from pytest_r1eval.stats.multiplicity import fallen_problems, rearrangement
from pytest_r1eval.stats.verdicts import DO_NOT_SHIP, Verdict

_SICK = f"{DO_NOT_SHIP}: pass@1 held, and the responses are not healthy; see below."
_MATTERS_TO_HEALTH = "; counted as responses without an answer, they would change the verdict on health"


def with_diagnostics(  # noqa: PLR0913  what was found, and by what it is judged
    result: GateResult,
    *,
    observed: HealthCounts,
    counts: Counts,
    baseline: MeasuredBaseline | PublishedBaseline | None,
    health: HealthReference,
    alpha: float,
    ungraded: Ungraded | None,
) -> GateResult:
    """
    Add what is judged and shown beside pass@1: health, the problems that fell, and rearrangement.

    Args:
        result: A result that has a pass@1.
        observed: The run's health counts.
        counts: The run's counts.
        baseline: What problems are compared with; only a measured one knows of them.
        health: What the rates are judged against.
        alpha: Level of each rate's test.
        ungraded: Samples on which the grader failed; each may have held no answer. None where it failed on none.
    """

    def judged(counts: HealthCounts) -> Health:
        return judge_health(counts, baseline=health.counts, alpha=alpha, tau=health.tau, limits=health.known_limits)

    found = judged(observed)
    if ungraded is not None:
        worst = judged(replace(observed, n_no_answer=observed.n_no_answer + ungraded.n_errors))
        if worst.passes is not found.passes:
            return replace(result, judgement=ungraded.refusal(_MATTERS_TO_HEALTH))
    result = replace(result, health=found)
    if result.judgement.verdict is Verdict.PASS and not found.passes:
        result = replace(result, judgement=replace(result.judgement, next_step=_SICK))
    if not isinstance(baseline, MeasuredBaseline):
        return result
    result = replace(result, reference=baseline.counts.problems)
    if set(counts.ids) != set(baseline.counts.ids):
        return result
    has_failed = result.judgement.verdict is Verdict.FAIL_REGRESSED
    return replace(
        result,
        rearrangement=rearrangement(counts, baseline.counts),
        fallen=fallen_problems(counts, baseline.counts) if has_failed else None,
    )


def with_titles(result: GateResult, run: RunReader) -> GateResult:
    """Add the titles of the problems that fell."""
    if result.fallen is None or not result.fallen.problems:
        return result
    titles = {problem.id: problem.title for problem in run.exam(result.benchmark).problems}
    fallen = [row.candidate.problem_id for row in result.fallen.problems]
    named = tuple(ProblemTitle(problem_id=id_, title=titles[id_]) for id_ in fallen if id_ in titles)
    return replace(result, titles=named)
