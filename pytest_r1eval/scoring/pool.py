"""
The scoring processes, seen from pytest: start them, ask for grades and exams, end them.

Decisions:

- LightEval costs 10 s and more to import and its graders hand model-written text to sympy, which evaluates it. So
  this process never imports it; it starts a *server* (`scoring.server`) that holds a pebble pool over a fork server
  with LightEval preloaded. Workers fork in milliseconds; one that hangs is replaced as fast.
- The server is a program of its own, not a `multiprocessing` child, for three reasons. Its environment is passed
  as a value, without secrets, instead of being edited in `os.environ` under other threads' feet. Nothing tries to
  import `__main__` again, which under xdist has no file and in a user's script may have no guard. And it leads a
  session, so that Ctrl-C in the terminal does not reach it and one signal ends all of it.
- The Hub's token goes to the one process that builds an exam, as an argument, and to no process that grades.
- What a response does to its grader is the response's: a grade that takes too long or ends its process is a wrong
  answer with the reason in its detail. A failure of the machinery is a grade `Outcome.ERROR`, never a wrong answer: a
  process that something outside ended, or a grader that fails on the problem's own answer right afterwards. If the
  server itself dies, what it was doing is lost as ERROR and the next request starts another.
- A scoring process puts walls around itself before it reads the first answer (`scoring.walls`). Where none holds,
  answers are graded all the same, as the published numbers were, and the verdict says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from multiprocessing.connection import Pipe
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Self, Unpack, cast

from pytest_r1eval.core.pools import part_of
from pytest_r1eval.core.records import Grade, Outcome
from pytest_r1eval.core.secrets import without_secrets
from pytest_r1eval.errors import R1EvalError, ScoringError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_r1eval.core.benchmarks import Benchmark, Problem
    from pytest_r1eval.core.records import Response
    from pytest_r1eval.core.thinking import ThinkTags
    from pytest_r1eval.exams.prompts import Asking, BuiltExam
    from pytest_r1eval.sandbox import Confirmation
    from pytest_r1eval.scoring.grading import CodeGrading

_FOR_THE_HUB = re.compile(r"HF_TOKEN|HUGGING_FACE_HUB_TOKEN|(?:https?|all)_proxy", re.IGNORECASE)
"""Secrets that the reader of a data set needs; a proxy's address may hold a password."""
_NAMES_AN_ERROR = re.compile(r"^[\w.]*(?:Error|Exception)\b.*$", re.MULTILINE)
"""A traceback's last line; other processes of the group may print a warning after it."""
_PROGRAM = "from pytest_r1eval.scoring.server import main; main()"
_MAX_REQUESTS_AT_ONCE = 64
"""In one message; an answer of 32,768 tokens is 100 KB."""
_END_TIMEOUT_S = 5
"""Between asking the server's process group to end and killing it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeRequest:
    """Ask for the grade of one response."""

    id: int
    benchmark: Benchmark
    problem: Problem
    response: Response
    code: CodeGrading | None = None
    think_tags: ThinkTags | None = None

    @property
    def is_strict(self) -> bool:
        """Whether the strict rule for answers grades it, and not the task's metric."""
        return self.code is not None and self.code.is_strict_for(self.benchmark)


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxRequest:
    """Ask for the sandbox that programs will be graded in."""

    id: int
    code: CodeGrading


@dataclass(frozen=True, slots=True, kw_only=True)
class WallsRequest:
    """Ask for the walls around the processes that grade answers by their task's metric."""

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamRequest:
    """Ask for an exam and its prompts; `hub_access` becomes environment variables of the process that builds it."""

    id: int
    benchmark: Benchmark
    data_dir: Path | None
    asking: Asking
    hub_access: Mapping[str, str]
    tests: Path | None = None


Request = GradeRequest | ExamRequest | SandboxRequest | WallsRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer to the request of that id."""

    id: int
    result: Grade | BuiltExam | Confirmation | R1EvalError


class GradingPool:
    """
    A pool of scoring processes; usable from any thread and any event loop.

    Args:
        n_processes: Scoring processes.
        timeout_s: Seconds a response may take to grade; programs have limits of their own.
        code: How programs and answers are graded; None where each task's own metric grades.
        needs_lighteval: Whether it is imported beforehand; if not, each process that needs it does so for itself.
        environ: The environment the processes start from, secrets still in it; None takes this process's.
        spare: Where a server waits that has imported LightEval, and where the next pool's is started once this one
            grades; None for nowhere.
    """

    def __init__(  # noqa: PLR0913 - how answers are graded, and by which processes
        self,
        *,
        n_processes: int,
        timeout_s: float = 60.0,
        code: CodeGrading | None = None,
        needs_lighteval: bool = True,
        environ: Mapping[str, str] | None = None,
        spare: SpareServer | None = None,
    ) -> None:
        self._n_processes = n_processes
        self._code = code
        self._needs_lighteval = needs_lighteval
        self._timeout_s = timeout_s
        self._environ = dict(os.environ if environ is None else environ)
        self._spare = self._unprepared = spare
        self._ids = itertools.count()
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._is_closed = False

    def start(self) -> None:
        """Begin to start the processes and return at once; the first request would do it otherwise."""
        with self._lock:
            self._is_closed = False
            self._live_server()

    async def grade(
        self, benchmark: Benchmark, problem: Problem, response: Response, *, think_tags: ThinkTags | None = None
    ) -> Grade:
        """
        Grade one response; a grader that is broken, or that something outside ends, gives `Outcome.ERROR`.

        Args:
            benchmark: The benchmark; of a pool, the part that the problem is of grades.
            problem: The problem that the response answers.
            response: The response.
            think_tags: What encloses its thought; None where the model has no such tags.

        Raises:
            ScoringError: If the benchmark's task has no metric that tells right from wrong.
            ExamError: If its task cannot be found.
        """
        request = GradeRequest(
            id=next(self._ids),
            benchmark=part_of(benchmark, problem.id),
            problem=problem,
            response=response,
            code=self._code,
            think_tags=think_tags,
        )
        spare, self._unprepared = self._unprepared, None
        if spare is not None:
            spare.prepare(self._start)
        try:
            return cast("Grade", await asyncio.wrap_future(self._ask(request)))
        except _ServerLostError as error:
            return Grade(outcome=Outcome.ERROR, detail=str(error))

    def confirm_sandbox(self) -> Future[Confirmation]:
        """
        Start the sandbox for programs, if it does not run yet, and say what it holds.

        Returns:
            Wait for its `result`; it raises `SandboxError` where nothing confines programs here.
        """
        if self._code is None:
            raise ScoringError("programs are to be graded, and no grader is set; this is a defect here")
        return cast("Future[Confirmation]", self._ask(SandboxRequest(id=next(self._ids), code=self._code)))

    def confirm_walls(self) -> Future[Confirmation]:
        """
        Name the walls around the processes that grade answers by their task's metric.

        Returns:
            Wait for its `result`; where nothing holds, its level is NONE.
        """
        return cast("Future[Confirmation]", self._ask(WallsRequest(id=next(self._ids))))

    def build_exam(self, benchmark: Benchmark, *, data_dir: Path | None, **asking: Unpack[Asking]) -> Future[BuiltExam]:
        """
        Build a benchmark's exam and one model's prompts for it, in a process that is used for nothing else.

        Args:
            benchmark: The benchmark.
            data_dir: Folder of local data sets.
            asking: What makes the prompts.

        Returns:
            A future: call `result()`, or await it through `asyncio.wrap_future`. It raises `ExamError` for the task
            or its data, `ModelError` for the tokenizer and `ScoringError` for the metric or the process.
        """
        request = ExamRequest(
            id=next(self._ids),
            benchmark=benchmark,
            data_dir=data_dir,
            asking=asking,
            hub_access={name: value for name, value in self._environ.items() if _FOR_THE_HUB.fullmatch(name)},
            tests=None if self._code is None else self._code.tests,
        )
        return cast("Future[BuiltExam]", self._ask(request))

    def close(self) -> None:
        """End all processes; requests that are under way fail, and later ones until the next `start`."""
        with self._lock:
            self._is_closed = True
            server, self._server = self._server, None
        if server is not None:
            server.end()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, request: Request) -> Future[Any]:
        with self._lock:
            return self._live_server().ask(request)

    def _live_server(self) -> _Server:
        if self._is_closed:
            raise _ServerLostError("the scoring processes were closed before they were asked")
        if self._server is None or self._server.is_lost:
            if self._server is not None:
                self._server.end()
            self._server = _Server(self._start) if self._spare is None else self._spare.server(self._start)
        return self._server

    @property
    def _start(self) -> _Start:
        """How a server is started now: what an engine imports may lengthen the search path."""
        return _Start(
            n_processes=self._n_processes,
            timeout_s=self._timeout_s,
            needs_lighteval=self._needs_lighteval,
            environ=scoring_environment(self._environ, search_path=sys.path),
        )


class SpareServer:
    """
    A server for the next pool, in a process that judges one checkpoint after another.

    It has imported LightEval and was asked nothing, so nothing of a run reaches the next one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: tuple[_Start, _Server] | None = None
        self._is_closed = False

    def server(self, start: _Start) -> _Server:
        """Return the server that waits if it was started in the same way, else another; one that waits in vain ends."""
        with self._lock:
            waiting, self._waiting = self._waiting, None
        if waiting is not None:
            kind, server = waiting
            if kind == start and not server.is_lost:
                return server
            server.end()
        return _Server(start)

    def prepare(self, start: _Start) -> None:
        """Start a server, if none waits and LightEval is what it would import."""
        with self._lock:
            if self._waiting is None and start.needs_lighteval and not self._is_closed:
                self._waiting = (start, _Server(start))

    def close(self) -> None:
        """End the server that waits, and start none any more."""
        with self._lock:
            self._is_closed, waiting, self._waiting = True, self._waiting, None
        if waiting is not None:
            waiting[1].end()


def scoring_environment(environ: Mapping[str, str], *, search_path: list[str]) -> dict[str, str]:
    """
    Derive the environment of scoring processes: no secrets, no GPU, the same modules.

    Args:
        environ: The environment to start from.
        search_path: Where this process finds modules, in order.
    """
    return without_secrets(environ) | {
        "PYTHONPATH": os.pathsep.join(folder or str(Path.cwd()) for folder in search_path),
        "CUDA_VISIBLE_DEVICES": "",
        "TOKENIZERS_PARALLELISM": "false",  # tokenizers warns and may hang when its threads are forked
    }


class _ServerLostError(ScoringError):
    """The server ended with the request unanswered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    """How a server is started; the names are those of `GradingPool`."""

    n_processes: int
    timeout_s: float
    needs_lighteval: bool
    environ: Mapping[str, str]


class _Server:
    """One server process, the connection to it, and the requests it has not answered."""

    def __init__(self, start: _Start) -> None:
        self._connection, theirs = Pipe()
        arguments = map(str, (theirs.fileno(), start.n_processes, start.timeout_s, start.needs_lighteval))
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end()
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-P", "-c", _PROGRAM, *arguments],
            env=dict(start.environ),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            start_new_session=True,
        )
        theirs.close()
        self._open: dict[int, Future[Any]] = {}
        self._is_lost = threading.Event()
        self._outbox: SimpleQueue[Request | None] = SimpleQueue()
        self._sender = threading.Thread(target=self._send, name="r1eval-scoring-requests", daemon=True)
        self._sender.start()
        self._reader = threading.Thread(target=self._read, name="r1eval-scoring-replies", daemon=True)
        self._reader.start()

    @property
    def is_lost(self) -> bool:
        return self._is_lost.is_set()

    def ask(self, request: Request) -> Future[Any]:
        """
        Send a request; its future cannot be cancelled, so that a reply always finds it open.

        It is sent by a thread: who asks is the event loop that feeds the engine, and the
        pipe is full after some dozens of a thousand answers that end together.
        """
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        self._open[request.id] = future
        self._outbox.put(request)
        if self.is_lost:
            self._fail_open()
        return future

    def end(self) -> None:
        """End the server's whole process group; nothing in it has anything to save."""
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()
        self._outbox.put(None)
        self._sender.join()
        self._reader.join()
        self._connection.close()
        self._errors.close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _send(self) -> None:
        """Send what waits, several requests at once: they share a benchmark and problems, which are written once."""
        try:
            while (request := self._outbox.get()) is not None:
                batch = [request]
                with contextlib.suppress(Empty):
                    while len(batch) < _MAX_REQUESTS_AT_ONCE and (request := self._outbox.get_nowait()) is not None:
                        batch.append(request)
                self._connection.send(batch)
                if request is None:
                    return
        except OSError:
            self._lose()

    def _read(self) -> None:
        while True:
            try:
                reply: Reply = self._connection.recv()
            except (EOFError, OSError):
                self._lose()
                return
            future = self._open.pop(reply.id, None)
            if future is None:
                continue
            if isinstance(reply.result, R1EvalError):
                future.set_exception(reply.result)
            else:
                future.set_result(reply.result)

    def _lose(self) -> None:
        self._is_lost.set()
        self._fail_open()

    def _fail_open(self) -> None:
        error = _ServerLostError(f"the scoring processes ended{self._last_words()} before they answered")
        while self._open:
            with contextlib.suppress(KeyError):  # the other thread took the last one
                self._open.popitem()[1].set_exception(error)

    def _last_words(self) -> str:
        with contextlib.suppress(ValueError, OSError):  # closed already
            size = os.fstat(self._errors.fileno()).st_size
            tail = os.pread(self._errors.fileno(), 2000, max(0, size - 2000)).decode(errors="replace")
            if lines := tail.strip().splitlines():
                return f" ({(_NAMES_AN_ERROR.findall(tail) or lines)[-1]})"
        return ""
