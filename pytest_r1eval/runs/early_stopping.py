"""
Looks at a sequential run while it goes on: the worker that completes a round looks, and a verdict closes it for all.

Looks need no lock. They depend on stored samples alone, so two workers that look
at the same round see the same, and the store keeps the first.
"""

from pytest_r1eval.runs.finished import too_many_ungraded
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import Store
from pytest_r1eval.runs.work_queue import WorkQueue
from pytest_r1eval.stats.looks import SequentialGate


def advance(store: Store, name: str, gate: SequentialGate, *, shortcut: bool) -> None:
    """
    Take every look that a benchmark's stored samples allow, and close it where one decides.

    A look that has decided, or has found the responses too unhealthy to go on, is the last. Samples of the next rounds
    may be there already, drawn while it was taken; a verdict that could still change with them would have been looked
    for more often than the plan paid for.

    Samples that could not be graded close it as well where they are too many, or where the look hangs on them: its
    verdict can only be INVALID.

    Args:
        store: The run.
        name: A benchmark with such a gate, whether it is open or closed.
        gate: Its gate.
        shortcut: Whether to look into the incomplete round too, for a verdict that no completion can change.
    """
    run, queue = RunReader(store), WorkQueue(store)
    n_seen, n_complete, n_rounds = run.n_rounds_seen(name), run.n_complete_rounds(name), gate.n_rounds
    n_due = n_rounds if shortcut else min(n_complete, n_rounds)
    # Looks are read where one is due alone: a worker asks ten times a second, and reading twelve takes 12 ms.
    if n_seen >= n_due or (n_seen and run.looks(name)[-1].ends):
        return
    for place in range(n_seen, n_due):
        number = place + 1 - gate.first_look
        tallies = run.tallies(name, k=gate.depth_at(number))
        n_errors, n_samples = sum(tally.n_error for tally in tallies), sum(tally.n_samples for tally in tallies)
        equal = None if gate.allocated is None else run.tallies(name, k=gate.n_judged_for_health(number))
        found = gate.look(number, tallies, equal=equal)
        is_hung = found is None and n_errors > 0 and place < n_complete
        if is_hung or (number and too_many_ungraded(n_errors=n_errors, n_samples=n_samples)):
            queue.close_benchmark(name)
            return
        if found is None:
            return
        queue.add_look(name, found)
        if found.ends:
            return
