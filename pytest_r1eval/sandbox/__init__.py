"""The sandbox for programs that a model wrote. `sandbox.sandbox` says how it holds; this names what others use."""

from pytest_r1eval.sandbox.interior import DEFAULT_MODULES, Imports
from pytest_r1eval.sandbox.levels import Confirmation, SandboxLevel
from pytest_r1eval.sandbox.limits import Limits
from pytest_r1eval.sandbox.programs import Call, Completion, Ending, Program, Script
from pytest_r1eval.sandbox.sandbox import Sandbox

__all__ = [
    "DEFAULT_MODULES",
    "Call",
    "Completion",
    "Confirmation",
    "Ending",
    "Imports",
    "Limits",
    "Program",
    "Sandbox",
    "SandboxLevel",
    "Script",
]
