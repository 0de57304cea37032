"""
LightEval's scorer, as a sandbox calls it: `run_test`, then what LightEval does with its results.

Lives in the sandbox, where LightEval's module is `lighteval_scorer` and nothing else of LightEval exists.
"""

import pickle

import numpy as np
from lighteval_scorer import run_test  # type: ignore[import-not-found]  # the sandbox has it under this name


def passes(tests: str, program: str, timeout_s: int) -> bool:
    """
    Say whether LightEval counts a program as right.

    Args:
        tests: JSON with `inputs`, `outputs` and `fn_name`.
        program: The program.
        timeout_s: What it gives each test.
    """
    results = run_test({"input_output": tests}, test=program, timeout=timeout_s)
    pickle.dumps(results)  # LightEval sends them through a pipe; what cannot be sent counts as failed
    return bool(np.all(np.array([_plain(result) for result in results]) > 0))


def _plain(result: object) -> object:
    if isinstance(result, np.ndarray):
        result = result.item(0)
    return bool(result) if isinstance(result, np.bool_) else result
