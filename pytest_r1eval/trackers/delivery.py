"""
Judged runs to their trackers, each tracker in a process of its own, all at once, within a time limit.

A tracker may hang, print, log a key, end its process, or leave threads behind: none of that reaches the process that
judged. What becomes of each is one line, without secrets.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from pytest_r1eval.config.tracker_choice import TrackerChoice
from pytest_r1eval.core.codec import from_json, to_json
from pytest_r1eval.core.texts import printable
from pytest_r1eval.errors import R1EvalError, last_words
from pytest_r1eval.judging.release import Release
from pytest_r1eval.reports.run_report import read_report
from pytest_r1eval.trackers.child import Answer, Order, shortened
from pytest_r1eval.trackers.tracked import TrackedRun, tracked
from pytest_r1eval.trackers.tracker import tracker_named

LIMIT_S = 120.0
"""For one tracker: half a minute to import it from a cold disk, seconds for a page of some megabytes."""
_SPARE_S = 10.0
"""After which a tracker's process ends itself, where none is left that ends it."""
_READ_S = 1.0
"""For an answer that came while another tracker was waited for: with no time at all it would not be read."""
_PROGRAM = "pytest_r1eval.trackers.child"


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """
    What became of one tracker.

    Attributes:
        choice: The tracker.
        answer: Where the run is, or why it is not logged.
    """

    choice: TrackerChoice
    answer: Answer


def log_run(
    run: Path,
    choices: Sequence[TrackerChoice],
    *,
    all_pass: bool = True,
    release: Release | None = None,
    limit_s: float = LIMIT_S,
) -> tuple[Logged, ...]:
    """
    Log a judged run to each tracker; a tracker that fails is an answer.

    Args:
        run: The run's folder.
        choices: The trackers.
        all_pass: Whether gates that were judged beside it all say PASS; else no version is marked as passed.
        release: The verdict under a policy, in place of the one that is stored with the run; None for that.
        limit_s: How long each may take.

    Raises:
        R1EvalError: If the run cannot be read.
    """
    report = read_report(run)
    told = tracked(report if release is None else replace(report, release=release), all_pass=all_pass)
    with ExitStack() as ending:
        children = [ending.enter_context(_started(choice, told, limit_s=limit_s)) for choice in choices]
        end = time.monotonic() + limit_s
        return tuple(child.logged(end=end, limit_s=limit_s) for child in children)


def lines_of(
    run: Path, choices: Sequence[TrackerChoice], *, all_pass: bool, release: Release | None = None
) -> Iterator[str]:
    """Log a run that was judged just now, and yield a line for each tracker; nothing is raised."""
    try:
        logged = log_run(run, choices, all_pass=all_pass, release=release)
    except R1EvalError as error:
        yield printable(f"trackers: not logged: {error}")
        return
    except Exception as error:  # noqa: BLE001 - no tracker takes a verdict away
        yield printable(f"trackers: not logged: {type(error).__name__}: {error}")
        return
    for one in logged:
        if one.answer.error is None:
            yield printable(f"{one.choice.name}: {one.answer.place}")
        else:
            yield printable(
                f"{one.choice.name}: failed: {one.answer.error}; log it again with: r1eval log {run} --to {one.choice}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Child:
    """
    The process of one tracker.

    Attributes:
        choice: The tracker.
        process: The process; its group is its own.
        noise: What it prints beside its answer.
    """

    choice: TrackerChoice
    process: subprocess.Popen[str]
    noise: IO[str]

    def logged(self, *, end: float, limit_s: float) -> Logged:
        """Wait for its answer, until a time of the monotonic clock."""
        try:
            text, _ = self.process.communicate(timeout=max(_READ_S, end - time.monotonic()))
            answer = from_json(Answer, text)
        except subprocess.TimeoutExpired:
            answer = Answer(error=f"it did not answer within {limit_s:g} s")
        except ValueError:
            self.noise.seek(0)
            words = last_words(self.noise.read(), exit_code=self.process.returncode)
            answer = Answer(error=f"its process ended: {shortened(words)}")
        return Logged(choice=self.choice, answer=answer)


@contextmanager
def _started(choice: TrackerChoice, told: TrackedRun, *, limit_s: float) -> Iterator[_Child]:
    """Start logging in a process of its own; with the block end that, and everything that it started."""
    run = replace(told, version=choice.version)
    order = to_json(Order, Order(tracker=choice.name, run=run, limit_s=limit_s + _SPARE_S))
    path = os.pathsep.join(folder or str(Path.cwd()) for folder in sys.path)
    command = [sys.executable, "-P", "-m", _PROGRAM]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as orders,
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as noise,
    ):
        orders.write(order)
        orders.seek(0)
        with subprocess.Popen(  # noqa: S603 - this interpreter, and a module of ours
            command, stdin=orders, stdout=subprocess.PIPE, stderr=noise, text=True, start_new_session=True,
            env={**os.environ, "PYTHONPATH": path},
        ) as process:  # fmt: skip
            try:
                yield _Child(choice=choice, process=process, noise=noise)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def check_trackers(choices: Sequence[TrackerChoice]) -> None:
    """
    Refuse trackers that cannot be there when the verdict is, before anything is drawn.

    Raises:
        TrackerError: If one is not installed, or cannot do what is asked of it.
    """
    for choice in choices:
        tracker_named(choice)
