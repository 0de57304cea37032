"""A program that is tied to its starter ends with it, and only with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from pytest_r1eval.evaluation import die_with_parent
from tests.processes import wait_until_gone, waited


def test_it_becomes_the_program() -> None:
    """The tied process becomes the program, with its process id, arguments and exit code."""
    command = die_with_parent.tied(
        [sys.executable, "-c", "import os, sys; print(os.getpid(), *sys.argv[1:]); sys.exit(3)", "a b"]
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        said, _ = process.communicate()
    assert said == f"{process.pid} a b\n"
    assert process.returncode == 3


def test_it_ends_with_its_starter(tmp_path: Path) -> None:
    """A program that ignores SIGTERM ends when its starter is killed."""
    program = (
        "import os, signal, time; from pathlib import Path; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f" Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid())); time.sleep(600)"
    )
    script = (
        "import subprocess, sys; from pytest_r1eval.evaluation.die_with_parent import tied;"
        f" subprocess.run(tied([sys.executable, '-c', {program!r}]))"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as starter:
        pid = waited(lambda: int((tmp_path / "pid").read_text()), (FileNotFoundError, ValueError))
        starter.send_signal(signal.SIGKILL)
    wait_until_gone([pid])


def test_a_starter_that_is_gone_already(tmp_path: Path) -> None:
    """A program whose starter has already ended is not begun."""
    tied = [sys.executable, "-m", "pytest_r1eval.evaluation.die_with_parent", str(os.getppid()), sys.executable]
    done = subprocess.run(
        [*tied, "-c", f"open({str(tmp_path / 'begun')!r}, 'w')"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "which started this one, has ended" in done.stderr
    assert not (tmp_path / "begun").exists()
