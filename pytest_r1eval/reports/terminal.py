"""The gate as text: one table for all benchmarks, and the lines behind each verdict."""

from collections.abc import Mapping, Sequence

from pytest_r1eval.core.choices import CodeGrader, grades_programs
from pytest_r1eval.core.points import points
from pytest_r1eval.core.texts import counted, printable
from pytest_r1eval.judging.result import GateResult, PartScore, ProblemTitle, false_alarm, gate_alpha
from pytest_r1eval.reports.appearance import HEALTHY, UNHEALTHY, appearance_of, word_of
from pytest_r1eval.reports.documentation import health_page, verdict_page
from pytest_r1eval.stats.allocated_plan import described
from pytest_r1eval.stats.health import Health
from pytest_r1eval.stats.multiplicity import FallenProblem, FallenProblems, family_wise_error
from pytest_r1eval.stats.planning import SequentialPlan, detectable_rise
from pytest_r1eval.stats.tests import StandardErrorName
from pytest_r1eval.stats.verdicts import DO_NOT_SHIP, SHIP_IT, Judgement, Verdict

MAX_FALLEN_SHOWN = 10
NEXT, DOCS = "  next: ", "  docs: "
"""How the lines begin that say what to do, and which page tells more."""
REARRANGED_P = 0.001
"""Below this the problems' moves are worth a note; at four benchmarks a release it cries wolf once in 250."""

TRAININGS = (10, 20, 50)
"""Numbers of checkpoints for which the chance of a false stop is printed."""

TABLE_HEAD = ("benchmark", "pass@1", "baseline", "difference", "z", "MDE80", "verdict")


def gate_table(results: Sequence[GateResult]) -> list[str]:
    """Lay out one row per benchmark; all scores in percentage points."""
    return columns([TABLE_HEAD, *(gate_row(result) for result in results)])


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay out a table whose first row is its header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def family_lines(results: Sequence[GateResult]) -> list[str]:
    """Print how often an unchanged model turns one of several gates red, health included; nothing for one gate."""
    error = false_alarm(results)
    if error is None:
        return []
    n_gates = sum(result.judgement.sigmas is not None for result in results)
    return [f"An unchanged model turns one of these {n_gates} gates red with probability {error:.4f} at most."]


def gate_row(result: GateResult) -> tuple[str, ...]:
    """Return a benchmark's cells under `TABLE_HEAD`."""
    judgement = result.judgement
    cells = (
        result.title,
        _estimate(judgement),
        _number(judgement.baseline_mean),
        _number(judgement.difference, sign=True),
        "-" if judgement.z is None else f"{judgement.z:+.2f}",
        "none" if judgement.mde_80 is None and judgement.z is not None else _number(judgement.mde_80),
        word_of(result),
    )
    return tuple(map(printable, cells))


def _estimate(judgement: Judgement) -> str:
    if judgement.estimate is None:
        return "-"
    mark = " (Bernoulli)" if judgement.estimate.standard_error_name is StandardErrorName.BERNOULLI else ""
    return f"{100 * judgement.estimate.mean:.1f} ± {100 * judgement.estimate.standard_error:.1f}{mark}"


def _number(fraction: float | None, *, sign: bool = False) -> str:
    if fraction is None:
        return "-"
    return f"{100 * fraction:+.1f}" if sign else f"{100 * fraction:.1f}"


def gate_lines(result: GateResult) -> list[str]:
    """Print what was found, against what, and what to do next."""
    judgement = result.judgement
    lines = [f"{result.title}: {appearance_of(judgement.verdict).word}. {judgement.reason}"]
    lines += claim_lines(judgement)
    lines += [f"  baseline: {result.baseline}"] if result.baseline else []
    lines += [f"  changed: {', '.join(result.changes)}"] if result.changes else []
    lines += _reference_lines(result)
    if result.n_planned is not None:
        lines.append(
            f"  samples: {result.n_samples} of {result.n_planned}{_spread(result)}, {result.n_tokens} tokens, "
            f"{result.n_truncated} truncated{_truncated_message(result)}, {result.n_no_answer} without an answer"
        )
    lines += [_part(part) for part in result.parts]
    lines += _other_scores(result)
    if result.grader is not None:
        what = "programs" if grades_programs(result.grader) else "answers"
        lines.append(f"  {what}: graded by {result.grader}, in {result.sandbox or 'no sandbox that was recorded'}")
    lines += [f"  {difference.line}" for difference in result.grader_differences]
    if judgement.tau is not None and judgement.tau.value > 0:
        lines.append(f"  harness noise: tau {100 * judgement.tau.value:.1f} points, because {judgement.tau.source}")
    lines += plan_lines(result)
    lines += [f"  warning: {warning}" for warning in judgement.warnings]
    lines += _fallen_lines(result.fallen, result.titles) if result.fallen else []
    lines += _rearrangement_lines(result)
    lines += [f"  ledger: {line}" for line in result.attempts.lines] if result.attempts else []
    lines += [f"  recorded: {result.recorded}"] if result.recorded else []
    lines += [f"  candidate: {result.candidate}"] if result.candidate else []
    lines += [f"{NEXT}{next_step_of(result)}", *_documented(verdict_page(judgement.verdict))]
    return [printable(line) for line in lines]


def next_step_of(result: GateResult) -> str:
    """Return what to do; under a policy a green gate ships nothing by itself, and a tolerated red one holds nothing."""
    step = result.judgement.next_step
    if result.is_tolerated:
        step = step.replace(DO_NOT_SHIP, "The release tolerates it")
    return step if result.policy is None else step.replace(SHIP_IT, f"{SHIP_IT} if the release is SHIP")


def claim_lines(judgement: Judgement) -> list[str]:
    """Print what is claimed beyond "no fall was shown", and what speaks for it; nothing for the usual gate."""
    found = judgement.equivalence
    if found is None:
        return []
    margin, power = points(found.margin), f"{100 * found.power:.0f} %"
    tested = f"p = {found.p_fall:.2g} against such a fall, p = {found.p_rise:.2g} against such a rise"
    return [f"  claim: the same within {margin} points; {tested}; an unchanged model passes with {power} power"]


def _spread(result: GateResult) -> str:
    """Print fewest and most samples of a problem, where they differ."""
    fewest, most = (0, 0) if result.allocated is None else (min(result.allocated), max(result.allocated))
    return "" if fewest == most else f" ({fewest} to {most} per problem)"


def _documented(page: str | None) -> list[str]:
    """Name the page behind a next step; nothing where the installed package names no documentation."""
    return [] if page is None else [f"{DOCS}{page}"]


def _part(part: PartScore) -> str:
    """Print a part of a pool, which is not gated by itself."""
    baseline = "" if part.baseline_mean is None else f", baseline {100 * part.baseline_mean:.1f}"
    score = f"{100 * part.mean:.1f} ± {100 * part.standard_error:.1f}"
    return f"  part {part.name}: {score} on {counted(part.n_problems, 'problem')}{baseline}"


def _other_scores(result: GateResult) -> list[str]:
    """Print pass@k and maj@k, which decide nothing."""
    scores = [("pass", score) for score in result.pass_at_k]
    scores += [] if result.maj_at_k is None else [("maj", result.maj_at_k)]
    shown = [f"{kind}@{score.k} {100 * score.mean:.1f} ± {100 * score.standard_error:.1f}" for kind, score in scores]
    return [f"  not gated: {', '.join(shown)}"] if shown else []


def _truncated_message(result: GateResult) -> str:
    """Print how many unfinished responses count as right: LightEval grades the last number of an unfinished thought."""
    if not result.n_truncated or result.n_truncated_correct is None:
        return ""
    return f" ({result.n_truncated_correct} of them graded right)"


def _reference_lines(result: GateResult) -> list[str]:
    """Print the verdicts against baseline and anchor, and how often a training is stopped by chance."""
    if not result.references:
        return []
    alpha = gate_alpha(result)
    risks = ", ".join(f"{family_wise_error(alpha, n):.3f} of {n}" for n in TRAININGS)
    return [
        *(
            f"  against the {reference.role} ({reference.baseline}): "
            f"{appearance_of(reference.judgement.verdict).word}. {reference.judgement.reason}"
            for reference in result.references
        ),
        f"  an unchanged model stops a training of T checkpoints with probability at most 1-(1-{alpha:.3g})^T: {risks}",
    ]


def plan_lines(result: GateResult) -> list[str]:
    """Print what was fixed before the first token; nothing for a fixed gate."""
    plan = result.sequential_plan
    if plan is None:
        return []
    design, rule = plan.design, plan.rule
    return [
        f"  sequential gate {(result.gate or '')[:12]}, fixed before the first token:",
        *_looks_after(plan),
        f"    FAIL at z of {_series(plan.fail_bounds, '{:.2f}')} or less",
        f"    PASS at z of {_series(plan.pass_bounds, '{:.2f}')} or more{_upper(plan)}",
        (
            f"    margin {100 * plan.margin:.1f} points, alpha {rule.alpha:.3g}, beta {plan.beta:g}, "
            f"tau {100 * design.tau:.1f} points, W {design.within_variance:.3f} from {design.within_variance_source}"
        ),
    ]


def _looks_after(plan: SequentialPlan) -> list[str]:
    """Print how many samples each look sees; of an allocation in all, and which problems get most."""
    if plan.allocation is None:
        return [f"    looks after {_series(plan.ks, '{}')} samples per problem"]
    looks = [plan.n_samples_at(number) for number in range(1, plan.n_looks + 1)]
    return [f"    looks after {_series(looks, '{}')} samples in all", f"    allocated: {described(plan)}"]


def _upper(plan: SequentialPlan) -> str:
    """Print the upper bound of a two-sided gate's PASS, and which rise it sees."""
    if not plan.rule.two_sided:
        return ""
    rise = detectable_rise(plan)
    seen = "no rise" if rise is None else f"a rise of {100 * rise:.1f} points"
    return f" and no more than its negative; {seen} is seen with 80 % power"


def _series(values: Sequence[float | None], form: str) -> str:
    return " ".join("-" if value is None else form.format(value) for value in values)


def _fallen_lines(fallen: FallenProblems, titles: Sequence[ProblemTitle]) -> list[str]:
    called = {title.problem_id: title.title for title in titles}
    share, power = 100 * fallen.power_for_rate, fallen.power
    lines = [f"  fell: {_fall(row, called)}" for row in fallen.problems[:MAX_FALLEN_SHOWN]]
    hidden = len(fallen.problems) - len(lines)
    lines += [f"  fell: and {counted(hidden, 'more problem')}"] if hidden > 0 else []
    lines += [] if lines else ["  fell: no single problem fell clearly"]
    return [*lines, f"  a problem that fell to {share:.0f} % is on this list with probability {power:.2f}"]


def _fall(row: FallenProblem, called: Mapping[str, str]) -> str:
    id_, now, before = row.candidate.problem_id, row.candidate, row.baseline
    counts = f"{now.n_correct} of {now.n_samples} (baseline {before.n_correct} of {before.n_samples})"
    return f"{called.get(id_, id_)}, {counts}, q = {row.adjusted_p_value:.2g}"


def _rearrangement_lines(result: GateResult) -> list[str]:
    moved = result.rearrangement
    if moved is None or moved.p_value > REARRANGED_P or result.judgement.verdict is not Verdict.PASS:
        return []
    note = f"problems moved more than chance moves them (p = {moved.p_value:.2g}): same score, different model"
    return [f"  note: the mean is in bounds, but {note}"]


def health_lines(result: GateResult) -> list[str]:
    """Print how healthy the responses are, and what to do about it."""
    health = result.health
    if health is None:
        return [f"{result.title}: health is not judged where pass@1 is not."]
    found = HEALTHY if health.passes else UNHEALTHY
    lines = [f"{result.title}: {found}. {health.truncation.reason} {health.no_answer.reason}"]
    baseline = "" if health.baseline_mean_tokens is None else f" (baseline {health.baseline_mean_tokens:.0f})"
    lines.append(f"  mean tokens: {health.mean_tokens:.0f}{baseline}")
    if result.allocated is not None and (k := result.samples_per_problem) is not None:
        first = "first sample" if k == 1 else f"first {counted(k, 'sample')}"
        lines.append(f"  judged by: the {first} of each problem, equally many of all")
    lines += _thought_lines(result, health)
    lines += [f"  warning: {warning}" for warning in health.warnings]
    lines += dict.fromkeys(f"{NEXT}{judged.next_step}" for judged in health.failing)
    lines += [] if health.passes else _documented(health_page())
    return [printable(line) for line in lines]


def _thought_lines(result: GateResult, health: Health) -> list[str]:
    """Print how long thoughts and answers are, and what became of thoughts without an end; nothing without tags."""
    if health.mean_thought_tokens is None:
        return []
    parts = {"thought": health.mean_thought_tokens, "answer": health.mean_tokens - health.mean_thought_tokens}
    before: dict[str, float] = {}
    if health.baseline_mean_tokens is not None and health.baseline_mean_thought_tokens is not None:
        thought = health.baseline_mean_thought_tokens
        before = {"thought": thought, "answer": health.baseline_mean_tokens - thought}
    lines = [
        f"  mean tokens of the {part}: {mean:.0f}{f' (baseline {before[part]:.0f})' if part in before else ''}"
        for part, mean in parts.items()
    ]
    if health.n_unfinished_thoughts:
        how = _reading_of_unfinished(result.grader)
        lines.append(f"  unfinished thoughts: {health.n_unfinished_thoughts} of {result.n_samples} responses; {how}")
    return lines


def _reading_of_unfinished(grader: str | None) -> str:
    """Say how a grader reads a thought without an end; which metric a task has is not known where verdicts are read."""
    if grader is None:
        return "LightEval's grader reads them as answers, unless its metric is a group (IFEval, IFBench)"
    is_strict = grader.startswith(CodeGrader.STRICT)
    return "they hold no answer" if is_strict else "LightEval's grader reads them as answers"
