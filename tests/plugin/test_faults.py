"""
What a run survives, and what it says when it does not: faults injected for real, on recorded runs.

Wherever a run is hurt, two things are checked: that nothing which was stored is lost
or drawn again, and that the exit code is right or INVALID, never a silent pass.
"""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_r1eval.runs.store import FILE_NAME
from tests.plugin_runs import judge, runs_of, stored_samples, verdict_of
from tests.processes import (
    SLOW,
    arguments_of,
    ended,
    joined,
    n_stored,
    owners_of,
    run_of,
    started,
    wait_for_samples,
    wait_until_gone,
    workers_of,
)
from tests.recordings import record_run
from tests.requirements import MOUNTS, ROOT, lacking

Record = Callable[..., Path]
Pairs = frozenset[tuple[str, int]]

FOR_MINUTES = ("--r1-engine-arg", "delay_s=1.0", "--r1-engine-arg", "n_concurrent=4")
"""A minute for 240 samples: longer than a second run takes to start, however busy the machine."""

EXIT_PASSED, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE = 0, 1, 2, 4


def pairs_of(run: Path) -> Pairs:
    """Return problem and index of every stored sample."""
    return frozenset((problem_id, index) for problem_id, index, _ in stored_samples(run))


def invalid(result: pytest.RunResult) -> bool:
    """Whether a run ended as an error of its gate."""
    return result.ret == EXIT_FAILED and "ERROR r1eval::smoke::pass@1" in result.stdout.str()


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record a baseline and a candidate of 240 samples that passes, once for all tests."""
    folder = tmp_path_factory.mktemp("gated")
    record_run(folder / "base", seed=1, n_problems=12, n_samples=20)
    record_run(folder / "same", seed=2, n_problems=12, n_samples=20)
    subprocess.run(arguments_of("base", "--r1-save-baseline", "local/toy"), cwd=folder, check=True, capture_output=True)
    shutil.rmtree(folder / "data")
    return folder


@pytest.fixture
def baseline(pytester: pytest.Pytester, gated: Path) -> None:
    """Give a test its own copy."""
    shutil.copytree(gated, pytester.path, dirs_exist_ok=True)


@pytest.fixture(params=[(), ("-n2",)], ids=["alone", "n2"])
def spread(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return pytest's arguments for a run in one process and in three."""
    arguments: tuple[str, ...] = request.param
    return arguments


@pytest.mark.usefixtures("baseline")
class TestKilledWorker:
    @pytest.mark.parametrize("session", range(4))
    def test_twenty_kills_lose_and_double_nothing(self, pytester: pytest.Pytester, session: int) -> None:
        """
        A random worker dies five times a session, and no sample is lost or stored twice.

        The seeds are the recording's, so the samples have to be the recorded ones, text by text. The store's primary
        key and the 240 that come out show that none is double.
        """
        rng = random.Random(session)  # noqa: S311 - when and whom to kill
        with started(pytester.path, "same", "-n2", "--max-worker-restart=9", *SLOW) as process:
            run = run_of(pytester.path)
            n_seen = []
            for _ in range(5):
                time.sleep(rng.uniform(0, 0.3))
                n_seen.append(n_stored(run))
                os.kill(rng.choice(joined(process, run)), signal.SIGKILL)
            output = ended(process)
        assert process.returncode == EXIT_PASSED, output
        assert n_seen[-1] < 240
        assert "240 of 240" in output
        assert stored_samples(run) == stored_samples(pytester.path / "same")
        assert verdict_of(run) == "pass"

    def test_last_worker_finishes_alone(self, pytester: pytest.Pytester) -> None:
        """The worker that is left draws the rest when the other dies without a restart, and the gate passes."""
        with started(pytester.path, "same", "-n2", "--max-worker-restart=0", *SLOW) as process:
            run = run_of(pytester.path)
            wait_for_samples(run, 20)
            os.kill(joined(process, run)[0], signal.SIGKILL)
            output = ended(process)
        assert process.returncode == EXIT_PASSED, output
        assert "1 worker lost" in output
        assert stored_samples(run) == stored_samples(pytester.path / "same")

    def test_replacement_that_still_loads_holds_nothing_up(self, pytester: pytest.Pytester) -> None:
        """A replacement whose engine loads until after the last sample ends with it, and pytest counts to 100 %."""
        with started(pytester.path, "same", "-n2", "--r1-engine-arg", "start_s=8", *SLOW) as process:
            run = run_of(pytester.path)
            wait_for_samples(run, 150)
            os.kill(joined(process, run)[0], signal.SIGKILL)
            output = ended(process)
        assert process.returncode == EXIT_PASSED, output
        assert "replacing crashed worker" in output
        assert stored_samples(run) == stored_samples(pytester.path / "same")
        assert len(owners_of(run)) == 2
        assert "[100%]" in output
        assert not re.search(r"\[ *(10[1-9]|1[1-9]\d|[2-9]\d\d)%\]", output)

    def test_nobody_left_is_invalid(self, pytester: pytest.Pytester) -> None:
        """When all workers died, samples are missing, and that is an error of the gate."""
        with started(pytester.path, "same", "-n2", "--max-worker-restart=0", *SLOW) as process:
            run = run_of(pytester.path)
            wait_for_samples(run, 20)
            for pid in workers_of(process):
                os.kill(pid, signal.SIGKILL)
            output = ended(process)
        assert process.returncode == EXIT_FAILED, output
        assert "ERROR r1eval::smoke::pass@1 - smoke: INVALID." in output
        assert f"--r1-resume {run}" in output

    @pytest.mark.parametrize("dist", ["loadscope", "loadfile", "loadgroup", "worksteal", "each"])
    def test_every_way_to_distribute(self, pytester: pytest.Pytester, dist: str) -> None:
        """Whatever hands the items out, a killed worker makes the verdict right or INVALID."""
        with started(pytester.path, "same", "-n2", "--dist", dist, *SLOW) as process:
            run = run_of(pytester.path)
            wait_for_samples(run, 20)
            os.kill(joined(process, run)[0], signal.SIGKILL)
            output = ended(process)
        assert process.returncode == EXIT_PASSED, output
        assert stored_samples(run) == stored_samples(pytester.path / "same")

    def test_clock_that_jumps(self, pytester: pytest.Pytester) -> None:
        """A wall clock that jumps by days neither ends a lease nor keeps one."""
        pytester.makepyfile(
            jumping="""
            import itertools, time

            _real, _days = time.time, itertools.cycle((0, 3, -3))
            time.time = lambda: _real() + 86400 * next(_days)
            """
        )
        with started(pytester.path, "same", "-n2", "-p", "jumping", *SLOW) as process:
            run = run_of(pytester.path)
            wait_for_samples(run, 20)
            os.kill(joined(process, run)[0], signal.SIGKILL)
            output = ended(process)
        assert process.returncode == EXIT_PASSED, output
        assert stored_samples(run) == stored_samples(pytester.path / "same")


@pytest.mark.usefixtures("baseline")
class TestKilledController:
    def test_resume_draws_nothing_twice(
        self, pytester: pytest.Pytester, recorded: Record, spread: tuple[str, ...]
    ) -> None:
        """After kill -9 of the judging process, the resumed run asks for exactly what was not stored."""
        with started(pytester.path, "same", *spread, *SLOW) as process:
            run = run_of(pytester.path)
            wait_for_samples(run, 20)
            workers = workers_of(process)
            process.kill()
            process.wait()
            wait_until_gone(workers)
        before, text_before = pairs_of(run), stored_samples(run)
        assert 20 <= len(before) < 240
        # What was stored is not in this recording: to ask for it would be an error.
        recorded("rest", seed=2, n_problems=12, n_samples=20, skip=before)
        result = judge(pytester, "rest", "--r1-resume", str(run), *spread)
        assert result.ret == EXIT_PASSED
        assert text_before < stored_samples(run)
        assert stored_samples(run) == stored_samples(pytester.path / "same")


@pytest.mark.usefixtures("baseline")
class TestInterrupt:
    def test_ctrl_c_keeps_what_is_stored(
        self, pytester: pytest.Pytester, recorded: Record, spread: tuple[str, ...]
    ) -> None:
        """Ctrl-C reaches every process of the run: exit code 2, how to go on, and nothing lost."""
        with started(pytester.path, "same", *spread, *SLOW) as process:
            run = run_of(pytester.path)
            wait_for_samples(run, 20)
            os.killpg(process.pid, signal.SIGINT)
            output = ended(process)
        assert process.returncode == EXIT_INTERRUPTED, output
        assert f"go on with --r1-resume {run}" in output
        assert "PASS" not in output
        before = pairs_of(run)
        assert 20 <= len(before) < 240
        recorded("rest", seed=2, n_problems=12, n_samples=20, skip=before)
        assert judge(pytester, "rest", "--r1-resume", str(run)).ret == EXIT_PASSED


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of a quarter of a megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() or mount is None:
        lacking(ROOT, detail="to mount a small file system")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], check=False, capture_output=True, text=True
    )
    if done.returncode:
        lacking(MOUNTS, detail=done.stderr.strip())
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)  # noqa: S607 - beside the mount found above


@pytest.fixture
def bulky(baseline: None, recorded: Record) -> None:  # noqa: ARG001 - it is judged against the baseline
    """Record a candidate of 240 samples that passes and whose texts take half a megabyte, however they are packed."""
    recorded("bulky", seed=2, n_problems=12, n_samples=20, n_random_bytes=2000)


@pytest.mark.usefixtures("bulky")
class TestDisk:
    def test_full_disk(self, pytester: pytest.Pytester, small_disk: Path, spread: tuple[str, ...]) -> None:
        """A run that fills its disk does not pass, reports it, and is completed when there is room."""
        result = judge(pytester, "bulky", "--r1-output-dir", str(small_disk), *spread)
        assert result.ret in {EXIT_FAILED, EXIT_USAGE}
        assert "database or disk is full" in result.stdout.str() + result.stderr.str()
        (run,) = (path.parent for path in small_disk.glob(f"*/*/*/{FILE_NAME}"))
        before = stored_samples(run)
        subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)  # noqa: S607
        assert judge(pytester, "bulky", "--r1-resume", str(run), *spread).ret == EXIT_PASSED
        assert before < stored_samples(run)

    def test_file_size_limit(self, pytester: pytest.Pytester) -> None:
        """A process's limit on file sizes ends a run in one line, and resuming it keeps what was stored."""
        size = 300_000

        def limited() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

        with started(pytester.path, "bulky", before=limited) as process:
            output = ended(process)
        assert process.returncode in {EXIT_FAILED, EXIT_USAGE}, output
        assert "cannot be used: disk I/O error" in output
        run = run_of(pytester.path)
        before = stored_samples(run)
        assert judge(pytester, "bulky", "--r1-resume", str(run)).ret == EXIT_PASSED
        assert before < stored_samples(run)

    def test_read_only_folder(self, pytester: pytest.Pytester, small_disk: Path) -> None:
        """A run where nothing can be written is refused in one line, new or resumed."""
        shutil.copytree(pytester.path / "same", small_disk / "run")
        subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)  # noqa: S607
        new = judge(pytester, "same", "--r1-output-dir", str(small_disk))
        assert new.ret == EXIT_USAGE
        new.stderr.fnmatch_lines(["*cannot write the output folder*Read-only file system*"])
        resumed = judge(pytester, "same", "--r1-resume", str(small_disk / "run"))
        assert resumed.ret == EXIT_USAGE
        assert "Traceback" not in resumed.stderr.str() + resumed.stdout.str()


@pytest.mark.usefixtures("baseline")
class TestDamagedFile:
    @pytest.mark.parametrize("damage", ["first page", "middle", "half", "empty"])
    def test_damage_is_refused(self, pytester: pytest.Pytester, damage: str) -> None:
        """A run file that was overwritten or cut short is refused before anything is drawn."""
        run = Path(shutil.copytree("same", "run"))
        path = run / FILE_NAME
        content = bytearray(path.read_bytes())
        match damage:
            case "first page":
                content[:64] = bytes(64)
            case "middle":
                content[4096 * 4 :] = bytes(len(content) - 4096 * 4)
            case "half":
                content = content[: len(content) // 2]
            case _:
                content.clear()
        path.write_bytes(content)
        result = judge(pytester, "same", "--r1-resume", str(run))
        assert result.ret == EXIT_USAGE
        result.stderr.fnmatch_lines([f"ERROR: *{FILE_NAME}*"])
        assert "Traceback" not in result.stderr.str() + result.stdout.str()


@pytest.mark.usefixtures("baseline")
class TestTwoRuns:
    def test_second_is_refused_while_the_first_lives(self, pytester: pytest.Pytester) -> None:
        """Two processes never judge one folder; the second learns who has it, and may go on when that one died."""
        with started(pytester.path, "same", *FOR_MINUTES) as process:
            run = run_of(pytester.path)
            wait_for_samples(run, 4)
            second = judge(pytester, "same", "--r1-resume", str(run))
            assert second.ret == EXIT_USAGE
            second.stderr.fnmatch_lines([f"*the run {run} is in use by process {process.pid} on *"])
            process.kill()
            process.wait()
            assert judge(pytester, "same", "--r1-resume", str(run)).ret == EXIT_PASSED


@pytest.mark.usefixtures("baseline")
class TestPytestOptions:
    @pytest.mark.parametrize("dist", ["load", "no"])
    def test_every_way_to_distribute(self, pytester: pytest.Pytester, dist: str) -> None:
        """Xdist makes `load` of `no` where workers are asked for; all samples are judged."""
        result = judge(pytester, "same", "-n2", "--dist", dist)
        assert result.ret == EXIT_PASSED
        result.stdout.fnmatch_lines(["*240 of 240*"])

    def test_no_distribution_with_workers_named(self, pytester: pytest.Pytester) -> None:
        """`--dist no` together with `--tx` draws and judges every sample."""
        result = judge(pytester, "same", "--dist", "no", "--tx", "2*popen")
        assert result.ret == EXIT_PASSED
        result.stdout.fnmatch_lines(["*240 of 240*"])

    @pytest.mark.parametrize("arguments", [("-x",), ("--maxfail=1", "-n2")])
    def test_stop_at_another_tests_failure(self, pytester: pytest.Pytester, arguments: tuple[str, ...]) -> None:
        """A run that stops before or in the middle of the gate is red, whatever became of the gate."""
        pytester.makepyfile("def test_mine(): assert False")
        result = judge(pytester, "same", ".", *arguments, *SLOW, "-p", "no:randomly", mark="smoke or not r1eval")
        assert result.ret in {EXIT_FAILED, EXIT_INTERRUPTED}
        assert invalid(result) or stored_samples(runs_of(pytester)[-1]) == stored_samples(pytester.path / "same")

    @pytest.mark.parametrize("keyword", ["smoke and 1/3", "smoke and not 1/3"])
    def test_deselected_shards(self, pytester: pytest.Pytester, keyword: str) -> None:
        """The shards that are selected draw the samples of those that are not."""
        result = judge(pytester, "same", "-n3", "-k", keyword)
        assert result.ret == EXIT_PASSED
        result.stdout.fnmatch_lines(["*240 of 240*"])

    @pytest.mark.parametrize("method", ["signal", "thread"])
    def test_timeout_of_a_test_ends_no_shard(self, pytester: pytest.Pytester, method: str) -> None:
        """pytest-timeout's limit for a test leaves a shard alone: every sample is drawn and judged."""
        result = judge(pytester, "same", "-p", "timeout", "--timeout=1", f"--timeout-method={method}", *SLOW)
        assert result.ret == EXIT_PASSED
        result.stdout.fnmatch_lines(["*240 of 240*"])

    def test_limit_that_strikes_is_no_pass(self, pytester: pytest.Pytester) -> None:
        """`--r1-timeout` ends drawing before all samples are there: the gate is not green."""
        result = judge(pytester, "same", "--r1-timeout=1", *SLOW)
        assert result.ret != EXIT_PASSED
        assert "PASS" not in result.stdout.str()

    @pytest.mark.usefixtures("all_plugins")
    @pytest.mark.parametrize(
        "arguments", [("--timeout=60",), ("--timeout=60", "-n2"), ("-p", "randomly", "-p", "no:timeout", "-n2")]
    )
    def test_neighbours_do_no_harm(self, pytester: pytest.Pytester, arguments: tuple[str, ...]) -> None:
        """pytest-timeout and pytest-randomly do not change a passing gate."""
        assert judge(pytester, "same", *arguments).ret == EXIT_PASSED

    @pytest.mark.parametrize("arguments", [(), ("-n2",)])
    def test_reruns_are_refused(self, pytester: pytest.Pytester, arguments: tuple[str, ...]) -> None:
        """--reruns is refused, because a gate that is rerun until it passes has no error rate."""
        result = judge(pytester, "same", "-p", "rerunfailures", "--reruns=2", *arguments)
        assert result.ret == EXIT_USAGE
        result.stderr.fnmatch_lines(["*--reruns with --r1-model*"])
