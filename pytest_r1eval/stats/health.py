"""
Health beside pass@1: responses truncated, responses without an answer, and their length.

A score can stay where it was while a model starts to ramble into the token limit;
each rate is judged by itself, against the baseline where there is one.

A sequential run looks at health after each round, from one sample of every problem on, because a model that collapsed
writes to the token limit in every sample. Each rate has an error rate of its own. Looks spend it as they spend that of
pass@1, as the square of the part of the samples, and the verdict has what is left: by the union bound over looks no
rate is judged at more than alpha.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Annotated

from scipy.special import bdtrc

from pytest_r1eval.core.baselines import HealthCounts
from pytest_r1eval.core.fields import LeftOutIfEmpty
from pytest_r1eval.core.records import ProblemTally
from pytest_r1eval.core.thinking import added_thoughts
from pytest_r1eval.stats.tests import Rate, rate_test
from pytest_r1eval.stats.verdicts import Verdict

MAX_LENGTH_RATIO = 1.25
"""Mean tokens over the baseline's that draw a warning: a quarter more is a quarter more GPU hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthLimit:
    """
    What a rate of unhealthy responses may be.

    Attributes:
        name: What the responses show, a text that follows "of the responses", e.g. "were truncated".
        limit: The largest rate, a fraction, that passes without a baseline.
        decides: Whether a larger one fails beside a baseline too, because a person set it.
    """

    name: str
    limit: float
    decides: Annotated[bool, LeftOutIfEmpty()] = False

    def __post_init__(self) -> None:
        if not 0 <= self.limit <= 1:
            raise ValueError(f"the limit is {self.limit}; expected a fraction between 0 and 1")


TRUNCATION = HealthLimit(name="were truncated", limit=0.15)
"""Below the 19 to 37 % with which broken runs went through unnoticed (olmo-eval#399)."""


NO_ANSWER = HealthLimit(name="hold no answer", limit=0.15)
"""The same limit: a response without an answer is lost in the same way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthLimits:
    """What each rate of unhealthy responses may be."""

    truncation: HealthLimit = TRUNCATION
    no_answer: HealthLimit = NO_ANSWER

    @classmethod
    def of(cls, *, max_truncated: float | None, max_no_answer: float | None) -> HealthLimits:
        """Return the limits that a person set, fractions; None for the usual one."""
        return cls(truncation=_set(TRUNCATION, max_truncated), no_answer=_set(NO_ANSWER, max_no_answer))


def _set(usual: HealthLimit, limit: float | None) -> HealthLimit:
    return usual if limit is None else HealthLimit(name=usual.name, limit=limit, decides=True)


USUAL_LIMITS = HealthLimits()
"""Without anything that a person set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReference:
    """
    What health is judged against.

    Attributes:
        counts: The baseline's; None for a published number or none at all, where limits decide.
        tau: The harness's noise, a fraction.
        limits: What a person set for each rate; None for the usual limits.
    """

    counts: HealthCounts | None = None
    tau: float = 0.0
    limits: Annotated[HealthLimits | None, LeftOutIfEmpty()] = None

    @property
    def known_limits(self) -> HealthLimits:
        """What each rate may be."""
        return self.limits or USUAL_LIMITS

    def within(self, limits: HealthLimits) -> HealthReference:
        """Return the same with other limits."""
        return replace(self, limits=None if limits == USUAL_LIMITS else limits)


LIMITS_ALONE = HealthReference()
"""Where there is no baseline, or a published number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthJudgement:
    """
    Whether a rate of unhealthy responses lets the checkpoint through.

    Attributes:
        verdict: PASS or FAIL_REGRESSED.
        limit: What was looked at, and the limit without a baseline.
        rate: The candidate's rate.
        baseline: The baseline's rate; None if there is none.
        p_value: One-sided p-value against a rise; None without a baseline.
        reason: Why, in one sentence.
        next_step: What to do, in one sentence.
        warnings: What else the reader should know.
    """

    verdict: Verdict
    limit: HealthLimit
    rate: Rate
    baseline: Rate | None
    p_value: float | None
    reason: str
    next_step: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """
    How healthy a run's responses are.

    Attributes:
        truncation: The rate of responses truncated at the token limit, judged.
        no_answer: The rate of responses without an answer, judged.
        mean_tokens: Tokens per response.
        baseline_mean_tokens: The same of the baseline; None without a measured one.
        mean_thought_tokens: Those of its thought; None where thoughts are not told apart.
        baseline_mean_thought_tokens: The same of the baseline.
        n_unfinished_thoughts: Responses that end within their thought; None as above.
    """

    truncation: HealthJudgement
    no_answer: HealthJudgement
    mean_tokens: float
    baseline_mean_tokens: float | None
    mean_thought_tokens: float | None = None
    baseline_mean_thought_tokens: float | None = None
    n_unfinished_thoughts: int | None = None

    @property
    def rates(self) -> tuple[HealthJudgement, HealthJudgement]:
        """What is judged of the responses."""
        return self.truncation, self.no_answer

    @property
    def failing(self) -> tuple[HealthJudgement, ...]:
        """Those of them that fail."""
        return tuple(judged for judged in self.rates if judged.verdict is not Verdict.PASS)

    @property
    def passes(self) -> bool:
        """Whether every rate lets the checkpoint through."""
        return not self.failing

    @property
    def n_tests(self) -> int:
        """How many tests may turn an unchanged model red; a limit without a baseline does not count as a test."""
        return sum(judged.p_value is not None for judged in self.rates)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader should know, failing or not."""
        found = (*self.truncation.warnings, *self.no_answer.warnings)
        if self.baseline_mean_tokens is None:
            return found
        if self.baseline_mean_tokens == 0:
            return (*found, "The baseline counts no tokens, so the lengths of responses are not compared.")
        ratio = self.mean_tokens / self.baseline_mean_tokens
        if 1 / MAX_LENGTH_RATIO <= ratio <= MAX_LENGTH_RATIO:
            return found
        return (*found, f"Responses have {ratio:.2f} times the tokens of the baseline's.")


def added_health(parts: Collection[HealthCounts | ProblemTally]) -> HealthCounts:
    """Add up the counts of runs of one checkpoint."""
    return HealthCounts(
        n_samples=sum(part.n_samples for part in parts),
        n_truncated=sum(part.n_truncated for part in parts),
        n_no_answer=sum(part.n_no_answer for part in parts),
        n_tokens=sum(part.n_tokens for part in parts),
        thoughts=added_thoughts(part.thoughts for part in parts),
    )


def judge_health(
    observed: HealthCounts,
    *,
    baseline: HealthCounts | None,
    alpha: float,
    tau: float = 0.0,
    limits: HealthLimits = USUAL_LIMITS,
) -> Health:
    """
    Judge a run's responses, against a measured baseline's where there is one.

    Args:
        observed: The run's counts.
        baseline: The measured baseline's; None for a published number or none at all.
        alpha: Level of each rate's test.
        tau: Harness noise, a fraction: engines and devices move rates as they move scores.
        limits: What each rate may be.
    """
    judged = {
        limit: judge_rate(rate, limit=limit, alpha=alpha, tau=tau, baseline=known)
        for limit, rate, known in _rates(observed, baseline, limits)
    }
    return Health(
        truncation=judged[limits.truncation],
        no_answer=judged[limits.no_answer],
        mean_tokens=observed.n_tokens / observed.n_samples,
        baseline_mean_tokens=None if baseline is None else baseline.n_tokens / baseline.n_samples,
        mean_thought_tokens=_mean_thought(observed),
        baseline_mean_thought_tokens=None if baseline is None else _mean_thought(baseline),
        n_unfinished_thoughts=None if observed.thoughts is None else observed.thoughts.n_unfinished,
    )


def is_sick(
    observed: HealthCounts,
    *,
    baseline: HealthCounts | None,
    alpha: float,
    tau: float = 0.0,
    limits: HealthLimits = USUAL_LIMITS,
) -> bool:
    """
    Tell at a look whether the responses are too unhealthy to go on.

    A limit that decides is tested here, because a look has few responses: a model at the limit is stopped with
    probability alpha.

    Args:
        observed: The counts of a round; samples that are pending count as healthy.
        baseline: The measured baseline's; None for a published number.
        alpha: What the look may spend on each rate.
        tau: Harness noise, a fraction.
        limits: What each rate may be.
    """
    return any(
        ((known is None or limit.decides) and _p_above(rate, limit) <= alpha)
        or (known is not None and rate_test(rate, known, tau=tau) <= alpha)
        for limit, rate, known in _rates(observed, baseline, limits)
    )


def _rates(
    observed: HealthCounts, baseline: HealthCounts | None, limits: HealthLimits
) -> Iterator[tuple[HealthLimit, Rate, Rate | None]]:
    """Yield what is judged: a limit, the run's rate, and the baseline's."""
    yield limits.truncation, _truncated(observed), None if baseline is None else _truncated(baseline)
    yield limits.no_answer, _unanswered(observed), None if baseline is None else _unanswered(baseline)


def _truncated(counts: HealthCounts) -> Rate:
    return Rate(n_events=counts.n_truncated, n_responses=counts.n_samples)


def _unanswered(counts: HealthCounts) -> Rate:
    return Rate(n_events=counts.n_no_answer, n_responses=counts.n_samples)


def _p_above(rate: Rate, limit: HealthLimit) -> float:
    """One-sided exact binomial p-value against a rate above the limit."""
    return 1.0 if rate.n_events == 0 else float(bdtrc(rate.n_events - 1, rate.n_responses, limit.limit))


def _mean_thought(counts: HealthCounts) -> float | None:
    return None if counts.thoughts is None else counts.thoughts.n_tokens / counts.n_samples


def judge_rate(
    rate: Rate, *, limit: HealthLimit, alpha: float, baseline: Rate | None = None, tau: float = 0.0
) -> HealthJudgement:
    """
    Judge a rate of unhealthy responses: against the baseline's, or without one against the limit.

    With a baseline the usual limit only warns, because a model may have been truncated often before.
    """
    above = rate.value > limit.limit
    found = f"{100 * rate.value:.1f} % of the responses {limit.name}"
    if baseline is None:
        p_value, fails = None, above
        reason = f"{found}; {'' if limit.decides else 'without a baseline '}at most {100 * limit.limit:g} % may."
    else:
        p_value = rate_test(rate, baseline, tau=tau)
        fails = p_value <= alpha or (above and limit.decides)
        reason = f"{found}, {100 * baseline.value:.1f} % in the baseline (p = {p_value:.2g}, {alpha:.2g} decides)."
        reason += f" At most {100 * limit.limit:g} % may." if limit.decides else ""
    return HealthJudgement(
        verdict=Verdict.FAIL_REGRESSED if fails else Verdict.PASS,
        limit=limit,
        rate=rate,
        baseline=baseline,
        p_value=p_value,
        reason=reason,
        next_step="Read some of these responses, and check the token limit and the chat template."
        if fails
        else "Nothing to do.",
        warnings=(f"More than {100 * limit.limit:.0f} % of the responses {limit.name}, in the baseline too.",)
        if above and not fails
        else (),
    )
