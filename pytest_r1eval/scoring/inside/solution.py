"""Calls a function that the model wrote, as a sandbox does for the strict grader; the result is compared outside."""

import ast
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
        What it returned; numpy's numbers and arrays as Python's. Anything but a JSON value fails in the sandbox.
    """
    module = types.ModuleType("solution")
    module.__dict__.update({key: value for key, value in vars(r1eval_prelude).items() if not key.startswith("_")})
    exec(compile(program, "solution.py", "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - in a sandbox
    holder = module.Solution() if hasattr(module, "Solution") else module
    return _plain(getattr(holder, name)(*(json.loads(line) for line in arguments.split("\n"))))


_READS = {"input", "stdin", "open", "read", "fileinput"}
_WRITES = {"print", "stdout", "write", "writelines", "__stdout__"}


def choose(texts: list[str], name: str | None) -> int | None:
    """
    Choose the program among the blocks of an answer (`scoring.blocks` writes down the rule).

    Args:
        texts: The blocks, the most likely program first.
        name: The function that the tests call; None for a program that is run.

    Returns:
        The number of the chosen one; None where none parses and does anything.
    """
    second = None
    for number, text in enumerate(texts):
        try:
            body = ast.parse(text).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        if _is_program(body) if name is None else _defines(body, name):
            return number
        if second is None and any(map(_does_anything, body)):
            second = number
    return second


def _defines(body: list[ast.stmt], name: str) -> bool:
    for statement in body:
        match statement:
            case ast.FunctionDef(name=defined) | ast.AsyncFunctionDef(name=defined) if defined == name:
                return True
            case ast.ClassDef(name="Solution", body=inner) if _defines(inner, name):
                return True
            case ast.Assign(targets=[ast.Name(id=defined)]) if defined == name:
                return True
    return False


def _is_program(body: list[ast.stmt]) -> bool:
    names = set()
    for node in ast.walk(ast.Module(body=body, type_ignores=[])):
        names |= {node.id} if isinstance(node, ast.Name) else {node.attr} if isinstance(node, ast.Attribute) else set()
    return bool(names & _READS and names & _WRITES)


def _does_anything(statement: ast.stmt) -> bool:
    """Tell whether a statement is more than words, numbers and annotations, which prose and examples parse as."""
    match statement:
        case ast.Expr(value=value):
            return any(isinstance(node, ast.Call) for node in ast.walk(value))
        case ast.AnnAssign(value=None) | ast.Pass():
            return False
    return True


def _plain(value: object) -> object:
    if isinstance(value, (list, tuple)):
        return [_plain(element) for element in value]
    if isinstance(value, dict):
        return {key: _plain(element) for key, element in value.items()}
    return value.tolist() if type(value).__module__ == "numpy" else value  # type: ignore[attr-defined]  # numpy's has
