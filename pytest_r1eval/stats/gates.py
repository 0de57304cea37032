"""
A sequential gate as it is stored before the first token: plan, reference and noise in one value.

The reference is frozen with the plan. A baseline file that is edited while a run
goes on changes neither bounds nor verdict, and the digest covers all of it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from pytest_r1eval.core.decoding import decoded
from pytest_r1eval.core.evidence import Evidence
from pytest_r1eval.core.records import Counts, ProblemTally
from pytest_r1eval.stats import sequential
from pytest_r1eval.stats.sequential import Completions, Look, SequentialPlan
from pytest_r1eval.stats.tests import Published
from pytest_r1eval.stats.verdicts import Tau


@dataclass(frozen=True, slots=True, kw_only=True)
class SequentialGate:
    """
    Everything that looks decide by.

    Attributes:
        plan: Looks and bounds.
        reference: The baseline's counts, or the published number.
        tau: Harness noise; its value is the plan's.
        baseline: Where the reference came from, in words.
        evidence: Which samples the reference rests on; None for a published number.
    """

    plan: SequentialPlan
    reference: Counts | Published
    tau: Tau
    baseline: str
    evidence: Evidence | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of all of it."""
        return hashlib.sha256(dumps(self).encode()).hexdigest()

    def look(self, number: int, tallies: tuple[ProblemTally, ...]) -> Look | None:
        """
        Look at a round: at its counts if it is complete, else at what no completion can change.

        Args:
            number: The look, from 1.
            tallies: The first `plan.ks[number - 1]` samples of every problem; ungraded ones are pending for good.

        Returns:
            The look; None if samples are pending and they matter.
        """
        k = self.plan.ks[number - 1]
        if all(tally.n_samples - tally.n_error == k for tally in tallies):
            counts = Counts.from_rows((tally.problem_id, tally.n_correct, k) for tally in tallies)
            return sequential.look(self.plan, number, counts, self.reference, tau=self.tau)
        finished = ((tally.problem_id, tally.n_correct, tally.n_samples - tally.n_error) for tally in tallies)
        completions = Completions.of(finished, n_samples=k)
        return sequential.sandwich(self.plan, number, completions, self.reference, tau=self.tau)


def dumps(gate: SequentialGate) -> str:
    """Write a gate as canonical JSON."""
    fields = {
        "plan": sequential.dumps(gate.plan),
        "reference": _reference_fields(gate.reference),
        "tau_source": gate.tau.source,
        "tau_advice": gate.tau.advice,
        "baseline": gate.baseline,
        "evidence": None if gate.evidence is None else asdict(gate.evidence),
    }
    return json.dumps(fields, sort_keys=True, allow_nan=False)


def loads(text: str) -> SequentialGate:
    """
    Read a gate that `dumps` wrote.

    Raises:
        ValueError: If the text is not such a gate.
    """
    try:
        fields = json.loads(text)
        plan = sequential.loads(fields["plan"])
        rows = fields["reference"].get("counts")
        reference = Published(**fields["reference"]) if rows is None else Counts.from_rows(tuple(row) for row in rows)
        tau = Tau(value=plan.design.tau, source=fields["tau_source"], advice=fields["tau_advice"])
        evidence = None if fields["evidence"] is None else decoded(Evidence, fields["evidence"])
        return SequentialGate(plan=plan, reference=reference, tau=tau, baseline=fields["baseline"], evidence=evidence)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no sequential gate: {error}; expected what dumps wrote") from error


def _reference_fields(reference: Counts | Published) -> dict[str, object]:
    if isinstance(reference, Published):
        return asdict(reference)
    return {"counts": [[row.problem_id, row.n_correct, row.n_samples] for row in reference.problems]}
