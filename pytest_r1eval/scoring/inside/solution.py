"""Calls a function that the model wrote, as a sandbox does for the strict grader; the result is compared outside."""

import json
import types


def call(prelude: str, program: str, name: str, arguments: str) -> object:
    """
    Run a program and call a function, or a method of its class `Solution`.

    Args:
        prelude: Imports that the program may take for granted.
        program: The program.
        name: The function.
        arguments: Its arguments as JSON, one a line.

    Returns:
        What it returned; numpy's numbers and arrays as Python's. What is no JSON value fails in the sandbox.
    """
    module = types.ModuleType("solution")
    exec(prelude, module.__dict__)  # noqa: S102 - what this is for, in a sandbox
    exec(compile(program, "solution.py", "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - the same
    holder = module.Solution() if hasattr(module, "Solution") else module
    return _plain(getattr(holder, name)(*(json.loads(line) for line in arguments.split("\n"))))


def _plain(value: object) -> object:
    if isinstance(value, (list, tuple)):
        return [_plain(element) for element in value]
    if isinstance(value, dict):
        return {key: _plain(element) for key, element in value.items()}
    return value.tolist() if type(value).__module__ == "numpy" else value
