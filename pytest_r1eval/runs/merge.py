"""
Slices of one run, drawn on several machines, brought together into the run that one machine would have drawn.

Nothing is trusted that can be checked: slices agree on checkpoint, seed, plans, exams,
prompts and harness, each is whole, and none holds a sample of another. What is
written is judged like any run; the slices stay as they are.
"""

import secrets
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path

from pytest_r1eval.core.fingerprints import Harness
from pytest_r1eval.core.plans import Plan, Slice, dealt
from pytest_r1eval.errors import RunError
from pytest_r1eval.runs.finished import changed_checkpoint, check_drawn
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import FILE_NAME, Store
from pytest_r1eval.runs.work_queue import WorkQueue


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """
    What a merge wrote.

    Attributes:
        run: The folder of the new run.
        n_slices: Slices that it was made of.
        n_samples: Samples per benchmark.
    """

    run: Path
    n_slices: int
    n_samples: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One slice that is open for reading."""

    run: Path
    store: RunReader
    slice: Slice


def merge(runs: Sequence[Path], *, out: Path) -> Merged:
    """
    Write one run from all slices of it.

    Args:
        runs: The folders of the slices, in any order.
        out: The folder of the new run.

    Raises:
        RunError: If the runs are not exactly the slices of one run, or one is not whole.
        StoreError: If one cannot be read, or the new run cannot be written.
    """
    if (out / FILE_NAME).exists():
        raise RunError(f"--out {out} holds a run already; name a folder that does not exist yet")
    with ExitStack() as stack:
        parts = _parts([(run, stack.enter_context(closing(RunReader.open(run)))) for run in runs])
        for part in parts:
            part.store.check()
            _check_unchanged(part)
        _check_headers(parts)
        for name in parts[0].store.selected:
            _check_benchmark(parts, name)
        _check_harnesses(parts)
        _check_questions(parts)
        return _written(parts, out)


def _parts(stores: Sequence[tuple[Path, RunReader]]) -> tuple[_Part, ...]:
    """Order the slices, and refuse runs that are none, that are missing, or that are there twice."""
    parts = []
    for run, store in stores:
        held = store.header.slice
        if held is None:
            raise RunError(
                f"{run} is not a slice: it was started without --r1-slice and holds a whole run; "
                "leave it out, and judge it with pytest --r1-judge-only"
            )
        parts.append(_Part(run=run, store=store, slice=held))
    total = parts[0].slice.total
    for part in parts:
        if part.slice.total != total:
            raise RunError(
                f"{part.run} holds slice {part.slice}, and {parts[0].run} holds {parts[0].slice}; expected slices of "
                "one division: start them all with the same N in --r1-slice I/N"
            )
    counts = Counter(part.slice.number for part in parts)
    for number in range(1, total + 1):
        found = ", ".join(str(part.run) for part in parts if part.slice.number == number)
        if counts[number] != 1:
            raise RunError(
                f"slice {number}/{total} is {f'there {counts[number]} times ({found})' if found else 'missing'}; "
                f"expected each of the {total} slices once: "
                f"{'leave all but one out' if found else f'add the run of --r1-slice {number}/{total}'}"
            )
    return tuple(sorted(parts, key=lambda part: part.slice.number))


def _check_headers(parts: Sequence[_Part]) -> None:
    first = parts[0]
    expected = first.store.header
    for part in parts[1:]:
        header = part.store.header
        if changes := header.identity.changes_since(expected.identity):
            raise RunError(
                f"{part.run}: it drew another checkpoint than {first.run}: {changes}; "
                "expected slices of one checkpoint: draw the one that is wrong again"
            )
        _check_equal(part, first, "the model's name", header.model_name, expected.model_name)
        _check_equal(part, first, "the seed", header.seed, expected.seed)
        _check_equal(part, first, "the release policy", header.policy or "none", expected.policy or "none")
        _check_equal(part, first, "the benchmarks", ", ".join(part.store.selected), ", ".join(first.store.selected))


def _check_unchanged(part: _Part) -> None:
    """Refuse a slice whose checkpoint changed while it was drawn."""
    refusal = changed_checkpoint(part.store)
    if refusal is not None:
        raise RunError(f"{part.run}: {refusal.reason} {refusal.next_step}")


def _check_benchmark(parts: Sequence[_Part], name: str) -> None:
    """Check that all slices planned the same for one benchmark, and that each holds exactly its part."""
    first = parts[0]
    expected = _plan(first, name)
    for part in parts:
        plan = _plan(part, name)
        for what in (
            "samples_per_problem",
            "system_prompt",
            "chat_template_kwargs",
            "think_tags",
            "template_date",
            "exam",
        ):
            _check_equal(
                part, first, f"the {what.replace('_', ' ')} of {name}", getattr(plan, what), getattr(expected, what)
            )
        for what, value in expected.sampling.parts.items():
            _check_equal(part, first, f"the {what} of {name}", plan.sampling.parts[what], value)
        if part.store.prompts(name) != first.store.prompts(name):
            raise RunError(
                f"{part.run}: its prompts of {name} differ from those in {first.run}, with the same problems; "
                "draw all slices with one version of the tokenizer's library"
            )
        _check_equal(part, first, f"the digest of {name}", plan.digest, expected.digest)
        _check_samples(part, plan)


def _plan(part: _Part, name: str) -> Plan:
    plan = part.store.plan(name)
    if plan is None:
        reason = part.store.error(name) or "no worker got as far as planning it"
        raise RunError(f"{part.run}: {name} has no plan ({reason}); repair the cause and {_resume(part)}")
    return plan


def _check_samples(part: _Part, plan: Plan) -> None:
    check_drawn(part.store, plan)
    expected = sum(map(len, dealt(plan, part.slice).values()))
    n_missing = expected - sum(1 for _ in part.store.drawn(plan.benchmark))
    if n_missing:
        raise RunError(
            f"{part.run}: {n_missing} of the {expected} samples of its slice {part.slice} of {plan.benchmark} "
            f"are missing; {_resume(part)}"
        )


def _check_harnesses(parts: Sequence[_Part]) -> None:
    found: dict[Harness, _Part] = {}
    for part in parts:
        for harness in part.store.harnesses:
            found.setdefault(harness, part)
    if not found:
        raise RunError(f"{parts[0].run}: no worker answered anything; {_resume(parts[0])}")
    expected, first = next(iter(found.items()))
    for harness, part in found.items():
        for what, value in asdict(expected).items():
            _check_equal(part, first, f"the harness's {what.replace('_', ' ')}", asdict(harness)[what], value)


def _check_questions(parts: Sequence[_Part]) -> None:
    """Compare what plans and harnesses do not name, as an engine argument that makes another model of the weights."""
    first = parts[0]
    for part in parts[1:]:
        for name, expected in (first.store.header.asked or {}).items():
            found = (part.store.header.asked or {}).get(name)
            if found is not None and found.question != expected.question:
                raise RunError(
                    f"{part.run}: {name} was drawn with other --r1-engine-arg, --r1-data, kinds of GPU or versions of "
                    f"packages than in {first.run}; expected slices that agree: draw the one that is wrong again"
                )


def _check_equal(part: _Part, first: _Part, what: str, found: object, expected: object) -> None:
    if found != expected:
        raise RunError(
            f"{part.run}: {what} is {found}, and {expected} in {first.run}; expected slices that agree: "
            "draw the one that is wrong again"
        )


def _resume(part: _Part) -> str:
    return f"finish it where it ran: --r1-resume {part.run} --r1-slice {part.slice}"


def _written(parts: Sequence[_Part], out: Path) -> Merged:
    """Write beside the place and move there, so that there is never half a run."""
    draft = out.parent / f".{out.name}-{secrets.token_hex(4)}"
    created = min(part.store.header.created for part in parts)
    header = replace(parts[0].store.header, slice=None, created=created)
    try:
        with closing(Store.create(draft, header)) as store:
            n_samples = _fill(store, parts)
        out.mkdir(exist_ok=True)
        (draft / FILE_NAME).replace(out / FILE_NAME)
    except OSError as error:
        raise RunError(f"--out {out} cannot be written: {error.strerror}; name another folder") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Merged(run=out, n_slices=len(parts), n_samples=n_samples)


def _fill(store: Store, parts: Sequence[_Part]) -> dict[str, int]:
    first, queue = parts[0].store, WorkQueue(store)
    queue.select(first.selected)
    for part in parts:
        for number, harness in enumerate(part.store.harnesses, start=1):
            store.add_worker(f"slice {part.slice}, harness {number}", harness)
        for line in part.store.sandboxes:
            store.note_sandbox(line)
        for line in part.store.walls:
            store.note_walls(line)
    n_samples = {}
    for name in first.selected:
        plan = _plan(parts[0], name)
        queue.write_plan(first.exam(name), tuple(first.prompts(name).values()), plan)
        queue.add_samples(name, chain.from_iterable(part.store.samples(name) for part in parts))
        n_samples[name] = RunReader(store).progress(name).n_stored
    return n_samples
