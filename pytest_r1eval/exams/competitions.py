"""
Mathematics competitions that LightEval 0.13.0 has no task for, as MathArena collects them.

They are asked as LightEval asks AIME 2024, in the same words and with the same metric. So their scores can be read
beside it, and they can be pooled with it. A right answer gets dollar signs: without them LightEval reads no root, and
would grade every response to such a problem wrong.
"""

from lighteval.metrics.metrics import Metrics
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc
from lighteval.tasks.tasks.aime import MATH_PROMPT_TEMPLATE

from pytest_r1eval.core.built_in import BUILT_IN


def prompt_function(line: dict[str, str | int], task_name: str) -> Doc:
    """Put a problem in the words for AIME; MathArena keeps AIME's answers as whole numbers, HMMT's as LaTeX."""
    return Doc(
        task_name=task_name,
        query=MATH_PROMPT_TEMPLATE.format(prompt=line["problem"]),
        choices=[f"${line['answer']}$"],
        gold_index=0,
    )


_METRIC = Metrics.pass_at_k_math(sample_params={"k": 1, "n": 1})

TASKS_TABLE = [
    LightevalTaskConfig(
        name=benchmark.task,
        prompt_function=prompt_function,
        hf_repo=benchmark.card.dataset,
        hf_subset="default",
        hf_avail_splits=("train",),
        evaluation_splits=("train",),
        metrics=(_METRIC,),
        version=1,
    )
    for benchmark in BUILT_IN
    if benchmark.task_module == __name__ and benchmark.card is not None
]
