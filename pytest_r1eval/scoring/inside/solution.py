"""Calls a function that the model wrote, as a sandbox does for the strict grader; the result is compared outside."""

import json
import types

import r1eval_prelude  # type: ignore[import-not-found]  # the sandbox has it under this name


def call(program: str, name: str, arguments: str) -> object:
    """
    Run a program and call a function, or a method of its class `Solution`.

    Args:
        program: The program.
        name: The function.
        arguments: Its arguments as JSON, one a line.

    Returns:
        What it returned; numpy's numbers and arrays as Python's. What is no JSON value fails in the sandbox.
    """
    module = types.ModuleType("solution")
    module.__dict__.update({key: value for key, value in vars(r1eval_prelude).items() if not key.startswith("_")})
    exec(compile(program, "solution.py", "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - in a sandbox
    holder = module.Solution() if hasattr(module, "Solution") else module
    return _plain(getattr(holder, name)(*(json.loads(line) for line in arguments.split("\n"))))


def _plain(value: object) -> object:
    if isinstance(value, (list, tuple)):
        return [_plain(element) for element in value]
    if isinstance(value, dict):
        return {key: _plain(element) for key, element in value.items()}
    return value.tolist() if type(value).__module__ == "numpy" else value  # type: ignore[attr-defined]  # numpy's has
