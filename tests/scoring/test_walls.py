"""What bounds a scoring process."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import FrameType

import pytest

from pytest_r1eval.sandbox import SandboxLevel
from pytest_r1eval.sandbox.levels import NO_SANDBOX
from pytest_r1eval.scoring.walls import ProcessorTimeUsedUpError, confirmed, processor_time, unconfirmed

REPOSITORY = Path(__file__).parents[2]


def loop() -> None:
    """Use up the time."""
    with processor_time(0.05):
        while True:
            pass


class TestProcessorTime:
    """An answer has a time of its own, which is the processor's and not the clock's."""

    def test_a_block_that_takes_longer_is_stopped_and_the_next_one_begins_at_nothing(self) -> None:
        """A block beyond its processor time is stopped, and the next block's time begins at zero."""
        for _ in range(3):
            with pytest.raises(ProcessorTimeUsedUpError):
                loop()
        with processor_time(5):
            assert sum(range(100_000)) > 0

    def test_a_block_that_waits_takes_nothing(self) -> None:
        """A block's limit counts processor time, so waiting does not exceed it."""
        with processor_time(0.05):
            time.sleep(0.2)

    def test_what_does_not_hear_an_exception_is_ended_by_the_kernel(self) -> None:
        """The kernel ends a library's loop that does not hear the exception."""
        program = (
            "import hashlib\n"
            "from pytest_r1eval.scoring.walls import processor_time\n"
            "with processor_time(0.1):\n"
            "    hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"
        )
        done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
        assert done.returncode == -signal.SIGXCPU

    def test_a_signal_that_comes_at_the_end_leaves_no_limit(self) -> None:
        """A signal that arrives while the limit is taken off leaves no limit, no timer and no handler."""
        before = resource.getrlimit(resource.RLIMIT_CPU), signal.getsignal(signal.SIGPROF)

        def strike(_frame: FrameType, event: str, called: object) -> None:
            if event == "c_call" and called is signal.setitimer:
                sys.setprofile(None)
                signal.setitimer(signal.ITIMER_PROF, 0)  # a timer that has rung is spent
                signal.raise_signal(signal.SIGPROF)

        with pytest.raises(ProcessorTimeUsedUpError), processor_time(5):
            sys.setprofile(strike)
        assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)
        assert (resource.getrlimit(resource.RLIMIT_CPU), signal.getsignal(signal.SIGPROF)) == before


class TestConfirmation:
    """What holds is found out by a probe, never assumed."""

    @pytest.mark.parametrize(
        ("missing", "level", "leaks"),
        [
            ((), SandboxLevel.LANDLOCK, ()),
            (("landlock",), SandboxLevel.NONE, ("read a file outside", "listed a folder outside")),
            (("landlock", "seccomp"), SandboxLevel.NONE, ("read a file outside", "connected to a TCP port", "forked")),
        ],
        ids=["this kernel", "no Landlock", "neither"],
    )
    def test_a_process_puts_up_what_its_kernel_has(
        self, missing: tuple[str, ...], level: SandboxLevel, leaks: tuple[str, ...]
    ) -> None:
        """A process uses the walls that its kernel has, and the probe lists each way out."""
        found = confirmed(partial(output_behind_walls, missing))
        assert found.level is level
        assert set(leaks) <= set(found.leaks)
        assert found.words.startswith(NO_SANDBOX) is (level is SandboxLevel.NONE)

    def test_a_probe_that_fails_confirms_nothing(self) -> None:
        """A probe that fails confirms no sandbox and is named as the reason."""
        found = unconfirmed("was not probed (TimeoutError)")
        assert (found.level, found.words) == (SandboxLevel.NONE, "not a sandbox: was not probed (TimeoutError)")


def output_behind_walls(missing: tuple[str, ...], source: str, stdin: str) -> str:
    """Put up walls in a process of its own, whose kernel lacks something, and run a program there."""
    program = (
        "import json, sys\n"
        "from pytest_r1eval.scoring.walls import output_of, put_up\n"
        "from tests.sandbox.crippled import install, taken_away\n"
        "missing, source, stdin = json.load(sys.stdin)\n"
        "install(taken_away(set(missing)))\n"
        "put_up([])\n"
        "sys.__stdout__.write(output_of(source, stdin))"
    )
    given = json.dumps([missing, source, stdin])
    command = [sys.executable, "-c", program]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout
