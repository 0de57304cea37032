"""What changed between two baseline files, in numbers and lines that a reviewer can check."""

from dataclasses import asdict, dataclass, fields, replace

from pytest_r1eval.core.baselines import BaselineFile, MeasuredBaseline, PublishedBaseline
from pytest_r1eval.core.lineage import Lineage
from pytest_r1eval.stats.tests import paired_test

MAX_MOVED_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A problem whose fraction of correct samples is another."""

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
        source: Where a published number comes from; None for a measured one.
        z: Standard errors from old to new; None where the two did not sit the same exam.
        differences: In what else the entries differ, a line each.
        moved: The problems that moved, most first.
    """

    benchmark: str
    old: float | None
    new: float | None
    source: str | None = None
    z: float | None = None
    differences: tuple[str, ...] = ()
    moved: tuple[Moved, ...] = ()


def changes(old: BaselineFile, new: BaselineFile) -> tuple[Change, ...]:
    """List the entries of two files that differ: published numbers, then measured ones."""
    before, after = ({(entry.benchmark, entry.source): entry for entry in file.published} for file in (old, new))
    published = [
        _published_change(key, before.get(key), after.get(key))
        for key in before | after
        if before.get(key) != after.get(key)
    ]
    names = dict.fromkeys(entry.benchmark for file in (old, new) for entry in file.measured)
    pairs = [(name, old.measured_for(name), new.measured_for(name)) for name in names]
    measured = [_change(name, there, here) for name, there, here in pairs if there != here]
    return (*published, *measured)


def change_lines(change: Change) -> list[str]:
    """Say a change, a fact a line."""
    old = "nothing" if change.old is None else f"{100 * change.old:.1f}"
    new = "nothing" if change.new is None else f"{100 * change.new:.1f}"
    z = "" if change.z is None else f" (z = {change.z:+.2f})"
    source = "" if change.source is None else f", published by {change.source}"
    lines = [f"{change.benchmark}{source}: {old} -> {new}{z}"]
    lines += [f"  {difference}" for difference in change.differences]
    for moved in change.moved[:MAX_MOVED_SHOWN]:
        lines.append(f"  {moved.problem_id}: {100 * moved.old:.0f} % -> {100 * moved.new:.0f} %")
    hidden = len(change.moved) - MAX_MOVED_SHOWN
    return [*lines, f"  and {hidden} more problems"] if hidden > 0 else lines


def _published_change(key: tuple[str, str], old: PublishedBaseline | None, new: PublishedBaseline | None) -> Change:
    benchmark, source = key
    differences: tuple[str, ...] = ()
    if old is not None and new is not None:
        pairs = {field.name: (getattr(old, field.name), getattr(new, field.name)) for field in fields(new)}
        del pairs["pass_at_1"]
        differences = tuple(f"{name}: {there} -> {here}" for name, (there, here) in pairs.items() if there != here)
    return Change(
        benchmark=benchmark,
        old=None if old is None else old.pass_at_1,
        new=None if new is None else new.pass_at_1,
        source=source,
        differences=differences,
    )


def _entry_differences(old: MeasuredBaseline, new: MeasuredBaseline) -> list[str]:
    """Say in what entries differ beside their counts; a run of its own has its own time, seed and health."""
    lines = [f"run: {old.run} -> {new.run}"] if old.run != new.run else []
    if old.run == new.run:
        edited = ("recorded", "seed", "health", "history")
        lines += [f"{name} is another, of the same run" for name in edited if getattr(old, name) != getattr(new, name)]
    if old.correlation != new.correlation:
        lines.append(f"correlation: {old.correlation} -> {new.correlation}")
    if old.reason != new.reason:
        lines.append(f"reason: {old.reason} -> {new.reason}")
    if old.lineage != new.lineage:
        lines.append(f"lineage: {_place(old.lineage)} -> {_place(new.lineage)}")
    return lines


def _place(lineage: Lineage | None) -> str:
    known = {} if lineage is None else {name: value for name, value in asdict(lineage).items() if value is not None}
    return ", ".join(f"{name} {value}" for name, value in known.items()) or "nothing"


def _change(name: str, old: MeasuredBaseline | None, new: MeasuredBaseline | None) -> Change:
    change = Change(
        benchmark=name, old=None if old is None else old.pass_at_1, new=None if new is None else new.pass_at_1
    )
    if old is None or new is None:
        return change
    differences = (*_entry_differences(old, new), *map(str, new.fingerprint.differences(old.fingerprint)))
    if set(old.counts.ids) != set(new.counts.ids):
        return replace(change, differences=differences)
    fractions = {problem.problem_id: problem.n_correct / problem.n_samples for problem in old.counts.problems}
    now = {problem.problem_id: problem.n_correct / problem.n_samples for problem in new.counts.problems}
    moved = [Moved(problem_id=id_, old=fractions[id_], new=now[id_]) for id_ in now if now[id_] != fractions[id_]]
    return replace(
        change,
        z=paired_test(new.counts, old.counts, tau=0.0).z,
        differences=differences,
        moved=tuple(sorted(moved, key=lambda one: -abs(one.new - one.old))),
    )
