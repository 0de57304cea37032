"""
Grade a program that the model wrote, in the sandbox, by one of two rules that are never mixed in one baseline.

- `lighteval`: LightEval's own `run_test`, called inside the sandbox, because the published numbers were made so. It
  shares a process with the program, puts objects of Python in place of stdin and stdout, and stops at the first
  failure. So it fails correct programs that read `sys.stdin.buffer` or write to descriptor 1. A program that walks the
  stack finds its expected outputs.
- `strict`: ours. The program is the block that a written rule names (`scoring.blocks`). It gets a real stdin and a real
  stdout in a process of its own for every test; a function gets its arguments as JSON. What comes back is compared
  here, where the program cannot reach. The comparison is LightEval's: line by line without surrounding blanks, numbers
  as decimals. A program must end with status 0.

Both give a program the names that LiveCodeBench's problems take for granted (`List`, `deque`): LightEval's prelude,
or its copy.

A program that fails, hangs, or ends without a result is wrong. A sandbox that fails is `Outcome.ERROR`.

Runs in the server of the scoring processes (`scoring.server`), whose environment holds no secrets.

Known trade-off (accepted): a fast program that is right and a slow one that is right are told apart by time, and a
starved machine is slow. The strict rule counts processor time; LightEval counts wall time, as it does at home.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from functools import lru_cache, partial
from importlib import util
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from lighteval.tasks.tasks.lcb.codegen_metrics import extract_code
from lighteval.utils.utils import remove_reasoning_tags

from pytest_r1eval.core import code_tests
from pytest_r1eval.core.benchmarks import Problem
from pytest_r1eval.core.choices import CodeGrader
from pytest_r1eval.core.records import FinishReason, Grade, Outcome, Response
from pytest_r1eval.errors import SandboxError, ScoringError
from pytest_r1eval.exams.code_test_cache import CodeTestCache
from pytest_r1eval.sandbox import Call, Completion, Confirmation, Ending, Imports, Sandbox, Script
from pytest_r1eval.sandbox.interior import DEFAULT_MODULES
from pytest_r1eval.scoring.blocks import Blocks, blocks_of
from pytest_r1eval.scoring.final_answer import UNFINISHED, after_thought
from pytest_r1eval.scoring.grading import REASONING_TAGS, CodeGrading

if TYPE_CHECKING:
    from pytest_r1eval.core.code_tests import CodeTests
    from pytest_r1eval.core.thinking import ThinkTags

_INSIDE = Path(__file__).parent / "inside"
_LIGHTEVAL_GRACE_S = 5
"""What LightEval gives a program beyond its tests; its bound is (timeout + 1 s) for each test and this."""
_N_TESTS_KEPT = 64
"""Problems whose tests stay unpacked; the samples of one problem are graded near each other."""
_LONGEST_NUMERIC_LINE = 100_000
"""Characters of an output line that are still read as numbers; a longer one has to be equal as text."""

_LONGEST_SPELLING = 400
"""Times as long as one JSON text another of equal value can be: 1e308 as a whole number has 309 digits."""


class ProgramScorer:
    """
    Grades programs in one sandbox; usable from several threads.

    Args:
        grading: The rule and its limits.
    """

    def __init__(self, grading: CodeGrading) -> None:
        self._grading = grading
        self._sandbox = Sandbox(grading.limits, imports=_imports(grading.grader), allow_unsafe=grading.allow_unsafe)
        self._tests = lru_cache(_N_TESTS_KEPT)(CodeTestCache(folder=grading.tests).read)
        self._start_lock = threading.Lock()
        self._is_started = False

    def start(self) -> Confirmation:
        """
        Start the sandbox once, and say what it holds.

        Raises:
            SandboxError: If nothing confines programs here, and that was not allowed.
        """
        with self._start_lock:
            if not self._is_started:
                self._sandbox.start()
                self._is_started = True
        return self._sandbox.confirmation

    def close(self) -> None:
        """End the sandbox, and the programs in it."""
        self._sandbox.close()

    def grade(self, problem: Problem, response: Response, *, think_tags: ThinkTags | None = None) -> Grade:
        """
        Run the program of a response against its problem's tests.

        Args:
            problem: The problem that the response answers.
            response: The response.
            think_tags: What encloses its thought; None where the model has no such tags.

        Raises:
            ScoringError: If the problem has no tests, they are lost, or no sandbox can be started.
        """
        if problem.tests is None:
            raise ScoringError(f"problem {problem.id} has no tests; expected those that its exam was built with")
        is_cut = response.finish_reason is FinishReason.LENGTH
        tests = self._tests(problem.tests)
        self.start()
        program = ""
        try:
            answer = self._answer(response, think_tags)
            program = "" if answer is None else self._program(answer, tests)
            if not program.strip():
                unfinished = UNFINISHED if answer is None else None
                return Grade(outcome=Outcome.TRUNCATED if is_cut else Outcome.NO_ANSWER, detail=unfinished)
            failure = self._failure(program, tests)
        except SandboxError as error:
            return Grade(outcome=Outcome.ERROR, answer=program or None, detail=str(error))
        if failure is None:
            return Grade(outcome=Outcome.CORRECT, answer=program)
        return Grade(outcome=Outcome.TRUNCATED if is_cut else Outcome.WRONG, answer=program, detail=failure)

    def _answer(self, response: Response, tags: ThinkTags | None) -> str | None:
        """Return a response without its thought: what LightEval's pipeline makes of it, or what the tags say."""
        match self._grading.grader:
            case CodeGrader.LIGHTEVAL:
                text = response.text if tags is None else tags.without_special(response.text)
                return str(remove_reasoning_tags(text, REASONING_TAGS))
            case CodeGrader.STRICT:
                return after_thought(response, tags)
        assert_never(self._grading.grader)

    def _program(self, answer: str, tests: CodeTests) -> str:
        """Find the program in an answer; empty where there is none."""
        match self._grading.grader:
            case CodeGrader.LIGHTEVAL:
                return str(extract_code(answer))
            case CodeGrader.STRICT:
                return self._chosen(blocks_of(answer), tests)
        assert_never(self._grading.grader)

    def _chosen(self, blocks: Blocks, tests: CodeTests) -> str:
        if blocks.is_plain:
            return blocks.last_fenced
        done = self._sandbox.run(
            Call(module="r1eval_solution", function="choose", arguments=(list(blocks.candidates), tests.function))
        )
        number = json.loads(done.returned or b"null")  # a parser that ended its process chose nothing
        return blocks.last_fenced if number is None else blocks.candidates[number]

    def _failure(self, program: str, tests: CodeTests) -> str | None:
        """Say why a program is wrong; None where it is right."""
        match self._grading.grader:
            case CodeGrader.LIGHTEVAL:
                return self._failure_by_lighteval(program, tests)
            case CodeGrader.STRICT:
                return self._failure_by_tests(program, tests)
        assert_never(self._grading.grader)

    def _failure_by_lighteval(self, program: str, tests: CodeTests) -> str | None:
        limits = self._grading.limits
        timeout_s = max(1, round(limits.cpu_s))  # an alarm counts whole seconds
        bound_s = (timeout_s + 1) * len(tests.inputs) + _LIGHTEVAL_GRACE_S
        done = self._sandbox.run(
            Call(
                module="lighteval_entry",
                function="passes",
                arguments=(code_tests.lighteval_json(tests), program, timeout_s),
                limits=replace(limits, cpu_s=float(bound_s), wall_s=float(bound_s)),
            )
        )
        if done.returned == b"true":
            return None
        return "LightEval's scorer failed it" if done.returned else _words(done)

    def _failure_by_tests(self, program: str, tests: CodeTests) -> str | None:
        """
        Run all tests at once; the first that fails ends those that have not begun.

        Each output is judged by the thread that ran its program, so no more of them are kept than programs run.
        """
        is_call = tests.function is not None
        runs = [
            self._sandbox.submit(
                _run(program, given, function=tests.function), partial(_mismatch, expected=expected, is_call=is_call)
            )
            for given, expected in zip(tests.inputs, tests.outputs, strict=True)
        ]
        for number, run in enumerate(runs, 1):
            try:
                failure = run.result()
            except SandboxError:
                _cancel(runs)
                raise
            except CancelledError as error:
                raise SandboxError("the sandbox was closed while a program ran in it; resume the run") from error
            if failure is not None:
                _cancel(runs)
                return f"test {number} of {len(runs)}: {failure}"
        return None


def is_same_output(found: str, expected: str) -> bool:
    """
    Compare what a program printed with what it should have, by LightEval's words.

    Lines are stripped and must be as many; a line is right if it is equal, or if
    its words are equal as decimal numbers.
    """
    pairs = zip_longest(_stripped_lines(found), _stripped_lines(expected))
    return all(line is not None and wanted is not None and _is_same_line(line, wanted) for line, wanted in pairs)


def _imports(grader: CodeGrader) -> Imports:
    """Name what a sandbox holds; each rule has one of its own, as LightEval's module changes the interpreter."""
    if grader is CodeGrader.STRICT:
        preloaded = {"r1eval_prelude": _INSIDE / "prelude.py", "r1eval_solution": _INSIDE / "solution.py"}
        return Imports(modules=DEFAULT_MODULES, preloaded=preloaded)
    package = util.find_spec("lighteval")
    if package is None or package.origin is None:
        raise ScoringError("LightEval is not installed; install pytest-r1eval[lighteval]")
    scorer = Path(package.origin).parent / "tasks" / "tasks" / "lcb" / "codegen_metrics.py"
    return Imports(
        modules=(*DEFAULT_MODULES, "tqdm"),
        preloaded={"lighteval_scorer": scorer, "lighteval_entry": _INSIDE / "lighteval_entry.py"},
    )


def _run(program: str, given: str, *, function: str | None) -> Script | Call:
    if function is not None:
        return Call(module="r1eval_solution", function="call", arguments=(program, function, given))
    # Executed as a text, so that a program may begin with `from __future__`.
    source = f"from r1eval_prelude import *\nexec(compile({program!r}, 'solution.py', 'exec', dont_inherit=True))\n"
    return Script(source=source, stdin=given.encode(errors="surrogateescape"))


def _mismatch(done: Completion, expected: str, *, is_call: bool) -> str | None:
    """Say what is wrong with one test; None where nothing is."""
    if done.ending is not Ending.EXITED or done.exit_code != 0:
        return _words(done)
    if is_call:
        if not done.returned:
            return "it ended before it returned"
        return None if _is_same_value(done.returned, expected) else "it returned something else"
    found = done.stdout.decode(errors="replace")
    return None if is_same_output(found, expected) else "it printed something else"


def _is_same_value(returned: bytes, expected: str) -> bool:
    """
    Compare a result with what it should be; what a program wrote in its place may be anything.

    What is longer, or has more parts, than any text of an equal value is not read: each part is an object of 60 bytes.
    """
    n_parts = sum(map(returned.count, (b",", b"[", b"{")))
    if n_parts > len(expected) or len(returned) > _LONGEST_SPELLING * (len(expected) + 1):
        return False
    wanted = json.loads(expected)
    try:
        return bool(json.loads(returned) == wanted)
    except (ValueError, RecursionError):
        return False


def _words(done: Completion) -> str:
    """Say how a program ended that did not get to its end."""
    last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2][:200]
    how = f"it exited with status {done.exit_code}" if done.ending is Ending.EXITED else str(done.ending)
    return f"{how} ({last})" if last else how


def _cancel(runs: Iterable[Future[str | None]]) -> None:
    for run in runs:
        run.cancel()


def _stripped_lines(text: str) -> Iterator[str]:
    """Take line after line, as 16 MiB of short ones would fill ten times as much."""
    text = text.strip()
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield text[start:end].strip()
        start = end + 1
    yield text[start:].strip()


def _is_same_line(found: str, expected: str) -> bool:
    if found == expected:
        return True
    if max(len(found), len(expected)) > _LONGEST_NUMERIC_LINE:
        return False
    try:
        return [Decimal(word) for word in found.split()] == [Decimal(word) for word in expected.split()]
    except InvalidOperation:  # no numbers, or such that cannot be compared
        return False
