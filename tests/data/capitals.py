# ruff: noqa: INP001 - a file that users name by its path, as theirs is
"""A benchmark on which a small chat model has something to lose: the capitals of twenty countries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lighteval.metrics.metrics_sample import SampleLevelComputation
from lighteval.metrics.utils.metric_utils import SampleLevelMetric
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc, SamplingMethod


def question(line: dict[str, str], task_name: str) -> Doc:
    """Ask for a capital."""
    query = f"What is the capital of {line['country']}? Answer with one word."
    return Doc(task_name=task_name, query=query, choices=[line["capital"]], gold_index=0)


class Named(SampleLevelComputation):  # type: ignore[misc] # LightEval is untyped
    """Whether an answer names the capital."""

    def compute(self, doc: Doc, model_response: ModelResponse) -> float:
        """Return 1 or 0."""
        return float(doc.choices[0] in model_response.final_text[0])


TASKS_TABLE = [
    LightevalTaskConfig(
        name="capitals",
        prompt_function=question,
        hf_repo=str(Path(__file__).parent / "capitals"),
        hf_subset="default",
        hf_avail_splits=("test",),
        evaluation_splits=("test",),
        metrics=(
            SampleLevelMetric(
                metric_name="named",
                sample_level_fn=Named(),
                category=SamplingMethod.GENERATIVE,
                corpus_level_fn=np.mean,
                higher_is_better=True,
            ),
        ),
        version=1,
    )
]
