"""The pool: it answers always, leaks nothing and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path

import pytest

from pytest_r1eval.core.choices import CodeGrader
from pytest_r1eval.core.records import Grade, Outcome
from pytest_r1eval.errors import ExamError, ScoringError
from pytest_r1eval.exams.prompts import BuiltExam
from pytest_r1eval.sandbox import Limits, SandboxLevel
from pytest_r1eval.scoring.grading import CodeGrading
from pytest_r1eval.scoring.pool import GradingPool, SpareServer, scoring_environment
from tests.requirements import LIGHTEVAL
from tests.toys import DATE, PROBE, SECRETS, said, toy

pytest_plugins = ["tests.scoring_fixtures"]

PROBES = toy("toy:probe")
REPOSITORY = Path(__file__).parents[2]


def ask(pool: GradingPool, *commands: str) -> list[Grade]:
    """Let scoring processes do what the commands say, at the same time."""
    return asyncio.run(_gathered(pool, "toy:probe", commands))


async def _gathered(pool: GradingPool, task: str, commands: Iterable[str]) -> list[Grade]:
    return await asyncio.gather(*(pool.grade(toy(task), PROBE, said(command)) for command in commands))


def answer(pool: GradingPool, command: str) -> str:
    """Let a scoring process do what the command says and tell what it saw."""
    [grade] = ask(pool, command)
    assert grade.answer is not None, grade
    return grade.answer


class TestEnvironment:
    """sympy evaluates what a model wrote; what is not there cannot be told."""

    def test_a_scoring_process_and_its_fork_server_started_without_secrets(self, pool: GradingPool) -> None:
        """A scoring process and its fork server have no secrets in their environment, in the kernel's view either."""
        pid = int(answer(pool, "pid"))
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        started = " ".join(Path(f"/proc/{one}/environ").read_text() for one in (parent, pid) if os.geteuid() == 0)
        names = answer(pool, "environ").split()
        assert set(names) & set(SECRETS) == set()
        assert [name for name, value in SECRETS.items() if f"{name}={value}" in started] == []
        assert {"PATH", "HF_ENDPOINT", "HF_HOME"} <= set(names)

    @pytest.mark.parametrize(
        ("name", "is_kept"),
        [
            *((name, False) for name in SECRETS),
            ("HUGGING_FACE_HUB_TOKEN", False),
            ("my_secret", False),
            ("WANDB_API_KEY", False),
            ("CI_JOB_TOKENS", False),
            ("HF_TOKEN_PATH", True),
            ("HOME", True),
            ("KEYBOARD", True),
            ("SSH_AUTH_SOCK", True),
        ],
    )
    def test_what_is_called_a_secret_is_left_out(self, name: str, is_kept: bool) -> None:  # noqa: FBT001
        """Variables that are named like secrets are left out of the grader's environment; paths are kept."""
        assert (name in scoring_environment({name: SECRETS.get(name, "x")}, search_path=[])) is is_kept

    @pytest.mark.parametrize(
        ("value", "is_kept"),
        [
            ("http://me:pa55@proxy:8080", False),
            ("redis://:pa55@cache", False),
            ("--login=ghp_0123456789abcdefghij", False),
            ("hf_0123456789abcdefghij", False),
            ("sk-proj-0123456789abcdefghij", False),
            ("http://proxy:8080/a:b@c", True),
            ("me@host:/folder", True),
            ("/opt/sk-0123456789abcdefghij/bin", True),
            ("hf_transfer", True),
        ],
    )
    def test_what_looks_like_a_secret_is_left_out_under_any_name(self, value: str, is_kept: bool) -> None:  # noqa: FBT001
        """A variable whose value looks like a secret is left out of the grader's environment under any name."""
        assert ("PLACE" in scoring_environment({"PLACE": value}, search_path=[])) is is_kept

    def test_modules_are_found_where_this_process_finds_them_and_gpus_are_not(self) -> None:
        """The grader's environment has this process's module path, and no GPU."""
        environment = scoring_environment({"CUDA_VISIBLE_DEVICES": "3"}, search_path=["", "/a"])
        assert environment["PYTHONPATH"] == f"{Path.cwd()}{os.pathsep}/a"
        assert environment["CUDA_VISIBLE_DEVICES"] == ""

    def test_the_registry_and_its_downloads_are_not_imported(self, pool: GradingPool) -> None:
        """The graders import neither LightEval's registry nor tiny_benchmarks, which downloads a file."""
        modules = answer(pool, "modules").split()
        assert "lighteval.metrics.metrics" in modules
        assert [name for name in modules if "tiny_benchmarks" in name or name == "lighteval.tasks.registry"] == []


class TestWalls:
    """A scoring process evaluates what a model wrote, behind walls; where it may not go, nothing leaks."""

    def test_a_probe_confirms_what_holds(self, pool: GradingPool) -> None:
        """The probe confirms that the walls of the scoring processes hold."""
        found = pool.confirm_walls().result(timeout=60)
        assert (found.level, found.leaks) == (SandboxLevel.LANDLOCK, ())

    def test_nothing_outside_is_read_written_reached_or_started(self, pool: GradingPool, tmp_path: Path) -> None:
        """An answer can neither read, write nor connect to anything outside of its process, nor start one."""
        secret = tmp_path / "secret"
        secret.write_text(SECRETS["HF_TOKEN"], encoding="utf-8")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            attempts = [
                f"read {secret}",
                f"write {tmp_path / 'written'}",
                f"read {Path(__file__)}",
                "read /etc/passwd",
                "read /proc/self/environ",
                f"read /proc/{os.getpid()}/environ",
                f"connect {listener.getsockname()[1]}",
                "fork",
            ]
            grades = ask(pool, *attempts)
        refused = {
            attempt: str(grade.detail).startswith("grading it raised PermissionError")
            for attempt, grade in zip(attempts, grades, strict=True)
        }
        assert refused == dict.fromkeys(attempts, True)
        assert {grade.outcome for grade in grades} == {Outcome.WRONG}
        assert not (tmp_path / "written").exists()

    def test_code_can_still_be_read(self, pool: GradingPool) -> None:
        """A grader can import a module of a library after its walls are up."""
        assert answer(pool, "late sympy.combinatorics.galois") == "sympy.combinatorics.galois"
        assert answer(pool, "late pytest_r1eval.commands.cli") == "pytest_r1eval.commands.cli"

    def test_memory_is_bounded(self, pool: GradingPool) -> None:
        """A grader that uses too much memory is stopped, and its answer is WRONG."""
        [much, little] = ask(pool, f"eat {2 << 30}", f"eat {64 << 20}")
        assert much == Grade(outcome=Outcome.WRONG, detail="grading it raised MemoryError")
        assert little.outcome is Outcome.CORRECT

    def test_two_benchmarks_are_graded_at_once(self, pool: GradingPool) -> None:
        """Answers of several benchmarks are graded at the same time."""

        async def gather() -> list[Grade]:
            tasks = ("toy:exact", "toy:pass", "toy:probe")
            texts = ("1", "$\\boxed{1}$", "value 1")
            grades = (pool.grade(toy(task), PROBE, said(text)) for task, text in zip(tasks, texts, strict=True))
            return await asyncio.gather(*grades)

        assert [grade.outcome for grade in asyncio.run(gather())] == [Outcome.CORRECT] * 3


class TestFailures:
    """What a response does to its grader is the response's, a broken grader is an ERROR, and the next is graded."""

    def test_an_answer_that_hangs_the_grader_is_wrong_and_both_processes_are_replaced_at_once(
        self, pool: GradingPool
    ) -> None:
        """An answer that hangs the grader is WRONG, and both processes are replaced within seconds."""
        started = time.monotonic()
        grades = ask(pool, "sleep 60", "hang 60")
        assert grades == [Grade(outcome=Outcome.WRONG, detail="grading it took more than 4 s and was stopped")] * 2
        assert [grade.outcome for grade in ask(pool, "value 1", "value 0")] == [Outcome.CORRECT, Outcome.WRONG]
        assert time.monotonic() - started < 10

    def test_an_answer_that_ends_the_process_is_wrong(self, pool: GradingPool) -> None:
        """An answer that kills its scoring process is WRONG, and the next process grades on."""
        [grade] = ask(pool, "die SIGSEGV")
        assert grade == Grade(outcome=Outcome.WRONG, detail="the scoring process died over it (SIGSEGV)")
        assert answer(pool, "value 1") == "1"

    def test_an_answer_that_nests_too_deeply_is_wrong(self, pool: GradingPool) -> None:
        """An answer that makes the grader raise RecursionError is wrong, not an error of the grader."""
        [grade] = ask(pool, "nest 100000")
        assert grade.outcome is Outcome.WRONG
        assert str(grade.detail).startswith("grading it raised RecursionError")

    def test_a_grader_that_dies_over_the_problems_own_answer_too_is_an_error(self, pool: GradingPool) -> None:
        """A grader that dies over the problem's own answer is broken, which is an error and no wrong answer."""
        [grade] = asyncio.run(_gathered(pool, "toy:broken", ["die"]))
        assert grade.outcome is Outcome.ERROR
        assert "the grader fails on the problem's own answer too" in str(grade.detail)

    def test_a_grader_that_something_outside_ends_is_an_error(self, pool: GradingPool) -> None:
        """A grader that dies of SIGKILL, as for want of memory, is an error and no wrong answer."""
        [grade] = ask(pool, "die SIGKILL")
        assert grade == Grade(outcome=Outcome.ERROR, detail="the scoring process died (SIGKILL)")
        assert answer(pool, "value 1") == "1"

    def test_a_process_that_dies_idle_costs_no_answer(self, pool: GradingPool) -> None:
        """A scoring process that dies while idle costs no answer."""
        os.kill(int(answer(pool, "pid")), signal.SIGKILL)
        time.sleep(0.5)  # pebble looks for dead workers ten times a second
        assert answer(pool, "value 1") == "1"

    def test_whoever_asks_does_not_wait_for_the_pipe(self, pool: GradingPool) -> None:
        """Asking for a hundred grades does not wait for a server that is stopped."""
        server = os.getsid(int(answer(pool, "pid")))
        waking = threading.Timer(5, os.kill, (server, signal.SIGCONT))

        async def gather() -> tuple[float, list[Grade]]:
            started = time.monotonic()
            large = said("value 1" + " " * 20_000)
            grades = [asyncio.create_task(pool.grade(PROBES, PROBE, large)) for _ in range(100)]
            await asyncio.sleep(0)  # all of them ask before this returns
            taken_s = time.monotonic() - started
            os.kill(server, signal.SIGCONT)
            return taken_s, await asyncio.gather(*grades)

        os.kill(server, signal.SIGSTOP)
        waking.start()
        taken_s, grades = asyncio.run(gather())
        waking.cancel()
        assert taken_s < 5
        assert {grade.outcome for grade in grades} == {Outcome.CORRECT}

    def test_an_error_of_ours_arrives_as_it_was_raised(self, pool: GradingPool) -> None:
        """An error of the plugin in a scoring process arrives with its type and words."""
        with pytest.raises(ExamError, match="no task 'toy:typo' in") as caught:
            asyncio.run(pool.grade(toy("toy:typo"), PROBE, said("")))
        assert type(caught.value) is ExamError

    @LIGHTEVAL.mark
    def test_a_lighteval_that_cannot_be_imported_says_why(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        A LightEval that cannot be imported is an error with the cause, instead of requests that wait for ever.

        This was seen with a torchvision for another torch.
        """
        (tmp_path / "lighteval.py").write_text(
            "import atexit, sys\n"
            "atexit.register(print, '  warnings.warn(leaked)', file=sys.stderr)\n"  # as a resource tracker may, at last
            "raise RuntimeError('operator torchvision::nms does not exist')"
        )
        monkeypatch.syspath_prepend(tmp_path)
        with GradingPool(n_processes=1) as pool:
            future = pool.build_exam(
                PROBES,
                data_dir=None,
                model="none",
                revision=None,
                system_prompt=None,
                template_date=DATE,
            )
            with pytest.raises(ScoringError, match=r"RuntimeError: operator torchvision::nms does not exist"):
                future.result(timeout=20)

    def test_closing_during_the_start_is_quick_and_fails_what_was_asked(self) -> None:
        """Ctrl-C in the first seconds does not wait for LightEval."""
        started = time.monotonic()
        with GradingPool(n_processes=1) as pool:
            future = pool.build_exam(
                PROBES,
                data_dir=None,
                model="none",
                revision=None,
                system_prompt=None,
                template_date=DATE,
            )
        with pytest.raises(ScoringError, match="the scoring processes ended"):
            future.result(timeout=0)
        assert time.monotonic() - started < 5

    def test_a_closed_pool_starts_nothing(self) -> None:
        """A pool that is closed grades as an error and starts no process."""
        pool = GradingPool(n_processes=1)
        pool.close()
        [grade] = ask(pool, "value 1")
        assert grade == Grade(outcome=Outcome.ERROR, detail="the scoring processes were closed before they were asked")

    def test_a_server_that_dies_fails_what_it_was_asked_and_is_replaced(self) -> None:
        """A server that dies fails its pending request and is replaced by a new one."""

        def build(pool: GradingPool) -> Future[BuiltExam]:
            return pool.build_exam(
                PROBES,
                data_dir=None,
                model="none",
                revision=None,
                system_prompt=None,
                template_date=DATE,
            )

        others = children_of(os.getpid())
        with GradingPool(n_processes=1) as pool:
            lost = build(pool)
            [first] = children_of(os.getpid()) - others
            family = {first} | descendants_of(first)
            os.kill(first, signal.SIGKILL)
            assert isinstance(lost.exception(timeout=5), ScoringError)
            waiting = build(pool)
            [second] = children_of(os.getpid()) - others
            assert not waiting.done()
            assert survivors_of(family, within_s=5) == set()
            family = {second} | descendants_of(second)
        assert survivors_of(family, within_s=5) == set()


@LIGHTEVAL.mark
@pytest.mark.usefixtures("warm_graders")
def test_the_next_pool_takes_the_server_that_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool that grades starts the next pool's server, which takes it if it is started alike, and else ends it."""
    monkeypatch.setenv("R1EVAL_MADE_UP", "1")

    def servers() -> set[int]:
        return children_of(os.getpid()) - others

    others, spare = children_of(os.getpid()), SpareServer()
    with GradingPool(n_processes=1, spare=spare) as pool:
        [first] = servers()
        ask(pool, "value 1")
        ask(pool, "value 1")
        [waiting] = servers() - {first}
    assert servers() == {waiting}
    with GradingPool(n_processes=1, spare=spare) as pool:
        assert servers() == {waiting}
        assert [grade.outcome for grade in ask(pool, "value 1", "value 0")] == [Outcome.CORRECT, Outcome.WRONG]
        [unlike] = servers() - {waiting}
    monkeypatch.setenv("R1EVAL_MADE_UP", "2")
    with GradingPool(n_processes=1, spare=spare) as pool:
        before = servers()
        assert unlike not in before
        monkeypatch.syspath_prepend(tmp_path)  # as by what an engine imports, before the next pool starts
        ask(pool, "value 1")
        [waiting] = servers() - before
    with GradingPool(n_processes=1, spare=spare):
        assert servers() == {waiting}
    spare.close()
    with GradingPool(n_processes=1, spare=spare) as pool:
        ask(pool, "value 1")
        assert len(servers()) == 1
    assert servers() == set()


@LIGHTEVAL.mark
def test_programs_alone_import_no_lighteval(tmp_path: Path) -> None:
    """A pool for programs confirms its sandbox without a fork server that imports LightEval for 9 s of CPU."""
    rules = (("aime24", CodeGrader.LIGHTEVAL),)  # as under a policy
    code = CodeGrading(grader=CodeGrader.STRICT, limits=Limits(), tests=tmp_path, allow_unsafe=True, own=rules)
    n_importing = {}
    for needs_lighteval in (False, True):
        others = children_of(os.getpid())
        with GradingPool(n_processes=1, code=code, needs_lighteval=needs_lighteval) as pool:
            pool.confirm_sandbox().result(timeout=60)
            [server] = children_of(os.getpid()) - others  # other tests' pools, still open, fork workers meanwhile
            own = descendants_of(server)
            commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in own]
        n_importing[needs_lighteval] = sum(b"pytest_r1eval.scoring.lighteval" in command for command in commands)
    assert n_importing == {False: 0, True: 1}


class TestPlaces:
    """It works from wherever pytest runs."""

    def test_a_thread_with_its_own_loop_can_ask(self, pool: GradingPool) -> None:
        """A thread with its own event loop, as the pump has, gets grades."""
        grades: list[Grade] = []
        thread = threading.Thread(target=lambda: grades.extend(ask(pool, "value 1", "value 0")))
        thread.start()
        thread.join()
        assert [grade.outcome for grade in grades] == [Outcome.CORRECT, Outcome.WRONG]

    @LIGHTEVAL.mark
    @pytest.mark.usefixtures("warm_graders")
    def test_an_xdist_worker_can_ask(self, tmp_path: Path) -> None:
        """An xdist worker, whose __main__ has no file, gets grades."""
        (tmp_path / "test_inner.py").write_text(
            textwrap.dedent("""
                import asyncio, os, threading
                from pathlib import Path
                from pytest_r1eval.core.records import Outcome
                from pytest_r1eval.scoring.pool import GradingPool
                from tests.toys import PROBE, said, toy

                def test_grades(capfd):
                    outcomes = []
                    with GradingPool(n_processes=1) as pool:
                        ask = lambda: outcomes.append(
                            asyncio.run(pool.grade(toy("toy:probe"), PROBE, said("noise loud"))).outcome
                        )
                        thread = threading.Thread(target=ask)
                        thread.start()
                        thread.join()
                    assert os.environ["PYTEST_XDIST_WORKER"] == "gw0"
                    assert outcomes == [Outcome.CORRECT]
                    assert capfd.readouterr() == ("", "")
            """)
        )
        inner = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-n1", "--rootdir", tmp_path, "-p", "no:cacheprovider", tmp_path],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert inner.returncode == 0, inner.stdout

    @LIGHTEVAL.mark
    def test_ctrl_c_reaches_no_scoring_process_and_a_killed_parent_leaves_none(self) -> None:
        """Ctrl-C does not stop the scoring processes, and a parent killed by SIGKILL leaves none behind."""
        program = textwrap.dedent("""
            import asyncio, signal, sys
            from pytest_r1eval.scoring.pool import GradingPool
            from tests.toys import PROBE, said, toy

            signal.signal(signal.SIGINT, lambda *_: None)
            pool = GradingPool(n_processes=2)
            grade = lambda command: asyncio.run(pool.grade(toy("toy:probe"), PROBE, said(command)))
            print(grade("noise loud").outcome, flush=True)
            sys.stdin.readline()
            print(grade("value 1").outcome, flush=True)
            grade("hang 1000")
        """)
        child = subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "correct\n"
        os.killpg(child.pid, signal.SIGINT)
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "correct\n"
        time.sleep(0.5)  # until the hanging grader hangs
        family = descendants_of(child.pid)
        child.kill()
        assert child.communicate() == ("", "")
        assert len(family) >= 4  # server, fork server, two scoring processes
        assert survivors_of(family, within_s=5) == set()


def children_of(pid: int) -> set[int]:
    """List a process's children."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(child) for task in tasks for child in task.read_text().split()}


def descendants_of(pid: int) -> set[int]:
    """List a process's children, and theirs."""
    children = children_of(pid)
    return children.union(*(descendants_of(child) for child in children))


def survivors_of(pids: set[int], *, within_s: float) -> set[int]:
    """Wait for processes to end; zombies have."""
    deadline = time.monotonic() + within_s
    while (alive := {pid for pid in pids if is_running(pid)}) and time.monotonic() < deadline:
        time.sleep(0.1)
    return alive


def is_running(pid: int) -> bool:
    """Tell whether a process exists and is no zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
