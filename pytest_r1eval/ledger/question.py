"""
What is asked of a checkpoint, as far as it is known before an engine starts: the ledger's idea of "the same again".

`Asked.question` is a digest of everything that decides which answers can come: the whole checkpoint, the benchmark and
its data, how prompts are made and responses drawn, what answers and what grades. All attempts at one question count
together, whatever rule judges them. How many answers are drawn, and when they are judged, is `Asked.design`: a stored
verdict answers only for the same. What only decides how fast they come is in neither
(workers, tensor parallelism, memory, a server's address): on a GPU kernels round with the batch, so that another
`-n` would otherwise be another chance; the claim that two harnesses are the same alone asks about kernels. So is the
seed, and an option that changes nothing here: a default that is
written out, a grader where there is one rule alone, the last look of a gate without looks.
"""

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from functools import cache
from importlib import metadata
from pathlib import Path

from pytest_r1eval.checkpoints.inspect import Checkpoint
from pytest_r1eval.config.settings import Settings, sampling_for
from pytest_r1eval.core.attempts import Asked
from pytest_r1eval.core.benchmarks import Benchmark
from pytest_r1eval.core.built_in import BUILT_IN
from pytest_r1eval.core.choices import Claim, CodeGrader, GateKind
from pytest_r1eval.core.codec import digest
from pytest_r1eval.engines.engine import engine_named, recording_of
from pytest_r1eval.runs.reading import RunReader

_ASKING = ("name", "task", "task_module", "max_new_tokens", "grader", "metric", "revision")
"""What of a benchmark's definition decides its problems and answers; the rest plans a gate."""

_HARNESS_VARIABLES = ("VLLM_ATTENTION_BACKEND", "VLLM_BATCH_INVARIANT")
"""Of vLLM's environment what a harness is told from another one by."""

_CHUNK_BYTES = 1 << 20


def asked_of(benchmark: Benchmark, settings: Settings, checkpoint: Checkpoint) -> Asked:
    """
    Say what is asked of one benchmark.

    Args:
        benchmark: The benchmark.
        settings: What the user decided.
        checkpoint: What is judged.

    Raises:
        StoreError: If a recorded run that is replayed cannot be read.
    """
    settings = settings.of(benchmark.name)
    parts: dict[str, object] = {
        "checkpoint": checkpoint.identity,
        "benchmark": [{name: getattr(one, name) for name in _ASKING} for one in (benchmark, *benchmark.parts)],
        "grader": settings.grader if benchmark.has_rules else None,
        "engine": settings.engine,
    }
    recording = recording_of(settings)
    if recording is not None:
        parts |= _recorded(benchmark, recording)
    else:
        parts |= _drawn(benchmark, settings, checkpoint)
    n_samples = parts.pop("samples", benchmark.samples_per_problem)  # a recording has its own number
    design = {
        "samples": settings.samples.get(benchmark.name, n_samples),
        "subset": settings.subset,
        "gate": settings.asked_gate,
        "max_samples": settings.max_samples if settings.asked_gate is GateKind.SEQUENTIAL else None,
        "allocation": settings.allocation if settings.asked_gate is GateKind.SEQUENTIAL else None,
    }
    return Asked(question=digest(parts), subset=settings.subset, design=digest(design))


def _drawn(benchmark: Benchmark, settings: Settings, checkpoint: Checkpoint) -> Mapping[str, object]:
    engine = engine_named(settings.engine)
    own_tasks = settings.tasks is not None and not {*benchmark.members} <= {*BUILT_IN}
    return {
        "sampling": sampling_for(
            benchmark, settings, max_position=checkpoint.max_position, recommended=checkpoint.recommended
        ),
        "system_prompt": settings.system_prompt,
        "chat_template_kwargs": settings.template_arguments,
        "think_tags": _tags(benchmark, settings, checkpoint),
        "template_date": settings.template_date.isoformat() if checkpoint.prints_date else None,
        "tasks": _file_digest(settings.tasks) if own_tasks and settings.tasks is not None else None,
        "data": None if settings.data is None else _folder_digest(settings.data),
        "adapter_merge": settings.adapter_merge,
        "dtype": settings.engine_args.get("dtype", settings.dtype),
        "arguments": {key: value for key, value in settings.engine_args.items() if engine.decides(key, value)},
        "harness": _harness(settings),
        "packages": [f"{name} {version}" for name in (*engine.packages, "lighteval") if (version := _version(name))],
        "devices": sorted(set(_gpu_models())) if engine.loads_model else [],
    }


def _tags(benchmark: Benchmark, settings: Settings, checkpoint: Checkpoint) -> str | None:
    """Return what encloses a thought, where answers are read behind it; other graders of LightEval know their own."""
    tags = checkpoint.tags_for(settings.think_tags)
    is_read_behind = settings.grader is CodeGrader.STRICT or benchmark.metric is not None
    return str(tags) if tags is not None and is_read_behind else None


def _harness(settings: Settings) -> Mapping[str, object] | None:
    """Return what else may round otherwise; only the claim that two harnesses are the same asks about that."""
    if settings.claim is not Claim.SAME:
        return None
    return {"arguments": settings.engine_args, "variables": {name: os.environ.get(name) for name in _HARNESS_VARIABLES}}


def _recorded(benchmark: Benchmark, recording: Path) -> Mapping[str, object]:
    """Describe what a recorded run was asked; two recordings of one question differ in their samples alone."""
    with closing(RunReader.open(recording)) as store:
        plan = store.plan(benchmark.name)
        harnesses = store.harnesses
    if plan is None:
        return {"harnesses": harnesses}
    return {
        "harnesses": harnesses,
        "exam": plan.exam,
        "sampling": plan.sampling,
        "system_prompt": plan.system_prompt,
        "prompts": plan.prompts,
        "samples": min(plan.samples),
    }


def _version(package: str) -> str | None:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def _gpu_models() -> Iterator[str]:
    """Name the kinds of GPU that the driver lists; none where there is no driver."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=30)  # noqa: S607 - wherever the driver put it
    except (OSError, subprocess.TimeoutExpired):
        return
    yield from re.findall(r"^GPU \d+: (.+?) \(UUID", listed.stdout, re.MULTILINE)


def _folder_digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return _files_digest(folder, tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in files))


@cache
def _files_digest(folder: Path, files: tuple[tuple[Path, int, int], ...]) -> str:
    """Read files once a process while they stay as they are: a run asks three times, and data sets hold gigabytes."""
    lines = [f"{path.relative_to(folder)}\0{_file_digest(path)}" for path, _, _ in files]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _file_digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            found.update(chunk)
    return found.hexdigest()
