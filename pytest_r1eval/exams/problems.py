"""
From the rows of a data set to the problems of an exam.

Decisions:

- An exam may not depend on who builds it. A prompt function that draws from the global `random` (GPQA's order of
  options) gets a seed made of the row itself. So every shard and every run sits the same exam.
- Rows are read one by one: a window of LiveCodeBench has gigabytes of tests, which go to the cache of tests row by row.
- LightEval's prompt function for LiveCodeBench unpickles the private tests. A pickle is a program; a reader takes its
  place that takes the one string and runs nothing (`pickled_text`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_r1eval.core.benchmarks import Benchmark, Exam, Grader, Problem
from pytest_r1eval.core.code_tests import CodeTests
from pytest_r1eval.core.pools import pooled
from pytest_r1eval.errors import ExamError, in_one_line
from pytest_r1eval.exams.code_test_cache import CodeTestCache
from pytest_r1eval.exams.data_sets import DataSet, Row, read_data
from pytest_r1eval.exams.pickled_text import text_of
from pytest_r1eval.exams.tasks import task_config

if TYPE_CHECKING:
    from lighteval.tasks.lighteval_task import LightevalTaskConfig
    from lighteval.tasks.requests import Doc

_ID_DIGITS = 12
"""Hexadecimal digits of a problem id: 48 bits, one accidental collision in 2e9 exams of 500 problems."""
_OWN_IDS = ("id", "ID", "unique_id", "Record ID", "question_id", "task_id", "problem_id")
"""Columns in which AIME, MATH-500, GPQA, LiveCodeBench and most other data sets keep a row's own id."""
_LABEL_CHARS = 60


def load_exam(benchmark: Benchmark, *, data_dir: Path | None, tests: CodeTestCache | None = None) -> Exam:
    """
    Build a benchmark's problems in the order of its data set.

    Args:
        benchmark: The benchmark.
        data_dir: Folder of local copies, one folder per data set (``aime_2024`` or ``HuggingFaceH4__aime_2024``).
        tests: Where the tests of programs are kept; only a benchmark that asks for programs needs it.

    Raises:
        ExamError: If the task or its data set cannot be had, or does not fit.
    """
    if benchmark.parts:
        return _pooled_exam(benchmark, data_dir=data_dir, tests=tests)
    config = task_config(benchmark)
    if config.num_fewshots:
        raise ExamError(
            f"{benchmark.name}: task {benchmark.task!r} asks for {config.num_fewshots} few-shot examples; "
            "problems are put without examples here. Set num_fewshots=0 in the task"
        )
    data = read_data(benchmark, config, data_dir=data_dir)
    problems = tuple(_problems(benchmark, config, data, tests=tests))
    if not problems:
        raise ExamError(
            f"{benchmark.name}: no problem in {data.origin}; expected at least one in split "
            f"{', '.join(config.evaluation_splits)}. Check the data set and the task's filter"
        )
    return Exam(benchmark=benchmark.name, problems=problems, dataset=data.name)


def _pooled_exam(pool: Benchmark, *, data_dir: Path | None, tests: CodeTestCache | None) -> Exam:
    exams = [(part, load_exam(part, data_dir=data_dir, tests=tests)) for part in pool.parts]
    return Exam(
        benchmark=pool.name,
        problems=tuple(pooled(problem, part) for part, exam in exams for problem in exam.problems),
        dataset=", ".join(dict.fromkeys(exam.dataset for _, exam in exams)),
    )


def as_doc(problem: Problem) -> Doc:
    """Convert a problem back to LightEval's own type; a new one each time, because its metrics write into it."""
    from lighteval.tasks.requests import Doc  # noqa: PLC0415 - see `tasks`

    return Doc(
        query=problem.query,
        choices=list(problem.choices),
        gold_index=problem.gold_index,
        instruction=problem.instruction,
        specific=None if problem.specific is None else json.loads(problem.specific),
    )


def _problems(
    benchmark: Benchmark, config: LightevalTaskConfig, data: DataSet, *, tests: CodeTestCache | None
) -> Iterator[Problem]:
    occurrences: Counter[str] = Counter()
    _read_private_tests_without_unpickling(config)
    for number, row in enumerate(data.rows):
        digest = _row_digest(row)
        try:
            if config.hf_filter is not None and not config.hf_filter(row):
                continue
            with _seeded(digest):
                doc = config.prompt_function({**row, "__few_shots": False, "__index": number}, config.name)
        except Exception as error:  # the task's own code, which may raise anything
            raise ExamError(
                f"{benchmark.name}: row {number + 1} of {data.origin} does not fit task {benchmark.task!r} "
                f"({in_one_line(error)}); its columns are {', '.join(map(str, row))}. Give the data set this task reads"
            ) from error
        if doc:
            occurrences[digest] += 1
            ordinal = f"-{occurrences[digest]}" if occurrences[digest] > 1 else ""
            problem = _problem(doc, id_=digest[:_ID_DIGITS] + ordinal, benchmark=benchmark)
            problem = replace(problem, label=_label(row, number=number)).whole
            if benchmark.grader is Grader.CODE:
                problem = replace(problem, tests=_kept_tests(doc, problem, benchmark=benchmark, cache=tests))
            elif doc.specific:
                problem = replace(problem, specific=_specific(doc, problem, benchmark=benchmark))
            yield problem


def _read_private_tests_without_unpickling(config: LightevalTaskConfig) -> None:
    """Put our reader where a task's module unpickles tests; this process builds one exam and ends."""
    module = sys.modules.get(config.prompt_function.__module__)
    if hasattr(module, "translate_private_test_cases"):
        module.translate_private_test_cases = private_tests  # type: ignore[union-attr]  # hasattr says it is one


def private_tests(encoded: str) -> Any:  # noqa: ANN401 - whatever JSON the data set holds; the task's function reads it
    """
    Decode LiveCodeBench's private tests: base64 of zlib of a pickled string of JSON, no pickle being run.

    Raises:
        ValueError: If they are anything else.
    """
    return json.loads(text_of(zlib.decompress(base64.b64decode(encoded))))


def _kept_tests(doc: Doc, problem: Problem, *, benchmark: Benchmark, cache: CodeTestCache | None) -> str:
    if cache is None:
        raise ExamError(f"{benchmark.name}: programs are asked for, and there is no place to keep their tests")
    specific = doc.specific or {}
    try:
        tests = CodeTests(
            inputs=tuple(specific["inputs"]), outputs=tuple(specific["outputs"]), function=specific["fn_name"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ExamError(
            f"{benchmark.name}: problem {problem.id} has no tests to run ({in_one_line(error)}); expected inputs, "
            "outputs and fn_name from the task's prompt function. Fix the task"
        ) from error
    return cache.write(tests)


def _specific(doc: Doc, problem: Problem, *, benchmark: Benchmark) -> str:
    """Return what a task gives to its metric, as JSON: the run keeps it, and grades by it after every resume."""
    try:
        return json.dumps(doc.specific, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ExamError(
            f"{benchmark.name}: problem {problem.id} gives its metric what JSON cannot hold ({in_one_line(error)}); "
            "expected plain values in the Doc's `specific`. Convert them in the task's prompt function"
        ) from error


def _problem(doc: Doc, *, id_: str, benchmark: Benchmark) -> Problem:
    golds = [doc.gold_index] if isinstance(doc.gold_index, int) else list(doc.gold_index)
    if len(golds) != 1 or not 0 <= golds[0] < len(doc.choices):
        raise ExamError(
            f"{benchmark.name}: problem {id_} has gold_index {doc.gold_index!r} for {len(doc.choices)} choices; "
            "expected exactly one right answer. Only tasks with one gold answer per problem can be gated"
        )
    if not all(isinstance(choice, str) for choice in doc.choices):
        raise ExamError(
            f"{benchmark.name}: problem {id_} has the choices {doc.choices!r}; expected text. "
            "Convert the answers to str in the task's prompt function"
        )
    if doc.images or doc.fewshot_samples:
        raise ExamError(f"{benchmark.name}: problem {id_} carries images or few-shot examples; expected text alone")
    return Problem(
        id=id_, query=doc.query, instruction=doc.instruction, choices=tuple(doc.choices), gold_index=golds[0]
    ).whole


def _label(row: Row, *, number: int) -> str:
    """Return what a data set calls a row: its own id, cut, else its number from 1."""
    own = next((str(row[name]) for name in _OWN_IDS if isinstance(row.get(name), str | int) and str(row[name])), None)
    return f"row {number + 1}" if own is None else own[:_LABEL_CHARS]


def _row_digest(row: Row) -> str:
    """Hash a row's content; a column without a value counts as absent, as files differ in that."""
    content = {name: value for name, value in row.items() if value is not None}
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


@contextmanager
def _seeded(digest: str) -> Iterator[None]:
    """Let the global `random` start from a digest, and put its state back afterwards."""
    state = random.getstate()
    random.seed(int(digest, 16))
    try:
        yield
    finally:
        random.setstate(state)
