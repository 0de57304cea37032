"""
From settings to the parts of a run: checkpoint, placement, folder, seed, rule, baselines, and the worker.

Every part is made here, once, from values; this module does not know pytest's session.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_r1eval.baselines.shelf import BaselineShelf, references
from pytest_r1eval.checkpoints.adapter import merge_command
from pytest_r1eval.checkpoints.generation import recommended_sampling
from pytest_r1eval.checkpoints.inspect import Checkpoint, inspect_checkpoint
from pytest_r1eval.config.options import NEWEST
from pytest_r1eval.config.settings import Settings, sampling_for
from pytest_r1eval.core.benchmarks import Benchmark, Grader, Sampling
from pytest_r1eval.core.choices import Claim, Family, GateKind, InconclusivePolicy, SamplingSource
from pytest_r1eval.core.fingerprints import Harness
from pytest_r1eval.engines.devices import this_machine, usable_cpus, worker_devices
from pytest_r1eval.engines.engine import EngineParts, engine_named, recording_of
from pytest_r1eval.engines.kept import EngineKeeper
from pytest_r1eval.engines.placement import Demand, Machine, Placement
from pytest_r1eval.engines.placement import placement as placed
from pytest_r1eval.errors import EngineError, PlanError
from pytest_r1eval.exams.code_test_cache import cache_folder
from pytest_r1eval.exams.template_arguments import check_template_arguments
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import FILE_NAME
from pytest_r1eval.sampling.open_run import seed_of, slice_message

if TYPE_CHECKING:
    from pytest_r1eval.baselines.terms import PolicyTerms, Terms
    from pytest_r1eval.sampling.planning import Planner, SittingSource
    from pytest_r1eval.sampling.worker import Worker
    from pytest_r1eval.scoring.grading import CodeGrading
    from pytest_r1eval.scoring.pool import GradingPool, SpareServer
    from pytest_r1eval.stats.verdicts import GateRule

N_SCORING_PROCESSES_PER_WORKER = 4
"""At most; grading takes milliseconds a response, so a few keep up with any engine."""


def checkpoint_of(settings: Settings) -> Checkpoint:
    """
    Inspect what is judged; a replay, and a stored run, judge what the recorded run judged.

    Raises:
        ModelError: If it is not a checkpoint.
        StoreError: If it is not a recorded run.
    """
    stored = settings.judge_only or recording_of(settings)
    if stored is None:
        return _inspected(settings)
    if settings.names_adapter and settings.judge_only is None:
        raise EngineError(
            f"--r1-engine {settings.engine} answers from a recorded run; expected no adapter: leave --r1-adapter, "
            "--r1-base-model and --r1-adapter-merge out"
        )
    with closing(RunReader.open(stored)) as store:
        header = store.header
    return Checkpoint(
        model=header.model, revision=None, name=header.model_name, identity=header.identity, max_position=None
    )


def _inspected(settings: Settings) -> Checkpoint:
    found = inspect_checkpoint(
        settings.model,
        revision=settings.revision,
        adapter=settings.adapter,
        base_model=settings.base_model,
        merges=settings.adapter_merge,
    )
    if found.adapter is not None and not engine_named(settings.engine).serves_adapters:
        raise EngineError(
            f"--r1-engine {settings.engine} with the adapter {found.place}: this engine does not serve adapters; "
            f"expected a whole model, or --r1-engine vllm. Merge it: "
            f"{merge_command(found.place, base=found.model, out='MERGED')}"
        )
    engine_named(settings.engine).check_model(found)
    if found.folder is None or all(one.sampling is not SamplingSource.MODEL for one in settings.each):
        return found
    return replace(found, recommended=recommended_sampling(found.folder, model=found.name))


def check_thinking(settings: Settings, checkpoint: Checkpoint) -> None:
    """
    Refuse what is asked of a model's thoughts and does nothing here, before an engine starts.

    Raises:
        PlanError: If nothing keeps a budget.
        ModelError: If an argument of the chat template changes no prompt.
    """
    _check_budget(settings, checkpoint)
    _check_template(settings, checkpoint)


def _check_template(settings: Settings, checkpoint: Checkpoint) -> None:
    """Refuse an argument that does nothing; only where one is given, as it takes seconds."""
    folder = checkpoint.folder if checkpoint.tokenizer is None else Path(checkpoint.tokenizer)
    if settings.chat_template_kwargs and folder is not None:
        check_template_arguments(
            folder,
            model=checkpoint.name,
            arguments=settings.chat_template_kwargs,
            system_prompt=settings.system_prompt,
        )


def _check_budget(settings: Settings, checkpoint: Checkpoint) -> None:
    budget = next((one.thinking_budget for one in settings.each if one.thinking_budget is not None), None)
    if budget is None or settings.judge_only is not None:
        return
    what = f"--r1-thinking-budget {budget}"
    if not engine_named(settings.engine).ends_thoughts:
        raise PlanError(
            f"{what} with --r1-engine {settings.engine}: nothing tells whether it ends thoughts; expected --r1-engine "
            "vllm. Drop the option"
        )
    tags = checkpoint.tags_for(settings.think_tags)
    if tags is None:
        raise PlanError(
            f"{what}: neither the chat template nor the tokenizer of {checkpoint.name} has tags of thoughts that are "
            "known; expected --r1-think-tags OPEN,CLOSE. Drop the option if the model does not think"
        )
    if tags.is_message:
        raise PlanError(
            f"{what}: thoughts of {checkpoint.name} are messages of their own ({tags}), which no one tag ends; "
            "expected a model whose thought ends by a tag. Set --r1-chat-template-kwargs reasoning_effort=low instead"
        )


def check_graders(settings: Settings, catalog: Mapping[str, Benchmark]) -> None:
    """
    Refuse a policy with two rules for programs: one process grades all programs of a run.

    Raises:
        PlanError: If it has two.
    """
    names = () if settings.policy is None else settings.policy.names
    rules = {settings.of(name).grader: name for name in names if catalog[name].grader is Grader.CODE}
    if len(rules) > 1:
        raise PlanError(
            f"the policy grades the programs of {' and '.join(rules.values())} by {' and '.join(rules)}; expected one "
            "rule for all programs: write the same grader"
        )


def placement_of(
    settings: Settings, checkpoint: Checkpoint, *, machine: Machine, n_workers: int | None
) -> Placement | None:
    """
    Decide where engines run; None where this process starts none of its own.

    Args:
        settings: What the user decided.
        checkpoint: What is judged.
        machine: What this process may use.
        n_workers: Engines on this machine; None for as many as pay.

    Raises:
        PlanError: If they cannot fit, with the arithmetic.
    """
    if settings.judge_only is not None:
        return None
    engine = engine_named(settings.engine)
    if not engine.loads_model:
        return None
    asked = max(one.max_model_len or Sampling().max_model_length for one in settings.each)
    demand = Demand(
        model=checkpoint.name,
        size=checkpoint.size,
        dtype=settings.dtype,
        max_model_length=min(asked, checkpoint.max_position or asked),
        utilization=settings.gpu_memory_utilization,
        tensor_parallel_size=settings.tp,
        engines_per_gpu=settings.engines_per_gpu,
        is_sized_by_user=not engine.sizing_arguments.isdisjoint(settings.engine_args),
    )
    return placed(demand, machine, n_workers=n_workers)


def run_folder(config: pytest.Config, settings: Settings, checkpoint: Checkpoint) -> Path:
    """
    Decide where the run is kept: given by the controller, resumed, or new.

    Raises:
        StoreError: If there is nothing to resume.
    """
    workerinput = getattr(config, "workerinput", None)
    if workerinput is not None:
        return Path(workerinput["r1eval_run"])
    if settings.judge_only is not None:
        return settings.judge_only
    folder = settings.output_dir / checkpoint.name
    suffix = "" if settings.slice is None else f"-slice-{settings.slice.number}-of-{settings.slice.total}"
    if settings.resume is None:
        return folder / f"{run_name(dt.datetime.now(dt.UTC))}{suffix}"
    if settings.resume != NEWEST:
        return (config.invocation_params.dir / settings.resume).resolve()
    runs = sorted(path.parent for path in folder.glob(f"*{suffix}/{FILE_NAME}"))
    runs = [run for run in runs if suffix or "-slice-" not in run.name]
    if not runs:
        raise pytest.UsageError(
            f"--r1-resume: no run of {checkpoint.name}{suffix and f', {slice_message(settings.slice)},'} in {folder}; "
            "leave --r1-resume out for a new one"
        )
    return runs[-1]


def run_name(started: dt.datetime) -> str:
    """Name a run by its start: date, time, and the fraction of the second in 65,536ths, so that names sort by time."""
    return f"{started:%Y%m%d-%H%M%S}-{started.microsecond * 65536 // 1_000_000:04x}"


def shelf_of(settings: Settings, checkpoint: Checkpoint, *, run: Path) -> BaselineShelf:
    """Return where a run's baselines are looked up."""
    return BaselineShelf(
        root=settings.root,
        choice=settings.baseline,
        model_name=checkpoint.name,
        output_dir=settings.output_dir,
        run=run,
        lineage=settings.lineage,
        identity=checkpoint.identity,
    )


def anchor_of(settings: Settings, checkpoint: Checkpoint, *, run: Path) -> BaselineShelf | None:
    """Return where the second, fixed baseline is looked up; None where none is named."""
    if settings.anchor is None:
        return None
    return replace(shelf_of(settings, checkpoint, run=run), choice=settings.anchor, option="--r1-anchor")


def check_references(settings: Settings, checkpoint: Checkpoint, *, run: Path, benchmarks: Iterable[str]) -> None:
    """
    Refuse two baselines of which one that was named has nothing for a benchmark, before anything is drawn.

    Raises:
        BaselineError: If there is such a benchmark.
    """
    for benchmark in benchmarks:
        own = settings.of(benchmark)
        if (anchor := anchor_of(own, checkpoint, run=run)) is not None:
            references(shelf_of(own, checkpoint, run=run), anchor, benchmark)


def terms_of(settings: Settings, checkpoint: Checkpoint, *, run: Path, names: Sequence[str]) -> dict[str, Terms]:
    """
    Make what each benchmark of a run is planned and judged by.

    Args:
        settings: What the user decided.
        checkpoint: What is judged.
        run: The run's folder.
        names: All benchmarks that are asked for, which may be one family.
    """
    from pytest_r1eval.baselines.terms import Terms  # noqa: PLC0415 - imports the statistics
    from pytest_r1eval.stats.health import HealthLimits  # noqa: PLC0415 - the same

    own = {name: settings.of(name) for name in names}
    family = family_of(settings, names)
    n_tests = sum(1 if own[name].anchor is None else 2 for name in family)
    return {
        name: Terms(
            shelf=shelf_of(one, checkpoint, run=run),
            anchor=anchor_of(one, checkpoint, run=run),
            rule=rule_of(one, n_gates=len(family), n_tests=n_tests),
            is_holm=one.family is Family.HOLM,
            limits=HealthLimits.of(max_truncated=one.max_truncated, max_no_answer=one.max_no_answer),
            relative_margin=one.relative_margin,
            policy=_policy_terms(one, name),
            named=settings.named_terms,
        )
        for name, one in own.items()
    }


def family_of(settings: Settings, names: Iterable[str]) -> tuple[str, ...]:
    """Return the benchmarks that share one error rate."""
    return tuple(name for name in names if settings.of(name).family is Family.HOLM)


def _policy_terms(own: Settings, name: str) -> PolicyTerms | None:
    from pytest_r1eval.baselines.terms import PolicyTerms  # noqa: PLC0415 - imports the statistics

    member = None if own.policy is None else own.policy.member(name)
    if own.policy is None or member is None:
        return None
    return PolicyTerms(digest=own.policy.digest, tier=member.tier, asked=own)


def rule_of(settings: Settings, *, n_gates: int, n_tests: int) -> GateRule:
    """
    Make the rule by which a benchmark's gate decides.

    Looks cannot be ordered by p-value afterwards, so a family of sequential gates
    divides alpha beforehand; fixed gates are ordered by Holm's procedure.

    Args:
        settings: What was decided about the benchmark.
        n_gates: Gates of its family.
        n_tests: Their tests, those against anchors too.
    """
    from pytest_r1eval.stats.verdicts import GateRule  # noqa: PLC0415 - imports the statistics

    is_holm = settings.family is Family.HOLM
    is_divided = is_holm and settings.gate is GateKind.SEQUENTIAL
    n_own = 1 if settings.anchor is None else 2
    return GateRule(
        sigmas=settings.sigmas,
        two_sided=settings.two_sided,
        claims_same=settings.claim is Claim.SAME,
        margin=settings.margin,
        exact=settings.exact,
        family_size=n_gates if is_divided else 1,
        inconclusive_passes=settings.inconclusive is InconclusivePolicy.PASS,
        n_holm=-(-n_tests // n_own) if is_holm and not is_divided else 1,
    )


def build_worker(  # noqa: PLR0913 - what is judged, where, and by what
    settings: Settings,
    *,
    run: Path,
    catalog: dict[str, Benchmark],
    checkpoint: Checkpoint,
    place: int,
    keeper: EngineKeeper | None,
) -> Worker:
    """Assemble a worker: planner, graders, and an engine, which a keeper lends; nothing is loaded yet."""
    from pytest_r1eval.sampling.worker import Worker  # noqa: PLC0415 - not in a process that only collects

    factory = engine_named(settings.engine)
    owner = f"{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}-{os.getpid()}-{secrets.token_hex(4)}"
    with closing(RunReader.open(run)) as store:
        seed, benchmarks = store.header.seed, [catalog[name] for name in store.selected]
    log = run / "logs" / f"engine-{owner}.log"
    lengths = [sampling_for(one, settings, max_position=checkpoint.max_position).max_model_length for one in benchmarks]
    parts = engine_parts(settings, checkpoint, max_model_length=max(lengths), place=place, log=log)
    code = code_grading_of(settings, benchmarks)
    pool = None
    if factory.grades_here(settings):
        spare = None if keeper is None else keeper.spare
        pool = _pool(settings, benchmarks, code=code, n_cpus=len(parts.devices.cpus), spare=spare)
    return Worker(
        run=run,
        owner=owner,
        benchmarks=catalog,
        planner=_planner(settings, checkpoint, benchmarks, run=run, seed=seed, pool=pool, code=code),
        engine=factory.build(parts) if keeper is None else keeper.lend(factory, parts),
        pool=pool,
        grader="recorded" if pool is None else f"lighteval {metadata.version('lighteval')}",
        checkpoint=checkpoint,
        n_workers=settings.n_workers,
        timeout_s=settings.timeout_s,
    )


def engine_parts(
    settings: Settings, checkpoint: Checkpoint, *, max_model_length: int, place: int, log: Path
) -> EngineParts:
    """
    Gather what an engine can be made of; its devices go into the environment, before anything imports torch.

    Args:
        settings: What the user decided.
        checkpoint: What is judged.
        max_model_length: Tokens of prompt and response together that it has to take.
        place: The worker's number.
        log: Where the engine's processes write.

    Raises:
        PlanError: If it cannot fit, with the arithmetic.
    """
    loads_model = engine_named(settings.engine).loads_model
    machine = this_machine(os.environ) if loads_model else Machine(cpus=usable_cpus())
    placement = placement_of(settings, checkpoint, machine=machine, n_workers=settings.n_workers)
    devices = worker_devices(
        worker=place,
        n_workers=settings.n_workers,
        tensor_parallel_size=1 if placement is None else placement.tensor_parallel_size,
        gpus=tuple(gpu.name for gpu in machine.gpus),
        cpus=machine.cpus,
    )
    if placement is not None:
        os.environ.update(devices.environment())
    return EngineParts(
        settings=settings,
        checkpoint=checkpoint,
        max_model_length=max_model_length,
        devices=devices,
        placement=placement,
        log=log,
    )


def rehearse_plans(benchmarks: Sequence[Benchmark], *, settings: Settings, checkpoint: Checkpoint, run: Path) -> int:
    """
    Plan benchmarks as a run does and keep nothing; the machine that runs programs checks the sandbox.

    Returns:
        The samples over all of them.

    Raises:
        R1EvalError: If one cannot be planned: its exam, its prompts, or its baseline.
    """
    from pytest_r1eval.scoring.pool import GradingPool  # noqa: PLC0415 - not in a process that only collects

    code = code_grading_of(settings, benchmarks)
    with ExitStack() as ending:
        pool = None
        if recording_of(settings) is None:
            pool = ending.enter_context(GradingPool(n_processes=1, code=code))
        planner = _planner(
            settings, checkpoint, benchmarks, run=run, seed=seed_of(settings, checkpoint), pool=pool, code=code,
            is_rehearsal=True,
        )  # fmt: skip
        return asyncio.run(_rehearsed(planner, benchmarks))


async def _rehearsed(planner: Planner, benchmarks: Sequence[Benchmark]) -> int:
    never: asyncio.Future[Harness] = asyncio.get_running_loop().create_future()  # a fixed plan asks for no engine
    return sum([(await planner.plan(benchmark, never)).plan.n_samples for benchmark in benchmarks])


def _planner(  # noqa: PLR0913 - a planner's parts, named at both calls
    settings: Settings,
    checkpoint: Checkpoint,
    benchmarks: Sequence[Benchmark],
    *,
    run: Path,
    seed: int,
    pool: GradingPool | None,
    code: CodeGrading,
    is_rehearsal: bool = False,
) -> Planner:
    from pytest_r1eval.sampling.planning import Planner  # noqa: PLC0415 - imports the statistics

    return Planner(
        settings=settings,
        identity=checkpoint.identity,
        source=_source(settings, checkpoint, pool=pool, code=code, is_rehearsal=is_rehearsal),
        terms=terms_of(settings, checkpoint, run=run, names=[one.name for one in benchmarks]),
        seed=seed,
    )


def _source(
    settings: Settings, checkpoint: Checkpoint, *, pool: GradingPool | None, code: CodeGrading, is_rehearsal: bool
) -> SittingSource:
    """Return the source of exams and prompts: a recorded run, or tasks and the model's chat template."""
    from pytest_r1eval.sampling.planning import RecordedSource, TaskSource  # noqa: PLC0415 - imports the statistics

    if (recording := recording_of(settings)) is not None:
        return RecordedSource(run=recording, regrading=None if pool is None else (pool, code))
    if pool is None:
        raise EngineError(
            f"--r1-engine {settings.engine} grades nothing here and plays no recording; expected an EngineFactory with "
            "grades_here or plays_recording. Repair the package that registers it"
        )
    return TaskSource(settings=settings, checkpoint=checkpoint, pool=pool, code=code, is_rehearsal=is_rehearsal)


def _pool(
    settings: Settings, benchmarks: Sequence[Benchmark], *, code: CodeGrading, n_cpus: int, spare: SpareServer | None
) -> GradingPool:
    """Make the graders; where exams and prompts are recorded too, only a task's metric needs LightEval."""
    from pytest_r1eval.scoring.pool import GradingPool  # noqa: PLC0415 - not in a process that only collects

    is_recorded = recording_of(settings) is not None
    by_metric = [one for one in benchmarks if one.grader is Grader.TASK and not code.is_strict_for(one)]
    n_processes = max(1, min(N_SCORING_PROCESSES_PER_WORKER, n_cpus))
    return GradingPool(
        n_processes=n_processes, code=code, needs_lighteval=bool(by_metric) or not is_recorded, spare=spare
    )


def code_grading_of(settings: Settings, benchmarks: Sequence[Benchmark] = ()) -> CodeGrading:
    """Say how the programs and answers of a run are graded; one process grades all programs by one rule."""
    from pytest_r1eval.sandbox import Limits  # noqa: PLC0415 - not in a process that only collects
    from pytest_r1eval.scoring.grading import CodeGrading  # noqa: PLC0415 - the same

    rules = {one.name: settings.of(one.name).grader for one in benchmarks}
    of_programs = [rules[one.name] for one in benchmarks if one.grader is Grader.CODE]
    return CodeGrading(
        grader=of_programs[0] if of_programs else settings.grader,
        own=() if settings.policy is None else tuple(rules.items()),
        limits=settings.sandbox_limits or Limits(),
        tests=cache_folder(os.environ),
        allow_unsafe=settings.unsafe_code,
    )
