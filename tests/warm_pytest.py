"""
Processes of pytest that have their imports behind them: forks of one server, for the tests that start hundreds.

Importing numpy, scipy and pyarrow takes most of a short run's time. The server imports them once for all tests of a
process; each fork then becomes a run of its own, with the folder, the environment and the arguments it was given.
Nothing of pytest is started before the fork, and no plugin is imported: pytest imports and rewrites plugins itself.

A fork becomes a child of the process that asked for it, as after `subprocess.Popen`: it is waited for, killed and tied
to its parent as any other process. What starts processes in turn, as a run that spreads does, has a server of its own.
It ends without taking down what it shares with the server.

A server for real engines has vLLM and LightEval imported, too, 16 s of CPU, and what multiprocessing spawns for vLLM is
its fork. It shows its environment and takes its threads from it, as a spawned process does.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import gc
import importlib
import importlib.metadata
import inspect
import json
import logging
import multiprocessing.util
import os
import pkgutil
import re
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from execnet.gateway_io import popen_bootstrapline

import pytest_r1eval
from pytest_r1eval.engines.vllm_options import missing_from
from pytest_r1eval.scoring.pool import _PROGRAM

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
OTHERS = (
    "_pytest.pytester", "execnet", "execnet.multi", "pdb", "pyarrow.json", "pyarrow.parquet", "pytest", "rich.console",
    "rich.table", "scipy.special", "sqlite3",
)  # fmt: skip
"""What a run imports of others, plugins left out; each is imported by some run that judges."""
OURS = ("baselines", "config", "core", "judging", "ledger", "reports", "runs", "sampling", "stats", "upload")
"""The packages of ours that a run imports; `plugin` is left to pytest."""
UNTOUCHED = ("huggingface_hub", "lighteval", "pandas", "pytest_r1eval.plugin", "torch", "vllm", "xdist")
"""What no fork may find imported: it reads the environment when it is imported, or a run leaves it alone."""
LEAN = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "xdist.plugin,pytest_r1eval.plugin"}
"""The plugins that a gate needs. The others of the test environment, hypothesis first, take longer than a gate."""
TIED = "pytest_r1eval.evaluation.die_with_parent"
STARTING_RUNS = ("from pytest_r1eval.commands.cli import main;", "pytest_r1eval.evaluate(")
"""What a program on the command line says that is the command line itself, or a user's script with a gate."""
ENGINES = (
    "vllm.engine.arg_utils", "vllm.v1.engine.async_llm", "vllm.v1.engine.core", "vllm.v1.executor.multiproc_executor",
)  # fmt: skip
"""
What a real engine imports in each process of a run, 8 s of CPU; the graders' LightEval is 8 more.

Its worker's own module is left to the worker: importing it changes torch, which a training has in the same process.
"""
TO_ENGINES = {
    "OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1", "TORCHINDUCTOR_CPP_DYNAMIC_THREADS": "1",
}  # fmt: skip
"""What is read with the import: one thread, since a fork has no others, and what vLLM tells its own processes."""
PROGRAMS = ("tests.tiny_models", "tests.noisy_adapter", "vllm.entrypoints.openai.api_server")
"""What else asks vLLM or torch, and may be a fork of a server that has them; an example of ours, too."""
COLD = subprocess.Popen
"""What starts a process that imports by itself."""
SPAWN = multiprocessing.util.spawnv_passfds
"""How multiprocessing starts a program."""
_PR_SET_CHILD_SUBREAPER = 36
_ENVIRON_FIELDS = (50, 51)
"""Of /proc/PID/stat: where the environment begins and ends, proc(5)."""
_ROOM, _N_ROOM = "R1_ROOM", 65_536
"""A variable of so many bytes, which leaves room for the environment of a fork in the place of the server's."""
_LOOK_S = 1e-4
"""Between two looks for a message; a step of a tiny model takes milliseconds."""
_N_DESCRIPTORS = 16
"""Descriptors handed over for one process, at most."""


def remember_entry_points() -> None:
    """Read the entry points of each installed distribution once: pytest and a gate ask for all of them four times."""
    read = importlib.metadata.PathDistribution.entry_points.fget  # type: ignore[attr-defined]
    known: dict[str, object] = {}

    def entry_points(self: importlib.metadata.PathDistribution) -> object:
        path = str(self._path)  # two objects of one distribution share it
        if path not in known:
            known[path] = read(self)
        return known[path]

    importlib.metadata.PathDistribution.entry_points = property(entry_points)  # type: ignore[assignment,method-assign]


def preload() -> None:
    """Import what a run imports, in the server, and leave the filters of warnings as they are."""
    filters = warnings.filters[:]
    for name in OTHERS:
        importlib.import_module(name)
    for package in pkgutil.iter_modules(pytest_r1eval.__path__):
        if package.name in OURS:
            folder = importlib.import_module(f"pytest_r1eval.{package.name}")
            for module in pkgutil.iter_modules(folder.__path__):
                importlib.import_module(f"{folder.__name__}.{module.name}")
    warnings.filters[:] = filters  # type: ignore[index]
    remember_entry_points()
    importlib.metadata.entry_points()
    _leave_asserts(pytest_r1eval)
    if found := [name for name in UNTOUCHED if name in sys.modules]:
        raise RuntimeError(f"the server of runs imported {', '.join(found)}, which every run has to import by itself")


def _leave_asserts(plugin: ModuleType) -> None:
    """Tell pytest in its own words to leave the asserts of a plugin alone, or it warns that it is too late for them."""
    plugin.__doc__ = f"{plugin.__doc__} PYTEST_DONT_REWRITE"


def preload_engines() -> None:
    """
    Import what a run with a real engine imports, too: vLLM as an engine does it, and LightEval as its graders do.

    vLLM's core and its worker look for each other's messages without a pause, each on a processor of its own. Here
    they share one, and pause between two looks.
    """
    os.environ.update(missing_from(os.environ))
    logging.getLogger("vllm").setLevel(logging.WARNING)
    filters = warnings.filters[:]
    for name in ENGINES:
        importlib.import_module(name)
    from vllm.distributed.device_communicators import shm_broadcast  # noqa: PLC0415 - only in this server

    shm_broadcast.sched_yield = lambda: time.sleep(_LOOK_S)
    warnings.filters[:] = filters  # type: ignore[index]
    preload_graders()
    _leave_asserts(sys.modules["anyio"])  # an HTTP client's, and a plugin


def preload_graders() -> None:
    """Import LightEval as graders do; it brings torch, transformers, PEFT and datasets."""
    filters = warnings.filters[:]
    from pytest_r1eval.scoring.server import _PRELOAD  # noqa: PLC0415 - only in these servers

    for name in _PRELOAD:
        importlib.import_module(name)
    warnings.filters[:] = filters  # type: ignore[index]


PRELOADS = {"engines": preload_engines, "graders": preload_graders}
"""What a server imports beside what every run does, by the word for it on its command line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """
    A process to be started.

    Attributes:
        arguments: What follows the interpreter on the command line.
        folder: Where it runs.
        environ: All its variables.
        is_session: Whether it begins a session of its own.
        descriptors: What it gets beside the standard streams, under the same numbers.
    """

    arguments: tuple[str, ...]
    folder: str
    environ: Mapping[str, str]
    is_session: bool
    descriptors: tuple[int, ...]

    @property
    def is_warm(self) -> bool:
        """Whether a fork of the server can become it, tied to its parent or not."""
        match list(self.arguments):
            case ["-m", module, _, python, *command] if module == TIED and python == sys.executable:
                return is_ours(command)
            case found:
                return is_ours(found)

    @property
    def is_of_engines(self) -> bool:
        """Whether it can become a fork of a server that has vLLM and LightEval, beside those that need neither."""
        match list(self.arguments):
            case ["-m", module, *_] if module in PROGRAMS:
                return True
            case [path, *_] if Path(path).parent == EXAMPLES:
                return True
            case _:
                return self.is_scoring or self.is_spawned

    @property
    def is_scoring(self) -> bool:
        """Whether it is the program that holds scoring processes."""
        return [*self.arguments[:3]] == ["-P", "-c", _PROGRAM]

    @property
    def is_program(self) -> bool:
        """Whether it is a program of any kind, without an option of Python's but -P or -u."""
        first = self.arguments[1 if self.arguments[0] in {"-P", "-u"} else 0]
        return first in {"-c", "-m"} or first.endswith(".py")

    @property
    def is_spawned(self) -> bool:
        """Whether multiprocessing spawns it, as vLLM does its core and its worker."""
        return self.arguments[0] == "-c" and self.arguments[-1] == "--multiprocessing-fork"


def is_ours(arguments: Sequence[str]) -> bool:
    """Whether this is a run of pytest, a worker of xdist, or a program of ours that starts runs."""
    match list(arguments):
        case ["-mpytest", *_] | ["-m", "pytest", *_] | ["-m", "pytest_r1eval.evaluation.host"]:
            return True
        case ["-u", "-c", program]:
            return program == popen_bootstrapline
        case ["-c", program, *_]:
            return any(words in program for words in STARTING_RUNS)
        case _:
            return False


class Server:
    """
    The client of a server, which starts with the first process that is asked for.

    Args:
        channel: What a server that runs already listens to.
        has_engines: Whether it imports vLLM and LightEval.
        has_graders: Whether it imports LightEval, for programs of all kinds.
    """

    def __init__(
        self, channel: socket.socket | None = None, *, has_engines: bool = False, has_graders: bool = False
    ) -> None:
        self._channel = channel
        self.has_engines = has_engines
        self._has_graders = has_graders
        self._server: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def has(self, start: Start) -> bool:
        """Whether a fork can become this process."""
        if self.has_engines and start.is_of_engines:
            return True
        if start.descriptors:
            return start.is_scoring and self._has_graders
        return start.is_warm or (self._has_graders and start.is_program)

    def start(self) -> None:
        """Start the server now, with the environment of now, and not with the first process that is asked for."""
        with self._lock:
            if self._channel is None:
                self._channel = self._started()

    def fork(self, start: Start, streams: Sequence[int]) -> int:
        """Start a process with these for standard input, output and error; return its process id, a child's."""
        self.start()
        with self._lock:
            assert self._channel is not None
            adopt(is_on=True)
            try:
                socket.send_fds(self._channel, [b"\n"], [*streams, *start.descriptors])
                self._channel.sendall(json.dumps(asdict(start)).encode() + b"\n")
                return int(_line(self._channel))
            finally:
                adopt(is_on=False)

    def close(self) -> None:
        """Let the server end."""
        if self._channel is not None:
            self._channel.close()
        if self._server is not None:
            self._server.wait()

    def _started(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        own = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "PYTHONPATH"))}
        of_engines = {**TO_ENGINES, _ROOM: " " * _N_ROOM} if self.has_engines else {}
        with theirs:
            self._server = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.warm_pytest", str(theirs.fileno())),
                    *["engines"] * self.has_engines,
                    *["graders"] * self._has_graders,
                ],
                pass_fds=[theirs.fileno()],
                cwd=ROOT,
                env={**own, "OPENBLAS_NUM_THREADS": "1", **of_engines},
            )
        return ours


def adopt(*, is_on: bool) -> None:
    """Become the parent of what descendants leave behind, or no longer: prctl(2)."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(is_on), 0, 0, 0)


def popen_from(server: Server) -> type[subprocess.Popen[bytes]]:
    """Return a `Popen` whose runs of pytest are forks of a server, and whose other processes are as ever."""

    class WarmPopen(COLD):  # type: ignore[type-arg]
        """A process that may be a fork."""

        def _execute_child(self, *given: object) -> None:
            cold = super()._execute_child  # type: ignore[misc]
            asked = inspect.signature(cold).bind(*given).arguments
            start = _start_of(asked)
            if start is None or not server.has(start):
                cold(*given)
                return
            pipes = [asked["p2cread"], asked["c2pwrite"], asked["errwrite"]]
            self.pid = server.fork(start, [number if pipe == -1 else pipe for number, pipe in enumerate(pipes)])
            self._child_created = True
            self._close_pipe_fds(  # type: ignore[attr-defined]
                *(asked[name] for name in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite"))
            )

    return WarmPopen


def spawn_from(server: Server) -> Callable[[bytes, Sequence[bytes | str], Sequence[int]], int]:
    """Return how multiprocessing starts a program where a server has the imports of those it spawns."""

    def spawn(path: bytes, arguments: Sequence[bytes | str], descriptors: Sequence[int]) -> int:
        start = Start(
            arguments=tuple(word for word in map(os.fsdecode, arguments[1:]) if word != "-B"),  # writes no bytecode
            folder=str(Path.cwd()),
            environ=dict(os.environ),
            is_session=False,
            descriptors=tuple(sorted(map(int, descriptors))),
        )
        return server.fork(start, (0, 1, 2)) if start.is_spawned else SPAWN(path, arguments, descriptors)

    return spawn


@contextmanager
def forking(server: Server) -> Iterator[None]:
    """Fork what a server has the imports of, for as long as the block lasts."""
    replaced = subprocess.Popen, multiprocessing.util.spawnv_passfds
    fork_from(server)
    try:
        yield
    finally:
        subprocess.Popen, multiprocessing.util.spawnv_passfds = replaced  # type: ignore[misc]


def fork_from(server: Server) -> None:
    """Let this process start forks of a server, where it has the imports of what is started."""
    subprocess.Popen = popen_from(server)  # type: ignore[misc,assignment]
    if server.has_engines:
        multiprocessing.util.spawnv_passfds = spawn_from(server)  # type: ignore[assignment]


def _start_of(asked: Mapping[str, object]) -> Start | None:
    """Return what Popen was asked for; None where it is no Python of this environment or asks for more."""
    arguments, environ = asked["args"], asked["env"]
    if not isinstance(arguments, (list, tuple)) or arguments[:1] not in ([sys.executable], (sys.executable,)):
        return None
    if any(asked[name] for name in ("executable", "preexec_fn", "shell")):
        return None
    own = tuple(map(str, arguments[1:]))
    from_python = own[:2] == ("-m", TIED)  # a gate, which leaves pytest's own variables out
    lean = {name: os.environ[name] for name in LEAN if from_python and name in os.environ}
    return Start(
        arguments=own,
        folder=str(Path(str(asked["cwd"] or "")).absolute()),
        environ={**lean, **(os.environ if not isinstance(environ, Mapping) else environ)},
        is_session=bool(asked["start_new_session"]),
        descriptors=tuple(sorted(asked["pass_fds"])),  # type: ignore[call-overload]
    )


def _line(channel: socket.socket) -> str:
    found = bytearray()
    while not found.endswith(b"\n"):
        byte = channel.recv(1)
        if not byte:
            raise RuntimeError("the server of runs is gone; start the test again")
        found += byte
    return found.decode()


def serve(channel: socket.socket) -> NoReturn:
    """Fork for each request until the client is gone; Ctrl-C is the forks' matter."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        _, streams, _, _ = socket.recv_fds(channel, 1, _N_DESCRIPTORS)
        if not streams:
            os._exit(0)  # nothing of what was imported has to be taken down
        start = Start(**json.loads(_line(channel)))
        if (forked := _forked(channel)) is None:
            run(start, streams)
        for stream in streams:
            os.close(stream)
        with suppress(BrokenPipeError):
            channel.sendall(f"{forked}\n".encode())


def _forked(channel: socket.socket) -> int | None:
    """Fork a process that the client is the parent of, and return its id; None in the fork, which has that parent."""
    said, says = os.pipe()
    goes, go = os.pipe()
    between = os.fork()
    if between == 0:
        fork = os.fork()
        if fork:
            os.write(says, str(fork).encode())
            os._exit(0)
        channel.close()
        for end in (said, says, go):
            os.close(end)
        os.read(goes, 1)  # ends when the one between is gone, and the client has become the parent
        os.close(goes)
        return None
    os.close(goes)
    os.waitpid(between, 0)
    pid = int(os.read(said, 20))
    for end in (said, says, go):
        os.close(end)
    return pid


def _high(descriptor: int) -> int:
    """Move a descriptor to a number that no process asks for."""
    found = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 500)
    os.close(descriptor)
    return found


def _become(start: Start, streams: Sequence[int]) -> None:
    """Make this fork what a fresh Python would be after its imports."""
    out_of_the_way = [_high(stream) for stream in streams]
    for number, stream in zip((0, 1, 2, *start.descriptors), out_of_the_way, strict=True):
        os.dup2(stream, number)
        os.close(stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(start.environ)
    if "vllm" in sys.modules:
        _show_environment()
        _take_threads(is_bound=start.is_spawned)
    os.chdir(start.folder)
    search_path = start.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[0:1] = [start.folder, *filter(None, search_path)]
    if any(Path(folder, "sitecustomize.py").exists() for folder in filter(None, search_path)):
        importlib.import_module("sitecustomize")  # as Python does by itself when it starts
    if "COVERAGE_PROCESS_CONFIG" in start.environ:
        import coverage  # noqa: PLC0415 - only where coverage is measured

        coverage.process_startup()


def _show_environment() -> None:
    """Write the environment where others read it, /proc/PID/environ, over the server's, which has room for it."""
    fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    begin, end = (int(fields[number - 3]) for number in _ENVIRON_FIELDS)
    shown = b"".join(name + b"=" + value + b"\0" for name, value in os.environb.items())
    ctypes.memmove(begin, shown[: end - begin].ljust(end - begin, b"\0"), end - begin)


def _take_threads(*, is_bound: bool) -> None:
    """Take the threads, and the processors of vLLM's, that OpenMP reads from the environment when it is loaded."""
    import torch  # noqa: PLC0415 - only in a server that has it

    bound = os.environ.get("GOMP_CPU_AFFINITY") or os.environ.get("OMP_PLACES", "")
    if is_bound and (processors := {int(number) for number in re.findall(r"\d+", bound)}):
        os.sched_setaffinity(0, processors)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", len(os.sched_getaffinity(0)))))


def _serve_children(streams: Sequence[int]) -> None:
    """Fork a server for what this process starts in turn, and let it start that."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        for stream in streams:
            os.close(stream)
        serve(theirs)
    theirs.close()
    channel, has_engines = socket.socket(fileno=_high(ours.detach())), "vllm" in sys.modules
    server = Server(channel, has_engines=has_engines, has_graders=not has_engines and "lighteval" in sys.modules)
    fork_from(server)

    def end() -> None:
        server.close()
        os.waitpid(pid, 0)

    atexit.register(end)


class _ReplacedError(Exception):
    """A program asks for another one in its place."""


def _become_tied(arguments: Sequence[str]) -> Sequence[str]:
    """Tie this process to its parent by the module that does it, and return what takes that module's place."""
    tying = importlib.import_module(TIED)

    def execv(_: str, command: Sequence[str]) -> NoReturn:
        raise _ReplacedError(*command[1:])

    sys.argv = [str(tying.__file__), *arguments]
    replaced, os.execv = os.execv, execv  # type: ignore[assignment]
    try:
        tying.main()
    except _ReplacedError as replacing:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return list(replacing.args)
    finally:
        os.execv = replaced
    raise AssertionError("it ends with another program, or with SystemExit")


def run(start: Start, streams: Sequence[int]) -> NoReturn:
    """Run the program, and end with its exit code."""
    arguments: Sequence[str] = start.arguments
    if start.is_session:
        os.setsid()
    is_alone = {"pytest", "-mpytest", popen_bootstrapline} & {*arguments}
    if start.is_scoring:
        multiprocessing.util.spawnv_passfds = _fork_the_fork_server  # type: ignore[assignment]
    elif "lighteval" in sys.modules or not is_alone or any(each.startswith(("-n", "--tx")) for each in arguments):
        _serve_children(streams)
    _become(start, streams)
    if list(arguments[:2]) == ["-m", TIED]:
        arguments = _become_tied(arguments[2:])
    try:
        _run_program(arguments)
    except SystemExit as ended:
        _end(ended.code)
    _end(None)


def _fork_the_fork_server(path: bytes, arguments: Sequence[bytes | str], descriptors: Sequence[int]) -> int:
    """Start a program of multiprocessing; its fork server as a fork, which has LightEval imported."""
    program = os.fsdecode(arguments[-1])
    if not program.startswith("from multiprocessing.forkserver import main"):
        return SPAWN(path, arguments, descriptors)
    if (pid := os.fork()) == 0:
        for path_of_one in [*Path("/proc/self/fd").iterdir()]:
            if (number := int(path_of_one.name)) > 2 and number not in descriptors:
                with suppress(OSError):  # the one that listed them
                    os.close(number)
        exec(program, {"__name__": "__main__"})  # noqa: S102 - multiprocessing's own
        os._exit(0)
    return pid


def _run_program(arguments: Sequence[str]) -> None:
    """Run what follows the interpreter on a command line."""
    match list(arguments):
        case ["-u", "-c", program] | ["-c", program, *_] | ["-P", "-c", program, *_]:
            sys.path[0:1] = [] if arguments[0] == "-P" else [""]
            sys.argv = ["-c", *arguments[arguments.index(program) + 1 :]]
            exec(program, {"__name__": "__main__"})  # noqa: S102 - the program that was asked for
        case ["-mpytest", *own] | ["-m", "pytest", *own]:
            sys.argv = ["pytest", *own]
            runpy.run_module("pytest", run_name="__main__", alter_sys=True)
        case ["-u", *unbuffered]:
            for stream in (sys.stdout, sys.stderr):
                stream.reconfigure(write_through=True)  # type: ignore[union-attr] # text streams, of a fork
            _run_program(unbuffered)
        case ["-m", module, *own]:
            sys.argv = [module, *own]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case [path, *own]:
            sys.path[0:1] = [str(Path(path).parent)]
            sys.argv = [path, *own]
            runpy.run_path(path, run_name="__main__")


def _end(code: object) -> NoReturn:
    """
    End as the interpreter does, but leave in place what is imported.

    Taking the server's modules down writes to each of their pages, which copies them: a third of a short run's CPU.
    """
    threading._shutdown()  # type: ignore[attr-defined] # noqa: SLF001 - waits for threads, as the interpreter does
    atexit._run_exitfuncs()  # noqa: SLF001
    is_number = code is None or isinstance(code, int)
    if not is_number:
        sys.stderr.write(f"{code}\n")
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # the run has closed it, or nothing reads it any more
            stream.flush()
    os._exit(int(code or 0) & 0xFF if is_number else 1)  # type: ignore[call-overload]


def main() -> None:
    """Serve the socket whose file descriptor is on the command line."""
    preload()
    for word in sys.argv[2:]:
        PRELOADS[word]()
    gc.collect()
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
