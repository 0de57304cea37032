"""By what one benchmark of a run is planned and judged; without a policy, all of them have the same."""

from dataclasses import dataclass, replace

from pytest_r1eval.baselines.shelf import BaselineShelf, FoundBaseline
from pytest_r1eval.config.settings import Settings
from pytest_r1eval.core.baselines import MeasuredBaseline
from pytest_r1eval.core.choices import Tier
from pytest_r1eval.stats.health import USUAL_LIMITS, HealthLimits
from pytest_r1eval.stats.tests import pass_at_1
from pytest_r1eval.stats.verdicts import GateRule


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTerms:
    """
    What a release policy decides about a benchmark beside its rule.

    Attributes:
        digest: The policy's.
        tier: What the verdict does to the release.
        asked: What the benchmark's samples must have been drawn by.
    """

    digest: str
    tier: Tier
    asked: Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """
    By what one benchmark is planned and judged.

    Attributes:
        shelf: Where its baseline is.
        rule: How to decide.
        anchor: Where a second, fixed baseline is; None for one baseline.
        is_holm: Whether it is judged together with others by Holm's procedure, after the samples are drawn.
        limits: What rates of unhealthy responses may be.
        relative_margin: A margin as a fraction of the baseline's pass@1; None for none.
        policy: What a release policy decides; None without one.
        named: The options about judging that the user wrote beside a stored run.
    """

    shelf: BaselineShelf
    rule: GateRule
    anchor: BaselineShelf | None = None
    is_holm: bool = False
    limits: HealthLimits = USUAL_LIMITS
    relative_margin: float | None = None
    policy: PolicyTerms | None = None
    named: frozenset[str] = frozenset()

    def rule_against(self, found: FoundBaseline | None, rule: GateRule | None = None) -> GateRule:
        """
        Return the rule against a baseline, with the smaller margin where one is a part of the baseline's score.

        Args:
            found: The baseline.
            rule: The rule where it is not the benchmark's own, as at half of alpha.
        """
        rule = rule or self.rule
        if self.relative_margin is None or found is None:
            return rule
        margin = self.relative_margin * _score(found)
        smaller = margin if rule.margin is None else min(margin, rule.margin)
        return replace(rule, margin=smaller) if smaller > 0 else rule


def _score(found: FoundBaseline) -> float:
    baseline = found.baseline
    return pass_at_1(baseline.counts).mean if isinstance(baseline, MeasuredBaseline) else baseline.pass_at_1
