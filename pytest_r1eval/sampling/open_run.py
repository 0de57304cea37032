"""
Opens a run for one process: a new one, one to go on with, or one to judge.

What cannot be gone on with is refused here, with what changed: another
checkpoint, another slice, another plan.
"""

import datetime as dt
import hashlib
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from threading import Thread

from pytest_r1eval.checkpoints.inspect import Checkpoint
from pytest_r1eval.config.settings import Settings, sampling_for
from pytest_r1eval.core.attempts import Asked
from pytest_r1eval.core.benchmarks import Benchmark
from pytest_r1eval.core.choices import GateKind
from pytest_r1eval.core.plans import Slice
from pytest_r1eval.engines.engine import recording_of
from pytest_r1eval.errors import PlanError
from pytest_r1eval.runs.lock import RunLock
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import RunHeader, Store
from pytest_r1eval.runs.work_queue import WorkQueue


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedRun:
    """A run's store, and the lock that keeps others from it."""

    store: Store
    lock: RunLock


def open_run(  # noqa: PLR0913 - what a run is made of, named at the only call
    run: Path,
    *,
    settings: Settings,
    catalog: Mapping[str, Benchmark],
    checkpoint: Checkpoint,
    selected: tuple[str, ...],
    seed: int | None = None,
    asked: Mapping[str, Asked] | None = None,
) -> OpenedRun:
    """
    Open a run for this process alone.

    Args:
        run: The run's folder.
        settings: What the user decided.
        catalog: Every benchmark, by name.
        checkpoint: What is judged.
        selected: The benchmarks that are asked for.
        seed: The seed of a new run; None for that of a first attempt.
        asked: What the ledger calls the questions; a run that is gone on with must have been asked the same.

    Raises:
        StoreError: If the folder or the file cannot be used, or another process has the run.
        PlanError: If the run is not what is asked for now.
        RunError: If it is not what its own plan says.
    """
    is_new = settings.judge_only is None and settings.resume is None
    store = Store.create(run, _header(settings, checkpoint, seed=seed, asked=asked)) if is_new else Store.open(run)
    with ExitStack() as undo:
        undo.callback(store.close)
        lock = RunLock.take(run)
        undo.callback(lock.release)
        if not is_new:
            # Reading gigabytes takes as long as importing the statistics that judge them.
            importing = Thread(target=import_module, args=("pytest_r1eval.judging.judge",))
            importing.start()
            store.check()
            importing.join()
            _check_drawn(RunReader(store))
        if settings.judge_only is not None:
            _check_judgeable(run, store.header.slice)
        elif settings.resume is not None:
            _check_resumable(run, store.header, settings=settings, checkpoint=checkpoint)
            stored = RunReader(store)
            benchmarks = [catalog[name] for name in stored.selected if name in selected]
            for benchmark in benchmarks:
                _check_unchanged(run, stored, benchmark, settings=settings, checkpoint=checkpoint)
                _check_question(run, store.header, benchmark.name, asked=asked or {})
            for benchmark in benchmarks:  # after all checks: a run that is refused stays as it was
                _complete_as_fixed(store, benchmark, settings=settings)
            store.note_changed_checkpoint(None)  # its files are there again
            queue = WorkQueue(store)
            queue.reopen_ungraded()
            queue.release_all()
        undo.pop_all()
    return OpenedRun(store=store, lock=lock)


def _check_drawn(run: RunReader) -> None:
    """Refuse a stored run whose problems, samples or seeds are not those of its plans."""
    from pytest_r1eval.runs.finished import check_drawn  # noqa: PLC0415 - imports the statistics

    for name in run.selected:
        if (plan := run.plan(name)) is not None:
            check_drawn(run, plan)


def _header(
    settings: Settings, checkpoint: Checkpoint, *, seed: int | None, asked: Mapping[str, Asked] | None
) -> RunHeader:
    return RunHeader(
        model=checkpoint.place,
        model_name=checkpoint.name,
        identity=checkpoint.identity,
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        seed=seed_of(settings, checkpoint) if seed is None else seed,
        slice=settings.slice,
        policy=None if settings.policy is None else settings.policy.digest,
        lineage=settings.lineage,
        asked=asked or None,
    )


def seed_of(settings: Settings, checkpoint: Checkpoint) -> int:
    """
    Return the seed of a first attempt: given, recorded, or derived from the weights.

    Two checkpoints never share their luck. Equal seeds do not promise equal samples: on a GPU kernels round with
    the batch. That a question is not drawn again until its gate is green is the ledger's matter.
    """
    if settings.seed is not None:
        return settings.seed
    if (recording := recording_of(settings)) is not None:
        with closing(Store.open(recording)) as store:
            return store.header.seed
    return int.from_bytes(hashlib.sha256(checkpoint.identity.weights.encode()).digest()[:6], "big")


def _check_judgeable(run: Path, part: Slice | None) -> None:
    if part is not None:
        raise PlanError(
            f"--r1-judge-only {run}: the run holds slice {part} alone; "
            f"bring the {part.total} slices together first: r1eval merge RUN RUN ... --out RUN"
        )


def _check_resumable(run: Path, header: RunHeader, *, settings: Settings, checkpoint: Checkpoint) -> None:
    if changes := checkpoint.identity.changes_since(header.identity):
        raise PlanError(
            f"--r1-resume {run}: the run judged another checkpoint ({header.model}): {changes}; "
            "put back what it was started with, or start a new run"
        )
    # Where the ledger resumes a run of the same question, another seed is the same question.
    if settings.seed not in {None, header.seed} and not settings.goes_on:
        raise PlanError(
            f"--r1-resume {run}: the seed was {header.seed}, and {settings.seed} is asked for now; "
            "leave --r1-seed out, or start a new run"
        )
    policy = None if settings.policy is None else settings.policy.digest
    if header.policy != policy and not settings.goes_on:  # where the ledger resumes, each benchmark is asked the same
        raise PlanError(
            f"--r1-resume {run}: the run was started {_policy_message(header.policy)}, and this one is asked for "
            f"{_policy_message(policy)}; resume with the policy it was started with, or start a new run"
        )
    if header.slice != settings.slice:
        raise PlanError(
            f"--r1-resume {run}: the run holds {slice_message(header.slice)}, and {slice_message(settings.slice)} is "
            "asked for now; resume with the --r1-slice it was started with, or start a new run"
        )


def _check_unchanged(
    run: Path, stored: RunReader, benchmark: Benchmark, *, settings: Settings, checkpoint: Checkpoint
) -> None:
    """Refuse to go on with a plan that is not the one asked for."""
    name, plan, settings = benchmark.name, stored.plan(benchmark.name), settings.of(benchmark.name)
    if plan is None:
        return
    is_replay = recording_of(settings) is not None
    found: dict[str, tuple[object, object]] = {
        "system prompt": (plan.system_prompt, settings.system_prompt),
        "subset": (plan.subset, settings.subset),
    }
    if not is_replay:
        from pytest_r1eval.scoring.grading import METRIC, grader_name  # noqa: PLC0415 - imports the sandbox's limits

        limit, recommended = checkpoint.max_position, checkpoint.recommended
        wanted = sampling_for(benchmark, settings, max_position=limit, recommended=recommended).parts
        found |= {what: (plan.sampling.parts[what], value) for what, value in wanted.items()}
        found["template date"] = (plan.template_date, settings.template_date.isoformat())
        found["chat template's arguments"] = (plan.chat_template_kwargs, settings.template_arguments)
        tags = checkpoint.tags_for(settings.think_tags)
        found["tags of thoughts"] = (plan.question.think_tags, None if tags is None else str(tags))
        grader = METRIC if (plan.grader or METRIC).startswith(f"{METRIC} ") else plan.grader or METRIC
        found["grader"] = (grader, grader_name(settings.grader, benchmark) or METRIC)
    gate = stored.gate(name)
    becomes_fixed = gate is not None and settings.gate_for(name) is GateKind.FIXED
    if not becomes_fixed and (not is_replay or name in settings.samples):
        k = plan.samples_per_problem if gate is None else gate.plan.design.n_samples
        found["samples per problem"] = (k, settings.samples.get(name, benchmark.samples_per_problem))
    for what, (before, value) in found.items():
        if before != value:
            raise PlanError(
                f"--r1-resume {run}: the {what} of {name} was {before}, and {value} is asked for now; "
                "resume with the options the run was started with, or start a new run"
            )


def _check_question(run: Path, header: RunHeader, name: str, *, asked: Mapping[str, Asked]) -> None:
    """Refuse to mix answers of two questions: what is left differs by what the plan does not name."""
    before, now = (header.asked or {}).get(name), asked.get(name)
    if before is not None and now is not None and before.question != now.question:
        raise PlanError(
            f"--r1-resume {run}: {name} was started with another engine, --r1-dtype, --r1-engine-arg, --r1-data, "
            "--r1-tasks, kind of GPU or version of a package; resume with what the run was started with, or start a "
            "new run"
        )


def _complete_as_fixed(store: Store, benchmark: Benchmark, *, settings: Settings) -> None:
    """Let a sequential run go on as a fixed one where that is asked for."""
    gate = RunReader(store).gate(benchmark.name) if settings.gate_for(benchmark.name) is GateKind.FIXED else None
    if gate is not None:
        k = settings.samples.get(benchmark.name, gate.plan.design.n_samples)
        WorkQueue(store).complete_as_fixed(benchmark.name, k=k)


def _policy_message(digest: str | None) -> str:
    return "without a policy" if digest is None else f"under the policy {digest[:12]}"


def slice_message(part: Slice | None) -> str:
    """Say which part of a run this is."""
    return "the whole run" if part is None else f"slice {part}"
