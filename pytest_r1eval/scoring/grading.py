"""How the programs and answers of one run are graded, as a value that crosses from pytest to the scoring processes."""

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from pytest_r1eval.core.benchmarks import Benchmark, Grader
from pytest_r1eval.core.choices import CodeGrader
from pytest_r1eval.sandbox.limits import Limits

REASONING_TAGS = [("<think>", "</think>")]
"""What LightEval's pipeline removes from a response before anything reads it, by default."""

METRIC = "lighteval"
"""The name, without its version, of what grades answers by a task's own metric."""


def grader_name(rule: CodeGrader, benchmark: Benchmark) -> str | None:
    """
    Return name and version of what grades a benchmark by a rule, as the fingerprint records it.

    Returns:
        None where the task's own metric does (`metric_name`): no strict rule reads such answers, or none is asked for.
    """
    match benchmark.grader, rule:
        case Grader.CODE, CodeGrader.LIGHTEVAL:
            return f"{rule.scorer} {metadata.version('lighteval')}"
        case Grader.CODE, CodeGrader.STRICT:
            return f"{rule.scorer} 3"  # 2: the program is found by a written rule; 3: behind the thought
        case Grader.TASK, CodeGrader.STRICT if benchmark.answers is not None:
            return f"strict-{benchmark.answers} 2"  # 2: the model's own tags enclose the thought
        case _:
            return None


def metric_name() -> str:
    """Return name and version of what grades answers by a task's own metric."""
    return f"{METRIC} {metadata.version('lighteval')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeGrading:
    """
    By which rule programs and answers are right, and what programs may use.

    Attributes:
        grader: The rule; of a policy with several the one for programs.
        limits: Of one test; `cpu_s` is also the time that LightEval's scorer gives a test.
        tests: Folder of the tests (`code_test_cache`).
        allow_unsafe: Whether programs run even where no sandbox holds.
        own: Benchmarks of a policy and their rules. No mapping: scoring processes keep what they made by its hash.
    """

    grader: CodeGrader
    limits: Limits
    tests: Path
    allow_unsafe: bool = False
    own: tuple[tuple[str, CodeGrader], ...] = ()

    def rule_for(self, benchmark: Benchmark) -> CodeGrader:
        """Return the rule of a benchmark."""
        return dict(self.own).get(benchmark.name, self.grader)

    def name_for(self, benchmark: Benchmark) -> str | None:
        """Return name and version of what grades a benchmark; None where its task's own metric does."""
        return grader_name(self.rule_for(benchmark), benchmark)

    def is_strict_for(self, benchmark: Benchmark) -> bool:
        """Tell whether a benchmark's answers are graded by the strict rule, and not by its task's metric."""
        return self.rule_for(benchmark) is CodeGrader.STRICT and benchmark.answers is not None
