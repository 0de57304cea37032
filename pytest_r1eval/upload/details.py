"""
Every sample of a run as Parquet, in LightEval's schema: the sole importer of pyarrow.

One row a problem with all its samples, as LightEval keeps them, so that its ``load_responses_from_details`` reads them
back. `model_response` may hold nothing but LightEval's own fields, which its loader passes on by name; what LightEval
lacks is in columns of our own: `problem_id`, `n_samples` and `samples` (index, seed, outcome, extracted answer, finish
reason and tokens of each). Verdict and fingerprint are JSON in the file's metadata under ``r1eval``.

Rows come in the order in which LightEval 0.13's pipeline has the problems: it shuffles them and pairs row i with
problem i, whatever the row holds. Its own recomputation of a score (``load_responses_from_details``) reads them by
``--output-dir RUN/lighteval``, where each file has the name that it looks for. A problem without a sample keeps its
row. Of a ``--r1-subset`` the problems are shuffled among themselves, as by a task that holds these alone.

Rows are written as they are read, some megabytes at a time: a run may hold
gigabytes. The samples are those that the verdict was computed from. A run without
a score has a null metric, so that no average includes it.

Known limits (accepted): the rendered prompt and the output's token ids are not
stored by a run, so `input` is null and `output_tokens` is empty.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_r1eval.core.plans import Depth, each_of
from pytest_r1eval.core.records import Outcome, Sample
from pytest_r1eval.core.thinking import ThinkTags
from pytest_r1eval.errors import DetailsError
from pytest_r1eval.upload.paths import RunFiles, replacing

if TYPE_CHECKING:
    import pyarrow as pa

    from pytest_r1eval.core.benchmarks import Problem
    from pytest_r1eval.runs.reading import RunReader

METRIC = "pass@k:k=1"
"""LightEval's name for the mean over one problem's samples; it does not carry their number."""
SAMPLING_ERROR = f"{METRIC}_sampling_stderr"
"""
Our standard error of the mean, over samples of the same problems. LightEval's ``_stderr`` is another, over problems; a
name that ends like it is not a score to its readers.
"""
ROW_GROUP_CHARACTERS = 2**23
"""A row of 64 responses of 40 KB is 2.5 MB; while it is written, a row group is held several times over."""
METADATA_KEY = "r1eval"


def write_details(  # noqa: PLR0913 - one benchmark of one run, named at the only call
    store: RunReader, benchmark: str, *, task: str, files: RunFiles, k: Depth, has_score: bool, metadata: str
) -> Path:
    """
    Write one benchmark's samples.

    Args:
        store: The run.
        benchmark: A planned benchmark.
        task: LightEval's full name of its task, ``aime24|0``.
        files: Where the run's files are.
        k: Samples of each problem that the verdict was computed from.
        has_score: Whether a score may be computed from them.
        metadata: JSON for the file's metadata: verdict and fingerprint.

    Raises:
        DetailsError: If they cannot be written.
    """
    path = files.details(task)
    pa, _ = _pyarrow()
    rows = _rows(store, benchmark, task=task, k=k, has_score=has_score)
    try:
        with replacing(path, run=files.folder) as part:
            _write(part, rows, metadata=metadata)
    except pa.ArrowException as error:
        raise DetailsError(
            f"{path} cannot be written as Parquet ({error}); the samples and verdicts are in the run's store"
        ) from error
    _link_for_the_loader(path, files=files, task=task)
    return path


def _link_for_the_loader(path: Path, *, files: RunFiles, task: str) -> None:
    """
    Give the file a second name, which costs no space, in a folder of its own: beside the first it would be read twice.

    LightEval 0.13 writes `details_aime24|0_DATE` and its pipeline looks for
    `details_aime24|0|0_DATE`: it takes the last number off a name and compares the
    rest with the full name of the task. Where links are not to be had, its tracker
    still reads the first by the task's bare name.
    """
    second = files.details_for_pipeline(task)
    with suppress(OSError, DetailsError), replacing(second, run=files.folder) as part:
        part.unlink()
        os.link(path, part)


def pipeline_order(n_problems: int) -> list[int]:
    """Return the exam's positions in the order of LightEval's pipeline: `random.shuffle` after `seed(42)`."""
    order = list(range(n_problems))
    random.Random(42).shuffle(order)  # noqa: S311 - LightEval's own order, no secret
    return order


def write_results_table(path: Path, *, run: Path, columns: Mapping[str, str]) -> None:
    """
    Write results as LightEval does for the Hub's viewer: one row, a column of JSON for each part.

    Raises:
        DetailsError: If it cannot be written.
    """
    pa, parquet = _pyarrow()
    schema = pa.schema([(name, pa.string()) for name in columns])
    with replacing(path, run=run) as part:
        parquet.write_table(_table([columns], schema=schema), part)


def _write(path: Path, rows: Iterable[dict[str, Any]], *, metadata: str) -> None:
    pa, parquet = _pyarrow()
    schema = _schema(pa).with_metadata({METADATA_KEY: metadata})
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        group: list[dict[str, Any]] = []
        n_characters = 0
        for row in rows:
            group.append(row)
            n_characters += sum(map(len, row["model_response"]["text"]))
            if n_characters >= ROW_GROUP_CHARACTERS:
                writer.write_table(_table(group, schema=schema))
                group, n_characters = [], 0
        if group:
            writer.write_table(_table(group, schema=schema))


def _table(rows: Iterable[Mapping[str, Any]], *, schema: pa.Schema) -> pa.Table:
    """Return rows as a table, by way of JSON: where it is given Python's values, pyarrow imports pandas, for 0.3 s."""
    pa, _ = _pyarrow()
    from pyarrow import json as lines  # noqa: PLC0415 - with pyarrow itself

    text = "\n".join(map(json.dumps, rows)).encode()
    return lines.read_json(
        pa.BufferReader(text),
        read_options=lines.ReadOptions(use_threads=False, block_size=len(text) + 1),
        parse_options=lines.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
    )


def _rows(store: RunReader, benchmark: str, *, task: str, k: Depth, has_score: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each problem, in the order of LightEval's pipeline; one problem's samples are held at a time."""
    problems = store.exam(benchmark).problems
    prompts = store.prompts(benchmark)
    plan = store.plan(benchmark)
    room, tags = (None, None) if plan is None else (plan.sampling.max_new_tokens, plan.think_tags)
    samples_of_each = each_of(k, len(problems))
    for position in pipeline_order(len(problems)):
        problem = problems[position]
        samples = store.samples_of(benchmark, problem_id=problem.id, k=samples_of_each[position])
        yield {
            "doc": _doc(problem, task=task, n_samples=len(samples), room=room),
            "metric": {METRIC: _mean(samples) if has_score else None},
            "model_response": _model_response(samples, prompts[problem.id], tags=tags),
            "problem_id": problem.id,
            "n_samples": len(samples),
            "samples": [_sample(sample) for sample in samples],
        }


def _mean(samples: Sequence[Sample]) -> float | None:
    """Return the share of correct samples among those that were graded, as the verdict counts them."""
    graded = [
        sample.grade.outcome is Outcome.CORRECT for sample in samples if sample.grade.outcome is not Outcome.ERROR
    ]
    return sum(graded) / len(graded) if graded else None


def _doc(problem: Problem, *, task: str, n_samples: int, room: int | None) -> dict[str, Any]:
    """Return what is known of a problem; the other columns of the schema are null."""
    return {
        "choices": list(problem.choices),
        "fewshot_samples": [],
        "generation_size": room,
        "gold_index": problem.gold_index,
        "id": problem.id,
        "instruction": problem.instruction,
        "num_samples": n_samples,
        "query": problem.query,
        "sampling_methods": ["GENERATIVE"],
        "task_name": task,
        "use_logits": False,
    }


def _model_response(samples: Sequence[Sample], prompt: tuple[int, ...], *, tags: ThinkTags | None) -> dict[str, Any]:
    """Write texts as LightEval does, which decodes without special tokens."""
    texts = [sample.response.text for sample in samples]
    return {
        "argmax_logits_eq_gold": [],
        "input_tokens": list(prompt),
        "logprobs": [],
        "output_tokens": [],
        "padded_tokens_count": 0,
        "reasonings": [],
        "text": texts if tags is None else [tags.without_special(text) for text in texts],
        "truncated_tokens_count": 0,
    }


def _sample(sample: Sample) -> dict[str, Any]:
    return {
        "index": sample.index,
        "seed": sample.seed,
        "outcome": sample.grade.outcome.value,
        "answer": sample.grade.answer,
        "detail": sample.grade.detail,
        "finish_reason": sample.response.finish_reason.value,
        "n_tokens": sample.response.n_tokens,
        "n_thought_tokens": sample.response.n_thought_tokens,
    }


def _schema(pa: Any) -> pa.Schema:  # noqa: ANN401 - pyarrow is untyped
    """One schema for every run: a data set's splits must agree in it."""
    text, number, texts = pa.string(), pa.int64(), pa.list_(pa.string())
    doc = {
        "choices": texts,
        "fewshot_samples": texts,
        "fewshot_sorting_class": text,
        "generation_grammar": text,
        "generation_size": number,
        "gold_index": number,
        "id": text,
        "images": texts,
        "instruction": text,
        "num_samples": number,
        "original_query": text,
        "query": text,
        "sampling_methods": texts,
        "specific": text,
        "stop_sequences": texts,
        "task_name": text,
        "unconditioned_query": text,
        "use_logits": pa.bool_(),
    }
    response = {
        "argmax_logits_eq_gold": pa.list_(pa.bool_()),
        "input": text,
        "input_tokens": pa.list_(number),
        "logits": pa.list_(pa.list_(pa.float64())),
        "logprobs": pa.list_(pa.float64()),
        "output_tokens": pa.list_(pa.list_(number)),
        "padded_tokens_count": number,
        "reasonings": texts,
        "text": texts,
        "text_post_processed": texts,
        "truncated_tokens_count": number,
        "unconditioned_logprobs": pa.list_(pa.float64()),
    }
    sample = {
        "index": number,
        "seed": number,
        "outcome": text,
        "answer": text,
        "detail": text,
        "finish_reason": text,
        "n_tokens": number,
        "n_thought_tokens": number,
    }
    columns = {
        "doc": pa.struct(doc.items()),
        "metric": pa.struct([(METRIC, pa.float64())]),
        "model_response": pa.struct(response.items()),
        "problem_id": text,
        "n_samples": number,
        "samples": pa.list_(pa.struct(sample.items())),
    }
    return pa.schema(columns.items())


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa  # noqa: PLC0415 - 0.2 s, and only where something is written
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise DetailsError(
            f"details and results files need pyarrow, which cannot be imported ({error}); install pytest-r1eval[hub], "
            "then pytest --r1-judge-only RUN writes them"
        ) from error
    return pa, parquet
