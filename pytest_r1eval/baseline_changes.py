"""What changed between two baseline files, in words and numbers a reviewer can check."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from pytest_r1eval.core.baselines import BaselineFile, MeasuredBaseline
from pytest_r1eval.core.stats import paired_test

MAX_MOVED_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A problem whose share of correct samples is another; the shares are fractions."""

    problem_id: str
    old: float
    new: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """
    What became of one benchmark's entry.

    Attributes:
        benchmark: The benchmark.
        old: The old pass@1, a fraction; None where there was none.
        new: The new pass@1, a fraction; None where there is none any more.
        z: Standard errors from old to new; None where the two did not sit the same exam.
        differences: In what the fingerprints differ, in words.
        moved: The problems that moved, most first.
    """

    benchmark: str
    old: float | None
    new: float | None
    z: float | None = None
    differences: tuple[str, ...] = ()
    moved: tuple[Moved, ...] = ()


def changes(old: BaselineFile, new: BaselineFile) -> tuple[Change, ...]:
    """List the measured benchmarks of two files whose entries differ."""
    names = dict.fromkeys(entry.benchmark for file in (old, new) for entry in file.measured)
    pairs = [(name, old.measured_for(name), new.measured_for(name)) for name in names]
    return tuple(_change(name, before, after) for name, before, after in pairs if before != after)


def change_lines(change: Change) -> list[str]:
    """Say a change, a fact a line."""
    old = "nothing" if change.old is None else f"{100 * change.old:.1f}"
    new = "nothing" if change.new is None else f"{100 * change.new:.1f}"
    z = "" if change.z is None else f" (z = {change.z:+.2f})"
    lines = [f"{change.benchmark}: {old} -> {new}{z}"]
    lines += [f"  {difference}" for difference in change.differences]
    for moved in change.moved[:MAX_MOVED_SHOWN]:
        lines.append(f"  {moved.problem_id}: {100 * moved.old:.0f} % -> {100 * moved.new:.0f} %")
    hidden = len(change.moved) - MAX_MOVED_SHOWN
    return [*lines, f"  and {hidden} more problems"] if hidden > 0 else lines


def dumps(found: tuple[Change, ...]) -> str:
    """Write changes as JSON, in fractions."""
    content = {"schema_version": 1, "changes": [asdict(change) for change in found]}
    return json.dumps(content, allow_nan=False, indent=2)


def _change(name: str, old: MeasuredBaseline | None, new: MeasuredBaseline | None) -> Change:
    if old is None or new is None:
        return Change(
            benchmark=name, old=None if old is None else old.pass_at_1, new=None if new is None else new.pass_at_1
        )
    differences = tuple(map(str, new.fingerprint.differences(old.fingerprint)))
    if set(old.counts.ids) != set(new.counts.ids):
        return Change(benchmark=name, old=old.pass_at_1, new=new.pass_at_1, differences=differences)
    shares = {problem.problem_id: problem.n_correct / problem.n_samples for problem in old.counts.problems}
    moved = [
        Moved(problem_id=id_, old=shares[id_], new=share)
        for id_, share in (
            (problem.problem_id, problem.n_correct / problem.n_samples) for problem in new.counts.problems
        )
        if share != shares[id_]
    ]
    return Change(
        benchmark=name,
        old=old.pass_at_1,
        new=new.pass_at_1,
        z=paired_test(new.counts, old.counts, tau=0.0).z,
        differences=differences,
        moved=tuple(sorted(moved, key=lambda one: -abs(one.new - one.old))),
    )
