"""
The smoke benchmark as a LightEval task: arithmetic with one whole number as the answer.

The data is beside this module, so the benchmark needs no network. The query
is the bare problem: the small checkpoint was trained on exactly these words,
and an instruction in front of them would measure something else.
"""

from pathlib import Path

from lighteval.metrics.metrics import Metrics
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc


def prompt_function(line: dict[str, str], task_name: str) -> Doc:
    """Return the problem unchanged; the answer is its only choice."""
    return Doc(task_name=task_name, query=line["problem"], choices=[line["answer"]], gold_index=0)


TASKS_TABLE = [
    LightevalTaskConfig(
        name="smoke",
        prompt_function=prompt_function,
        hf_repo=str(Path(__file__).parent),
        hf_subset="default",
        hf_avail_splits=("test",),
        evaluation_splits=("test",),
        # One sample at a time: LightEval's pass@k over several counts in a way that depends on n (lighteval#771).
        metrics=(Metrics.pass_at_k_math(sample_params={"k": 1, "n": 1}),),
        version=1,
    )
]
