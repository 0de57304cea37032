"""What bounds a scoring process."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from pytest_r1eval.scoring.walls import ProcessorTimeUsedUpError, processor_time


def loop() -> None:
    """Use up the time."""
    with processor_time(0.05):
        while True:
            pass


class TestProcessorTime:
    """An answer has a time of its own, which is the processor's and not the clock's."""

    def test_a_block_that_takes_longer_is_stopped_and_the_next_one_begins_at_nothing(self) -> None:
        """What the process took before does not count."""
        for _ in range(3):
            with pytest.raises(ProcessorTimeUsedUpError):
                loop()
        with processor_time(5):
            assert sum(range(100_000)) > 0

    def test_a_block_that_waits_takes_nothing(self) -> None:
        """A machine that gives its processors to others is no reason to stop a grade."""
        with processor_time(0.05):
            time.sleep(0.2)

    def test_what_does_not_hear_an_exception_is_ended_by_the_kernel(self) -> None:
        """A library's loop outside of the interpreter."""
        program = (
            "import hashlib\n"
            "from pytest_r1eval.scoring.walls import processor_time\n"
            "with processor_time(0.1):\n"
            "    hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"
        )
        done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
        assert done.returncode == -signal.SIGXCPU
