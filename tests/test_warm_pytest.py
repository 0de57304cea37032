"""A run that is a fork of the server is what a fresh process would be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_r1eval.evaluation.die_with_parent import tied
from tests.requirements import LIGHTEVAL
from tests.warm_pytest import LEAN, UNTOUCHED

SHOWING = """
import json, os, sys, tempfile, warnings

def test_shows():
    shown = {
        "environ": dict(os.environ), "folder": os.getcwd(), "arguments": sys.argv[1:], "path": sys.path,
        "temporary": tempfile.gettempdir(), "filters": len(warnings.filters), "main": sys.modules["__main__"].__name__,
        "input": sys.stdin.read() if sys.stdin else "",
    }
    print("SHOWN", json.dumps(shown), flush=True)
"""


def shown(output: str) -> dict[str, object]:
    """Return what the test of a run saw; pytest's own variables of the test under way are left out."""
    line = next(line for line in output.splitlines() if "SHOWN" in line)
    found = dict(json.loads(line.partition("SHOWN ")[2]))
    found["environ"] = {name: value for name, value in found["environ"].items() if name != "PYTEST_CURRENT_TEST"}
    return found


def test_a_fork_sees_what_a_fresh_process_sees(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked run has the folder, environment, arguments and search path of a fresh process."""
    monkeypatch.setenv("R1_OF_THIS_TEST", "seen")
    pytester.makepyfile(test_it=SHOWING)
    arguments = ("-q", "-s", "-p", "no:cacheprovider", "--basetemp", str(pytester.path / "temporary"), "test_it.py")
    warm = pytester.run(sys.executable, "-mpytest", *arguments)
    path = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))
    cold = subprocess.run(
        [sys.executable, "-u", "-mpytest", *arguments],  # -u: which no run of the tests has, so it starts cold
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert warm.ret == 0
    assert shown(warm.stdout.str()) == shown(cold.stdout)


def test_a_fork_finds_nothing_imported_that_reads_the_environment(pytester: pytest.Pytester) -> None:
    """A forked run finds none of the modules imported that read the environment."""
    pytester.makepyfile(f"import sys\ndef test_it(): assert not set({UNTOUCHED!r}) & set(sys.modules)")
    arguments = ("-p", "no:r1eval", "-p", "no:pytest_r1eval.plugin", "-p", "no:xdist.plugin")
    assert pytester.runpytest_subprocess(*arguments).ret == 0


def test_a_fork_loads_plugins_by_their_entry_points(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked run that loads every installed plugin is warned of nothing, as a fresh one is not."""
    for name in LEAN:
        monkeypatch.delenv(name)
    pytester.makeini("[pytest]\nfilterwarnings = error")
    pytester.makepyfile("def test_it(): pass")
    assert pytester.runpytest_subprocess("-p", "no:cacheprovider").ret == 0


@pytest.mark.parametrize(
    ("end", "code"), [("os._exit(7)", 7), ("os.kill(os.getpid(), 9)", -signal.SIGKILL)], ids=["exit", "signal"]
)
def test_its_end_is_reported(pytester: pytest.Pytester, end: str, code: int) -> None:
    """Exit codes and signals arrive as `subprocess` gives them, and the server outlives them."""
    pytester.makepyfile(f"import os\ndef test_it(): {end}")
    assert pytester.runpytest_subprocess().ret == code
    assert pytester.runpytest_subprocess("--version").ret == 0


def test_a_run_that_takes_too_long_is_killed(pytester: pytest.Pytester) -> None:
    """A run beyond its time limit is killed, as pytester promises."""
    pytester.makepyfile("import time\ndef test_it(): time.sleep(60)")
    with pytest.raises(pytester.TimeoutExpired):
        pytester.runpytest_subprocess(timeout=1)
    assert pytester.runpytest_subprocess("--version").ret == 0


def test_workers_are_processes_of_their_own(pytester: pytest.Pytester) -> None:
    """Each xdist worker has a process id of its own, and one that dies is reported."""
    pytester.makepyfile(
        """
        import os, pathlib, pytest

        @pytest.mark.parametrize("number", range(6))
        def test_it(number, worker_id):
            pathlib.Path(f"{worker_id}-{os.getpid()}").touch()
            if number == 3:
                os._exit(1)
        """
    )
    result = pytester.runpytest_subprocess("-n2", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(["*worker 'gw?' crashed while running 'test_*3?'*"])
    pids = {path.name.partition("-")[2] for path in pytester.path.glob("gw*-*")}
    assert len(pids) >= 2


def test_a_fork_is_a_child_of_the_test(pytester: pytest.Pytester) -> None:
    """A forked run has the test's process as its parent, which waits for it and kills it by its process id."""
    pytester.makepyfile("import os, time\ndef test_it(): print(os.getpid(), os.getppid(), flush=True); time.sleep(60)")
    with subprocess.Popen([sys.executable, "-m", "pytest", "-s", "-q"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().split() == [str(process.pid), str(os.getpid())]
        process.kill()
    assert process.returncode == -signal.SIGKILL


def test_a_tied_fork_ends_with_its_parent(pytester: pytest.Pytester) -> None:
    """A forked run that is tied to its parent has the kernel's word for it, in a session of its own if asked."""
    pytester.makepyfile(
        """
        import ctypes, os

        def test_it():
            number = ctypes.c_int()
            ctypes.CDLL(None).prctl(2, ctypes.byref(number), 0, 0, 0)  # PR_GET_PDEATHSIG
            assert number.value == 9
            assert os.getsid(0) == os.getpid()
        """
    )
    command = tied([sys.executable, "-m", "pytest", "-q"])
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        assert process.wait() == 0


@LIGHTEVAL.mark
@pytest.mark.usefixtures("warm_graders")
@pytest.mark.parametrize("form", ["-c", "-P -c", "-m", "path"])
def test_a_program_finds_lighteval_imported(tmp_path: Path, form: str) -> None:
    """A program of any form is a fork that has LightEval, with its own arguments, search path and standard input."""
    program = "import json, sys\nprint(json.dumps(['lighteval' in sys.modules, sys.argv, sys.path[0], input()]))"
    (tmp_path / "shows.py").write_text(program)
    path = str(tmp_path / "shows.py")
    match form:
        case "path":
            command, name, first = [path], path, str(tmp_path)
        case "-m":
            command, name, first = ["-m", "shows"], path, str(tmp_path)
        case _:
            command, name, first = [*form.split(), program], "-c", "" if form == "-c" else str(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, *command, "given"], input="read\n", capture_output=True, text=True, check=True,
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
    )  # fmt: skip
    assert json.loads(done.stdout) == [True, [name, "given"], first, "read"]
