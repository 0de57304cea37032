"""
A dozen programming problems in LiveCodeBench's shape, as a LightEval task: prompts and tests come out alike.

They are ours and lie beside this module, so the benchmark needs no network. Unlike LiveCodeBench's, their private tests
are plain JSON.
"""

import json
from pathlib import Path

from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc
from lighteval.tasks.tasks.lcb.main import lcb_codegen_metric, prepare_prompt


def prompt_function(line: dict[str, str], task_name: str) -> Doc:
    """Return the problem in LightEval's words for LiveCodeBench, its tests beside it."""
    tests = [*json.loads(line["public_test_cases"]), *json.loads(line["private_test_cases"])]
    return Doc(
        task_name=task_name,
        query=prepare_prompt(line),
        choices=[""],
        gold_index=0,
        specific={
            "inputs": [test["input"] for test in tests],
            "outputs": [test["output"] for test in tests],
            "fn_name": json.loads(line["metadata"]).get("func_name"),
        },
    )


TASKS_TABLE = [
    LightevalTaskConfig(
        name="smoke_code",
        prompt_function=prompt_function,
        hf_repo=str(Path(__file__).parent / "code"),
        hf_subset="default",
        hf_avail_splits=("test",),
        evaluation_splits=("test",),
        metrics=(lcb_codegen_metric,),
        version=1,
    )
]
