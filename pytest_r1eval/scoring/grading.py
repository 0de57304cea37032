"""How the programs of one run are graded, as a value that crosses from pytest to the scoring processes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import assert_never

from pytest_r1eval.core.choices import CodeGrader
from pytest_r1eval.sandbox.limits import Limits

REASONING_TAGS = [("<think>", "</think>")]
"""What LightEval's pipeline removes from a response before anything reads it, by default."""


def grader_name(grader: CodeGrader) -> str:
    """Return name and version of a rule, as the fingerprint records it."""
    match grader:
        case CodeGrader.LIGHTEVAL:
            return f"{grader.scorer} {metadata.version('lighteval')}"
        case CodeGrader.STRICT:
            return f"{grader.scorer} 2"  # 2: the program is found by a written rule
    assert_never(grader)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeGrading:
    """
    By which rule programs are right, and what they may use.

    Attributes:
        grader: The rule.
        limits: Of one test; `cpu_s` is also the time that LightEval's scorer gives a test.
        tests: Folder of the tests (`code_test_cache`).
        allow_unsafe: Whether programs run even where no sandbox holds.
    """

    grader: CodeGrader
    limits: Limits
    tests: Path
    allow_unsafe: bool = False

    @property
    def name(self) -> str:
        """Name and version of the rule, as the fingerprint records it."""
        return grader_name(self.grader)
