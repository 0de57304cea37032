"""
A run's results as JSON, in LightEval's layout, and beside it what LightEval lacks.

LightEval's keys hold what a run knows; what it does not know is null, never made
up. Under ``r1eval`` stand verdict, fingerprint, samples and the names of the details
files of every benchmark: an upload reads nothing else.

A benchmark without a score (INVALID, or stopped early, where the stopping biases the
mean) has no entry under ``results``.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytest_r1eval.core.plans import Plan
from pytest_r1eval.judging.result import GateResult
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import RunHeader
from pytest_r1eval.stats.verdicts import Verdict
from pytest_r1eval.upload.details import METRIC, SAMPLING_ERROR, write_details, write_results_table
from pytest_r1eval.upload.paths import RunFiles, replacing

SCHEMA_VERSION = 1
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
        parts = {result.benchmark: _benchmark(store, result, task=tasks[result.benchmark]) for result in results}
        for result in results:
            part = parts[result.benchmark]
            if result.samples_per_problem is not None and result.n_samples:
                path = write_details(
                    store,
                    result.benchmark,
                    task=part["task"],
                    files=files,
                    k=result.samples_per_problem,
                    has_score=part["score"] is not None,
                    metadata=_dumps(part),
                )
                part["details"] = str(path.relative_to(run))
        content = _content(store.header, files, results, parts)
    with replacing(files.results, run=run) as path:
        path.write_text(_dumps(content) + "\n", encoding="utf-8")
    write_results_table(files.results_table, run=run, columns={name: _dumps(part) for name, part in content.items()})
    return files


def verdicts_digest(gates: object) -> str:
    """Hash verdicts as they stand in ``verdicts.json`` under ``gates``, to tell whether results belong to them."""
    return hashlib.sha256(json.dumps(gates, allow_nan=False).encode()).hexdigest()


def _dumps(content: object) -> str:
    return json.dumps(content, allow_nan=False, indent=2, ensure_ascii=False)


def _benchmark(store: RunReader, result: GateResult, *, task: str) -> dict[str, Any]:
    """Say of one benchmark what LightEval has no place for."""
    plan = store.plan(result.benchmark)
    judgement, attempts = result.judgement, result.attempts
    return {
        "task": f"{task}|0",
        "details": None,
        "score": _score(result),
        "verdict": judgement.verdict.value,
        "passes": judgement.passes,
        "reason": judgement.reason,
        "baseline": result.baseline,
        "attempt": None if attempts is None else attempts.number,
        "first_verdict": attempts.earlier[0].verdict if attempts is not None and attempts.earlier else None,
        "is_at_stop": result.is_at_stop,
        "samples_per_problem": result.samples_per_problem,
        "n_samples": result.n_samples,
        "n_planned": result.n_planned,
        "n_problems": None if plan is None else len(plan.problem_ids),
        "dataset": None if plan is None else store.exam(result.benchmark).dataset,
        "fingerprint": {
            "model": asdict(store.header.identity),
            "question": None if plan is None else _question(plan),
            "harnesses": [asdict(harness) for harness in store.harnesses],
        },
    }


def _question(plan: Plan) -> dict[str, Any]:
    names = ("exam", "system_prompt", "template_date", "prompts")
    return {"sampling": asdict(plan.sampling), **{name: getattr(plan, name) for name in names}}


def _score(result: GateResult) -> dict[str, float] | None:
    """Return pass@1 and its error where there is a score: not where looks ended the run early."""
    estimate = result.judgement.estimate
    if estimate is None or result.is_at_stop or result.judgement.verdict is Verdict.INVALID:
        return None
    return {"mean": estimate.mean, "standard_error": estimate.standard_error}


def _content(
    header: RunHeader, files: RunFiles, results: Sequence[GateResult], parts: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    scores = {
        part["task"]: {METRIC: part["score"]["mean"], SAMPLING_ERROR: part["score"]["standard_error"]}
        for part in parts.values()
        if part["score"] is not None
    }
    if scores:
        scores["all"] = _mean(scores.values())
    summaries = {part["task"]: _summary(part["n_problems"] or 0) for part in parts.values()}
    return {
        "config_general": _config_general(header, [*parts.values()]),
        "results": scores,
        "versions": {},
        "config_tasks": {part["task"]: _config_task(part) for part in parts.values()},
        "summary_tasks": summaries,
        "summary_general": _summary(sum(part["n_problems"] or 0 for part in parts.values())),
        "r1eval": {
            "schema_version": SCHEMA_VERSION,
            "run": files.folder.name,
            "created": header.created,
            "date": files.date,
            "model_name": header.model_name,
            "revision": revision_of(header),
            "seed": header.seed,
            "passes": all(result.passes for result in results),
            "verdicts": verdicts_digest([asdict(result) for result in results]),
            "benchmarks": dict(parts),
        },
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


def _config_general(header: RunHeader, parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    questions = [part["fingerprint"]["question"] for part in parts if part["fingerprint"]["question"] is not None]
    sampling = questions[0]["sampling"] if questions else {}
    harnesses = parts[0]["fingerprint"]["harnesses"] if parts else []
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
            "dtype": harnesses[0]["dtype"] if len(harnesses) == 1 else None,
            "max_model_length": sampling.get("max_model_length"),
            "system_prompt": questions[0]["system_prompt"] if questions else None,
            "generation_parameters": {
                "temperature": sampling.get("temperature"),
                "top_p": sampling.get("top_p"),
                "max_new_tokens": sampling.get("max_new_tokens"),
                "seed": header.seed,
            },
        },
        "model_name": header.model_name,
    }


def _config_task(part: Mapping[str, Any]) -> dict[str, Any]:
    question = part["fingerprint"]["question"]
    return {
        "name": part["task"].rpartition("|")[0],
        "full_name": part["task"],
        "dataset": part["dataset"],
        "num_fewshots": 0,
        "num_samples": [part["samples_per_problem"]],
        "generation_size": None if question is None else question["sampling"]["max_new_tokens"],
        "effective_num_docs": part["n_problems"],
    }


def _summary(n_problems: int) -> dict[str, Any]:
    """Count prompts as LightEval does; here none is cut, as a prompt without room stops a run before it starts."""
    return {"hashes": {}, "truncated": 0, "non_truncated": n_problems, "padded": 0, "non_padded": n_problems}
