"""
Grade one response with its task's own LightEval metric: the sole importer of LightEval's metrics.

Decisions:

- Each sample is scored by itself, through the metric's `compute_score`. `PassAtK.compute` divides by the n it was
  configured with instead of the number of samples, and remembers the first problem's n for all later ones.
- Reasoning is removed from the raw text as LightEval's pipeline does by default, for equal scores: text between a
  pair of tags goes; a closing tag without its opening one, as R1-style templates produce it, stays.
- What a response does to the grader is the response's (`scoring.scored`).
- The search for an answer is bounded by the text (`scoring.extraction`); processor time is the backstop, because where
  it ends hangs on the machine. The detail tells which of the two it was.
- A metric group (IFEval's, IFBench's) gives several scores; the benchmark names the one that counts. It reads all of a
  text as the answer. So the thought is left out first by the rule of the strict grader, which knows the model's tags.
- Some metrics cannot tell right from wrong: a logprob metric, a score between 0 and 1. Their task is a `ScoringError`,
  because no sample of it could be counted.

This module imports LightEval (10 s and more) and is imported by scoring processes only; see `scoring.pool`.

Known trade-off (accepted): LightEval bounds its own sympy work by alarms of 2 and 5 s and calls what did not finish
wrong. On a starved machine a slow right answer can be lost; a generous number of CPUs per scoring process is the cure.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lighteval.metrics.metrics_sample import PassAtK, SampleLevelComputation, SamplingMetric
from lighteval.metrics.utils.metric_utils import SampleLevelMetric, SampleLevelMetricGrouping
from lighteval.models.model_output import ModelResponse
from lighteval.utils.utils import remove_reasoning_tags

from pytest_r1eval.core.records import Grade, Response
from pytest_r1eval.errors import R1EvalError, ScoringError
from pytest_r1eval.exams import tasks
from pytest_r1eval.exams.problems import as_doc
from pytest_r1eval.scoring import extraction
from pytest_r1eval.scoring.extraction import TooManyStepsError
from pytest_r1eval.scoring.final_answer import UNFINISHED, after_thought
from pytest_r1eval.scoring.grading import REASONING_TAGS
from pytest_r1eval.scoring.instructions import check_instructions, data_of_instructions, fetch_nothing, fixed_chance
from pytest_r1eval.scoring.scored import Scored, control_failure, grade_of, guarded
from pytest_r1eval.scoring.walls import put_up

if TYPE_CHECKING:
    from lighteval.metrics.utils.metric_utils import Metric
    from lighteval.tasks.requests import Doc

    from pytest_r1eval.core.benchmarks import Benchmark, Problem
    from pytest_r1eval.core.thinking import ThinkTags


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """
    A task's metric for one sample.

    Attributes:
        preprocess: How text is prepared.
        score: How a prepared sample is scored.
        is_group: Whether it is a score of a metric group, which takes a whole text for the answer.
    """

    preprocess: Callable[[str], str]
    score: Callable[[Doc, ModelResponse], float]
    is_group: bool = False


def grade(
    benchmark: Benchmark, problem: Problem, response: Response, *, cpu_s: float, think_tags: ThinkTags | None = None
) -> Grade:
    """
    Grade one response.

    Args:
        benchmark: Names the task.
        problem: The problem that the response answers.
        response: The response.
        cpu_s: Seconds of processor time that the grade may take.
        think_tags: What encloses its thought; their special tokens are left out, as LightEval's decoder does.

    Raises:
        ScoringError: If the task has no metric that tells right from wrong.
        ExamError: If the task cannot be found.
    """
    text: str | None = response.text
    if scorer(benchmark).is_group and (text := after_thought(response, think_tags)) is not None:
        text = text.lstrip()  # what a template puts between thought and answer
    if text is None:
        scored = Scored(answers=(), reason=UNFINISHED)
    else:
        text = text if think_tags is None else think_tags.without_special(text)
        scored = _scored(benchmark, problem, text, cpu_s=cpu_s)
    return grade_of(scored, response, control=lambda: _control(benchmark, problem, cpu_s=cpu_s))


def failure_at_control(benchmark: Benchmark, problem: Problem, *, cpu_s: float) -> str | None:
    """Grade the problem's own answer, and say how the grader failed at it; None where it did not."""
    return control_failure(_control(benchmark, problem, cpu_s=cpu_s))


def confine(benchmark: Benchmark, problem: Problem, *, cpu_s: float) -> None:
    """
    Put up the walls around this process, once it has all that it needs to grade a benchmark.

    A task that cannot be found or graded leaves it without: each request says so again, and nothing is evaluated.
    """
    try:
        scorer(benchmark)
    except R1EvalError:
        return
    failure_at_control(benchmark, problem, cpu_s=cpu_s)
    put_up(filter(None, [tasks.task_file(benchmark), *data_of_instructions()]))


def _control(benchmark: Benchmark, problem: Problem, *, cpu_s: float) -> Scored:
    gold = problem.choices[problem.gold_index]
    return _scored(benchmark, problem, f"$\\boxed{{{gold}}}$", cpu_s=cpu_s)


def _scored(benchmark: Benchmark, problem: Problem, text: str, *, cpu_s: float) -> Scored:
    metric = scorer(benchmark)
    doc = as_doc(problem)
    doc.choices = [metric.preprocess(choice) for choice in doc.choices]
    values: list[float] = []

    def score() -> Scored:
        try:
            prepared = metric.preprocess(remove_reasoning_tags(text, REASONING_TAGS))
            values.append(metric.score(doc, ModelResponse(text=[prepared])))
        except TooManyStepsError as error:
            return Scored(failure=f"not graded, by a rule on its text: {error}")
        answers = (doc.specific or {}).get("extracted_predictions")
        return Scored(is_correct=values[0] == 1, answers=None if answers is None else tuple(answers))

    scored = guarded(score, cpu_s=cpu_s)
    if values and values[0] not in (0, 1):
        raise ScoringError(
            f"{benchmark.name}: the metric of task {benchmark.task!r} gave {values[0]!r}; expected 0 or 1. "
            "Use a metric that says right or wrong for each sample"
        )
    return scored


@functools.cache
def scorer(benchmark: Benchmark) -> Scorer:
    """
    Choose the task's metric, once per process.

    It is the one that the benchmark names, else its first pass@k, else its first metric of generated text.

    Raises:
        ScoringError: If there is none, or what it needs is not installed.
        ExamError: If the task cannot be found.
    """
    extraction.bound()
    fetch_nothing(benchmark)
    check_instructions(benchmark)
    metrics = tasks.task_config(benchmark).metrics
    if benchmark.metric is not None:
        return _named(benchmark, benchmark.metric, metrics)
    functions = [
        metric.sample_level_fn
        for metric in sorted(metrics, key=lambda metric: not isinstance(metric.sample_level_fn, PassAtK))
        if metric.category.name == "GENERATIVE"
        and (isinstance(metric, SampleLevelMetric) or isinstance(metric.sample_level_fn, SamplingMetric))
    ]
    for function in functions:
        if (found := _of_function(function)) is not None:
            return found
    raise ScoringError(
        f"{benchmark.name}: task {benchmark.task!r} has the metrics "
        f"{', '.join(str(metric.metric_name) for metric in metrics) or '(none)'}; expected a pass@k, or another "
        "metric that scores one generated answer. Add one to the task"
    )


def _of_function(function: object) -> Scorer | None:
    if isinstance(function, SamplingMetric):
        return Scorer(preprocess=function.preprocess, score=_two_arguments(function.compute_score))
    if isinstance(function, SampleLevelComputation):
        return Scorer(preprocess=str, score=_two_arguments(function.compute))
    return None


def _named(benchmark: Benchmark, name: str, metrics: Iterable[Metric]) -> Scorer:
    """Return the metric of a name, or the group that has a score of that name."""
    offered: list[str] = []
    for metric in metrics:
        names = [metric.metric_name] if isinstance(metric.metric_name, str) else [*metric.metric_name]
        offered += names
        if name not in names or metric.category.name != "GENERATIVE":
            continue
        found = _of_function(metric.sample_level_fn)
        if found is not None and isinstance(metric, SampleLevelMetricGrouping):
            return Scorer(preprocess=str, score=_one_of_group(found.score, name), is_group=True)
        if found is not None:
            return found
    raise ScoringError(
        f"{benchmark.name}: task {benchmark.task!r} has no metric {name!r} that scores one generated answer; expected "
        f"one of {', '.join(offered) or '(none)'}. Correct the benchmark's metric"
    )


def _one_of_group(scores: Callable[[Doc, ModelResponse], Any], name: str) -> Callable[[Doc, ModelResponse], float]:
    """Take one score of a group, from a fixed start of chance: its rules draw what a row leaves open."""

    def score(doc: Doc, model_response: ModelResponse) -> float:
        with fixed_chance():
            return float(scores(doc, model_response)[name])

    return score


def _two_arguments(function: Callable[..., Any]) -> Callable[[Doc, ModelResponse], Any]:
    """Call a scoring function by the names LightEval gives its arguments; their order differs between metrics."""
    return lambda doc, model_response: function(doc=doc, model_response=model_response)
