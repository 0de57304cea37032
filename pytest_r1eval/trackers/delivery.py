"""
Judged runs to their trackers, each tracker in a process of its own, all at once, within a time limit.

A tracker may hang, print, log a key, end its process, or leave threads behind: none of that reaches the process that
judged. What becomes of each is one line, without secrets.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_r1eval.config.tracker_choice import TrackerChoice
from pytest_r1eval.core.codec import from_json, to_json
from pytest_r1eval.core.secrets import redacted
from pytest_r1eval.core.texts import printable
from pytest_r1eval.errors import R1EvalError, last_words
from pytest_r1eval.judging.release import Release
from pytest_r1eval.reports.run_report import read_report
from pytest_r1eval.trackers.child import Answer, Order
from pytest_r1eval.trackers.tracked import TrackedRun, tracked

LIMIT_S = 120.0
"""For one tracker: half a minute to import it from a cold disk, seconds for a page of some megabytes."""
_SPARE_S = 10.0
"""After which a tracker's process ends itself, where none is left that ends it."""
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
    environ = dict(os.environ)
    with ThreadPoolExecutor(max_workers=len(choices)) as pool:
        return tuple(pool.map(lambda choice: _logged(choice, told, environ, limit_s), choices))


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
                f"{one.choice.name}: not logged: {one.answer.error}; log it again with: r1eval log {run} --to "
                f"{one.choice}"
            )


def _logged(choice: TrackerChoice, run: TrackedRun, environ: Mapping[str, str], limit_s: float) -> Logged:
    answer = _asked(choice, replace(run, version=choice.version), environ, limit_s)
    error = None if answer.error is None else redacted(answer.error, environ)
    place = None if answer.place is None else redacted(answer.place, environ)
    return Logged(choice=choice, answer=Answer(place=place, error=error))


def _asked(choice: TrackerChoice, run: TrackedRun, environ: Mapping[str, str], limit_s: float) -> Answer:
    """Log a run in a process of its own, and end that with everything it started."""
    order = to_json(Order, Order(tracker=choice.name, run=run, limit_s=limit_s + _SPARE_S))
    path = os.pathsep.join(folder or str(Path.cwd()) for folder in sys.path)
    command = [sys.executable, "-P", "-m", _PROGRAM]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as noise,
        subprocess.Popen(  # noqa: S603 - this interpreter, and a module of ours
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=noise, text=True, start_new_session=True,
            env={**environ, "PYTHONPATH": path},
        ) as process,
    ):  # fmt: skip
        try:
            text, _ = process.communicate(order, timeout=limit_s)
        except subprocess.TimeoutExpired:
            return Answer(error=f"it did not answer within {limit_s:g} s")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        try:
            return from_json(Answer, text)
        except ValueError:
            process.wait()
            noise.seek(0)
            return Answer(error=f"its process ended: {last_words(noise.read(), exit_code=process.returncode)[:300]}")


def check_trackers(choices: Sequence[TrackerChoice]) -> None:
    """
    Refuse trackers that cannot be there when the verdict is, before anything is drawn.

    Raises:
        TrackerError: If one is not installed, or cannot do what is asked of it.
    """
    from pytest_r1eval.trackers.tracker import tracker_named  # noqa: PLC0415 - only where one is asked for

    for choice in choices:
        tracker_named(choice)
