"""
The protocol that every tracker follows, and how one is registered.

A tracker is an entry point of the group `pytest_r1eval.trackers`. Its module imports the tracker's own package in `log`
alone: to be asked what it needs, nothing heavy is imported.
"""

from importlib.util import find_spec
from typing import Protocol, runtime_checkable

from pytest_r1eval.config.registered import TRACKERS
from pytest_r1eval.config.tracker_choice import TrackerChoice
from pytest_r1eval.errors import TrackerError, in_one_line
from pytest_r1eval.trackers.tracked import TrackedRun

PROJECT = "r1eval"
"""The experiment or project where the tracker's own variables name none."""


@runtime_checkable
class Tracker(Protocol):
    """Takes a judged run into one tracker; where and as whom is for that tracker's own variables to say."""

    module: str
    """The module that it imports."""
    has_versions: bool
    """Whether it has a registry of model versions, so that one may be named."""

    def log(self, run: TrackedRun) -> str:
        """
        Log a run, or bring it up to date where it is logged already, and return where it is.

        Raises:
            Exception: Whatever the tracker raises; the caller prints it in one line, without secrets.
        """
        ...


def tracker_named(choice: TrackerChoice) -> Tracker:
    """
    Load a tracker.

    Raises:
        TrackerError: If there is none of that name or more than one, it does not follow the protocol, or its package is
            not installed.
    """
    found = TRACKERS.points(choice.name)
    if len(found) != 1:
        what = "registered by several packages" if found else "not registered"
        raise TrackerError(f"--r1-log {choice.name} is {what}; expected one of {', '.join(TRACKERS.names)}")
    (point,) = found
    try:
        tracker = point.load()
    except (ImportError, AttributeError) as error:
        raise TrackerError(
            f"--r1-log {choice.name}: {point.value} cannot be imported ({in_one_line(error)})"
        ) from error
    if not isinstance(tracker, Tracker):
        raise TrackerError(f"--r1-log {choice.name}: {point.value} is {type(tracker).__name__}; expected a Tracker")
    if find_spec(tracker.module) is None:
        raise TrackerError(
            f"--r1-log {choice.name} needs {tracker.module}, which is not installed; install it: "
            f'pip install "pytest-r1eval[{choice.name}]"'
        )
    if choice.version is not None and not tracker.has_versions:
        raise TrackerError(
            f"--r1-log {choice}: {choice.name} has no model versions that this plugin writes on; expected "
            f"--r1-log {choice.name}"
        )
    return tracker
