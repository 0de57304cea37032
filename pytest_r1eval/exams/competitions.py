"""
Mathematics competitions that LightEval 0.13.0 has no task for, as MathArena collects them.

They are asked as LightEval asks AIME 2024, in the same words and with the same metric. So their scores can be read
beside it, and they can be pooled with it. A right answer gets dollar signs: without them LightEval reads no root, and
would grade every response to such a problem wrong.
"""

from __future__ import annotations

from lighteval.metrics.metrics import Metrics
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc
from lighteval.tasks.tasks.aime import MATH_PROMPT_TEMPLATE


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
        name=name,
        prompt_function=prompt_function,
        hf_repo=repo,
        hf_subset="default",
        hf_avail_splits=("train",),
        evaluation_splits=("train",),
        few_shots_split=None,
        few_shots_select=None,
        generation_size=None,
        metrics=(_METRIC,),
        version=1,
    )
    for name, repo in (
        ("aime26", "MathArena/aime_2026"),
        ("hmmt_feb25", "MathArena/hmmt_feb_2025"),
        ("hmmt_nov25", "MathArena/hmmt_nov_2025"),
    )
]
