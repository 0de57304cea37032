"""
A run's results as JSON, in LightEval's layout, and beside it what LightEval lacks.

LightEval's keys hold what a run knows; what it does not know is null, never made
up. The run's summary is under ``r1eval``: an upload reads nothing else.

A benchmark without a score (INVALID, or stopped early, where the stopping biases the
mean) has no entry under ``results``.
"""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

from pytest_r1eval.core.codec import plain
from pytest_r1eval.judging.release import RELEASE, may_ship
from pytest_r1eval.judging.result import GateResult
from pytest_r1eval.judging.summary import BenchmarkSummary, RunSummary, benchmark_summary, verdicts_digest
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import RunHeader
from pytest_r1eval.upload.details import METRIC, SAMPLING_ERROR, write_details, write_results_table
from pytest_r1eval.upload.paths import RunFiles, replacing

_HUB_WEIGHTS = "hub:"


def write_run_files(run: Path, results: Sequence[GateResult], *, tasks: Mapping[str, str]) -> RunFiles:
    """
    Write the details and results of a judged run into its folder.

    Args:
        run: The run's folder.
        results: Its verdicts.
        tasks: LightEval's name of each benchmark's task.

    Raises:
        DetailsError: If they cannot be written.
        StoreError: If the run cannot be read.
    """
    with closing(RunReader.open(run)) as store:
        files = RunFiles.of(run, store.header)
        summary = _summary(store, files, results, tasks=tasks)
        content = _content(store.header, summary)
    with replacing(files.results, run=run) as path:
        path.write_text(_dumps(content) + "\n", encoding="utf-8")
    write_results_table(files.results_table, run=run, columns={name: _dumps(part) for name, part in content.items()})
    return files


def _dumps(content: object) -> str:
    return json.dumps(content, allow_nan=False, indent=2, ensure_ascii=False)


def _summary(
    store: RunReader, files: RunFiles, results: Sequence[GateResult], *, tasks: Mapping[str, str]
) -> RunSummary:
    """Summarise a run, and write the samples of each benchmark on the way."""
    header = store.header
    parts = {result.benchmark: benchmark_summary(store, result, task=tasks[result.benchmark]) for result in results}
    depths = {result.benchmark: result.depth for result in results}
    for name, part in parts.items():
        depth = depths[name]
        if depth is not None and part.n_samples:
            path = write_details(
                store,
                name,
                task=part.task,
                files=files,
                k=depth,
                has_score=part.score is not None,
                metadata=_dumps(asdict(part)),
            )
            parts[name] = replace(part, details=str(path.relative_to(files.folder)))
    return RunSummary(
        run=files.folder.name,
        created=header.created,
        date=files.date,
        model_name=header.model_name,
        revision=revision_of(header),
        seed=header.seed,
        passes=may_ship(results, store.release(RELEASE)),
        verdicts=verdicts_digest(plain([*results])),
        benchmarks=parts,
    )


def _content(header: RunHeader, summary: RunSummary) -> dict[str, object]:
    """Write LightEval's keys, and the summary beside them."""
    parts = [*summary.benchmarks.values()]
    scores = {
        part.task: {METRIC: part.score.mean, SAMPLING_ERROR: part.score.standard_error}
        for part in parts
        if part.score is not None
    }
    if scores:
        scores["all"] = _mean(scores.values())
    return {
        "config_general": _config_general(header, parts),
        "results": scores,
        "versions": {},
        "config_tasks": {part.task: _config_task(part) for part in parts},
        "summary_tasks": {part.task: _prompts(part.n_problems or 0) for part in parts},
        "summary_general": _prompts(sum(part.n_problems or 0 for part in parts)),
        "r1eval": asdict(summary),
    }


def _mean(scores: Collection[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of several scores, and its error; an average of the errors would be too large."""
    name, error = METRIC, SAMPLING_ERROR
    return {
        name: sum(score[name] for score in scores) / len(scores),
        error: math.hypot(*(score[error] for score in scores)) / len(scores),
    }


def revision_of(header: RunHeader) -> str:
    """Return the checkpoint's commit on the Hub; ``main`` for one from a folder."""
    weights = header.identity.weights
    return weights.removeprefix(_HUB_WEIGHTS) if weights.startswith(_HUB_WEIGHTS) else "main"


_GENERATION = (
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "max_new_tokens"
)  # fmt: skip
"""What LightEval's `GenerationParameters` call by the same names."""


def _config_general(header: RunHeader, parts: Sequence[BenchmarkSummary]) -> dict[str, object]:
    question = next((part.fingerprint.question for part in parts if part.fingerprint.question is not None), None)
    sampling = None if question is None else question.sampling
    harnesses = parts[0].fingerprint.harnesses if parts else ()
    return {
        "lighteval_sha": None,
        "num_fewshot_seeds": None,
        "max_samples": None,
        "job_id": None,
        "start_time": None,
        "end_time": None,
        "total_evaluation_time_secondes": None,
        "model_config": {
            "model_name": header.model_name,
            "revision": revision_of(header),
            "dtype": harnesses[0].dtype if len(harnesses) == 1 else None,
            "max_model_length": None if sampling is None else sampling.max_model_length,
            "system_prompt": None if question is None else question.system_prompt,
            "generation_parameters": {
                **{name: None if sampling is None else getattr(sampling, name) for name in _GENERATION},
                "seed": header.seed,
            },
        },
        "model_name": header.model_name,
    }


def _config_task(part: BenchmarkSummary) -> dict[str, object]:
    question = part.fingerprint.question
    return {
        "name": part.task.rpartition("|")[0],
        "full_name": part.task,
        "dataset": part.dataset,
        "num_fewshots": 0,
        "num_samples": [part.samples_per_problem],
        "generation_size": None if question is None else question.sampling.max_new_tokens,
        "effective_num_docs": part.n_problems,
    }


def _prompts(n_problems: int) -> dict[str, object]:
    """Count prompts as LightEval does; here none is cut, as a prompt without room stops a run before it starts."""
    return {"hashes": {}, "truncated": 0, "non_truncated": n_problems, "padded": 0, "non_padded": n_problems}
