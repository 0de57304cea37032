"""The sandbox from the outside: programs run as they would anywhere, and a failure of its own is never an answer."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_r1eval.errors import SandboxError
from pytest_r1eval.sandbox import Call, Completion, Ending, Imports, Limits, Sandbox, SandboxLevel, Script
from pytest_r1eval.sandbox.probing import leaks_found
from tests.requirements import CONFINEMENT, lacking, need_bubblewrap
from tests.sandbox.hosts import comes_true_within

LEVELS = [SandboxLevel.BUBBLEWRAP, SandboxLevel.LANDLOCK]
MIB = 1 << 20
TRIES = (
    "read a file outside",
    "listed a folder outside",
    "wrote a file outside",
    "emptied a file outside",
    "opened a file outside for neither reading nor writing",
    "changed the mode of a file outside",
    "wrote below /tmp",
    "read the fork server's environment",
    "read the parent's environment",
    "connected to a TCP port",
    "made a UDP socket",
    "connected to a local socket",
    "connected to an abstract socket",
    "signalled the fork server",
    "signalled the parent",
    "limited the fork server",
    "raised a limit",
    "entered a user namespace",
    "could gain privileges by a program",
    "forked",
)
"""What the probe tries."""
MODULE = """
import os
os.environ["LEFT"] = "by an import"
def doubled(x): return x * 2
def odd(x): return {1, 2}
"""


@pytest.fixture(scope="module", params=LEVELS)
def sandbox(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Start a sandbox at each level."""
    module = tmp_path_factory.mktemp("module") / "doubling.py"
    module.write_text(MODULE, "utf-8")
    sandbox = Sandbox(n_parallel=4, imports=Imports(preloaded={"doubling": module}), levels=(request.param,))
    if request.param is SandboxLevel.BUBBLEWRAP:
        need_bubblewrap()
    try:
        sandbox.start()
    except SandboxError as error:
        lacking(CONFINEMENT, detail=str(error))
    yield sandbox
    sandbox.close()


def below(pid: int) -> list[int]:
    """List the processes below one, the nearest first."""
    try:
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]
    except OSError:
        return []
    return children + [further for child in children for further in below(child)]


def fork_server_of(sandbox: Sandbox) -> int | None:
    """Find the fork server: the nearest process that is Python and not bubblewrap; None while there is none."""
    assert sandbox.server_pid is not None
    for pid in (sandbox.server_pid, *below(sandbox.server_pid)):
        with contextlib.suppress(OSError):
            if b"python" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]:
                return pid
    return None


def runs_programs(sandbox: Sandbox, n_programs: int) -> bool:
    """Tell whether so many programs are running and wait: confined, and so beyond their beginning."""
    server = fork_server_of(sandbox)
    return server is not None and [waits_confined(pid) for pid in below(server)] == [True] * n_programs


def waits_confined(pid: int) -> bool:
    """Tell whether a process has its filter on and sleeps; before its program starts it does not sleep."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii")
    except OSError:
        return False
    return "\nSeccomp:\t2\n" in status and "\nState:\tS" in status


def kill_fork_server(sandbox: Sandbox) -> int:
    """Kill it as the kernel might."""
    server = fork_server_of(sandbox)
    assert server is not None
    os.kill(server, signal.SIGKILL)
    return server


class TestScripts:
    """A script is what `python3 solution.py < input` is."""

    @pytest.mark.parametrize(
        "source",
        [
            "print(input()[::-1])",
            "import sys\nsys.stdout.write(sys.stdin.read().strip()[::-1] + '\\n')",
            "import sys\nsys.stdout.buffer.write(sys.stdin.buffer.readline().strip()[::-1] + b'\\n')",
            "print(open(0).read().strip()[::-1])",
            "import os\nos.write(1, os.read(0, 100).strip()[::-1] + b'\\n')",
            "import os\nos.write(1, b'cba\\n')\nos._exit(0)",
            "import io, os\nlines = io.BytesIO(os.read(0, os.fstat(0).st_size))\nprint(lines.read(3).decode()[::-1])",
            "import mmap\nprint(mmap.mmap(0, 0, prot=mmap.PROT_READ)[:3].decode()[::-1])",
            "if __name__ == '__main__':\n    print(input()[::-1])",
            "import sys\nprint(input()[::-1])\nsys.exit()",
            "import fileinput\nfor line in fileinput.input(): print(line.strip()[::-1])",
            "import threading\nthreading.Thread(target=lambda: print(input()[::-1])).start()",
            "import atexit\natexit.register(print, input()[::-1])",
            "import threading\nthreading._shutdown = None\nprint(input()[::-1])",
        ],
    )
    def test_ways_to_read_and_write(self, sandbox: Sandbox, source: str) -> None:
        """Programs may read input and write output in every usual way."""
        completion = sandbox.run(Script(source=source, stdin=b"abc\n"))
        assert (completion.stdout, completion.exit_code, completion.ending) == (b"cba\n", 0, Ending.EXITED)

    @pytest.mark.parametrize(
        ("source", "code", "words"),
        [
            ("raise ValueError('no')", 1, b'File "solution.py", line 1, in <module>\nValueError: no\n'),
            ("def f(:", 1, b"SyntaxError"),
            ("import sys\nsys.exit(3)", 3, b""),
            ("exit()", 0, b""),
            ("quit(4)", 4, b""),
            ("import sys\nsys.exit('words')", 1, b"words\n"),
            ("raise SystemExit", 0, b""),
            ("input()", 1, b"EOFError"),
            ("import pytest", 1, b"ModuleNotFoundError"),
            ("import inside", 1, b"ModuleNotFoundError"),
            ("def f(): f()\nf()", 1, b"RecursionError"),
        ],
    )
    def test_exit_codes(self, sandbox: Sandbox, source: str, code: int, words: bytes) -> None:
        """A program's exit code and traceback are those of a plain interpreter."""
        completion = sandbox.run(Script(source=source))
        assert (completion.exit_code, completion.ending) == (code, Ending.EXITED)
        assert words in completion.stderr
        assert b"child.py" not in completion.stderr

    def test_fresh_interpreter(self, sandbox: Sandbox) -> None:
        """A program's changes to the interpreter do not reach the next program."""
        sandbox.run(Script(source="import builtins, sys\nbuiltins.print = None\nsys.setrecursionlimit(9999)"))
        seen = sandbox.run(
            Script(source="import os, sys\nprint(sys.getrecursionlimit(), __name__, os.environ.get('LEFT'))")
        )
        assert seen.stdout == b"1000 __main__ None\n"

    def test_large_stacks(self, sandbox: Sandbox) -> None:
        """Recursion of 40,000 levels works on the main stack and in a thread with a large one."""
        deep = "import sys, threading\nsys.setrecursionlimit(10**6)\ndef f(n): return n and 1 + f(n - 1)\n"
        thread = "threading.stack_size(1 << 28)\nthreading.Thread(target=lambda: print(f(40000))).start()"
        calls = ("print(f(40000))", thread)
        assert [sandbox.run(Script(source=deep + call)).stdout for call in calls] == [b"40000\n"] * 2

    def test_recursion_through_c_is_as_deep_as_python_allows(self, sandbox: Sandbox) -> None:
        """Recursion through `functools.cache` uses the whole stack on Python 3.11; later ones end it with an error."""
        cached = (
            "import functools, sys\nsys.setrecursionlimit(10**6)\n"
            "@functools.cache\ndef f(n): return n and 1 + f(n - 1)\nprint(f(40000))"
        )
        seen = sandbox.run(Script(source=cached))
        if sys.version_info < (3, 12):
            assert seen.stdout == b"40000\n"
        else:
            assert b"RecursionError" in seen.stderr

    def test_named_modules(self, sandbox: Sandbox) -> None:
        """Every module that the sandbox names, numpy among them, can be imported in it."""
        assert "numpy" in sandbox.modules
        futures = [sandbox.submit(Script(source=f"import {name}; print({name}.__name__)")) for name in sandbox.modules]
        assert [future.result().stdout.decode().strip() for future in futures] == list(sandbox.modules)

    def test_large_input_and_output(self, sandbox: Sandbox) -> None:
        """A program reads ten megabytes and writes them back."""
        data = b"0123456789" * MIB
        completion = sandbox.run(Script(source="import sys\nsys.stdout.write(sys.stdin.read())", stdin=data))
        assert completion.stdout == data

    def test_same_order_every_time(self, sandbox: Sandbox) -> None:
        """A program that prints a set prints the same each time."""
        source = "print({'a', 'b', 'c', 'd', 'e', 'f', 'g'})"
        assert len({sandbox.run(Script(source=source)).stdout for _ in range(5)}) == 1

    def test_limits_of_one_program(self, sandbox: Sandbox) -> None:
        """A program's own limits take the place of the sandbox's."""
        seen = sandbox.run(Script(source="import time\ntime.sleep(60)", limits=Limits(wall_s=0.2)))
        assert seen.ending is Ending.TIMED_OUT
        assert 0.2 <= seen.wall_s < 20


class TestCalls:
    """A call is a function of a preloaded module, JSON in and JSON out."""

    def test_result(self, sandbox: Sandbox) -> None:
        """A function's result is returned as JSON, apart from what it prints."""
        completion = sandbox.run(Call(module="doubling", function="doubled", arguments=[[1, "x"]]))
        assert (completion.returned, completion.exit_code) == (b'[1, "x", 1, "x"]', 0)

    @pytest.mark.parametrize(
        ("function", "arguments", "words"),
        [("odd", [1], b"not JSON serializable"), ("doubled", [None], b"TypeError"), ("doubled", [], b"TypeError")],
    )
    def test_failures(self, sandbox: Sandbox, function: str, arguments: list[object], words: bytes) -> None:
        """A function that raises, or returns what JSON cannot hold, returned nothing."""
        completion = sandbox.run(Call(module="doubling", function=function, arguments=arguments))
        assert (completion.returned, completion.exit_code) == (b"", 1)
        assert words in completion.stderr

    @pytest.mark.parametrize(("module", "function"), [("doubling", "none"), ("nowhere", "doubled")])
    def test_names(self, sandbox: Sandbox, module: str, function: str) -> None:
        """A function that is not there is an error of the sandbox, not an answer of the program."""
        with pytest.raises(SandboxError, match=r"was not run: (.|\n)*Error"):
            sandbox.run(Call(module=module, function=function, arguments=[1]))


class TestDescriptors:
    """What the parent has open is not open in a program."""

    def test_of_a_parent_with_many(self, tmp_path: Path) -> None:
        """A program inherits no descriptors, even from a parent with hundreds of open files."""
        with contextlib.ExitStack() as stack:
            for n in range(200):
                stack.enter_context((tmp_path / str(n)).open("w"))
            sandbox = stack.enter_context(Sandbox(n_parallel=2))
            source = """
            import os
            def is_open(n):
                try:
                    return bool(os.fstat(n))
                except OSError:
                    return False
            print([n for n in range(3000) if is_open(n)])
            """
            seen = [sandbox.submit(Script(source=textwrap.dedent(source))) for _ in range(4)]
            assert [future.result().stdout for future in seen] == [b"[0, 1, 2]\n"] * 4


class TestParallel:
    """Several programs at once, from several threads."""

    def test_answers_reach_their_askers(self, sandbox: Sandbox) -> None:
        """Each of a hundred programs' answers reaches the caller that asked for it."""
        futures = [sandbox.submit(Script(source="print(int(input()) ** 2)", stdin=b"%d" % n)) for n in range(100)]
        assert [int(future.result().stdout) for future in futures] == [n**2 for n in range(100)]

    def test_at_once(self, sandbox: Sandbox) -> None:
        """A sandbox runs four programs at the same time."""
        sleeper = Script(source="import time\ntime.sleep(600)", limits=Limits(wall_s=600))
        futures = [sandbox.submit(sleeper) for _ in range(4)]
        assert comes_true_within(30, lambda: runs_programs(sandbox, 4))
        server = fork_server_of(sandbox)
        assert server is not None
        for pid in below(server):
            os.kill(pid, signal.SIGKILL)
        assert [future.result().ending for future in futures] == [Ending.SIGNALLED] * 4

    def test_from_a_thread_that_ends(self) -> None:
        """A sandbox started by a thread lives longer than the thread; the kernel ties children to threads."""
        sandbox = Sandbox(n_parallel=1)
        starter = threading.Thread(target=sandbox.start)
        starter.start()
        starter.join()
        time.sleep(0.1)  # what would kill it comes at once
        assert sandbox.run(Script(source="print(1)")).stdout == b"1\n"
        sandbox.close()


class TestOwnFailures:
    """What goes wrong with the sandbox itself raises, and is repaired where that is possible."""

    def test_lost_server(self, sandbox: Sandbox) -> None:
        """A program whose fork server dies is run again on another one."""
        future = sandbox.submit(Script(source="import time\ntime.sleep(0.5)\nprint('done')"))
        assert comes_true_within(10, lambda: runs_programs(sandbox, 1))
        server = kill_fork_server(sandbox)
        assert future.result().stdout == b"done\n"
        assert fork_server_of(sandbox) != server

    def test_server_lost_twice(self, sandbox: Sandbox) -> None:
        """A program that loses two fork servers is an error, not an answer, and the next one runs."""
        future = sandbox.submit(Script(source="import time\ntime.sleep(30)"))
        assert comes_true_within(10, lambda: runs_programs(sandbox, 1))
        first = kill_fork_server(sandbox)
        assert comes_true_within(10, lambda: fork_server_of(sandbox) != first and runs_programs(sandbox, 1))
        kill_fork_server(sandbox)
        with pytest.raises(SandboxError, match="fork server was lost"):
            future.result()
        assert sandbox.run(Script(source="print(1)")).stdout == b"1\n"

    def test_unconfined_program(self, sandbox: Sandbox) -> None:
        """A program that cannot be confined as asked does not run, and the error says why."""
        with pytest.raises(SandboxError, match="could not be confined"):
            sandbox.run(Script(source="print(1)", limits=Limits(cpu_s=1e30)))

    def test_no_more_files(self, sandbox: Sandbox) -> None:
        """A process that may open no more files gets an error instead of a program's answer."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            with pytest.raises(SandboxError, match="Too many open files"):
                sandbox.run(Script(source="print(1)"))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert sandbox.run(Script(source="print(1)")).stdout == b"1\n"

    def test_not_started(self) -> None:
        """A sandbox that was not started is an error that names `start()`."""
        sandbox = Sandbox()
        for ask in (
            lambda: sandbox.run(Script(source="")),
            lambda: sandbox.submit(Script(source="")),
            lambda: sandbox.confirmation,
        ):
            with pytest.raises(SandboxError, match=r"call start\(\) first"):
                ask()

    def test_close_ends_programs(self, sandbox: Sandbox) -> None:
        """Closing ends what runs, and a waiting caller gets an error."""
        other = Sandbox(n_parallel=1, levels=(sandbox.confirmation.level,))
        other.start()
        future = other.submit(Script(source="import time\ntime.sleep(60)"))
        assert comes_true_within(10, lambda: runs_programs(other, 1))
        assert other.server_pid is not None
        pids = [other.server_pid, *below(other.server_pid)]
        other.close()
        with pytest.raises(SandboxError):
            future.result()
        assert comes_true_within(10, lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


class TestLevels:
    """What holds is found out, not assumed."""

    def test_probe_has_teeth(self) -> None:
        """The probe finds what a program that runs unconfined gets away with."""

        def run_unconfined(script: Script) -> Completion:
            command = [sys.executable, "-c", script.source]
            done = subprocess.run(command, input=script.stdin, capture_output=True, check=False)
            return Completion(
                ending=Ending.EXITED,
                exit_code=done.returncode,
                stdout=done.stdout,
                stderr=done.stderr,
                returned=b"",
                wall_s=0.0,
                cpu_s=0.0,
                peak_memory_bytes=0,
            )

        leaks = leaks_found(run_unconfined)
        only_as_root = {"raised a limit"}
        may_be_forbidden = {"entered a user namespace"}
        assert set(TRIES) - only_as_root - may_be_forbidden <= set(leaks)
        assert leaks[-1].startswith("saw another environment than it was given")

    def test_a_leak_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A sandbox in which the canary can be read is not used; only `allow_unsafe` goes on, and says what leaked."""
        package = tmp_path / "leaky"
        package.mkdir()
        (package / "__init__.py").write_text("", "utf-8")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setattr(tempfile, "tempdir", str(package))
        sandbox = Sandbox(imports=Imports(modules=("leaky",)))
        with pytest.raises(SandboxError, match="a program in it read a file outside"):
            sandbox.start()
        with Sandbox(imports=Imports(modules=("leaky",)), allow_unsafe=True) as unsafe:
            assert unsafe.confirmation.level is SandboxLevel.NONE
            assert "read a file outside" in unsafe.confirmation.words
            assert unsafe.run(Script(source="print(1)")).stdout == b"1\n"

    def test_bubblewrap_that_may_not(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where bubblewrap cannot make a namespace, Landlock and seccomp hold alone, and the record says why."""
        bwrap = tmp_path / "bwrap"
        bwrap.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n", "utf-8")
        bwrap.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        with Sandbox() as sandbox:
            assert sandbox.confirmation.level is SandboxLevel.LANDLOCK
            assert "No permissions to create new namespace" in sandbox.confirmation.words

    def test_no_bubblewrap(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without bubblewrap the record says how to get it."""
        monkeypatch.setenv("PATH", str(tmp_path))
        with Sandbox() as sandbox:
            assert sandbox.confirmation.level is SandboxLevel.LANDLOCK
            assert "apt-get install bubblewrap" in sandbox.confirmation.words

    @pytest.mark.parametrize(
        ("features", "words"),
        [
            ([], "bubblewrap + Landlock"),
            (["landlock"], "bubblewrap + seccomp\n"),
            (["namespaces"], "Landlock"),
            (["namespaces", "landlock"], "refused: nothing on this machine confines"),
            (["seccomp"], "refused: nothing on this machine confines"),
            (["namespaces", "landlock", "seccomp", "unsafe"], "not a sandbox: read a file outside, "),
        ],
        ids=" ".join,
    )
    def test_poorer_kernels(self, features: list[str], words: str) -> None:
        """The best level of confinement that the kernel's features allow is used, and a kernel with none is refused."""
        if words.startswith("bubblewrap"):
            need_bubblewrap()
        command = [sys.executable, "-m", "tests.sandbox.crippled", *features]
        done = subprocess.run(command, capture_output=True, check=True, text=True, cwd=Path(__file__).parents[2])
        if done.stdout.startswith("refused") and not words.startswith("refused"):
            lacking(CONFINEMENT, detail=done.stdout)
        assert done.stdout.startswith(words)
