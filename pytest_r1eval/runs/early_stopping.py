"""
Looks at a sequential run while it goes on: whoever completes a round looks, and a verdict closes it for everybody.

Looks need no lock. They depend on stored samples alone, so two workers that look
at the same round see the same, and the store keeps the first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from pytest_r1eval.core.records import ProblemTally
from pytest_r1eval.runs.finished import too_many_ungraded
from pytest_r1eval.runs.store import Store
from pytest_r1eval.stats.looks import Look, SequentialGate
from pytest_r1eval.stats.looks import loads as loads_gate
from pytest_r1eval.stats.verdicts import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """Of a stored look: whether it decided."""

    verdict: Verdict | None


def gate_of(store: Store, name: str) -> SequentialGate | None:
    """Return what a benchmark's looks decide by; None where only a complete run is judged."""
    text = store.gate(name)
    if text is None:
        return None
    with store.understanding(f"the gate of {name}"):
        return loads_gate(text)


def advance(store: Store, name: str, gate: SequentialGate, *, shortcut: bool) -> None:
    """
    Take every look that a benchmark's stored samples allow, and close it where one decides.

    A look that has decided is the last. Samples of the next rounds may be there already, drawn while it was taken; a
    verdict that could still change with them would have been looked for more often than the plan paid for.

    Samples that could not be graded close it as well where they are too many, or where the look hangs on them: its
    verdict can only be INVALID.

    Args:
        store: The run.
        name: A benchmark with such a gate, whether it is open or closed.
        gate: Its gate.
        shortcut: Whether to look into the incomplete round too, for a verdict that no completion can change.
    """
    taken = store.looks(name)
    if taken and store.decoded(_Taken, taken[-1], what=f"a look at {name}").verdict is not None:
        return
    n_complete = store.n_complete_rounds(name)
    for number in range(len(taken) + 1, len(gate.plan.ks) + 1):
        if number > n_complete and not shortcut:
            return
        tallies = store.tallies(name, k=gate.plan.ks[number - 1])
        n_errors = sum(tally.n_error for tally in tallies)
        found = gate.look(number, tallies)
        if too_many_ungraded(tallies) or (found is None and n_errors and number <= n_complete):
            store.close_benchmark(name)
            return
        if found is None:
            return
        decides = found.judgement is not None
        store.add_look(name, number=number, content=_dumps(gate, found, tallies), closes=decides)
        if decides:
            return


def _dumps(gate: SequentialGate, found: Look, tallies: tuple[ProblemTally, ...]) -> str:
    comparison = found.comparison
    fields = {
        "number": found.number,
        "samples_per_problem": found.n_samples,
        "n_samples": sum(tally.n_samples for tally in tallies),
        "gate": gate.digest,
        "z": None if comparison is None else comparison.z,
        "fail_bound": gate.plan.fail_bounds[found.number - 1],
        "pass_bound": gate.plan.pass_bounds[found.number - 1],
        "verdict": None if found.judgement is None else found.judgement.verdict,
    }
    return json.dumps(fields, allow_nan=False)
