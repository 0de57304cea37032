"""
The program that holds the scoring processes; started by `scoring.pool`, which says why it is one.

It stays light itself: LightEval is imported once, by multiprocessing's fork server, and inherited by every worker.
Where programs and the strict rule alone are expected, sympy is imported in its place.
Programs are graded by threads of this process, because all they do is wait for the sandbox (`scoring.code`).
It ends, with its whole process group, as soon as the process that started it is gone.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from functools import partial
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar, cast

from pebble import ProcessExpired, ProcessPool

from pytest_r1eval.core.benchmarks import Benchmark, Grader
from pytest_r1eval.core.records import FinishReason, Grade, Outcome
from pytest_r1eval.errors import ExamError, R1EvalError, SandboxError, ScoringError
from pytest_r1eval.exams.code_test_cache import CodeTestCache
from pytest_r1eval.scoring.grading import CodeGrading
from pytest_r1eval.scoring.pool import ExamRequest, GradeRequest, Reply, Request, SandboxRequest, WallsRequest
from pytest_r1eval.scoring.walls import confirmed, output_of, put_up, unconfirmed

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import ForkServerContext

    from pytest_r1eval.core.benchmarks import Problem
    from pytest_r1eval.core.records import Response
    from pytest_r1eval.core.thinking import ThinkTags
    from pytest_r1eval.exams.prompts import BuiltExam
    from pytest_r1eval.sandbox import Confirmation
    from pytest_r1eval.scoring.code import ProgramScorer

    Result = Grade | BuiltExam | Confirmation

T = TypeVar("T")
Given = TypeVar("Given")

_PRELOAD = ["pytest_r1eval.scoring.lighteval", "lighteval.tasks.lighteval_task", "lighteval.tasks.prompt_manager"]
_PRELOAD_WITHOUT_LIGHTEVAL = ["pytest_r1eval.scoring.strict"]
_GRADES_PER_PROCESS = 5000
"""After which a worker is replaced: sympy's caches grow, and a fresh fork costs milliseconds."""
_PROGRAMS_PER_PROCESS = 2
"""Programs under way for each scoring process: while one is compared here, another runs in the sandbox."""
_CPU_FRACTION = 1 / 3
"""The processor time that an answer may take of its wall time. An answer is not wrong because its machine gave it a
third of a core."""
_ENDED_FROM_OUTSIDE = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL, signal.SIGTERM}
"""Signals that a grader does not raise over an answer; SIGKILL is the kernel's, when others use up the memory."""
_WATCH_INTERVAL_S = 0.5
_PROBE_TIMEOUT_S = 120
"""Milliseconds on an idle machine, after LightEval's import."""
_EXAM_TIMEOUT_S = 1800
"""A slow network may download for long; this is for what never ends."""


def main() -> None:
    """Serve the connection that the command line names, with its pool size, timeout and what to import beforehand."""
    handle, n_processes, timeout_s, needs_lighteval = sys.argv[1:]
    threading.Thread(target=_watch_parent, args=(os.getppid(),), daemon=True).start()
    context = multiprocessing.get_context("forkserver")
    has_lighteval = needs_lighteval == str(True)
    context.set_forkserver_preload(_PRELOAD if has_lighteval else _PRELOAD_WITHOUT_LIGHTEVAL)
    if has_lighteval:
        forkserver.ensure_running()
    connection = Connection(int(handle))
    dispatcher = _Dispatcher(connection, context, n_processes=int(n_processes), timeout_s=float(timeout_s))
    threading.Thread(target=dispatcher.run, daemon=True).start()
    while True:  # takes requests off the pipe at once: the sender may be an event loop, and the first fork is slow
        try:
            for request in connection.recv():
                dispatcher.requests.put(request)
        except (EOFError, OSError):
            _end_group()


class _Dispatcher:
    """Gives requests to the pools and sends their results back."""

    def __init__(
        self, connection: Connection, context: ForkServerContext, *, n_processes: int, timeout_s: float
    ) -> None:
        self.requests: SimpleQueue[Request | _Lost] = SimpleQueue()
        self._connection = connection
        self._lock = threading.Lock()
        self._timeout_s = timeout_s
        self._cpu_s = timeout_s * _CPU_FRACTION
        self._context = context
        self._n_processes = n_processes
        self._graders: dict[tuple[Benchmark, bool], _RenewedPool] = {}
        self._builders = _RenewedPool(context, n_processes=1, n_tasks=1, enter=enter_worker)
        self._walled = _RenewedPool(context, n_processes=1, n_tasks=1, enter=enter_walls)
        self._probing = ThreadPoolExecutor(1, thread_name_prefix="r1eval-probe")
        self._programs = _Programs(n_threads=_PROGRAMS_PER_PROCESS * n_processes)

    def run(self) -> NoReturn:
        """Schedule requests as they come; where no process can be started, end, so that the requests fail."""
        try:
            while True:
                self._schedule(self.requests.get())
        finally:
            _end_group()

    def _schedule(self, request: Request | _Lost) -> None:
        match request:
            case GradeRequest(code=CodeGrading() as code, benchmark=Benchmark(grader=Grader.CODE)):
                program = self._programs.grade(code, request)
                program.add_done_callback(partial(self._reply, request.id, _grade))
            case SandboxRequest():
                sandbox = self._programs.confirm(request.code)
                sandbox.add_done_callback(partial(self._reply, request.id, _confirmation))
            case WallsRequest():
                walls = self._probing.submit(confirmed, self._run_behind_walls)
                walls.add_done_callback(partial(self._reply, request.id, _walls))
            case GradeRequest():
                grade = self._graders_of(request).schedule(
                    partial(grade_request, cpu_s=self._cpu_s), request, timeout_s=self._timeout_s
                )
                grade.add_done_callback(partial(self._judge, request))
            case _Lost(request=lost):
                control = self._graders_of(lost).schedule(
                    partial(control_request, cpu_s=self._cpu_s), lost, timeout_s=self._timeout_s
                )
                control.add_done_callback(partial(self._reply, lost.id, request.grade))
            case ExamRequest():
                exam = self._builders.schedule(build_request, request, timeout_s=_EXAM_TIMEOUT_S)
                exam.add_done_callback(partial(self._reply, request.id, _built_exam))

    def _graders_of(self, request: GradeRequest) -> _RenewedPool:
        """Give each benchmark processes of its own: what they need is imported before their walls are put up."""
        key = (request.benchmark, request.is_strict)
        if key not in self._graders:
            self._graders[key] = _RenewedPool(
                self._context,
                n_processes=self._n_processes,
                n_tasks=_GRADES_PER_PROCESS,
                enter=partial(enter_grader, request, cpu_s=self._cpu_s),
            )
        return self._graders[key]

    def _run_behind_walls(self, source: str, stdin: str) -> str:
        return self._walled.schedule(partial(output_of, source), stdin, timeout_s=_PROBE_TIMEOUT_S).result()

    def _judge(self, request: GradeRequest, future: Future[Grade]) -> None:
        """Reply with a grade; where the process was lost over it, ask another one first whether the grader works."""
        reason = _loss(future, timeout_s=self._timeout_s)
        if reason is None:
            self._reply(request.id, _grade, future)
        else:  # this is the pool's own thread, which may not schedule
            self.requests.put(_Lost(request=request, reason=reason))

    def _reply(self, id_: int, outcome: Callable[[Future[Any]], Result], future: Future[Any]) -> None:
        result: Result | R1EvalError
        try:
            result = outcome(future)
        except R1EvalError as error:
            result = type(error)(str(error))  # without the remote traceback, which may not pickle
        with contextlib.suppress(OSError), self._lock:  # no reader may be left; then the reader ends us
            self._connection.send(Reply(id=id_, result=result))


class _Programs:
    """Threads that grade programs, and the sandboxes they ask; one sandbox for each way to grade."""

    def __init__(self, *, n_threads: int) -> None:
        self._threads = ThreadPoolExecutor(n_threads, thread_name_prefix="r1eval-program")
        self._lock = threading.Lock()
        self._scorers: dict[CodeGrading, ProgramScorer] = {}

    def grade(self, code: CodeGrading, request: GradeRequest) -> Future[Grade]:
        return self._threads.submit(
            lambda: self._scorer(code).grade(request.problem, request.response, think_tags=request.think_tags)
        )

    def confirm(self, code: CodeGrading) -> Future[Confirmation]:
        return self._threads.submit(lambda: self._scorer(code).start())

    def _scorer(self, code: CodeGrading) -> ProgramScorer:
        from pytest_r1eval.scoring.code import ProgramScorer  # noqa: PLC0415 - only where programs are graded

        with self._lock:
            if code not in self._scorers:
                self._scorers[code] = ProgramScorer(code)
            return self._scorers[code]


class _RenewedPool:
    """A pebble pool that is replaced when it breaks, e.g. because the kernel killed an idle worker."""

    def __init__(
        self, context: ForkServerContext, *, n_processes: int, n_tasks: int, enter: Callable[[], None]
    ) -> None:
        self._enter = enter
        self._context = context
        self._n_processes = n_processes
        self._n_tasks = n_tasks
        self._pool: ProcessPool | None = None

    def schedule(self, function: Callable[[Given], T], given: Given, *, timeout_s: float) -> Future[T]:
        if self._pool is not None and not self._pool.active:
            self._pool.stop()
            self._pool.join()
            self._pool = None
        if self._pool is None:
            self._pool = ProcessPool(
                max_workers=self._n_processes,
                max_tasks=self._n_tasks,
                initializer=self._enter,
                context=self._context,
            )
        return cast("Future[T]", self._pool.schedule(function, args=(given,), timeout=timeout_s))


def enter_worker() -> None:
    """Make a fresh worker silent, and let a signal end it even where it hangs outside the interpreter."""
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    os.close(silence)


def enter_grader(request: GradeRequest, *, cpu_s: float) -> None:
    """Make a fresh worker one that grades answers of a request's benchmark, and nothing else, behind walls."""
    enter_worker()
    _grader_of(request).confine(request.benchmark, request.problem, cpu_s=cpu_s)


class _AnswerGrader(Protocol):
    """What a module that grades answers offers."""

    def grade(
        self,
        benchmark: Benchmark,
        problem: Problem,
        response: Response,
        *,
        cpu_s: float,
        think_tags: ThinkTags | None,
    ) -> Grade: ...

    def failure_at_control(self, benchmark: Benchmark, problem: Problem, *, cpu_s: float) -> str | None: ...

    def confine(self, benchmark: Benchmark, problem: Problem, *, cpu_s: float) -> None: ...


def _grader_of(request: GradeRequest) -> _AnswerGrader:
    """Import what grades a request, in a worker: the server itself must stay light."""
    if request.is_strict:
        from pytest_r1eval.scoring import strict  # noqa: PLC0415 - the same

        return strict
    from pytest_r1eval.scoring import lighteval  # noqa: PLC0415 - the same

    return lighteval


def enter_walls() -> None:
    """Close the walls of those that grade answers around a fresh worker."""
    enter_worker()
    put_up([])


def grade_request(request: GradeRequest, *, cpu_s: float) -> Grade:
    """Grade, in a worker."""
    return _grader_of(request).grade(
        request.benchmark, request.problem, request.response, cpu_s=cpu_s, think_tags=request.think_tags
    )


def control_request(request: GradeRequest, *, cpu_s: float) -> str | None:
    """Say how the grader fails at the problem's own answer, in a worker; None where it does not."""
    return _grader_of(request).failure_at_control(request.benchmark, request.problem, cpu_s=cpu_s)


def build_request(request: ExamRequest) -> BuiltExam:
    """Build an exam, in a worker that ends afterwards; the metric is checked first, before anything is generated."""
    from pytest_r1eval.exams.problems import load_exam  # noqa: PLC0415 - only builders need it
    from pytest_r1eval.exams.prompts import built_exam  # noqa: PLC0415 - the same
    from pytest_r1eval.scoring import lighteval  # noqa: PLC0415 - the server itself must stay light

    os.environ.update(request.hub_access)
    if request.benchmark.grader is Grader.TASK:
        for member in request.benchmark.members:
            lighteval.scorer(member)
    tests = None if request.tests is None else CodeTestCache(folder=request.tests)
    exam = load_exam(request.benchmark, data_dir=request.data_dir, tests=tests)
    return built_exam(exam, **request.asking)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lost:
    """A request over which a scoring process was lost, and how; the grader is to be tried on a control answer."""

    request: GradeRequest
    reason: str

    def grade(self, control: Future[str | None]) -> Grade:
        """Blame the answer, unless the grader fails on the control answer as well."""
        broken = control.result() if (error := control.exception()) is None else f"{type(error).__name__}: {error}"
        if broken is not None:
            return Grade(outcome=Outcome.ERROR, detail=f"{self.reason}; {broken}")
        is_cut = self.request.response.finish_reason is FinishReason.LENGTH
        return Grade(outcome=Outcome.TRUNCATED if is_cut else Outcome.WRONG, detail=self.reason)


def _loss(future: Future[Grade], *, timeout_s: float) -> str | None:
    """Say how a process was lost over an answer; None if it was not, or if something outside ended it."""
    match error := future.exception():
        case FutureTimeoutError():
            return f"grading it took more than {timeout_s:g} s and was stopped"
        case ProcessExpired() if -error.exitcode not in _ENDED_FROM_OUTSIDE:
            return f"the scoring process died over it ({_ending(error)})"
        case _:
            return None


def _grade(future: Future[Grade]) -> Grade:
    """Turn what became of a grading into a grade: only an error of ours is raised."""
    match error := future.exception():
        case None:
            return future.result()
        case R1EvalError():
            raise error
        case ProcessExpired():
            return Grade(outcome=Outcome.ERROR, detail=f"the scoring process died ({_ending(error)})")
        case _:
            return Grade(outcome=Outcome.ERROR, detail=f"grading failed: {type(error).__name__}: {error}")


def _confirmation(future: Future[Confirmation]) -> Confirmation:
    match error := future.exception():
        case None:
            return future.result()
        case R1EvalError():
            raise error
        case _:
            raise SandboxError(f"the sandbox could not be started: {type(error).__name__}: {error}")


def _walls(future: Future[Confirmation]) -> Confirmation:
    """Say what holds; a probe that fails confirms nothing, and answers are graded all the same."""
    error = future.exception()
    return future.result() if error is None else unconfirmed(f"was not probed ({type(error).__name__}: {error})")


def _built_exam(future: Future[BuiltExam]) -> BuiltExam:
    match error := future.exception():
        case None:
            return future.result()
        case R1EvalError():
            raise error
        case FutureTimeoutError():
            raise ExamError(f"building the exam took longer than {_EXAM_TIMEOUT_S} s; check the network and the task")
        case ProcessExpired():
            raise ScoringError(f"the process that built the exam died ({_ending(error)}); expected an exam. Try again")
        case _:
            raise ScoringError(f"building the exam failed: {type(error).__name__}: {error}; this is a defect here")


def _ending(error: ProcessExpired) -> str:
    """Name the signal or the exit status that ended a process."""
    return signal.Signals(-error.exitcode).name if error.exitcode < 0 else f"exit status {error.exitcode}"


def _watch_parent(parent: int) -> NoReturn:
    """End when the parent is gone; a pipe does not say so while some other child of its still holds the end."""
    while os.getppid() == parent:
        time.sleep(_WATCH_INTERVAL_S)
    _end_group()


def _end_group() -> NoReturn:
    os.killpg(os.getpgrp(), signal.SIGTERM)
    sys.exit(0)
